"""The coloured strip below a clip's picture: contact force over time, on a scale that all clips of a task type share.

An episode's forces in the trimmed span come in, a PNG goes out; the clip draws a moving line over it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from importer.pool import Episode

COLOURS = "inferno"
LEFT, RIGHT = 0.02, 0.84
"""Where the band begins and ends, as shares of the strip's width; the scale's end is written right of it."""
SAMPLES = 480


def strip_height(size: int) -> int:
    """Pixels, even, of the strip of a clip of `size`."""
    return 2 * (size // 16)


def draw_strip(path: Path, episode: Episode, start_s: float, end_s: float, full_force: float, size: int) -> None:
    """Write the strip; an episode without forces gets an empty band, so that its clip looks like the others.

    Args:
        full_force: N at the bright end of the scale.
        size: Width of the clip.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = strip_height(size)
    figure = Figure(figsize=(size / 100, height / 100), dpi=100, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((LEFT, 0.30, RIGHT - LEFT, 0.40))
    known = bool(np.isfinite(episode.force).all())
    if known:
        times = np.linspace(start_s, end_s, SAMPLES, endpoint=False)
        rows = np.clip(np.searchsorted(episode.time, times + 1e-9, side="right") - 1, 0, len(episode.time) - 1)
        axes.imshow(episode.force[rows][None, :], cmap=COLOURS, vmin=0.0, vmax=full_force, aspect="auto")
        scale = figure.add_axes((RIGHT + 0.01, 0.30, 0.012, 0.40))
        scale.imshow(np.linspace(1, 0, 32)[:, None], cmap=COLOURS, aspect="auto")
    else:
        axes.imshow(np.full((1, 2, 3), 0.2), aspect="auto")
    for drawn in figure.axes:
        drawn.set(xticks=[], yticks=[])
        drawn.spines[:].set(color="0.45", linewidth=0.6)
    points = height * 0.26 * 72 / 100
    text = {"color": "white", "fontsize": points, "va": "center"}
    figure.text(RIGHT + 0.03, 0.5, f"{full_force:g} N" if known else "no data", **text)
    figure.text(LEFT, 0.86, "force", **text)
    figure.savefig(path, format="png", metadata={"Software": None})
