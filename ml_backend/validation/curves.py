"""Curves of a trajectory's steps, drawn over its filmstrip: what the model says of each step in, a picture out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ml_backend.reward.model import Dense

WIDTH, HEIGHT, EDGE = 300, 60, 4
COLOURS = {"progress": "var(--cool)", "success": "var(--held)"}


def largest(dense: Sequence[Dense]) -> float:
    """The largest mean step reward of several trajectories, with its spread; one scale for all their curves."""
    return max((float((np.abs(mean) + sd).max()) for mean, sd in map(_rate, dense)), default=1.0) or 1.0


def curves(dense: Dense, scale: float, shown: float, name: str) -> str:
    """An SVG as wide as the filmstrip below it.

    Args:
        scale: `largest` of all that are shown.
        shown: Share of the trajectory's time that the filmstrip covers; the model sees it to its end.
        name: Of the trajectory, for those who cannot see the picture.
    """
    mean, sd = _rate(dense)
    x = np.linspace(0.0, 1.0, len(mean)) / max(shown, 1e-6) if len(mean) > 1 else np.zeros(1)
    inside = x <= 1.0 + 1e-6
    x = x[inside] * WIDTH

    def height(value: np.ndarray, low: float, high: float) -> np.ndarray:
        part = np.clip((value[inside] - low) / (high - low), 0.0, 1.0)
        return HEIGHT - EDGE - part * (HEIGHT - 2 * EDGE)

    upper, lower = (height(mean + side * sd, -scale, scale) for side in (1.0, -1.0))
    parts = [
        f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT / 2}" y2="{HEIGHT / 2}" stroke="var(--bar)" stroke-dasharray="2 3"/>',
        f'<polygon points="{_points(np.r_[x, x[::-1]], np.r_[upper, lower[::-1]])}" fill="var(--bar)" opacity="0.5"/>',
        _line(x, height(mean, -scale, scale), "var(--ink)"),
    ]
    words = [f"{name}: reward of the steps from {mean.min():z.2f} to {mean.max():z.2f}"]
    for outcome, values in dense.outcomes.items():
        said = values.mean(axis=0)
        parts.append(_line(x, height(said, 0.0, 1.0), COLOURS[outcome]))
        words.append(f"{outcome} up to {said.max():.2f} ± {values.std(axis=0)[said.argmax()]:.2f}")
    return (
        f'<svg class="steps" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape("; ".join(words), quote=True)}">{"".join(parts)}</svg>'
    )


def _rate(dense: Dense) -> tuple[np.ndarray, np.ndarray]:
    """(T,) mean and (T,) spread of the rewards of steps, each as if it were the whole trajectory."""
    rewards = dense.rewards * dense.rewards.shape[1]
    return rewards.mean(axis=0), rewards.std(axis=0)


def _line(x: np.ndarray, y: np.ndarray, colour: str) -> str:
    style = f'fill="none" stroke="{colour}" stroke-width="1.5" vector-effect="non-scaling-stroke"'
    return f'<polyline points="{_points(x, y)}" {style}/>'


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
