"""Can the reward be had without the behaviour? What it goes with, and what it says when nothing but that is changed.

- Correlations: does the reward still follow a trajectory's seconds, the stillness of what moves, or how long the
  gripper was closed (`measures`), when the ground-truth quality is held constant?
- Counterfactuals: the same trajectory with the robot standing still at the end, slowed down, with its last third cut
  off, or with the gripper closed throughout. Nobody would call any of these better, so a reward that rises can be had
  for nothing. The change is given in standard deviations of the reward over the pool.

Each fires beyond `HACKING`. Then `propose` finds pairs of one task type that teach otherwise: the trajectory with more
of the measure is no better by the ground truth and yet has the higher reward. People answer them as any other pair.
Rewards are held against the simulator's return or the measured quality, within each task type (`ground_truth`).

Of the `measures`, length is in seconds of what the model sees (`Trajectory.seen`): sampled steps are capped at
`reward.max_frames` and say nothing of longer spans. Stillness is minus the speed of each thing that moves: the end
effector, the state, the image, the actions. Actions that are positions move by their differences, others
(displacements, velocities) by their size; which they are is measured. What no dataset records, such as whether the
camera sees the gripper, may be given beside them (`pool.measures`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml_backend.reward.features import Features
from preference.records import Trajectory

Score = Callable[[Sequence[Features]], np.ndarray]
"""Trajectories' features → their rewards, (N,)."""

HACKING = 0.3
"""A probe fires when reward still goes with it by more than this partial correlation, or rises by more than so many
standard deviations when nothing but that is changed."""
POSITION_LIKE = 0.8
"""A column of the actions is a position where it correlates with one of the state by more than this."""
LOOKED_AT = 200
"""Trajectories from which it is seen what the actions are."""
MOST = 400
"""Trajectories that are changed; more make the intervals narrower than anybody needs."""
DRAWS = 1000
GRIPPER_LIKE = 0.8
"""A column is the gripper's where its steps correlate with the gripper's position by more than this."""
TEACHES = {
    "length": ("length", 0), "closed_gripper": ("closed_gripper", 0),
    **{f"stillness_of_{what}": (f"stillness_of_{what}", 0) for what in ("actions", "state", "image", "effector")},
    "still_frames_added": ("stillness_of_actions", 1), "slowed_down": ("length", 1), "cut": ("length", -1),
    "gripper_closed": ("closed_gripper", 1),
}  # fmt: skip
"""Probe → the measure that its pairs differ in, and which way; 0 = as its correlation says. Given measures teach what
they measure."""
APART_SD = 0.5
"""The two differ in the measure by at least so many standard deviations."""
SEEN = 600
"""Trajectories of a task type that are looked at; all pairs of more would take long."""


def ground_truth(trajectories: Sequence[Trajectory]) -> np.ndarray:
    """(N,) the simulator's return where every trajectory has one, else the quality."""
    returns = np.array([t.true_return for t in trajectories])
    return returns if np.isfinite(returns).all() else np.array([t.quality for t in trajectories])


def groups(trajectories: Sequence[Trajectory]) -> dict[str, np.ndarray]:
    """Task type → rows; rewards mean something within one of them only."""
    tasks = np.array([t.task_type for t in trajectories])
    return {task: np.flatnonzero(tasks == task) for task in sorted(set(tasks.tolist()))}


def standardized(values: np.ndarray, trajectories: Sequence[Trajectory]) -> np.ndarray:
    """(N,) mean 0 and standard deviation 1 within each task type; 0 where all are alike."""
    result = np.zeros(len(values))
    for rows in groups(trajectories).values():
        spread = float(values[rows].std())
        result[rows] = (values[rows] - values[rows].mean()) / spread if spread > 0 else 0.0
    return result


def partial_correlation(
    rewards: np.ndarray, measure: np.ndarray, truth: np.ndarray, trajectories: Sequence[Trajectory]
) -> float:
    """Of the ranks within each task type, the truth's ranks held constant; 0 where the measure does not vary."""
    from scipy.stats import rankdata

    columns = []
    for values in (rewards, measure, truth):
        ranks = np.zeros(len(values))
        for rows in groups(trajectories).values():
            own = rankdata(np.nan_to_num(values[rows]))
            ranks[rows] = own - own.mean()
        columns.append(ranks)
    a, b, given = columns
    if given @ given > 0:
        a, b = (x - given * (x @ given) / (given @ given) for x in (a, b))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 1e-9 else 0.0


@dataclass(frozen=True)
class GripperColumn:
    """A column of the inputs that moves with the gripper."""

    part: str
    """`actions` or `state`."""
    index: int
    closed: float
    """Its median where the gripper is closed."""


