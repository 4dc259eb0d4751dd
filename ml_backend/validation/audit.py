"""The accuracy that no selection rule has touched: of pairs that were drawn, not chosen by what a model is unsure of.

A rule asks what the model gets wrong half of the time, so accuracy over all answers falls as rounds go on although the
model gets better. Two sets are free of that: the audit arm (a tenth of each active round, uniform over all pairs not
asked yet), and with it the stratified batches. Both are judged by models that were not trained on the pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from importer.pairs.batches import REPLACEMENT

Z = 1.959964
"""95 % of a normal distribution lie within so many standard deviations."""


def audited(differences: np.ndarray, labels: np.ndarray, strategies: Sequence[str]) -> dict[str, dict[str, float]]:
    """`audit` and `not_chosen`, each with value, low, high (95 %) and pairs; ties are left out.

    Args:
        differences: (N,) r_a − r_b, by models not trained on the pair.
        labels: (N,) 1.0 (A), 0.0 (B), 0.5 (tie).
        strategies: The rule that chose each pair; empty for those of stratified batches, which may hold replacements.
    """
    known = np.isfinite(differences) & (labels != 0.5)
    hits = (differences > 0) == (labels == 1.0)
    rules = np.array(strategies, dtype=str)
    sets = {"audit": rules == "uniform", "not_chosen": np.isin(rules, ["", "uniform", REPLACEMENT])}
    return {name: share(hits[rows & known]) for name, rows in sets.items()}


def share(hits: np.ndarray) -> dict[str, float]:
    """Share of the true ones with Wilson's interval (1927), which is honest for five of five as well."""
    n = len(hits)
    if not n:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "pairs": 0}
    p = float(hits.mean())
    middle, half = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + Z * Z / n) for sign in (-1, 1))
    return {"value": p, "low": low, "high": high, "pairs": n}
