"""Claim: on people's answers about 50-step segments of human demonstrations of a robot hand that opens a door, the
reward model at its defaults is level with the best of a linear model, a kernel model, a Gaussian process and a network
like imitation's, whatever the number of answers.

Ten splits by episode: 30 % of the episodes are held out, answers between two of them are the test, answers between two
of the others are what a method may learn from, in a random order of which the first 25, 50, 100, 200 or all are given.
Everybody has the same inputs, slip, and training labels; peers choose penalty or prior on these alone, by
cross-validation (linear, kernel, network) or by evidence (Gaussian process). The kernel model and the Gaussian process
see the summaries that ours sees. No answer at all: the product has no model then, and the floors are what there is.

`--rounds` replays active rounds over the answers that exist: the first 20 in random order, then 20 at a time, which the
default rule, the protocol's plain rule or chance choose among those that are left. The target: the default rule is with
100 answers where chance is with all of them, and with 40 where chance is with 100. It is missed (docs/reward_model.md).

The answers are kept outside the repository (`--data`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rewards.peers import Given, gaussian_process, kernel, linear, network

from preference.config import Reward

DATA = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "data"
SEGMENT, SPLITS, HELD_OUT = 50, 10, 0.3
COUNTS = (25, 50, 100, 200, 0)
"""0 = all."""
TARGETS = {50: 0.92, 100: 0.925, 200: 0.93, 0: 0.94}
OURS = "robopref"
FIRST, EACH = 20, 20
"""Answers before the first round, and of each."""
RULES = ("uniform", "v_optimal", "smallest_difference")
REPLAYED = {100: 0, 40: 100}
"""Answers of the default rule → of chance, which should be no better with these; 0 = all."""


@dataclass(frozen=True)
class Door:
    """Segments of episodes, and what people said of pairs of them."""

    episodes: dict[int, Any]
    """Features of each, every step."""
    episode: np.ndarray
    """(N,) of each segment."""
    start: np.ndarray
    """(N,) its first step."""
    simulated: np.ndarray
    """(N,) the simulator's reward, summed over it."""
    a: np.ndarray
    b: np.ndarray
    label: np.ndarray
    """(M,) 1.0 (A), 0.0 (B), 0.5 (equal)."""

    @cached_property
    def features(self) -> Any:
        from ml_backend.reward.features import Segment, segment_features

        names = list(map(str, self.episodes))
        pieces = zip(self.episode.tolist(), self.start.tolist(), strict=True)
        segments = [Segment(str(number), first, first + SEGMENT - 1) for number, first in pieces]
        return segment_features(list(self.episodes.values()), names, segments)

    @cached_property
    def steps(self) -> np.ndarray:
        """(N, 50, F) state and actions."""
        return np.array([np.concatenate([item.state, item.actions], axis=1) for item in self.features])


@dataclass(frozen=True)
class Task:
    """What a method is given: rows of the labels that it may learn from, and segments that it may look at."""

    door: Door
    rows: np.ndarray
    pool: np.ndarray
    seed: int

    @cached_property
    def given(self) -> Given:
        """The same for a peer."""
        door = self.door
        return Given(door.steps, door.a[self.rows], door.b[self.rows], door.label[self.rows], self.pool, self.seed)

    @property
    def label(self) -> np.ndarray:
        return self.door.label[self.rows]

    @property
    def segments(self) -> list[Any]:
        """Features of the pool."""
        return [self.door.features[row] for row in self.pool.tolist()]


