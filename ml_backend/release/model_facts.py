"""All that the card says: what was gathered in, `card.Facts` out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_backend.release import facts
from ml_backend.release.card import Facts, Measured, interval, number

if TYPE_CHECKING:
    from ml_backend.release.gather import Source
    from qc_reports.answers import Answered
    from qc_reports.stages import BatchReport

FEW_ANNOTATORS = 5
"""The protocol warns below so many."""


def card_facts(
    source: Source,
    answers: Sequence[Answered],
    reports: Sequence[BatchReport],
    *,
    version: str,
    parity: float,
    files: Mapping[str, str],
) -> Facts:
    """Everything that the card states, measured on what is released."""
    from qc_reports.agreement import krippendorff_alpha
    from qc_reports.answers import votes

    config, spec = source.ws.config, source.spec
    rng = source.ws.rng("release alpha")
    alpha = krippendorff_alpha(votes(answers), draws=config.quality.bootstrap, rng=rng)
    test = [row for row in source.rows if row["split"] == "test"]
    accuracy, tested = facts.accuracy(test, source.rewards)
    people = facts.people_facts(source.annotators, source.certifications, answers, source.names)
    values: dict[str, Any] = {
        **facts.label_facts(source.preferences, source.rows),
        **facts.selection_facts(source.pairs),
        **facts.answer_facts(answers),
        **facts.pool_facts(source.trajectories, set(source.compared)),
    }
    return Facts(
        title=f"{config.name}: human preferences over robot trajectories",
        version=version,
        date=source.date,
        license=config.release.license,
        authors=config.release.authors or [f"The {config.name} team"],
        pseudonyms=config.release.pseudonyms,
        question=config.pairs.question,
        alpha=Measured(alpha.value, alpha.low, alpha.high),
        min_kappa=config.calibration.min_kappa,
        people=people,
        batches=[_batch(report) for report in reports],
        encoder=spec.encoder if "frames" in spec.inputs else "",
        weights=spec.weights,
        inputs=spec.inputs,
        architecture=architecture(source),
        accuracy=accuracy,
        accuracy_pairs=tested,
        spearman=source.record.spearman,
        measures=_measures(source, parity),
        limits=_limits(source, people, alpha.value, accuracy, tested),
        files=files,
        **values,
    )


def _batch(report: BatchReport) -> dict[str, Any]:
    alpha = report.alpha
    gold = sum(row["gold"] for row in report.annotator_stats)
    wrong = sum((1 - row["gold_agreement"]) * row["gold"] for row in report.annotator_stats if row["gold"])
    return {
        "name": report.batch_id,
        "pairs": report.pairs,
        "alpha": Measured(alpha["value"], alpha["low"], alpha["high"]),
        "gold": wrong / gold if gold else math.nan,
        "status": report.status,
    }


def architecture(source: Source) -> str:
    """The model in two or three sentences."""
    spec = source.spec
    parts = []
    if "frames" in spec.inputs:
        parts.append(
            f"frames through {spec.encoder} (frozen) at {spec.image_size}x{spec.image_size} pixels, {spec.frame_size} "
            f"features reduced to {spec.projection} principal components"
        )
    if "actions" in spec.inputs:
        parts.append(f"{len(spec.action_names)} action values")
    if "state" in spec.inputs:
        parts.append(f"{len(spec.state_names)} state values")
    over_time = {
        "mean": "their mean over time",
        "conv1d": "a 1-D convolution and the mean over time",
        "transformer": "one block of attention and the mean over time",
    }
    trained = sum(p.numel() for p in source.model.parameters())
    return (
        f"{spec.members} members of one architecture, trained from different starts; the reward is their mean. Each "
        f"sees {spec.sample_fps:g} steps per second (at most {spec.max_frames}): {'; '.join(parts)}. Then "
        f"{over_time.get(spec.temporal, spec.temporal)}, and a 2-layer MLP with {spec.hidden} hidden units. "
        f"{trained:,} trained parameters, Bradley-Terry loss, ties: {source.trained.ties}."
    )


def _measures(source: Source, parity: float) -> dict[str, str]:
    """The model's own validation, as it stands in validation.json, and what was measured while exporting."""
    # the accuracy on test pairs stands at the card's head; how far each two tiers overlap would be a page of its own
    rest = {key: value for key, value in source.validation.items() if key not in ("ranking_accuracy", "tiers")}
    rows = {words: _shown(value) for words, value in flattened(rest).items()}
    return rows | {"largest difference between reward_model.onnx and torch": f"{parity:.1e}"}


