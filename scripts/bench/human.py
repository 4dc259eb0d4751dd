"""Claim: on people's answers about 50-step segments of human demonstrations of a robot hand that opens a door, the
reward model at its defaults is level with the best of a linear model, a kernel model, a Gaussian process and a network
like imitation's, whatever the number of answers.

Ten splits by episode: 30 % of the episodes are held out, answers between two of them are the test, answers between two
of the others are what a method may learn from, in a random order of which the first 25, 50, 100, 200 or all are given.
Everybody has the same inputs, slip, and training labels; peers choose penalty or prior on these alone, by
cross-validation (linear, kernel, network) or by evidence (Gaussian process). The kernel model and the Gaussian process
see the summaries that ours sees. No answer at all: the product has no model then, and the floors are what there is.

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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests" / "makers"))

from paths import DATA

from ml_backend.reward.evidence import HYPERPRIOR
from preference.bradley_terry import sigmoid
from preference.config import Reward

SEGMENT, SPLITS, HELD_OUT = 50, 10, 0.3
COUNTS = (25, 50, 100, 200, 0)
"""0 = all."""
TARGETS = {50: 0.92, 100: 0.925, 200: 0.93, 0: 0.94}
OURS = "robopref"
SLIP, GAMMA, FOLDS = 0.1, 0.3, 5
PENALTIES = 10.0 ** np.arange(-3, 3)
DECAYS, EPOCHS, NETWORK_FOLDS = (1e-2, 1e-1), 40, 3


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
        from ml_backend.reward.segments import Segment, segment_features

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
    def steps(self) -> np.ndarray:
        """(N, 50, F), standardized over the pool."""
        seen = self.door.steps[self.pool].reshape(-1, self.door.steps.shape[2])
        return _standardized(self.door.steps, seen)

    @cached_property
    def summaries(self) -> np.ndarray:
        """(N, 4F) mean, change, spread and end, each standardized over the pool."""
        x = self.steps
        every = np.concatenate([x.mean(axis=1), x[:, -1] - x[:, 0], x.std(axis=1), x[:, -1]], axis=1)
        return _standardized(every, every[self.pool])

    def difference(self, values: np.ndarray) -> np.ndarray:
        return values[self.door.a[self.rows]] - values[self.door.b[self.rows]]

    @property
    def label(self) -> np.ndarray:
        return self.door.label[self.rows]


def _standardized(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    mean, sd = seen.mean(axis=0), seen.std(axis=0)
    return np.clip((values - mean) * np.where(sd > 1e-6, 1.0 / np.where(sd > 1e-6, sd, 1.0), 0.0), -5.0, 5.0)


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
    """The product's model at its defaults; every label given is for training, so none is kept back as a test."""
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
    pool = [door.features[row] for row in task.pool.tolist()]
    groups = door.episode[task.pool].tolist()
    trained = train_model(pool, pairs, split, spec, reward, seed=task.seed, groups=groups)
    return trained.model.score(list(door.features))[0]


def misfit(x: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]:
    """Negative log-likelihood of labels with slips, and its slope."""
    q = sigmoid(x)
    p = SLIP + (1.0 - 2.0 * SLIP) * q
    loss = -np.sum(label * np.log(p) + (1.0 - label) * np.log1p(-p))
    return float(loss), ((1.0 - label) / (1.0 - p) - label / p) * (1.0 - 2.0 * SLIP) * q * (1.0 - q)