def read(folder: Path) -> Door:
    """The data as the folder's README describes them."""
    import pandas as pd

    from ml_backend.reward.features import Features

    steps, answers = pd.read_parquet(folder / "steps.parquet"), pd.read_csv(folder / "answers.csv")
    episodes, reward = {}, {}
    for number, rows in steps.sort_values("step").groupby("episode"):
        actions, state = (np.stack(rows[name].tolist()).astype(np.float32) for name in ("action", "observation"))
        episodes[number] = Features(np.zeros((len(rows), 0), np.float16), actions, state)
        reward[number] = rows["reward"].to_numpy()
    sides = [list(zip(answers[f"episode_{side}"], answers[f"start_{side}"], strict=True)) for side in "ab"]
    pieces = sorted({*sides[0], *sides[1]})
    place = {piece: row for row, piece in enumerate(pieces)}
    a, b = (np.array([place[piece] for piece in side]) for side in sides)
    label = answers["preference"].map({"A": 1.0, "B": 0.0, "equal": 0.5}).to_numpy()
    simulated = np.array([reward[number][first : first + SEGMENT].sum() for number, first in pieces])
    number, first = np.array(pieces).T
    return Door(episodes, number, first, simulated, a, b, label)


def ours(task: Task, parts: Sequence[str]) -> np.ndarray:
    return learn(task, parts)[0].score(list(task.door.features))[0]


def learn(task: Task, parts: Sequence[str]) -> tuple[Any, Any]:
    """The product's model at its defaults, and the pairs that it learned from; every label given is for training, so
    none is kept back as a test."""
    from ml_backend.reward.dataset import SHARES, Pairs, Split
    from ml_backend.reward.model import ModelSpec
    from ml_backend.reward.train import train_model

    door = task.door
    reward = Reward(inputs=["actions", "state"], parts=list(parts))  # pyright: ignore[reportArgumentType]
    item = door.features[0]
    actions, state = (tuple(f"{name}{i}" for i in range(getattr(item, name).shape[1])) for name in ("actions", "state"))
    spec = ModelSpec(
        "none", "none", 0, 5.0, SEGMENT, ("actions", "state"), 0, actions, state, reward.temporal, reward.hidden,
        reward.members, projection=0,
    )  # fmt: skip
    place = {row: i for i, row in enumerate(task.pool.tolist())}
    a, b = (np.array([place[row] for row in side[task.rows].tolist()]) for side in (door.a, door.b))
    n = len(task.rows)
    pairs = Pairs(tuple(map(str, range(n))), a, b, task.label, np.ones(n))
    stop = round(n * SHARES[1] / (SHARES[0] + SHARES[1]))
    split = Split(np.arange(stop, n), np.arange(stop), np.zeros(0, int))
    groups = door.episode[task.pool].tolist()
    return train_model(task.segments, pairs, split, spec, reward, seed=task.seed, groups=groups).model, pairs


METHODS: dict[str, Callable[[Task], np.ndarray]] = {
    OURS: lambda task: ours(task, Reward().parts),
    "robopref, all parts": lambda task: ours(task, ["linear", "kernel", "network"]),
    "robopref, linear alone": lambda task: ours(task, ["linear"]),
    "robopref, kernel alone": lambda task: ours(task, ["kernel"]),
    "robopref, linear and kernel": lambda task: ours(task, ["linear", "kernel"]),
    "linear": lambda task: linear(task.given),
    "kernel": lambda task: kernel(task.given),
    "gaussian process": lambda task: gaussian_process(task.given),
    "imitation's network": lambda task: network(task.given),
}
FLOORS: dict[str, Callable[[Door], np.ndarray]] = {
    "floor: later in the episode": lambda door: door.start,
    "floor: the simulator's reward": lambda door: door.simulated,
}
PEERS = ("linear", "kernel", "gaussian process", "imitation's network")


def splits(door: Door, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows to learn from in a random order, rows to test on)."""
    found = []
    for number in range(count):
        rng = np.random.default_rng([number, 19])
        names = rng.permutation(sorted(door.episodes))
        held = np.isin(door.episode, names[: round(HELD_OUT * len(names))])
        inside, outside = ~held[door.a] & ~held[door.b], held[door.a] & held[door.b]
        found.append((rng.permutation(np.flatnonzero(inside)), np.flatnonzero(outside)))
    return found


def hits(door: Door, rewards: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(T,) bool, ties left out."""
    from ml_backend.reward.dataset import right

    return right((rewards[door.a] - rewards[door.b])[test], door.label[test])


