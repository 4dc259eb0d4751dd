"""All that the card says: what was gathered in, `card.Facts` out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from importer.pairs.batches import REPLACEMENT
from ml_backend.release import facts
from ml_backend.release.card import Facts, Measured, interval, number
from preference.config import Config

if TYPE_CHECKING:
    from ml_backend.release.gather import Source
    from qc_reports.answers import Answered
    from qc_reports.report.batch_report import BatchReport

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
    from qc_reports.agreement.coefficients import krippendorff_alpha
    from qc_reports.answers import planned, votes

    config, spec = source.ws.config, source.spec
    rng = source.ws.rng("release alpha")
    alpha = krippendorff_alpha(votes(planned(answers)), draws=config.quality.bootstrap, rng=rng)
    held_out = source.validation["ranking_accuracy"]  # on the released test pairs: `gather` has seen to that
    accuracy, tested = _measured(held_out), held_out["pairs"]
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
        ground_truth=source.validation.get("ground_truth", "ground truth"),
        measures=_measures(source, parity),
        checks=[(check["reached"], check["words"]) for check in source.validation.get("checks", ())],
        interface=interface(config),
        left_out=source.left_out,
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
    """The figures of validation.json that a reader needs, and what was measured while exporting."""
    v = source.validation
    rows: dict[str, Any] = {
        "ranking accuracy, all pairs, cross-validated": v.get("cross_validated"),
        "ranking accuracy, pairs of trajectories never trained on": v.get("unseen_trajectories"),
    }
    for kind in ("by_stratum", "by_task_type"):
        rows |= {f"ranking accuracy on test pairs, {name}": row for name, row in v.get(kind, {}).items()}
    rows |= {
        "what the annotators' own agreement allows": v.get("noise_ceiling"),
        "expected calibration error": v.get("calibration", {}).get("error"),
        "best epoch": v.get("best_epoch"),
    }
    rows |= {f"Spearman's rho, {task}": value for task, value in v.get("spearman_by_task_type", {}).items()}
    shown = {words: _shown(value) for words, value in rows.items()}
    return shown | {"largest difference between reward_model.onnx and torch": f"{parity:.1e}"}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return interval(_measured(value)) + f", {value['pairs']} pairs"
    return number(value) if isinstance(value, float) or value is None else str(value)


def _measured(figure: Mapping[str, Any]) -> Measured:
    return Measured(*(math.nan if figure[name] is None else figure[name] for name in ("value", "low", "high")))


def interface(config: Config) -> list[str]:
    """What the annotators saw and could do, in sentences."""
    clips = config.clips
    seen = " An answer counted only once both clips had been seen to their end." * config.label_studio.watch_to_end
    label = {
        "vote": "The label is the majority's",
        "dawid_skene": "The label is the most probable answer given what each annotator mixes up (Dawid and Skene)",
        "weighted_bt": "The label is that of Bradley-Terry over all votes, weighted by agreement with the others",
    }[config.quality.resolution]
    return [
        f"Label Studio, two clips side by side, {clips.size}x{clips.size} pixels at {clips.fps} frames per second, "
        f"standing on the last frame for {clips.freeze_s:g} s, with trajectory id, timer and gripper mark.{seen}",
        f'Question: "{config.pairs.question}" Answer: A, B or equal, with a confidence of 1 (guess) to 5 (sure).',
        "Which trajectory was on the left was drawn at random; some pairs came twice, with the sides swapped.",
        f"{config.pairs.overlap} annotators per pair; where two differed a third was asked. {label}; pairs without one "
        "were discarded.",
    ]


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
    if any(p.strategy not in ("", REPLACEMENT) for p in source.pairs):
        lines.append("Pairs chosen by active selection are not a random sample of the pool's pairs.")
    unseen = source.validation.get("unseen_trajectories", {}).get("value")
    known = f"{unseen:.2f}" if unseen is not None else "unknown"
    lines.append(
        "Test pairs were never trained on, but their trajectories may be in training pairs; the accuracy on pairs of "
        f"trajectories that were never trained on is {known}."
    )
    fired = [check["words"] for check in source.validation.get("checks", ()) if not check["reached"]]
    lines += [f"Validation: {words.rstrip('.')}; a policy may exploit that." for words in fired if "reward" in words]
    lines.append("A reward model can be exploited by a policy trained on it: look at what it scores highest.")
    return lines