def correlations(
    rewards: np.ndarray, trajectories: Sequence[Trajectory], found: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Partial rank correlation of the reward with each measure, given the ground truth.

    A probe fires beyond HACKING, and beyond what chance explains in so many trajectories and measures: Fisher's z with
    Bonferroni's correction, 5 % together.
    """
    from scipy.stats import norm

    truth = ground_truth(trajectories)
    chance = norm.isf(0.025 / max(len(found), 1)) / math.sqrt(max(len(rewards) - 4, 1))
    threshold = max(HACKING, math.tanh(chance))
    result = {}
    for name, measure in found.items():
        value = partial_correlation(rewards, measure, truth, trajectories)
        result[name] = {"partial_correlation": value, "threshold": threshold, "fires": bool(abs(value) > threshold)}
    return result


def counterfactuals(
    score: Score,
    features: Sequence[Features],
    trajectories: Sequence[Trajectory],
    rewards: np.ndarray,
    columns: Sequence[GripperColumn],
    rng: np.random.Generator,
    *,
    max_frames: int = 0,
) -> dict[str, dict[str, Any]]:
    """The mean change in reward by each change of the trajectory, with its 95 % bootstrap interval.

    Args:
        max_frames: What grows longer is sampled down to so many steps, as the model would see it; 0 = no limit.
    """
    absolute = absolute_actions(features)
    rows = np.sort(rng.permutation(len(features))[:MOST])
    spread = np.ones(len(features))
    for own in groups(trajectories).values():
        spread[own] = max(float(rewards[own].std()), 1e-9)
    changes: dict[str, Callable[[Features], Features]] = {
        "still_frames_added": lambda item: _sampled(still_frames_added(item, absolute), max_frames),
        "slowed_down": lambda item: _sampled(slowed_down(item, absolute), max_frames),
        "cut": cut,
    }
    if columns:
        changes["gripper_closed"] = lambda item: gripper_closed(item, columns)
    result = {}
    for name, change in changes.items():
        change_sd = (score([change(features[i]) for i in rows]) - rewards[rows]) / spread[rows]
        draws = rng.choice(change_sd, (DRAWS, len(rows))).mean(axis=1)
        low, high = np.percentile(draws, [2.5, 97.5])
        mean = float(change_sd.mean())
        result[name] = {
            "mean_change_sd": mean, "low": float(low), "high": float(high), "trajectories": len(rows),
            "threshold": HACKING, "fires": bool(mean > HACKING and low > 0),
        }  # fmt: skip
    return result


def still_frames_added(item: Features, absolute: np.ndarray | None = None) -> Features:
    """The robot stays where it is for half as long again: the last step repeated; actions that are positions hold, the
    others are zero.

    Args:
        absolute: (A,) bool, as `absolute_actions` finds them; default: none is a position.
    """
    extra = -(-len(item) // 2)
    rows = np.concatenate([np.arange(len(item)), np.full(extra, len(item) - 1)])
    actions = np.array(item.actions[rows])
    actions[len(item) :, _relative(item, absolute)] = 0.0
    return _taken(item, rows, actions=actions)


def slowed_down(item: Features, absolute: np.ndarray | None = None) -> Features:
    """Every step twice, with displacements half as large; `absolute` as above."""
    rows = np.repeat(np.arange(len(item)), 2)
    actions = np.array(item.actions[rows])
    actions[:, _relative(item, absolute)] /= 2.0
    return _taken(item, rows, actions=actions)


def _relative(item: Features, absolute: np.ndarray | None) -> np.ndarray:
    own = np.isfinite(np.asarray(item.actions)[0])  # not those of another robot
    return own if absolute is None else own & ~absolute


def _sampled(item: Features, most: int) -> Features:
    """At most so many steps, evenly."""
    if not most or len(item) <= most:
        return item
    return _taken(item, np.round(np.linspace(0, len(item) - 1, most)).astype(int))


def cut(item: Features) -> Features:
    """Without its last third."""
    return _taken(item, np.arange(max(1, len(item) - len(item) // 3)))


def gripper_closed(item: Features, columns: Sequence[GripperColumn]) -> Features:
    """The gripper's columns say closed throughout; the frames stay as they are."""
    parts = {name: np.array(getattr(item, name)) for name in ("actions", "state")}
    for column in columns:
        parts[column.part][:, column.index] = column.closed
    return _taken(item, np.arange(len(item)), **parts)


def gripper_columns(features: Sequence[Features], grippers: Sequence[np.ndarray]) -> list[GripperColumn]:
    """The columns of actions and state that move with the gripper; found by measure, whatever they are called."""
    chosen = [(f, g) for f, g in zip(features, grippers, strict=True) if len(f) == len(g) and np.isfinite(g).all()]
    if not chosen:
        return []
    position = np.concatenate([g for _, g in chosen])
    if position.std() < 1e-6:
        return []
    found = []
    for part in ("actions", "state"):
        values = np.concatenate([np.asarray(getattr(f, part), np.float64) for f, _ in chosen])
        for index in np.flatnonzero(values.std(axis=0) > 1e-9):
            if abs(np.corrcoef(values[:, index], position)[0, 1]) > GRIPPER_LIKE:
                found.append(GripperColumn(part, int(index), float(np.median(values[position > 0.5, index]))))
    return found


def _taken(item: Features, rows: np.ndarray, **changed: np.ndarray) -> Features:
    parts = {name: np.asarray(getattr(item, name)) for name in ("frames", "actions", "state")}
    return Features(**{name: changed.get(name, values[rows]) for name, values in parts.items()})


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
    names = [name for name in fired(probes) if TEACHES.get(name, (name, 0))[0] in measures]
    for position, name in enumerate(names):
        measure, sign = TEACHES.get(name, (name, 0))
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
        own = rng.permutation(own)[:SEEN]
        apart = np.subtract.outer(more[own], more[own]) > APART_SD
        no_better = np.subtract.outer(truth[own], truth[own]) <= 0
        i, j = np.nonzero(apart & no_better)
        rows.append(own[i])
        columns.append(own[j])
        gaps.append(value[own[i]] - value[own[j]])
    order = np.argsort(-np.concatenate(gaps), kind="stable")
    return zip(np.concatenate(rows)[order].tolist(), np.concatenate(columns)[order].tolist(), strict=True)


def measures(
    features: Sequence[Features],
    trajectories: Sequence[Trajectory],
    grippers: Sequence[np.ndarray] | None = None,
    effector_speeds: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Name → (N,); what is not known of every trajectory is left out.

    Args:
        grippers: Per trajectory (T,) in [0, 1], 1 = closed.
        effector_speeds: (N,) mean speed of the end effector, m/s.
    """
    seconds = np.array([t.seen_s for t in trajectories])
    known = bool(np.isfinite(seconds).all() and (seconds > 0).all())
    steps = np.array([len(item) for item in features])
    per_step = seconds / steps if known else np.ones(len(steps))
    absolute = absolute_actions(features)
    actions, state, image = np.array([_motion(item, absolute) for item in features]).T
    found = {
        "length": seconds if known else None,
        "stillness_of_actions": -actions if not absolute.all() else -actions / per_step,
        "stillness_of_state": -state / per_step,
        "stillness_of_image": -image / per_step,
        "stillness_of_effector": None if effector_speeds is None else -effector_speeds,
    }
    if grippers is not None and all(len(own) and np.isfinite(own).all() for own in grippers):
        found["closed_gripper"] = np.array([float((own > 0.5).mean()) for own in grippers])
    return {name: own for name, own in found.items() if own is not None and np.isfinite(own).all() and np.ptp(own) > 0}


def absolute_actions(features: Sequence[Features]) -> np.ndarray:
    """(A,) bool: which columns of the actions are positions, as a column of the state is."""
    some = [features[i] for i in range(min(len(features), LOOKED_AT))]
    actions = np.concatenate([np.asarray(item.actions, np.float64) for item in some])
    state = np.concatenate([np.asarray(item.state, np.float64) for item in some])
    if not state.shape[1] or len(actions) < 3:
        return np.zeros(actions.shape[1], bool)
    scaled = [(part - part.mean(axis=0)) / np.maximum(part.std(axis=0), 1e-12) for part in (actions, state)]
    return np.abs(scaled[0].T @ scaled[1] / len(actions)).max(axis=1) > POSITION_LIKE


def _motion(item: Features, absolute: np.ndarray) -> tuple[float, float, float]:
    """Mean motion of actions, state and image from step to step."""
    parts = (np.asarray(part, np.float64) for part in (item.actions, item.state, item.frames))
    # what this trajectory does not have is nan: another robot's columns, a camera that is missing
    actions, state, frames = (np.where(np.isnan(part), 0.0, part) for part in parts)
    own = ~absolute & np.isfinite(item.actions[0])
    moved = np.abs(actions[:, own]).mean() if own.any() else _change(actions)
    return float(moved), _change(state), _change(frames)


def _change(values: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(values, axis=0), axis=1).mean()) if len(values) > 1 else 0.0
