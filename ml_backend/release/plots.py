"""The card's two pictures: the released labels, and the rewards against source and ground truth.

In: rows of the released tables and the rewards. Out: PNG files, the same bytes for the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preference.records import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _GREY = "#3465a4", "#9aa5b1"


def plot_labels(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Answers, mean confidence and agreement of the released pairs (rows of preferences.parquet)."""
    figure, (answers, confidence, agreement) = _figure(3)
    names = {"A": 1.0, "equal": 0.5, "B": 0.0}
    counts = [sum(row["preference"] == value for row in rows) for value in names.values()]
    answers.bar(list(names), counts, color=[_INK, _GREY, _INK])
    answers.set_xlabel("label")
    answers.set_ylabel("pairs")
    confidence.hist([row["confidence_mean"] for row in rows], bins=16, range=(1, 5), color=_INK)
    confidence.set_xlabel("mean confidence, 1 (guess) to 5 (sure)")
    agreement.hist([row["agreement"] for row in rows], bins=20, range=(0, 1), color=_INK)
    agreement.set_xlabel("agreement within a pair")
    _save(figure, path)


def plot_rewards(trajectories: Sequence[Trajectory], rewards: Mapping[str, float], path: Path) -> None:
    """Rewards by source; and against the ground truth where there is one, else against duration."""
    figure, (by_source, by_truth) = _figure(2)
    shown = [t for t in trajectories if t.trajectory_id in rewards]
    sources = sorted({t.source for t in shown})
    groups = [[rewards[t.trajectory_id] for t in shown if t.source == source] for source in sources]
    by_source.boxplot(groups, orientation="horizontal", tick_labels=sources, medianprops={"color": _INK})
    by_source.set_xlabel("reward")
    field, words = _truth(shown)
    for number, task in enumerate(sorted({t.task_type for t in shown})):
        points = [(getattr(t, field), rewards[t.trajectory_id]) for t in shown if t.task_type == task]
        points = [(x, y) for x, y in points if math.isfinite(x)]
        by_truth.plot([x for x, _ in points], [y for _, y in points], ".", color=f"C{number}", label=task)
    by_truth.set_xlabel(words)
    by_truth.set_ylabel("reward")
    if by_truth.lines:
        by_truth.legend(fontsize="small")
    _save(figure, path)


def _truth(trajectories: Sequence[Trajectory]) -> tuple[str, str]:
    """The field to hold rewards against, and its words."""
    if any(math.isfinite(t.true_return) for t in trajectories):
        return "true_return", "simulator's return"
    if any(math.isfinite(t.quality) for t in trajectories):
        return "quality", "ground-truth quality"
    return "duration_s", "duration (s); there is no ground truth"


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), dpi=110, layout="constrained")
    axes = [figure.add_subplot(1, columns, number + 1) for number in range(columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
