"""The release in words: facts in, README.md (a Hugging Face dataset card), INPUT_FORMAT.md and CITATION.cff out.

Nothing is computed here; what could not be measured is said to be so and never shown as a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from preference import formats

STRATIFIED = "stratified by quality"
"""How pairs were chosen that no model proposed."""


@dataclass(frozen=True)
class Measured:
    """A figure with its 95 % interval; nan where it could not be taken."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Share:
    """`right` of `total`; a total of 0 = nothing to measure it on."""

    right: int
    total: int


@dataclass(frozen=True)
class Facts:
    """What the card says, each field a line or a table of it."""

    title: str
    version: str
    date: str
    """ISO date of the newest input: two runs over the same inputs write the same card."""
    license: str
    authors: Sequence[str]
    pseudonyms: bool
    # the labels
    pairs: int
    wins: Mapping[str, int]
    """Keys A, B, tie."""
    unlabelled: Mapping[str, int]
    """Why a pair has no label → how many."""
    split: Mapping[str, int]
    judgments: int
    left_out: int
    """Answers of annotators whom quality control accused: released, and not counted in any label."""
    duplicates: int
    selection: Mapping[str, int]
    """Rule that chose the pair → pairs."""
    strata: Mapping[str, int]
    interface: Sequence[str]
    """What the annotators saw, in sentences."""
    # agreement and people
    alpha: Measured
    gold: Share
    consistency: Share
    left: Share
    """Answers for the side that was on the left, of those that took a side."""
    min_kappa: float
    people: Sequence[Mapping[str, Any]]
    """name, simulated, kappa, answers."""
    batches: Sequence[Mapping[str, Any]]
    """name, pairs, alpha (Measured), gold (share of disagreement), status."""
    # the pool
    trajectories: int
    compared: int
    datasets: Sequence[str]
    tasks: Sequence[str]
    pool: Sequence[Mapping[str, Any]]
    """source, tasks (task → count), all, success."""
    # the model
    encoder: str
    weights: str
    inputs: Sequence[str]
    architecture: str
    accuracy: Measured
    accuracy_pairs: int
    spearman: float
    ground_truth: str
    measures: Mapping[str, str]
    checks: Sequence[tuple[bool, str]]
    """The validation's verdict: reached or not, and a sentence."""
    limits: Sequence[str]
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def simulated(self) -> int:
        return sum(bool(person["simulated"]) for person in self.people)

    @property
    def who(self) -> str:
        """Who labelled, in words."""
        people = "people who watched both clips side by side"
        if not self.simulated:
            return people
        return "simulated annotators" if self.simulated == len(self.people) else f"simulated annotators and by {people}"

    @property
    def actively_chosen(self) -> bool:
        return set(self.selection) != {STRATIFIED}

    @property
    def size_category(self) -> str:
        """As the Hugging Face hub spells it."""
        bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
        return next((words for bound, words in bounds if self.pairs < bound), "n>1M")

    @property
    def weights_words(self) -> str:
        return {"imagenet": "ImageNet", "none": "none (fixed random network)"}.get(self.weights, self.weights)

    @property
    def weights_sentence(self) -> str:
        if self.weights == "imagenet":
            return f"{self.encoder} with ImageNet weights from timm."
        if self.weights == "none":
            return (
                f"**not ImageNet.** {self.encoder} was initialised at random and left so: its features are weaker than "
                "those of a pretrained network, and the figures below are those of this weaker model."
            )
        return f"{self.encoder} with the weights of the file `{self.weights}`, not the ImageNet weights."


def render(template: str, **context: Any) -> str:
    """The text of `templates/TEMPLATE.jinja`; a name that the template uses and nobody gave is an error."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters |= {"number": number, "interval": interval, "share": share, "cell": cell}
    source = files("ml_backend.release").joinpath("templates", f"{template}.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(**context)


def number(value: float | None) -> str:
    return formats.figure(value, 3, unknown="not measured")


def interval(measured: Measured) -> str:
    return formats.interval(measured.value, measured.low, measured.high, unknown="not measured")


def share(counted: Share) -> str:
    if counted.total == 0:
        return "not measured"
    return f"{counted.right / counted.total:.3f} ({counted.right} of {counted.total})"


def cell(text: object) -> str:
    """`text` as it may stand in a Markdown table, whatever a dataset calls its sources and tasks."""
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())
