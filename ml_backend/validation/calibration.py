"""Is σ(r_a − r_b) a probability? Differences of pairs that a model was not trained on, against what people said."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 8


def calibration(differences: np.ndarray, labels: np.ndarray, slip: float = 0.0) -> dict[str, Any]:
    """The calibration curve and the expected calibration error (Naeini et al. 2015), over bins of equal size.

    A pair and its mirror image say the same, so every pair is turned to the side that the model prefers: its confidence
    is max(p, 1 − p), and it is right by 1, 0, or ½ for a tie.

    Args:
        differences: (N,) r_a − r_b; nan is left out.
        labels: (N,) 1.0 (A), 0.0 (B), 0.5 (tie).
        slip: How often people say the opposite, as the model was trained to expect.
    """
    known = np.isfinite(differences)
    x, label = differences[known], labels[known]
    if not len(x):
        return {"error": float("nan"), "bins": [], "pairs": 0}
    confidence = slip + (1.0 - 2.0 * slip) / (1.0 + np.exp(-np.abs(x)))
    right = np.where(x >= 0, label, 1.0 - label)
    bins = []
    for rows in np.array_split(np.argsort(confidence, kind="stable"), min(BINS, max(1, len(x) // 5))):
        predicted, observed = float(confidence[rows].mean()), float(right[rows].mean())
        bins.append({"predicted": predicted, "observed": observed, "pairs": len(rows)})
    error = sum(b["pairs"] * abs(b["predicted"] - b["observed"]) for b in bins) / len(x)
    return {"error": float(error), "bins": bins, "pairs": len(x)}


def ties(differences: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Whether pairs that people called equal lie closer together than the others: `auc` is the probability that a
    tie's |r_a − r_b| is the smaller one; ½ says that the model does not know ties."""
    known = np.isfinite(differences)
    sizes, tie = np.abs(differences[known]), labels[known] == 0.5
    if tie.all() or not tie.any():
        return {"pairs": int(tie.sum()), "auc": float("nan")}
    less = np.subtract.outer(sizes[tie], sizes[~tie])
    return {"pairs": int(tie.sum()), "auc": float(np.mean(less < 0) + 0.5 * np.mean(less == 0))}