def flattened(value: Any, prefix: str = "", depth: int = 3) -> dict[str, Any]:
    """`a: {b: 1}` → `a, b: 1`; a figure with its interval stays one; lists are left to validation.json."""
    if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
        return {prefix: value}
    if not isinstance(value, Mapping):
        return {prefix: value} if isinstance(value, (int, float, str, type(None))) and prefix else {}
    rows: dict[str, Any] = {}
    for key, item in value.items() if depth else ():
        words = str(key).replace("_", " ")
        rows |= flattened(item, f"{prefix}, {words}" if prefix else words, depth - 1)
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        figures = (math.nan if value[name] is None else value[name] for name in ("value", "low", "high"))
        pairs = f", {value['pairs']} pairs" if "pairs" in value else ""
        return interval(Measured(*figures)) + pairs
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) or value is None:
        return number(value)
    return str(value)


def _limits(
    source: Source, people: Sequence[Mapping[str, Any]], alpha: float, accuracy: Measured, tested: int
) -> list[str]:
    """What a user must know, each line from the data."""
    config, spec = source.ws.config, source.spec
    tasks = sorted({t.task_type for t in source.trajectories})
    lines = [
        f"Rewards compare trajectories of one task; across tasks they mean nothing. Tasks: {', '.join(tasks)}.",
        f"Learned from {', '.join(sorted({t.dataset for t in source.trajectories}))}, one camera each: another robot, "
        "viewpoint or action layout is outside of what the model knows.",
    ]
    simulated = sum(bool(person["simulated"]) for person in people)
    if simulated:
        lines.append(
            f"{simulated} of {len(people)} annotators are simulated: their labels follow the simulator's return."
        )
    if len(people) < FEW_ANNOTATORS:
        lines.append(f"Only {len(people)} annotators: their shared taste is part of the labels.")
    if math.isfinite(alpha) and alpha < config.quality.min_alpha:
        lines.append(f"Agreement is low: alpha {alpha:.2f}, below the protocol's {config.quality.min_alpha:.2f}.")
    if "frames" in spec.inputs and spec.weights != "imagenet":
        lines.append(f"The encoder has no ImageNet weights (weights: {spec.weights}); a pretrained one does better.")
    if tested == 0:
        lines.append("No pair without a tie was held out: the model's accuracy is unknown.")
    elif accuracy.high - accuracy.low > 0.2:
        lines.append(
            f"Only {tested} held-out pairs: the accuracy is known to ±{(accuracy.high - accuracy.low) / 2:.2f}."
        )
    if any(p.strategy for p in source.pairs):
        lines.append("Pairs chosen by active selection are not a random sample of the pool's pairs.")
    unseen = source.validation.get("unseen_trajectories", {}).get("value")
    known = f"{unseen:.2f}" if unseen is not None else "unknown"
    lines.append(
        "Test pairs were never trained on, but their trajectories may be in training pairs; the accuracy on pairs of "
        f"trajectories that were never trained on is {known}."
    )
    for name, probe in source.validation.get("probes", {}).items():
        if probe.get("fires"):
            lines.append(
                f"The reward goes with {name} (partial rank correlation {probe['partial_correlation']:+.2f}, quality "
                "held constant): a policy may exploit that."
            )
    lines.append("A reward model can be exploited by a policy trained on it: look at what it scores highest.")
    return lines