def folds(task: Task, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(kept, held) places in the labels, by pair."""
    order = np.random.default_rng(task.seed).permutation(len(task.rows))
    return [(np.setdiff1d(order, held), held) for held in np.array_split(order, count)]


def penalized(task: Task, values: np.ndarray) -> np.ndarray:
    """Bradley-Terry, linear in `values` (N, P), with slips; the penalty by cross-validation."""
    from scipy.optimize import minimize

    d, label = task.difference(values), task.label

    def fitted(rows: np.ndarray, penalty: float) -> np.ndarray:
        def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
            loss, slope = misfit(d[rows] @ w, label[rows])
            return loss + penalty * float(w @ w), d[rows].T @ slope + 2.0 * penalty * w

        return minimize(cost, np.zeros(d.shape[1]), jac=True, method="L-BFGS-B").x

    def unseen(penalty: float) -> float:
        return sum(misfit(d[held] @ fitted(kept, penalty), label[held])[0] for kept, held in folds(task, FOLDS))

    return values @ fitted(np.arange(len(label)), min(PENALTIES, key=unseen))


def linear(task: Task) -> np.ndarray:
    """On the mean and the change of the inputs."""
    x = task.steps
    every = np.concatenate([x.mean(axis=1), x[:, -1] - x[:, 0]], axis=1)
    every = _standardized(every, every[task.pool])
    return penalized(task, every / np.sqrt(every.shape[1]))


def radial(s: np.ndarray, c: np.ndarray) -> np.ndarray:
    squared = (s**2).sum(axis=1)[:, None] + (c**2).sum(axis=1) - 2.0 * s @ c.T
    return np.exp(-GAMMA / s.shape[1] * np.maximum(squared, 0.0))


def kernel(task: Task) -> np.ndarray:
    """Radial features of the summaries, all of them."""
    s = task.summaries
    centres = s[np.unique([task.door.a[task.rows], task.door.b[task.rows]])]
    values, vectors = np.linalg.eigh(radial(centres, centres))
    kept = values > 1e-9 * values[-1]
    return penalized(task, radial(s, centres) @ vectors[:, kept] / np.sqrt(values[kept]))


def gaussian_process(task: Task) -> np.ndarray:
    """Of the reward, with a linear and a radial kernel of the summaries at one variance, chosen by the Laplace evidence
    under the prior that ours has (Chu and Ghahramani 2005)."""
    from scipy.optimize import minimize_scalar

    s, label, both = task.summaries, task.label, (task.door.a[task.rows], task.door.b[task.rows])
    whole = s @ s.T / (s**2).sum(axis=1).mean() + radial(s, s)
    side = whole[:, both[0]] - whole[:, both[1]]
    own = side[both[0]] - side[both[1]]

    def posterior(variance: float) -> tuple[np.ndarray, float]:
        """Weights of the pairs, and the log evidence."""
        k, weight, factor = variance * own, np.zeros(len(label)), np.eye(len(label))
        for _ in range(30):
            x = k @ weight
            _, slope = misfit(x, label)
            q = sigmoid(x)
            p = SLIP + (1.0 - 2.0 * SLIP) * q
            root = (1.0 - 2.0 * SLIP) * q * (1.0 - q) / np.sqrt(p * (1.0 - p))
            factor = np.eye(len(x)) + root[:, None] * k * root
            aim = root**2 * x - slope
            new = aim - root * np.linalg.solve(factor, root * (k @ aim))
            moved, weight = float(np.abs(new - weight).max()), 0.5 * weight + 0.5 * new
            if moved < 1e-4:
                break
        x = k @ weight
        return weight, -misfit(x, label)[0] - 0.5 * float(weight @ x) - 0.5 * float(np.linalg.slogdet(factor)[1])

    middle, sd = HYPERPRIOR
    best: Any = minimize_scalar(
        lambda log_v: -posterior(np.exp(log_v))[1] + 0.5 * ((log_v - middle) / sd) ** 2,
        bounds=(-6.0, 4.0), method="bounded", options={"xatol": 0.1},
    )  # fmt: skip
    return side @ posterior(np.exp(best.x))[0]


def network(task: Task) -> np.ndarray:
    """Like imitation's BasicRewardNet: two layers of 32 on each step, summed over the segment; Adam at 1e-3, the weight
    decay and the number of epochs by cross-validation."""
    import torch

    torch.set_num_threads(1)
    steps = torch.tensor(task.steps, dtype=torch.float32)
    a, b = (torch.tensor(side[task.rows]) for side in (task.door.a, task.door.b))
    label = torch.tensor(task.label, dtype=torch.float32)

    def loss(x: Any, y: Any) -> Any:
        p = SLIP + (1.0 - 2.0 * SLIP) * torch.sigmoid(x)
        return -(y * p.log() + (1.0 - y) * (1.0 - p).log())

    def trained(rows: np.ndarray, held: np.ndarray, decay: float, last: int) -> tuple[Any, np.ndarray]:
        """The network after epoch `last`, and the loss on `held` after each."""
        torch.manual_seed(task.seed)
        layer = torch.nn.Linear
        net = torch.nn.Sequential(
            layer(steps.shape[2], 32), torch.nn.ReLU(), layer(32, 32), torch.nn.ReLU(), layer(32, 1)
        )
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=decay)
        rng, curve = np.random.default_rng(task.seed), []
        for _ in range(last):
            order = rng.permutation(rows)
            for some in np.array_split(order, max(1, len(order) // 32)):
                x = net(steps[a[some]]).sum(dim=(1, 2)) - net(steps[b[some]]).sum(dim=(1, 2))
                optimizer.zero_grad()
                loss(x, label[some]).mean().backward()
                optimizer.step()
            with torch.no_grad():
                x = net(steps[a[held]]).sum(dim=(1, 2)) - net(steps[b[held]]).sum(dim=(1, 2))
                curve.append(float(loss(x, label[held]).sum()))
        return net, np.array(curve)

    choices = {}
    for decay in DECAYS:
        curve = sum(trained(kept, held, decay, EPOCHS)[1] for kept, held in folds(task, NETWORK_FOLDS))
        choices[decay] = np.asarray(curve)
    decay = min(choices, key=lambda one: choices[one].min())
    every = np.arange(len(label))
    net, _ = trained(every, every[:1], decay, int(choices[decay].argmin()) + 1)
    with torch.no_grad():
        return net(steps).sum(dim=(1, 2)).numpy()


METHODS: dict[str, Callable[[Task], np.ndarray]] = {
    OURS: lambda task: ours(task, Reward().parts),
    "robopref, all parts": lambda task: ours(task, ["linear", "kernel", "network"]),
    "robopref, linear alone": lambda task: ours(task, ["linear"]),
    "robopref, kernel alone": lambda task: ours(task, ["kernel"]),
    "robopref, linear and kernel": lambda task: ours(task, ["linear", "kernel"]),
    "linear": linear,
    "kernel": kernel,
    "gaussian process": gaussian_process,
    "imitation's network": network,
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


def measure(door: Door, methods: list[str], counts: tuple[int, ...], count: int) -> dict[str, dict[int, np.ndarray]]:
    """Method → answers → (splits,) accuracy; floors at -1."""
    found: dict[str, dict[int, list[float]]] = {name: {} for name in [*methods, *FLOORS]}
    for number, (rows, test) in enumerate(splits(door, count)):
        trained = np.unique(door.episode[np.concatenate([door.a[rows], door.b[rows]])])
        pool = np.flatnonzero(np.isin(door.episode, trained))
        for name in FLOORS:
            found[name].setdefault(-1, []).append(float(hits(door, FLOORS[name](door), test).mean()))
        for answers in counts:
            task = Task(door, rows[:answers] if answers else rows, pool, number)
            for name in methods:
                accuracy = float(hits(door, METHODS[name](task), test).mean())
                found[name].setdefault(answers, []).append(accuracy)
            print(f"split {number}, {len(task.rows)} answers: {found[methods[0]][answers][-1]:.3f}", file=sys.stderr)
    return {name: {n: np.array(each) for n, each in own.items()} for name, own in found.items()}


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
    asked = parser.parse_args()
    counts, number = ((50, 0), 3) if asked.quick else (tuple(asked.answers), SPLITS)
    door = read(asked.data)
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
