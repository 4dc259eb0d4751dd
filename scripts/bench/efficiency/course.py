"""One course: a teacher's labels, asked by one strategy round after round, and how good the model is after each.

The loop is the product's: `train_model` on all labels but 15 % to test on, then `rank_pairs` with the audit arm, and
everything else as robopref.toml has it by default, with quartiles of the quality that `robopref pool` computes: pairs
are stratified by them until the first round, and the model learns a little from them. The first round starts where a
project's does, or where the course says. Courses of one seed share their split, their first labels and their test
pairs, so that strategies are compared pair by pair.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from efficiency.episodes import Episodes
from ml_backend.loop.rounds import EXPECTED_YIELD
from preference.config import Active

START = round(EXPECTED_YIELD * Active().bootstrap)
"""Labels before a project's first round by default."""
EARLY, LATE = 40, 160
"""Other starts: of a bootstrap of 50 pairs, and of the protocol's 200."""
ROUND = 50
"""Pairs of a round."""
LABELS = tuple(range(EARLY, 300, ROUND))
"""Where accuracy is read."""
UNIFORM = 200
"""Labels of pairs at random for whose accuracy the default's labels are counted as well."""
TEST_PAIRS = 4_000
TEACHERS = {"stochastic": "noisy", "mistake": "mistake", "ties": "equal"}
"""Their names in `importer.simulate.teachers`: β = 3 per standard deviation of the return; 10 % of answers wrong;
equal where
the returns differ by less than a tenth of their mean."""
HELD_OUT = 1 / 3
"""Of the episodes: never seen in a comparison."""
WITHOUT = ", success unknown"
SETTINGS: dict[str, Any] = {"inputs": ["actions", "state"]}
"""Beside the defaults: there are no pictures."""


@dataclass(frozen=True)
class Course:
    """What is run once."""

    task: str
    teacher: str
    strategy: str
    seed: int
    first: int = START
    """Stratified labels before the first round."""
    until: int = LABELS[-1]
    """The last number of labels at which accuracy is read."""
    prior: bool = True
    """Whether the model learns from success, through progress and the pool's quality."""

    @property
    def arm(self) -> str:
        rounds = "" if self.first == START else f", rounds from {self.first}"
        return self.strategy + rounds + ("" if self.prior else WITHOUT)

    def path(self, folder: Path) -> Path:
        """Results of other settings lie elsewhere; after a change of the ranking itself, throw the folder away."""
        settings = hashlib.sha256(json.dumps([SETTINGS, LABELS]).encode()).hexdigest()[:8]
        return (
            folder
            / f"courses-{settings}"
            / f"{self.task}-{self.teacher}-{self.arm}-{self.first}-{self.until}-{self.seed}.json"
        )


def run(course: Course, folder: Path, made: Episodes) -> None:
    """Writes the accuracy after each number of labels; nothing where that has been done."""
    from preference.artifacts import replacing

    path = course.path(folder)
    if path.exists():
        return
    found = accuracies(course, made)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"labels": LABELS[: len(found)], "accuracy": found}) + "\n")


def accuracies(course: Course, made: Episodes) -> list[float]:
    """Share of the held-out episodes' pairs whose better one, by the true return, has the higher reward."""
    from importer.pool.quality import quartiles
    from ml_backend.reward.dataset import Quartiles

    rng = np.random.default_rng([course.seed, *course.task.encode()])
    pool, held, test = deal(len(made.returns), rng)
    truth = made.returns[pool]
    features, unseen = made.features(pool), made.features(held)
    computed = made.quality[pool]
    ranked = Quartiles(quartiles(computed), np.zeros(len(pool), int)) if course.prior else None
    known = [made.known[i] for i in pool] if course.prior else []
    first = stratified_pairs(computed, max(LATE, course.first), rng)[: course.first]
    said = np.random.default_rng([course.seed, len(course.teacher)])
    pairs, labels, found = first[:0], np.empty(0), []
    model: Any = None
    for count in sorted(n for n in {*LABELS, course.first} if n <= course.until):
        if len(pairs) < course.first:
            new = first[len(pairs) : count]
        else:
            new = next_pairs(model, features, pairs, labels, count - len(pairs), course.strategy, course.seed, rng)
        pairs = np.concatenate([pairs, new])
        labels = np.concatenate([labels, answers(course.teacher, truth, new, said)])
        model = fit(features, pairs, labels, course.seed, ranked, known)
        if count in LABELS:
            found.append(accuracy(model.score(unseen)[0], made.returns[held], test))
    return found


