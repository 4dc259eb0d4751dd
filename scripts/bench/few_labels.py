"""Claim: with 20 to 100 labels the reward is as good as the better of its two parts, the network and the linear model
of the steps (`reward.linear_until`), whose weights the labels choose; `--labels` asks for up to 1,000.

Pools of 200 episodes of four Meta-World tasks, as in `quality_prior.py`: two of each task, one answered by the
stochastic teacher and one by the teacher who makes mistakes, each with several draws of labels. A third of the episodes
is held out, and accuracy is over pairs of these, against the true return. The pool knows which episodes succeeded, and
every model learns from that as it does by default, through progress and the pool's quality; `success unknown` is the
default without. The floor is progress alone. What counts as an error is the standard error over pools. The design was
made on other pools, of drawer-open-v3, faucet-open-v3, button-press-topdown-v3, plate-slide-v3 and window-close-v3, and
on people's answers; that of progress on seven others (drawer-open, faucet-open, pick-place, peg-insert-side,
plate-slide, button-press and coffee-pull-v3). These pools were looked at, with other labels, when four forms of the
share before any label were compared.

Pools and results are kept in the folder: a run that was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from efficiency.course import TEST_PAIRS, answers, fit, stratified_pairs
from efficiency.episodes import successes
from efficiency.quality import quality
from policies.pool import pool_of
from quality_prior import HELD_OUT, TASKS, TEACHERS

from ml_backend.reward.evidence import stack

COUNTS, DRAWS = (20, 40, 60, 100), 3
MOST = 1_000
"""Labels that can be asked for; the first 100 pairs are the same however many there are."""
BOTH, NETWORK, LINEAR = "both, the default", "network alone", "linear part alone"
UNKNOWN, PROGRESS = "success unknown", "floor: progress"
ARMS = (BOTH, NETWORK, LINEAR, UNKNOWN, PROGRESS)


@dataclass(frozen=True)
class Given:
    """One pool, and one draw of labels about it."""

    features: list[Any]
    labels: np.ndarray
    pairs: np.ndarray
    ranked: Any
    """Quartiles of the quality."""
    known: list[Any]
    """What the dataset says of success."""
    unseen: list[Any]
    """Features of held-out episodes."""
    truth: np.ndarray
    """Their returns."""
    test: np.ndarray
    """(M, 2) pairs of them."""
    seed: int

    def train(self, count: int, **changes: Any) -> Any:
        return fit(
            self.features, self.pairs[:count], self.labels[:count], self.seed, self.ranked, self.known, **changes
        )

    def accuracy(self, rewards: np.ndarray) -> float:
        a, b = self.test.T
        return float(np.mean((rewards[a] > rewards[b]) == (self.truth[a] > self.truth[b])))


def drawn(folder: Path, task: str, seed: int, draw: int, ends: bool = False, most: int = 0) -> Given:
    """
    Args:
        ends: Whether recordings end when the task is done.
        most: Steps of each that are seen; 0 = all.
    """
    from importer.pool.quality import quartiles
    from ml_backend.reward.dataset import Quartiles

    pool, teacher = pool_of(folder, task, seed, pictures=False), TEACHERS[seed]
    rng = np.random.default_rng([seed, draw, *task.encode()])
    order = rng.permutation(len(pool.returns))
    own, held = order[HELD_OUT:], order[:HELD_OUT]
    every = np.column_stack(np.triu_indices(HELD_OUT, 1))
    test = every[rng.permutation(len(every))[:TEST_PAIRS]]
    computed = quality(pool.states, pool.arrived, successes=True)[own]
    pairs = with_more(stratified_pairs(computed, COUNTS[-1], rng), stratified_pairs(computed, MOST, rng))[:MOST]
    labels = answers(teacher, pool.returns[own], pairs, np.random.default_rng([seed, draw, 9, len(teacher)]))
    features, ranked = pool.features(), Quartiles(quartiles(computed), np.zeros(len(own), int))
    told = successes(pool.arrived, pool.states.shape[1])
    if ends:
        features = [until(item, one.done) for item, one in zip(features, told, strict=True)]
    if most:
        features, told = zip(*(seen(*one, most) for one in zip(features, told, strict=True)), strict=True)
    mine, others, known = [features[i] for i in own], [features[i] for i in held], [told[i] for i in own]
    return Given(mine, labels, pairs, ranked, known, others, pool.returns[held], test, seed + 1000 * draw)


def until(item: Any, done: int | None) -> Any:
    """The same up to this step, with at least the first three."""
    return taken(item, np.arange(len(item) if done is None else max(done + 1, 3)))


def seen(item: Any, known: Any, most: int) -> tuple[Any, Any]:
    """At most so many steps, evenly, and what is known of them."""
    rows = np.round(np.linspace(0, len(item) - 1, min(most, len(item)))).astype(int)
    done = None if known.done is None else int(np.searchsorted(rows, min(known.done, len(item) - 1)))
    return taken(item, rows), replace(known, done=done)


def taken(item: Any, rows: np.ndarray) -> Any:
    return replace(item, frames=item.frames[rows], actions=item.actions[rows], state=item.state[rows])


def with_more(first: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(M, 2) the first pairs, and those of the others that are not among them."""
    known = {frozenset(pair) for pair in first.tolist()}
    return np.concatenate([first, [pair for pair in others.tolist() if frozenset(pair) not in known]])


