"""How simulated annotators decide: two trajectories in, an answer as a person would give it out.

The B-Pref teachers (Lee, Smith, Dragan & Abbeel 2021, "B-Pref: Benchmarking Preference-Based Reinforcement Learning")
oracle, mistake, noisy, skip, myopic and equal, with their noise in units of the return's standard deviation within
the task type; and the people of the demo: an expert, careful annotators, a careless one and one who likes the left.

What a teacher sees of a pair is x = (s_left − s_right) / sd, s being the true return. It says `left` where
x + noise > tie, `right` where it is < −tie, else `equal`; with logistic noise of scale 1/β that is Rao and Kupper's
model (1967), and with tie = 0 P(left) = σ(βx) as everywhere. An answer depends on the seed, the annotator and the
assignment only: not on the order in which tasks are served, and a duplicate gets a draw of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from preference.errors import UserError
from preference.records import Annotator, AssignmentView, Side, Trajectory

RewardsOf = Callable[[Trajectory], np.ndarray]
"""The reward of each step of a trajectory, (T,); only the myopic teacher asks for it."""
FAST_S = (1.0, 2.5)
"""Seconds that somebody takes who does not look."""
NOTICEABLE = (
    ("smoothness", 0.3, "moves more smoothly"),
    ("path_efficiency", 0.1, "takes the shorter way"),
    ("grasp_stability", 0.25, "keeps its grip"),
    ("duration_s", -1.0, "is done sooner"),
)
"""Measure, by how much the better one has to exceed the other (negative: fall below it), and the words for it."""


@dataclass(frozen=True)
class Scale:
    """How the true returns of one task type spread."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Scene:
    """One pair as it is shown to an annotator."""

    left: Trajectory
    right: Trajectory
    scale: Scale
    """Of their task type."""
    rewards: RewardsOf | None = None


@dataclass(frozen=True)
class SimulatedAnswer:
    """What the annotator does with the pair."""

    side: Side
    confidence: int
    """1 (guess) to 5 (sure)."""
    response_s: float
    reason: str = ""


@dataclass(frozen=True)
class Teacher:
    """How one kind of annotator decides."""

    beta: float = math.inf
    """Sharpness of the eye, per standard deviation of the return; infinite = always right."""
    tie: float = 0.0
    """What looks closer than this, in standard deviations, is `equal`."""
    discount: float = 1.0
    """γ < 1: the end of an episode counts for more than its beginning (myopic)."""
    mistake: float = 0.0
    """Probability of saying the opposite."""
    skip: float = 0.0
    """Skips a pair when neither return exceeds this share of the task type's mean."""
    equal: float = 0.0
    """Says `equal` when the returns differ by less than this share of the task type's mean."""
    attention: float = 1.0
    """Share of pairs that the annotator looks at; the others are answered by habit."""
    habit: Mapping[Side, float] = field(default_factory=dict)
    """What is said without looking, with which probability."""
    hurried: bool = False
    """Answers before the clips can have been watched."""
    talks: float = 0.15
    """Share of answers that come with a reason."""

    def answer(self, scene: Scene, rng: np.random.Generator) -> SimulatedAnswer | None:
        """The answer to one pair; None where the teacher skips it.

        Raises:
            UserError: a return, or for the myopic teacher a reward, is not known.
        """
        if rng.random() >= self.attention:
            return self._by_habit(rng)
        difference = self._difference(scene)
        if self.skip and max(scene.left.true_return, scene.right.true_return) <= self.skip * scene.scale.mean:
            return None
        seen = difference + (rng.logistic(0.0, 1.0 / self.beta) if math.isfinite(self.beta) else 0.0)
        side: Side = "left" if seen > self.tie else "right" if seen < -self.tie else "equal"
        if side != "equal" and rng.random() < self.mistake:
            side = "right" if side == "left" else "left"
        if self.equal and abs(scene.left.true_return - scene.right.true_return) < self.equal * scene.scale.mean:
            side = "equal"
        reason = reason_for(side, scene.left, scene.right, rng) if rng.random() < self.talks else ""
        seconds = rng.uniform(*FAST_S) if self.hurried else _thinking_s(difference, rng)
        return SimulatedAnswer(side, _confidence(side, seen, rng), round(float(seconds), 2), reason)

    def _difference(self, scene: Scene) -> float:
        """x: by how many standard deviations the left one is better."""
        if self.discount < 1.0:
            return _difference_at_the_end(scene, self.discount)
        for trajectory in (scene.left, scene.right):
            if not math.isfinite(trajectory.true_return):
                raise _unknown(trajectory, "true_return", "a number")
        return (scene.left.true_return - scene.right.true_return) / scene.scale.sd

    def _by_habit(self, rng: np.random.Generator) -> SimulatedAnswer:
        sides: list[Side] = list(self.habit)
        side = sides[int(rng.choice(len(sides), p=[self.habit[s] for s in sides]))]
        seconds = rng.uniform(*FAST_S) if self.hurried else _thinking_s(1.0, rng)
        return SimulatedAnswer(side, int(rng.integers(3, 6)), round(float(seconds), 2))


