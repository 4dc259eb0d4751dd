"""Are the model's probabilities true? Differences of rewards and labels in; the calibration curve, and the temperatures
that make them so, out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml_backend.reward.dataset import Split
from preference.config import Reward

BINS = 8
CHANCE_DRAWS = 200
HOTTEST = 8.0
"""Factor that a temperature stays within."""
TEMPERATURE_SD = 0.7
"""Of the prior on the temperature's logarithm."""
SLIP_WORTH = 10.0
"""Labels for which `reward.slip` counts where the labels' own share of slips is looked for."""
LEAST_SLIP = 1e-3


@dataclass(frozen=True)
class Temperatures:
    """What a model's rewards are divided by (`RewardModel.cool`), and how many of the labels are slips."""

    shared: float
    """Of task types that have none of their own, and of those that the model does not know."""
    slip: float
    """Share of labels that say the opposite however clear the pair is, at most `reward.slip`. A single answer slips
    more often than the label that several people and an adjudicator resolved."""
    own: dict[str, float] = field(default_factory=dict)

    def of(self, tasks: np.ndarray) -> np.ndarray:
        """(N,) that of each pair."""
        return np.array([self.own.get(str(task), self.shared) for task in tasks], dtype=float)


def temperatures(
    differences: np.ndarray, labels: np.ndarray, tasks: np.ndarray, reward: Reward, apart: Sequence[str] = ()
) -> Temperatures:
    """The shared one, and that of each task type in `apart`, which a prior keeps near the shared one where labels are
    few. Davidson's ν belongs to the rewards' scale, which then stays.

    Args:
        differences: (N,) r_a − r_b, by models not trained on the pair.
        tasks: (N,) the task type of each pair.
    """
    if reward.ties == "davidson":
        return Temperatures(1.0, reward.slip)
    shared, slip = temperature_and_slip(differences, labels, reward.slip)
    rows = {task: tasks == task for task in apart}
    own = {task: shared * temperature(differences[own] / shared, labels[own], slip) for task, own in rows.items()}
    return Temperatures(shared, slip, own)


def calibrated(
    differences: np.ndarray,
    labels: np.ndarray,
    tasks: np.ndarray,
    splits: Sequence[Split],
    reward: Reward,
    apart: Sequence[str] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """The differences (N,), those of each split's test pairs divided by the temperatures of its other pairs, and the
    slips (N,) found in those others: a pair's label enters nothing that it is judged by."""
    cooled, slips = differences.copy(), np.zeros(len(differences))
    for split in splits:
        rest = np.concatenate([split.train, split.validation])
        found = temperatures(differences[rest], labels[rest], tasks[rest], reward, apart)
        cooled[split.test] /= found.of(tasks[split.test])
        slips[split.test] = found.slip
    return cooled, slips


def _by_chance(x: np.ndarray, slip: np.ndarray) -> dict[str, float]:
    """The calibration error of a perfectly calibrated model on so many pairs, `floor` in expectation, and `by_chance`,
    below which it stays in 95 % of such sets: with 33 pairs about 0.15 and 0.22, with 200 0.07 and 0.10, and it takes
    1,000 to stay below 0.05. So a fixed limit would refuse most of them.
    """
    rng = np.random.default_rng(0)
    first = _first(x, slip)
    errors = [_error(x, (rng.random(len(x)) < first).astype(float), slip)[0] for _ in range(CHANCE_DRAWS)]
    return {"floor": float(np.mean(errors)), "by_chance": float(np.percentile(errors, 95))}


def temperature(differences: np.ndarray, labels: np.ndarray, slip: float) -> float:
    """By which differences are divided to be most likely (Guo et al. 2017), within a factor of `HOTTEST`; a Gaussian
    prior on its logarithm keeps it near 1 where labels are few."""
    from scipy.optimize import minimize_scalar

    known, limit = np.isfinite(differences), math.log(HOTTEST)
    found: Any = minimize_scalar(
        lambda log_t: _cost(log_t, slip, differences[known], labels[known]), bounds=(-limit, limit), method="bounded"
    )
    return math.exp(float(found.x))


def temperature_and_slip(differences: np.ndarray, labels: np.ndarray, most: float) -> tuple[float, float]:
    """The same together with the share of labels that are slips, at most `most`: being too sure is the model's fault
    and is not put down to people. A Beta prior keeps it near `most` where labels are few."""
    from scipy.optimize import minimize

    if most <= LEAST_SLIP:
        return temperature(differences, labels, most), most
    known, limit = np.isfinite(differences), math.log(HOTTEST)

    def cost(v: np.ndarray) -> float:
        prior = most * math.log(v[1]) + (1.0 - most) * math.log1p(-v[1])
        return _cost(v[0], v[1], differences[known], labels[known]) - SLIP_WORTH * prior

    bounds = [(-limit, limit), (LEAST_SLIP, most)]
    found: Any = minimize(cost, np.array([0.0, most]), method="L-BFGS-B", bounds=bounds)
    return math.exp(float(found.x[0])), float(found.x[1])


def _cost(log_t: float, slip: float, x: np.ndarray, label: np.ndarray) -> float:
    """The labels' negative log-likelihood, and the prior of the temperature."""
    first = _first(np.clip(x / math.exp(log_t), -30, 30), slip)
    fit = -np.sum(label * np.log(first) + (1.0 - label) * np.log1p(-first))
    return float(fit) + 0.5 * (log_t / TEMPERATURE_SD) ** 2


def _first(x: np.ndarray, slip: float | np.ndarray) -> np.ndarray:
    """The probability that the label is A."""
    return slip + (1.0 - 2.0 * slip) / (1.0 + np.exp(-x))


def calibration(differences: np.ndarray, labels: np.ndarray, slip: float | np.ndarray = 0.0) -> dict[str, Any]:
    """Is σ(r_a − r_b) a probability? The calibration curve, the expected calibration error (Naeini et al. 2015), over
    bins of equal size, and what a perfectly calibrated model would show (`_by_chance`).

    A pair and its mirror image say the same, so every pair is turned to the side that the model prefers: its confidence
    is max(p, 1 − p), and it is right by 1, 0, or ½ for a tie.

    Args:
        differences: (N,) r_a − r_b; nan is left out.
        labels: (N,) 1.0 (A), 0.0 (B), 0.5 (tie).
        slip: Share of labels that say the opposite however clear the pair is; one, or (N,) one a pair.
    """
    known = np.isfinite(differences)
    x, label, slip = differences[known], labels[known], np.broadcast_to(slip, len(known))[known]
    if not len(x):
        return {"error": math.nan, "bins": [], "pairs": 0, "floor": math.nan, "by_chance": math.nan}
    error, bins = _error(x, label, slip)
    return {"error": error, "bins": bins, "pairs": len(x), **_by_chance(x, slip)}


def _error(x: np.ndarray, label: np.ndarray, slip: np.ndarray) -> tuple[float, list[dict[str, Any]]]:
    """The expected calibration error and its bins."""
    confidence = _first(np.abs(x), slip)
    right = np.where(x >= 0, label, 1.0 - label)
    bins = []
    for rows in np.array_split(np.argsort(confidence, kind="stable"), min(BINS, max(1, len(x) // 5))):
        predicted, observed = float(confidence[rows].mean()), float(right[rows].mean())
        bins.append({"predicted": predicted, "observed": observed, "pairs": len(rows)})
    return float(sum(b["pairs"] * abs(b["predicted"] - b["observed"]) for b in bins) / len(x)), bins