def accuracies(given: Given, count: int) -> dict[str, float]:
    """Arm → accuracy. Both parts are trained at one size, and what labels chose them to count, they count here: with
    many labels a part may count nothing, and could not be judged alone."""
    from ml_backend.reward import train

    chosen: list[tuple[float, float]] = []
    with mock.patch.object(train, "stack", lambda *told: chosen.append(stack(*told)) or (1.0, 1.0)):
        model = given.train(count)
    whole, rewards = model.score(given.unseen)[0], {NETWORK: given.train(count, linear_until=0).score(given.unseen)[0]}
    rewards[PROGRESS] = np.array([one.outcomes["progress"].mean() for one in model.score_steps(given.unseen)])
    rewards[UNKNOWN] = replace(given, ranked=None, known=[]).train(count).score(given.unseen)[0]
    model.output_weight.data.zero_()
    rewards[LINEAR] = model.score(given.unseen)[0]
    ((of_linear, of_network),) = chosen
    rewards[BOTH] = of_linear * rewards[LINEAR] + of_network * (whole - rewards[LINEAR])
    return {arm: given.accuracy(values) for arm, values in rewards.items()}


def kept(folder: Path, pool: tuple[str, int], draw: int, counts: list[int]) -> dict[str, list[float]]:
    """Arm → accuracy at each of the counts; read where it has been measured."""
    from preference.artifacts import replacing

    found, given = [], None
    for count in counts:
        path = folder / f"few-labels-{pool[0]}-{pool[1]}-{draw}-{count}.json"
        if not path.exists():
            given = given or drawn(folder, *pool, draw)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(accuracies(given, count)) + "\n")
        found.append(json.loads(path.read_text()))
    return {arm: [one[arm] for one in found] for arm in ARMS}


def seconds(given: Given, count: int) -> dict[str, float]:
    """CPU time of a training without the linear part, and with it."""
    found = {}
    for name, changes in (("without", {"linear_until": 0}), ("with", {})):
        started = time.process_time()
        given.train(count, **changes)
        found[name] = time.process_time() - started
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(tempfile.gettempdir()) / "robopref-few-labels"
    parser.add_argument("--folder", type=Path, default=folder, help=f"Pools and results; default: {folder}.")
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"Of labels, for each pool; default: {DRAWS}.")
    few = f"How many, {COUNTS[0]} to {MOST}; default: {' '.join(map(str, COUNTS))}."
    parser.add_argument("--labels", type=int, nargs="+", default=list(COUNTS), help=few)
    parser.add_argument("--quick", action="store_true", help="The first task alone, one draw.")
    parser.add_argument("--time", action="store_true", help="The CPU time of trainings on the first pool, and no more.")
    asked = parser.parse_args()
    if not all(COUNTS[0] <= count <= MOST for count in asked.labels):
        parser.error(f"--labels: from {COUNTS[0]} to {MOST}")
    asked.folder.mkdir(parents=True, exist_ok=True)
    tasks, draws = (TASKS[:1], 1) if asked.quick else (TASKS, asked.draws)
    pools = [(task, seed) for task in tasks for seed in TEACHERS]
    if asked.time:
        given = drawn(asked.folder, *pools[0], 0)
        given.train(asked.labels[0])  # the first training also pays for imports
        print(json.dumps({count: seconds(given, count) for count in asked.labels}))
        return
    courses = [[kept(asked.folder, pool, draw, asked.labels) for draw in range(draws)] for pool in pools]
    values = {arm: np.array([np.mean([one[arm] for one in own], axis=0) for own in courses]) for arm in ARMS}
    print(f"{'labels':<20}" + "".join(f"{count:>18}" for count in asked.labels))
    figures, met = {}, True
    for arm in ARMS:
        print(f"{arm:<20}" + "".join(f"{value:>18.3f}" for value in values[arm].mean(axis=0)))
        ahead = values[BOTH] - values[arm]
        gain, error = ahead.mean(axis=0), ahead.std(axis=0, ddof=1) / np.sqrt(len(ahead))
        met = met and bool(arm not in (NETWORK, LINEAR) or np.all(gain >= -error))
        figures[arm] = {"accuracy": values[arm].mean(axis=0).round(4).tolist(), "both are ahead by":
                        gain.round(4).tolist(), "error": error.round(4).tolist()}  # fmt: skip
        if arm != BOTH:
            cells = [f"{g:+.3f} ± {e:.3f}" for g, e in zip(gain, error, strict=True)]
            print(f"{'  both minus it':<20}" + "".join(f"{cell:>18}" for cell in cells))
    target = "behind neither part by more than a standard error, at any number of labels"
    print(json.dumps({"name": "few_labels", "quick": asked.quick, "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
