"""The sentence that a simulated annotator writes beside an answer: true of the two trajectories, or nothing."""

from __future__ import annotations

import numpy as np

from preference.records import Side, Trajectory

NOTICEABLE = (
    ("smoothness", 0.3, "moves more smoothly"),
    ("path_efficiency", 0.1, "takes the shorter way"),
    ("grasp_stability", 0.25, "keeps its grip"),
    ("duration_s", -1.0, "is done sooner"),
)
"""Measure, by how much the better one has to exceed the other (negative: fall below it), and what one says then."""


def reason_for(side: Side, left: Trajectory, right: Trajectory, rng: np.random.Generator) -> str:
    """Why `side` was chosen, in a sentence that the measures bear out."""
    if side == "equal":
        return "I see no difference that matters."
    better, other = (left, right) if side == "left" else (right, left)
    name = side.capitalize()
    if better.success and other.success is False:
        return f"{name} completes the task, the other does not."
    facts = [
        f"{name} {words}."
        for measure, margin, words in NOTICEABLE
        if (getattr(better, measure) - getattr(other, measure)) / margin > 1.0
    ]
    if not facts:
        return f"{name} comes closer to what was asked."
    return facts[int(rng.integers(len(facts)))]
