"""Is another round worth people's time? The accuracies of the models so far, extrapolated as `learning_curve` does."""

from __future__ import annotations

from collections.abc import Sequence

from ml_backend.validation.learning_curve import fit
from preference.records import ModelVersion

FEWEST = 4
"""Models before anything is said: two unknowns are fitted."""
SPREAD = 1.5
"""The newest has at least so many times the pairs of the oldest; a shorter curve says nothing of what comes."""


def no_longer_pays(models: Sequence[ModelVersion], most: int) -> str:
    """Why no more should be asked; empty where more labels pay, or too little is known.

    Args:
        models: All versions. Their cross-validated accuracy on pairs that no rule chose is what counts: chosen ones get
            harder as rounds go on, and would make every curve flat.
        most: Comparisons that one more point of accuracy may cost; 0 = never stop.
    """
    known: dict[int, float] = {}
    for record in models:
        figures = record.metrics.get("not_chosen") or record.metrics.get("cross_validated") or {}
        value = figures.get("value")
        if value is not None:
            known[record.preferences] = float(value)
    sizes = sorted(known)
    if not most or len(sizes) < FEWEST or sizes[-1] < SPREAD * sizes[0]:
        return ""
    found = fit(sizes, [known[size] for size in sizes])
    more = found["more_pairs"]
    if more is not None and more <= most:
        return ""
    cost = f"about {more}" if more else "more comparisons than can be told"
    now = f"accuracy {known[sizes[-1]]:.2f}"
    return (
        f"the learning curve over {len(sizes)} models ({sizes[0]} to {sizes[-1]} pairs, {now}) "
        f"says that one more point would take {cost}; more than active.most_per_point = {most}. --force goes on"
    )
