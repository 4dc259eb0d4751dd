"""A campaign before it is paid for: what is known of pool, people and models in; pairs, hours and cost out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from importer.pairs.annotators import certified_ids
from importer.pairs.plan import HOURLY, RESERVE
from ml_backend.validation.learning_curve import TARGETS, Needed, accuracy_of, labels_for
from preference.errors import UsageError
from preference.formats import interval
from preference.records import ModelVersion
from preference.workspace import Workspace
from qc_reports.annotators.statistics import pace_of
from qc_reports.answers import join
from qc_reports.certification import EXPECTED_H, EXPECTED_PASS

if TYPE_CHECKING:
    from qc_reports.planning import OverlapRow

EXPECTED = {"single_task": (500, 2_000), "multi_task": (5_000, 20_000)}
"""Labelled pairs that the protocol expects for one task type, and for several."""
SCALE_UP_LABELS, SCALE_UP_TEST = 1_000, 200
"""The protocol looks at accuracy after so many labels, on so many pairs kept apart, before more are asked."""
USUAL_TEAM = 5
"""The fewest that the protocol recommends."""
TIMED = 20
"""Answers of a person from which on their own pace counts."""


@dataclass(frozen=True)
class Campaign:
    """All figures are estimates; `basis` says what each rests on."""

    target: float
    people: int
    pairs: tuple[int, int]
    """Labelled pairs for the target: at least, at most; the same where they were given."""
    have: int
    """Labelled pairs already there."""
    batches: tuple[int, int]
    reserve: tuple[int, int]
    """Pairs on top for losses: 15 % of the least, 20 % of the most."""
    candidates: int
    """People to invite, since not all are certified."""
    calibration_h: tuple[float, float]
    """For all candidates."""
    hourly: tuple[float, float]
    table: list[OverlapRow]
    """For the larger number of pairs, without the reserve."""
    basis: dict[str, str]
    next: str
    """Whether to ask more, by the protocol's check after 1,000 labels."""


def campaign(
    ws: Workspace, *, target: float = 0.0, people: int = 0, pairs: int = 0, wage: float | None = None
) -> Campaign:
    """Plan what is left of a campaign.

    Args:
        target: Accuracy on held-out pairs; 0 = the protocol's for so many task types.
        people: Certified annotators; 0 = those who are certified or, before that, named.
        pairs: Labelled pairs to ask; 0 = what the target takes.
        wage: Per hour.

    Raises:
        UsageError: an argument out of range.
    """
    from qc_reports.planning import crew, overlap_table

    kind, tasks = _kind(ws)
    target = target or TARGETS[kind]
    if not 0.5 < target < 1.0:
        raise UsageError(f"--target: expected an accuracy between 0.5 and 1, found {target:g}.", fix="Try 0.75.")
    if people < 0 or pairs < 0 or (wage is not None and wage <= 0):
        raise UsageError("--people, --pairs and --wage: expected numbers above 0.", fix="Leave out what is not known.")
    models = ws.store.model_versions()
    needed, basis = _pairs(target, kind, tasks, labels_for(target, models)) if not pairs else ((pairs, pairs), "given")
    certified = certified_ids(ws)
    named = [a for a in ws.store.annotators() if a.active and a.role == "annotator"]
    team = people or len(certified or named) or USUAL_TEAM
    answers = join(ws.store.judgments(), ws.store.assignments(calibration=False))
    hourly, measured = hourly_of(ws)
    group = crew(answers, team)
    settings = ws.config.pairs
    invited = math.ceil(max(team - len(certified), 0) / EXPECTED_PASS[0])
    return Campaign(
        target=target,
        people=team,
        pairs=needed,
        have=models[-1].preferences if models else 0,
        batches=(math.ceil(needed[0] / settings.batch), math.ceil(needed[1] / settings.batch)),
        reserve=(math.ceil(RESERVE[0] * needed[0]), math.ceil(RESERVE[1] * needed[1])),
        candidates=invited,
        calibration_h=(invited * EXPECTED_H[0], invited * EXPECTED_H[1]),
        hourly=hourly,
        table=overlap_table(
            group,
            needed[1],
            rng=ws.rng("campaign"),
            duplicates=settings.duplicates,
            hourly=hourly,
            wage=wage or math.nan,
        ),
        basis={
            "pairs": basis,
            "pace": f"the pace of {measured} people so far, breaks left out"
            if measured
            else "the protocol's 40 to 60 answers an hour",
            "people": f"the {group.pairs} pairs with two answers or more so far"
            if group.pairs
            else "typical people, whose alpha is 0.6: too few pairs have two answers yet",
        },
        next=_next(target, models),
    )


def _kind(ws: Workspace) -> tuple[str, int]:
    tasks = len({t.task_type for t in ws.store.trajectories()})
    return "multi_task" if tasks > 1 else "single_task", tasks


def _pairs(target: float, kind: str, tasks: int, needed: Needed | None) -> tuple[tuple[int, int], str]:
    """At least, at most, and why."""
    low, high = EXPECTED[kind]
    usual = "one task type" if tasks <= 1 else f"{tasks} task types"
    if needed is None:
        return (low, high), f"the protocol's range for {usual}, before the first model"
    if needed.best is None:
        return (low, high), f"the protocol's range for {usual}: the learning curve does not reach {target:.2f} at all"
    return (needed.best, needed.worst or max(high, needed.best)), "the learning curve of the models so far"


def hourly_of(ws: Workspace) -> tuple[tuple[float, float], int]:
    """Answers an hour of the slowest and the quickest person, and how many people were measured; before anybody was,
    the protocol's figures."""
    stamps: dict[str, list[str]] = defaultdict(list)
    for name, at in ws.store.answer_times():
        stamps[name].append(at)
    own = sorted(rate for given in stamps.values() if len(given) >= TIMED and math.isfinite(rate := pace_of(given)))
    return (own[0], own[-1]) if own else (float(HOURLY[0]), float(HOURLY[1])), len(own)


def _next(target: float, models: Sequence[ModelVersion]) -> str:
    """The protocol's check: ask 1,000, look at accuracy on 200, and only then ask for more."""
    if not models:
        return (
            f"Ask for {SCALE_UP_LABELS:,} labels first, keep {SCALE_UP_TEST} apart, and look at accuracy before more."
        )
    labels, found = models[-1].preferences, accuracy_of(models[-1])
    tested, low, high = int(found.get("pairs") or 0), found.get("low"), found.get("high")
    now = f"Accuracy is {interval(found.get('value'), low, high, 2)} on {tested} pairs after {labels:,} labels"
    if low is not None and low >= target:
        return f"{now}: {target:.2f} is reached, so no more labels are needed."
    if labels < SCALE_UP_LABELS or tested < SCALE_UP_TEST:
        return f"{now}; it is too early to scale up before {SCALE_UP_LABELS:,} labels and {SCALE_UP_TEST} test pairs."
    needed = labels_for(target, models)
    if high is not None and high >= target:
        return f"{now}: {target:.2f} may be reached already. Ask another batch to know."
    if needed and needed.best is None:
        return f"{now}: more labels of the same kind will not reach {target:.2f}. Look at guidelines, clips and inputs."
    return f"{now}, below {target:.2f}: scale up."