def deal(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which episodes may be compared, which are held out, and the pairs of these (M, 2) that a model is tested on."""
    order = rng.permutation(count)
    cut = round(count * (1.0 - HELD_OUT))
    return order[:cut], order[cut:], some_pairs(count - cut, TEST_PAIRS, rng)


def next_pairs(
    model: Any,
    features: list[Any],
    pairs: np.ndarray,
    labels: np.ndarray,
    count: int,
    strategy: str,
    seed: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """(count, 2) what a round asks next, with its tenth of audit pairs; `pairs` were answered with `labels`, and
    `model` was fitted to them with `seed`."""
    from ml_backend.ranking import fitted_ties, rank_pairs
    from preference.config import Active

    active, known = Active(), scores(model, features, pairs, labels, seed)
    chosen = rank_pairs(
        known,
        count,
        strategy=strategy,
        asked={frozenset(map(str, pair)) for pair in pairs.tolist()},
        audit=active.audit,
        within_sd=active.within_sd,
        rng=rng,
        ties=fitted_ties(known.rewards[pairs[:, 0]] - known.rewards[pairs[:, 1]], labels == 0.5),
    )
    return rng.permuted(np.array([[int(name) for name in choice.trajectories] for choice in chosen]), axis=1)


def some_pairs(n: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 2) different pairs."""
    every = np.column_stack(np.triu_indices(n, 1))
    return rng.permuted(every[rng.permutation(len(every))[:count]], axis=1)


def stratified_pairs(quality: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 2), drawn as the bootstrap batch is, from quartiles of the quality, in random order."""
    from importer.pairs.sampling import sample_pairs
    from preference.config import Strata
    from preference.records import Stratum, Trajectory

    quartile = 1 + 4 * quality.argsort().argsort() // len(quality)
    pool = [Trajectory(str(i), "bench", i, "scripted", "bench", quartile=int(q)) for i, q in enumerate(quartile)]
    shares = Strata()
    strata: dict[Stratum, float] = {"adjacent": shares.adjacent, "same": shares.same, "distant": shares.distant}
    drawn = sample_pairs(pool, count, strata=strata, rng=rng, batch_id="first")
    return rng.permuted(np.array([(int(p.trajectory_a_id), int(p.trajectory_b_id)) for p in drawn]), axis=1)


def answers(teacher: str, truth: np.ndarray, pairs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from importer.simulate.teachers import Scale, Scene
    from importer.simulate.teachers import teacher as named
    from preference.records import Trajectory

    mind = replace(named(TEACHERS[teacher]), talks=0.0)
    scale = Scale(float(truth.mean()), float(truth.std()))
    shown = [Trajectory(str(i), "bench", i, "scripted", "bench", true_return=float(s)) for i, s in enumerate(truth)]
    said = [mind.answer(Scene(shown[a], shown[b], scale), rng) for a, b in pairs.tolist()]
    return np.array([{"left": 1.0, "right": 0.0, "equal": 0.5}[answer.side] for answer in said if answer])


def fit(
    features: list[Any], pairs: np.ndarray, labels: np.ndarray, seed: int, quartiles: Any = None, known: Any = (),
    **changes: Any,
) -> Any:  # fmt: skip
    """The product's model on all answers but 15 %; it looks at frames where the features have some, and learns from
    quartiles and success only where they are given. `changes` are settings other than the defaults."""
    from ml_backend.loop.spec import PROJECTION
    from ml_backend.reward.model import ModelSpec
    from ml_backend.reward.train import train_model
    from preference.config import Reward

    sizes = {name: getattr(features[0], name).shape[1] for name in ("frames", "actions", "state")}
    inputs = [name for name, size in sizes.items() if size]
    settings: dict[str, Any] = SETTINGS | {"inputs": inputs} | changes
    reward = Reward(**settings)
    actions, state = (tuple(f"{kind}{i}" for i in range(sizes[kind])) for kind in ("actions", "state"))
    spec = ModelSpec(
        "none", "none", 112, 2.0, reward.max_frames, tuple(inputs), sizes["frames"], actions, state, reward.temporal,
        reward.hidden, reward.members, projection=PROJECTION if sizes["frames"] else 0,
    )  # fmt: skip
    labelled, split = _labelled(pairs, labels, seed)
    labelled = replace(labelled, quartiles=quartiles)
    return train_model(features, labelled, split, spec, reward, seed=seed, known=known).model


def _labelled(pairs: np.ndarray, labels: np.ndarray, seed: int) -> tuple[Any, Any]:
    """The labels and their split."""
    from ml_backend.reward.dataset import Pairs, split_pairs

    n = len(pairs)
    keys = [" ".join(map(str, sorted(pair))) for pair in pairs.tolist()]
    return Pairs(tuple(map(str, range(n))), pairs[:, 0], pairs[:, 1], labels, np.ones(n)), split_pairs(keys, seed)


def scores(model: Any, features: list[Any], pairs: np.ndarray, labels: np.ndarray, seed: int) -> Any:
    from ml_backend.ranking import PoolScores, fit_design
    from preference.config import Reward

    n = len(features)
    labelled, split = _labelled(pairs, labels, seed)
    learned = labelled.take(np.sort(np.concatenate([split.train, split.validation])))
    plan = fit_design(model, features, learned, Reward().slip, seed)
    return PoolScores(
        tuple(map(str, range(n))),
        ("bench",) * n,
        model.score(features)[1],
        model.last_layer(features),
        design=plan,
    )


def accuracy(rewards: np.ndarray, truth: np.ndarray, test: np.ndarray) -> float:
    a, b = test.T
    return float(np.mean((rewards[a] > rewards[b]) == (truth[a] > truth[b])))
