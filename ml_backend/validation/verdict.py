"""The verdict on a reward model: figures of validation.json in; what was reached and what was missed, in words, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ml_backend.validation.learning_curve import TARGETS
from ml_backend.validation.probes import HACKING
from preference.formats import known

MOST_OVERLAP = 0.2
"""Of a random trajectory over an expert's: the two ends of the pool, which any useful reward tells apart."""
MISCALIBRATED = 0.05
"""Expected calibration error that a model may have."""
SAID = {
    "still_frames_added": "still frames added",
    "slowed_down": "everything twice as slow",
    "cut": "the last third cut off",
    "gripper_closed": "the gripper closed throughout",
}


@dataclass(frozen=True)
class Check:
    """One thing that a model has to reach before it is used."""

    what: str
    found: float
    target: float
    reached: bool
    words: str
    known: bool = True
    """False where there are too few pairs to say whether it was reached."""


def verdict_of(checks: Sequence[Check]) -> str:
    """What was missed, in words; `Not yet known:` where nothing was, but pairs are too few to be sure."""
    missed = [one for one in checks if not one.reached]
    words = " ".join(one.words for one in missed)
    if missed and not any(one.known for one in missed):
        return f"Not yet known: {words}"
    return words or "Everything that was looked at is as it should be."


def check(figures: dict[str, Any]) -> list[Check]:
    """The verdict, one check after the other; a figure that could not be measured does not reach its target."""
    accuracy, spearman = figures["ranking_accuracy"], figures["spearman"]
    truth, learned, tiers_learned = figures["ground_truth"], "", ""
    if truth == "quality score" and (taught := _taught(figures)):
        learned, tiers_learned = f", {taught},", f" The two differ in quality, {taught}."
    low, high = (_words(accuracy[name]) for name in ("low", "high"))
    checks = [
        _at_least(
            "ranking accuracy", accuracy["value"], figures["target"],
            f"Ranking accuracy on {accuracy['pairs']} test pairs is {_words(accuracy['value'])} ({low} to {high})",
        ),
        _at_least(
            "Spearman", spearman, TARGETS["spearman"],
            f"Spearman's correlation with the {truth}{learned} is {_words(spearman)}",
        ),
    ]  # fmt: skip
    checks[0] = _sure(checks[0], [accuracy, figures.get("cross_validated")], figures["target"])
    checks += [*_unseen(figures), *_calibration(figures)]
    overlap = figures.get("tiers", {}).get("random_over_expert")
    if known(overlap):
        words = f"A random trajectory has a higher reward than an expert's with probability {_words(overlap)}"
        reached = overlap <= MOST_OVERLAP
        checks.append(
            Check("random over expert", overlap, MOST_OVERLAP, reached,
                  f"{words}, {'at most' if reached else 'above'} {MOST_OVERLAP:.2f}.{tiers_learned}")
        )  # fmt: skip
    for name, probe in figures["probes"].items():
        value = probe["partial_correlation"]
        words = f"The reward {'follows' if probe['fires'] else 'does not follow'} {_spoken(name)} beyond quality: "
        checks.append(Check(_spoken(name), value, HACKING, not probe["fires"], f"{words}{_words(value)}."))
    for name, probe in figures["counterfactuals"].items():
        value = probe["mean_change_sd"]
        words = f"With {SAID[name]} the reward changes by {_words(value)} standard deviations"
        words += ": it can be gamed." if probe["fires"] else "."
        checks.append(Check(SAID[name], value, HACKING, not probe["fires"], words))
    return checks


def _taught(figures: Mapping[str, Any]) -> str:
    """What the model has learned from the quality that it is held against."""
    quality = "from which it also learned a little (reward.quality_prior)"
    success = "a part of which, success, taught it progress (reward.progress_prior)"
    return " and ".join([quality] * bool(figures.get("weak_pairs")) + [success] * bool(figures.get("success_counts")))


def _sure(found: Check, intervals: Sequence[Mapping[str, Any] | None], target: float) -> Check:
    """Reached only if the interval of the test pairs, or that of all pairs by cross-validation, is above the target."""
    if not found.reached or any(one and (one["low"] or 0.0) >= target for one in intervals):
        return found
    words = f"{found.words.rstrip('.')}, but its interval reaches below: more labels decide."
    return replace(found, reached=False, words=words, known=False)


def _unseen(figures: Mapping[str, Any]) -> list[Check]:
    found = figures.get("unseen_trajectories")
    if not found or not known(found["high"]):
        return []
    reached, target = bool(found["high"] >= figures["target"]), figures["target"]
    words = f"On {found['pairs']} pairs of trajectories never trained on it is {_words(found['value'])}"
    against = "at least" if found["value"] >= target else "by chance perhaps below" if reached else "certainly below"
    return [Check("unseen trajectories", found["value"], target, reached, f"{words}, {against} {target:.2f}.")]


def _calibration(figures: Mapping[str, Any]) -> list[Check]:
    """Wrong by more than `MISCALIBRATED` and by more than chance gives a calibrated model on so many pairs."""
    found = figures.get("calibration")
    if not found or not known(found["error"]) or "by_chance" not in found:
        return []
    most = max(MISCALIBRATED, found["by_chance"])
    reached = bool(found["error"] <= most)
    words = f"Its probabilities are off by {_words(found['error'])}, {'at most' if reached else 'above'} {most:.2f}"
    chance = f" (on {found['pairs']} pairs a calibrated model shows {_words(found['floor'])}, and up to that by chance)"
    words += f"{chance}." if found["by_chance"] > MISCALIBRATED else "."
    return [Check("calibration error", found["error"], most, reached, words)]


def _at_least(what: str, found: float | None, target: float, words: str) -> Check:
    value = float("nan") if found is None else found
    reached = bool(value >= target)
    return Check(what, value, target, reached, f"{words}, {'at least' if reached else 'below'} {target:.2f}.")


def _spoken(name: str) -> str:
    return name.replace("_", " ").replace("closed gripper", "closed-gripper time")


def _words(value: float | None) -> str:
    return "unknown" if value is None or value != value else f"{value:z.2f}"
