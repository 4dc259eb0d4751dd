"""Pairs that teach a reward model what it must not reward: where it prefers the wrong one for the wrong reason.

Rewards, measures and fired probes come in; pairs of one task type come out, in which the trajectory with more of the
measure is no better by the ground truth and yet has the higher reward. People answer them as any other pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml_backend.validation.ground_truth import ground_truth, groups, standardized
from preference.records import Trajectory

TEACHES = {
    "length": ("length", 0), "stillness": ("stillness", 0), "closed_gripper": ("closed_gripper", 0),
    "still_frames_added": ("stillness", 1), "slowed_down": ("length", 1), "cut": ("length", -1),
    "gripper_closed": ("closed_gripper", 1),
}  # fmt: skip
"""Probe → the measure that its pairs differ in, and which way; 0 = as its correlation says."""
APART_SD = 0.5
"""The two differ in the measure by at least so many standard deviations."""
MOST = 600
"""Trajectories of a task type that are looked at; all pairs of more would take long."""


@dataclass(frozen=True)
class Proposal:
    """A pair to ask about, and the probe that it answers."""

    trajectory_a_id: str
    trajectory_b_id: str
    probe: str


def fired(probes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name for name, found in probes.items() if found["fires"]]


def propose(
    count: int,
    probes: Mapping[str, Mapping[str, Any]],
    measures: Mapping[str, np.ndarray],
    rewards: np.ndarray,
    trajectories: Sequence[Trajectory],
    *,
    may_ask: Callable[[str, str], bool],
    rng: np.random.Generator,
) -> list[Proposal]:
    """`count` pairs in all, shared by the probes that fired, the most misleading ones first.

    Args:
        probes: Correlations and counterfactuals together.
        may_ask: Whether two trajectories can be asked about: shown, and not asked yet.
    """
    chosen: list[Proposal] = []
    taken: set[frozenset[str]] = set()
    names = [name for name in fired(probes) if TEACHES[name][0] in measures]
    for position, name in enumerate(names):
        measure, sign = TEACHES[name]
        sign = sign or (1 if probes[name]["partial_correlation"] > 0 else -1)
        room = -(-(count - len(chosen)) // (len(names) - position))
        for first, second in _misleading(sign * measures[measure], rewards, trajectories, rng):
            a, b = trajectories[first].trajectory_id, trajectories[second].trajectory_id
            if room > 0 and frozenset((a, b)) not in taken and may_ask(a, b):
                taken.add(frozenset((a, b)))
                # no side is always the misleading one
                chosen.append(Proposal(*((a, b) if rng.random() < 0.5 else (b, a)), name))
                room -= 1
    return chosen


def _misleading(
    measure: np.ndarray, rewards: np.ndarray, trajectories: Sequence[Trajectory], rng: np.random.Generator
) -> Iterable[tuple[int, int]]:
    """(i, j): i has more of the measure and no better quality; those with the largest reward gap first."""
    more, value = standardized(measure, trajectories), standardized(rewards, trajectories)
    truth = np.nan_to_num(ground_truth(trajectories))
    rows, columns, gaps = [], [], []
    for own in groups(trajectories).values():
        own = rng.permutation(own)[:MOST]
        apart = np.subtract.outer(more[own], more[own]) > APART_SD
        no_better = np.subtract.outer(truth[own], truth[own]) <= 0
        i, j = np.nonzero(apart & no_better)
        rows.append(own[i])
        columns.append(own[j])
        gaps.append(value[own[i]] - value[own[j]])
    order = np.argsort(-np.concatenate(gaps), kind="stable")
    return zip(np.concatenate(rows)[order].tolist(), np.concatenate(columns)[order].tolist(), strict=True)