def pool_of(door: Door, rows: np.ndarray) -> np.ndarray:
    """Segments of the episodes that these answers are about."""
    return np.flatnonzero(np.isin(door.episode, np.unique(door.episode[np.concatenate([door.a[rows], door.b[rows]])])))


def measure(door: Door, methods: list[str], counts: tuple[int, ...], count: int) -> dict[str, dict[int, np.ndarray]]:
    """Method → answers → (splits,) accuracy; floors at -1."""
    found: dict[str, dict[int, list[float]]] = {name: {} for name in [*methods, *FLOORS]}
    for number, (rows, test) in enumerate(splits(door, count)):
        pool = pool_of(door, rows)
        for name in FLOORS:
            found[name].setdefault(-1, []).append(float(hits(door, FLOORS[name](door), test).mean()))
        for answers in counts:
            task = Task(door, rows[:answers] if answers else rows, pool, number)
            for name in methods:
                accuracy = float(hits(door, METHODS[name](task), test).mean())
                found[name].setdefault(answers, []).append(accuracy)
            print(f"split {number}, {len(task.rows)} answers: {found[methods[0]][answers][-1]:.3f}", file=sys.stderr)
    return {name: {n: np.array(each) for n, each in own.items()} for name, own in found.items()}


def once(door: Door, rows: np.ndarray) -> np.ndarray:
    """The first answer about each pair of two segments."""
    keys = [frozenset(pair) for pair in zip(door.a[rows].tolist(), door.b[rows].tolist(), strict=True)]
    return rows[[len(key) == 2 and keys.index(key) == place for place, key in enumerate(keys)]]


def replay(door: Door, rows: np.ndarray, test: np.ndarray, seed: int, rule: str) -> dict[int, float]:
    """Answers → accuracy, after each round in which `rule` chose among `rows`, each about another pair."""
    pool, found = pool_of(door, rows), {}
    known, left = rows[:FIRST], rows[FIRST:]
    while True:
        task = Task(door, known, pool, seed)
        model, pairs = learn(task, Reward().parts)
        rewards = model.score(list(door.features))[0]
        found[len(known)] = float(hits(door, rewards, test).mean())
        if not len(left):
            return found
        chosen = left[:EACH] if rule == "uniform" else choose(task, model, pairs, left, rule)
        known, left = np.concatenate([known, chosen]), left[~np.isin(left, chosen)]


def choose(task: Task, model: Any, pairs: Any, left: np.ndarray, rule: str) -> np.ndarray:
    """Those of the answers `left` that a round would have asked for."""
    from ml_backend.ranking import PoolScores, fit_design, rank_pairs
    from preference.config import Active

    names = tuple(map(str, task.pool))
    plan = fit_design(model, task.segments, pairs, Reward().slip, task.seed)
    scores = PoolScores(names, ("door",) * len(names), model.score(task.segments)[1],
                        model.last_layer(task.segments), design=plan)  # fmt: skip
    asked, among = ([(str(task.door.a[row]), str(task.door.b[row])) for row in rows] for rows in (task.rows, left))
    row_of = {frozenset(key): row for key, row in zip(among, left.tolist(), strict=True)}
    active, rng = Active(), np.random.default_rng([task.seed, len(left)])
    chosen = rank_pairs(scores, EACH, strategy=rule, asked=list(map(frozenset, asked)), audit=active.audit,
                        within_sd=active.within_sd, rng=rng, among=among)  # fmt: skip
    found = np.array([row_of[frozenset(choice.trajectories)] for choice in chosen], dtype=int)
    return np.concatenate([found, left[~np.isin(left, found)][: EACH - len(found)]])  # a rule may know fewer