TEACHERS: dict[str, Teacher] = {
    "expert": Teacher(tie=0.05, talks=1.0),
    "good": Teacher(beta=25.0, tie=0.05),
    "oracle": Teacher(),
    "mistake": Teacher(mistake=0.1),
    "noisy": Teacher(beta=3.0),
    "skip": Teacher(skip=0.1),
    "myopic": Teacher(discount=0.9),
    "equal": Teacher(equal=0.1),
    "careless": Teacher(attention=0.0, habit={"left": 0.45, "equal": 0.1, "right": 0.45}, hurried=True),
    "left_biased": Teacher(beta=25.0, tie=0.05, attention=0.1, habit={"left": 1.0}),
}
"""The names that robopref.toml knows."""


def teacher(name: str) -> Teacher:
    """The teacher of that name.

    Raises:
        UserError: there is none.
    """
    if name not in TEACHERS:
        raise UserError(f"There is no teacher {name!r}.", fix=f"Use one of: {', '.join(TEACHERS)}.")
    return TEACHERS[name]


def answer_rng(seed: int, annotator_id: str, assignment_id: str) -> np.random.Generator:
    """The generator for one answer, the same whenever it is asked for."""
    digest = hashlib.sha256(f"{seed}\n{annotator_id}\n{assignment_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def scales_of(trajectories: Iterable[Trajectory]) -> dict[str, Scale]:
    """Task type → spread of its known true returns; an sd of 0 becomes 1, so that equals stay equal."""
    returns: dict[str, list[float]] = defaultdict(list)
    for trajectory in trajectories:
        if math.isfinite(trajectory.true_return):
            returns[trajectory.task_type].append(trajectory.true_return)
    return {task: Scale(float(np.mean(values)), float(np.std(values)) or 1.0) for task, values in returns.items()}


def answer_functions(
    trajectories: Iterable[Trajectory],
    annotators: Iterable[Annotator],
    seed: int,
    rewards: RewardsOf | None = None,
) -> dict[str, Callable[[AssignmentView], SimulatedAnswer | None]]:
    """Annotator id → how they answer an assignment, for all that have a teacher.

    Args:
        trajectories: The whole pool: returns are seen in relation to all others of the task type.
        rewards: Where a trajectory's step rewards come from; only the myopic teacher needs them.

    Raises:
        UserError: a teacher is not known.
    """
    by_id = {trajectory.trajectory_id: trajectory for trajectory in trajectories}
    scales = scales_of(by_id.values())

    def answering(mind: Teacher, annotator_id: str) -> Callable[[AssignmentView], SimulatedAnswer | None]:
        def answer(view: AssignmentView) -> SimulatedAnswer | None:
            a, b = by_id[view.pair.trajectory_a_id], by_id[view.pair.trajectory_b_id]
            left, right = (a, b) if view.assignment.left == "A" else (b, a)
            scene = Scene(left, right, scales.get(view.pair.task_type, Scale(math.nan, 1.0)), rewards)
            return mind.answer(scene, answer_rng(seed, annotator_id, view.assignment.assignment_id))

        return answer

    return {a.annotator_id: answering(teacher(a.teacher), a.annotator_id) for a in annotators if a.teacher}


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


def _difference_at_the_end(scene: Scene, discount: float) -> float:
    """(u_left − u_right) / their mean size, u = Σ γ^(T−1−t) r_t."""
    if scene.rewards is None:
        raise _unknown(scene.left, "rewards", "the reward of each step")
    sums = []
    for trajectory in (scene.left, scene.right):
        steps = np.asarray(scene.rewards(trajectory), dtype=np.float64)
        if not len(steps) or not np.isfinite(steps).all():
            raise _unknown(trajectory, "rewards", "the reward of each step")
        sums.append(float(steps @ discount ** np.arange(len(steps) - 1, -1, -1)))
    return (sums[0] - sums[1]) / (max(abs(sums[0]), abs(sums[1])) or 1.0)


def _confidence(side: Side, seen: float, rng: np.random.Generator) -> int:
    """1 to 5: the clearer the difference looked, the surer; a tie is something one is moderately sure of."""
    level = 2.6 if side == "equal" else 1.0 + 4.2 * (1.0 - math.exp(-abs(seen) / 0.5))
    return int(np.clip(round(level + rng.normal(0.0, 0.5)), 1, 5))


def _thinking_s(difference: float, rng: np.random.Generator) -> float:
    """Log-normal seconds: about 7 for a clear pair, about 16 for a close one."""
    return float(np.clip((7.0 + 9.0 * math.exp(-abs(difference) / 0.4)) * rng.lognormal(0.0, 0.25), 4.0, 60.0))


def _unknown(trajectory: Trajectory, what: str, expected: str) -> UserError:
    return UserError(
        f"{trajectory.trajectory_id}, {what}: a simulated annotator needs {expected}, found none.",
        fix="Use a dataset with the simulator's returns and rewards, another teacher, or people.",
    )
