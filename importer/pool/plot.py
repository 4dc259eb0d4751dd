"""pool.png: who is in the pool, and how the measures of quality are distributed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preference.artifacts import replacing
from preference.records import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = {
    "quality": "quality (rank score)",
    "path_efficiency": "path efficiency",
    "smoothness": "smoothness (SPARC)",
    "grasp_stability": "grasp stability",
    "duration_s": "duration (s)",
}
COLOURS = ("#2a6f97", "#6a994e", "#e09f3e", "#c8553d", "#7b5ea7", "#5c677d", "#b56576", "#3d5a80")


def draw_pool(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """One row per task type: counts by source and quartile, then each measure by tier."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = sorted({t.task_type for t in trajectories})
    tiers = sorted({t.tier for t in trajectories}, key=lambda tier: -_median(trajectories, tier))
    shown = tasks[:8]  # more would be illegible
    figure = Figure(figsize=(3.1 * (len(MEASURES) + 1), 0.6 + 2.9 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(shown), len(MEASURES) + 1, squeeze=False)
    for row, task in zip(grid, shown, strict=True):
        group = [t for t in trajectories if t.task_type == task]
        _counts(row[0], group, task)
        for axes, (name, label) in zip(row[1:], MEASURES.items(), strict=True):
            _distribution(axes, group, tiers, name, label)
    left_out = f", the first {len(shown)} of {len(tasks)} task types" if len(tasks) > len(shown) else ""
    figure.suptitle(f"{len(trajectories)} trajectories{left_out}", fontsize=11)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})


def _counts(axes: Axes, group: Sequence[Trajectory], task: str) -> None:
    """Bars: episodes of each source, divided by quartile."""
    from matplotlib.ticker import MaxNLocator

    sources = sorted({t.source for t in group})
    left = [0] * len(sources)
    for quartile in (4, 3, 2, 1, 0):
        counts = [sum(t.source == source and t.quartile == quartile for t in group) for source in sources]
        if any(counts):
            shade = str(0.25 + 0.15 * (4 - quartile)) if quartile else "white"
            label = f"Q{quartile}" if quartile else "not ranked"
            axes.barh(sources, counts, left=left, color=shade, edgecolor="white", label=label)
            left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.set_title(task if len(task) < 40 else task[:37] + "…", fontsize=9, loc="left")
    axes.set_xlabel("episodes", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=6, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.4, -0.16))
    axes.spines[["top", "right"]].set_visible(False)


def _distribution(axes: Axes, group: Sequence[Trajectory], tiers: Sequence[str], name: str, label: str) -> None:
    """Every trajectory a dot, a line at each tier's median: honest for ten trajectories and for a thousand."""
    for place, tier in enumerate(tiers):
        values = _values(group, tier, name)
        if not values:
            continue
        colour = COLOURS[place % len(COLOURS)]
        spread = [place + 0.28 * ((i * 0.618) % 1.0 - 0.5) for i in range(len(values))]
        axes.plot(values, spread, ".", color=colour, markersize=4, alpha=0.7)
        middle = statistics.median(values)
        axes.plot([middle, middle], [place - 0.35, place + 0.35], color=colour, linewidth=2)
    axes.set_yticks(range(len(tiers)), tiers if name == "quality" else [""] * len(tiers))
    axes.set_ylim(len(tiers) - 0.4, -0.6)
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _median(trajectories: Sequence[Trajectory], tier: str) -> float:
    values = _values(trajectories, tier, "quality")
    return statistics.median(values) if values else -math.inf


def _values(group: Sequence[Trajectory], tier: str, name: str) -> list[float]:
    return sorted(v for t in group if t.tier == tier and math.isfinite(v := getattr(t, name)))