def rounds(door: Door, count: int) -> None:
    """Replay them over `count` splits, print what came of it, and end with the exit code."""
    found: dict[str, list[dict[int, float]]] = {rule: [] for rule in RULES}
    for number, (rows, test) in enumerate(splits(door, count)):
        rows = once(door, rows)
        for rule in RULES:
            found[rule].append(replay(door, rows, test, number, rule))
            print(f"split {number}, {rule}: {len(rows)} answers", file=sys.stderr)
    every = [course for courses in found.values() for course in courses]
    shared = [n for n in every[0] if all(n in course for course in every)]
    print(f"{'answers':<20}" + "".join(f"{n:>8}" for n in shared) + f"{'all':>8}")
    for rule, courses in found.items():
        cells = [np.mean([course[n] for course in courses]) for n in shared]
        print(f"{rule:<20}" + "".join(f"{cell:>8.3f}" for cell in [*cells, np.mean([c[max(c)] for c in courses])]))
    for n in shared:
        chosen, by_chance = (np.array([course[n] for course in found[rule]]) for rule in ("v_optimal", "uniform"))
        gain, error = interval(chosen - by_chance)
        print(f"v_optimal with {n} against chance with as many: {gain:+.3f} ± {error:.3f}")
    figures, met = {}, True
    for few, many in REPLAYED.items():
        by_chance = np.array([course[many or max(course)] for course in found["uniform"]])
        gain, error = interval(np.array([course[few] for course in found["v_optimal"]]) - by_chance)
        print(f"v_optimal with {few} against chance with {many or 'all'}: {gain:+.3f} ± {error:.3f}")
        figures[f"{few} against {many or 'all'}"] = [round(gain, 4), round(error, 4)]
        met &= bool(gain >= 0)
    target = "with 100 answers level with chance's all, with 40 with chance's 100"
    print(json.dumps({"name": "human_rounds", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error over splits."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def behind(found: dict[str, dict[int, np.ndarray]], answers: int) -> tuple[str, float, float]:
    """The best peer, how far ours is ahead of it, and the standard error of that."""
    best = max((name for name in PEERS if name in found), key=lambda name: found[name][answers].mean())
    return best, *interval(found[OURS][answers] - found[best][answers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "adroit_door_human", help="steps.parquet and answers.csv.")
    parser.add_argument("--quick", action="store_true", help="Three splits, 50 answers and all.")
    parser.add_argument("--answers", type=int, nargs="+", default=list(COUNTS), help="How many; 0 = all.")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--rounds", action="store_true", help="Replay active rounds instead, of robopref alone.")
    asked = parser.parse_args()
    counts, number = ((50, 0), 3) if asked.quick else (tuple(asked.answers), SPLITS)
    door = read(asked.data)
    if asked.rounds:
        rounds(door, number)
    found = measure(door, asked.methods, counts, number)
    print(f"{'answers':<32}" + "".join(f"{answers or 'all':>16}" for answers in counts))
    figures: dict[str, Any] = {}
    for name, own in found.items():
        cells = [interval(own[answers if answers in own else -1]) for answers in counts]
        print(f"{name:<32}" + "".join(f"{f'{mean:.3f} ± {error:.3f}':>16}" for mean, error in cells))
        figures[name] = [round(mean, 4) for mean, _ in cells]
    met = False
    if OURS in found and set(PEERS) & found.keys():
        ahead = {answers: behind(found, answers) for answers in counts}
        for answers, (best, gain, error) in ahead.items():
            print(f"{answers or 'all'} answers: {gain:+.3f} ± {error:.3f} against the best peer, {best}")
        level = all(gain >= -error for _, gain, error in ahead.values())
        met = level and all(found[OURS][n].mean() >= least for n, least in TARGETS.items() if n in counts)
    target = "level with the best peer at every count; .92, .925, .93 and .94 at 50, 100, 200 and all"
    report = {"name": "human", "quick": asked.quick, "answers": counts, "figures": figures, "target": target}
    print(json.dumps(report | {"met": bool(met)}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
