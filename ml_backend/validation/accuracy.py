"""Is the reward model to be trusted? Ranking accuracy, agreement with the ground truth, separation of tiers, probes.

A model, its split and the pool come in; one dictionary of figures comes out, which `stages.train` writes as
validation.json. Every figure says what it was measured on:

- `ranking_accuracy`: the test pairs, never trained on; their trajectories may be in training pairs
- `cross_validated`, `calibration`, `ties`: every pair, by models that were not trained on it; steadier, because they
  rest on all pairs
- `audit`, `not_chosen`: of these, the uniform audit arm, and all that no selection rule chose (`audit.py`)
- `unseen_trajectories`: pairs of which neither trajectory was in any training pair
- `spearman`, `kendall`: with the simulator's return (or the ground-truth quality) over the whole pool, per task type
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.reward.dataset import Pairs
from ml_backend.reward.train import Split, Trained
from ml_backend.validation.audit import audited, share
from ml_backend.validation.calibration import calibration, ties
from ml_backend.validation.cross_validation import fit_folds
from ml_backend.validation.ground_truth import ground_truth, groups, standardized
from ml_backend.validation.probes import correlations, measures
from preference.bradley_terry import accuracy_ceiling
from preference.config import Reward
from preference.records import Preference, Trajectory
from preference.work import HERE, Workers

if TYPE_CHECKING:
    from ml_backend.reward.features import Features

FOLDS = 5
TRAJECTORY_FOLDS = 3
"""Of trajectories: a third held out leaves a ninth of the pairs with both ends unseen, in each of three trainings."""
DRAWS = 1000
TARGETS = {"single_task": 0.75, "multi_task": 0.65, "spearman": 0.6}
"""The protocol's."""


def validate(
    trained: Trained,
    features: Sequence[Features],
    trajectories: Sequence[Trajectory],
    pairs: Pairs,
    split: Split,
    reward: Reward,
    preferences: Sequence[Preference],
    strata: Mapping[str, str],
    *,
    seed: int,
    strategies: Mapping[str, str] | None = None,
    workers: Workers = HERE,
) -> dict[str, Any]:
    """All figures of one model.

    Args:
        features: Of `trajectories`, in the same order; `pairs` index into both.
        strata: pair_id → stratum.
        strategies: pair_id → the selection rule that chose it; empty or missing for stratified pairs.
        workers: Where the extra trainings run.
    """
    rng = np.random.default_rng(seed)
    rewards, _ = trained.model.score(features)
    test = pairs.take(split.test)

    tasks = [t.task_type for t in trajectories]
    multi = len({tasks[i] for i in pairs.a}) > 1
    crossed, unseen = pair_folds(len(pairs), rng), trajectory_folds(pairs, len(trajectories), rng)
    splits = [*crossed, *unseen]
    found = fit_folds(features, pairs, trained.model.spec, reward, splits, [seed] * len(splits), workers=workers)
    differences = np.full(len(pairs), math.nan)
    for fold, own in zip(crossed, found, strict=False):
        differences[fold.test] = own
    hits = [right(own, pairs.label[fold.test]) for fold, own in zip(unseen, found[len(crossed) :], strict=True)]
    return {
        "ranking_accuracy": accuracy(_hits(rewards, test), rng),
        "target": TARGETS["multi_task" if multi else "single_task"],
        "by_stratum": _by(test, rewards, [strata.get(pair_id, "") for pair_id in test.pair_ids], rng),
        "by_task_type": _by(test, rewards, [tasks[i] for i in test.a], rng),
        "ties_in_test": int((test.label == 0.5).sum()),
        "cross_validated": accuracy(right(differences, pairs.label), rng),
        **audited(differences, pairs.label, [(strategies or {}).get(pair_id, "") for pair_id in pairs.pair_ids]),
        "calibration": calibration(differences, pairs.label, reward.slip if reward.reliability == "vote" else 0.0),
        "ties": ties(differences, pairs.label),
        "unseen_trajectories": accuracy(np.concatenate([np.zeros(0, bool), *hits]), rng),
        "noise_ceiling": noise_ceiling(preferences),
        **_truth(rewards, trajectories),
        "tiers": tiers(rewards, trajectories),
        "probes": correlations(rewards, trajectories, measures(features)),
        "best_epoch": trained.best_epoch,
        "epochs": trained.epochs,
        "pairs": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
    }


def pair_folds(pairs: int, rng: np.random.Generator) -> list[Split]:
    """Each pair is tested once, by a model that was neither trained on it nor stopped by it."""
    folds = np.array_split(rng.permutation(pairs), FOLDS)
    splits = []
    for number, held in enumerate(folds):
        stop = folds[(number + 1) % FOLDS]
        rest = np.concatenate([fold for fold in folds if fold is not held and fold is not stop])
        splits.append(Split(np.sort(rest), np.sort(stop), held))
    return splits


def trajectory_folds(pairs: Pairs, trajectories: int, rng: np.random.Generator) -> list[Split]:
    """Tested on pairs whose trajectories were both kept out of training."""
    fold = rng.integers(TRAJECTORY_FOLDS, size=trajectories)
    splits = []
    for held in range(TRAJECTORY_FOLDS):
        out_a, out_b = fold[pairs.a] == held, fold[pairs.b] == held
        inside, test = np.flatnonzero(~out_a & ~out_b), np.flatnonzero(out_a & out_b)
        if len(inside) < FOLDS or not len(test):
            continue
        inside = rng.permutation(inside)
        stop = max(1, len(inside) // FOLDS)
        splits.append(Split(inside[stop:], inside[:stop], test))
    return splits


def noise_ceiling(preferences: Sequence[Preference]) -> float:
    """The accuracy that no model can pass on these labels, from how often two annotators agree.

    Pairs with a third annotator are those on which the first two differed. nan where agreement is below a coin's.
    """
    judged = [p for p in preferences if p.num_annotators >= 2]
    if not judged:
        return math.nan
    agree = sum(p.num_annotators == 2 and p.reason == "unanimous" for p in judged) / len(judged)
    return accuracy_ceiling(agree) if agree >= 0.5 else math.nan


def tiers(rewards: np.ndarray, trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Rewards per tier, standardized within each task type, and how far neighbours in quality overlap.

    `overlap` of two tiers is the probability that a trajectory of the lower one beats one of the higher: 0 = apart,
    0.5 = the same.
    """
    z = standardized(rewards, trajectories)
    groups: dict[str, list[float]] = {}
    for value, trajectory in zip(z, trajectories, strict=True):
        groups.setdefault(trajectory.tier or trajectory.source, []).append(float(value))
    ranked = sorted(groups, key=lambda tier: -float(np.mean(groups[tier])))
    overlap = {
        f"{lower} over {higher}": float(np.mean(np.subtract.outer(groups[lower], groups[higher]) > 0))
        for i, higher in enumerate(ranked)
        for lower in ranked[i + 1 :]
    }
    return {"mean": {tier: float(np.mean(groups[tier])) for tier in ranked}, "overlap": overlap}


def _truth(rewards: np.ndarray, trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Rank correlations with the ground truth: per task type, and their mean."""
    from scipy.stats import kendalltau, spearmanr

    truth = ground_truth(trajectories)
    result: dict[str, Any] = {"spearman_by_task_type": {}, "kendall_by_task_type": {}}
    for task, rows in groups(trajectories).items():
        rows = rows[np.isfinite(truth[rows])]
        if len(rows) >= 3 and np.ptp(truth[rows]) > 0 and np.ptp(rewards[rows]) > 0:
            spearman: Any = spearmanr(rewards[rows], truth[rows])
            kendall: Any = kendalltau(rewards[rows], truth[rows])
            result["spearman_by_task_type"][task] = float(spearman.statistic)
            result["kendall_by_task_type"][task] = float(kendall.statistic)
    for name in ("spearman", "kendall"):
        values = list(result[f"{name}_by_task_type"].values())
        result[name] = float(np.mean(values)) if values else math.nan
    simulated = all(math.isfinite(t.true_return) for t in trajectories)
    return result | {"ground_truth": "simulator's return" if simulated else "quality score"}


def _hits(rewards: np.ndarray, pairs: Pairs) -> np.ndarray:
    """(M,) bool, one per pair that is no tie."""
    return right(rewards[pairs.a] - rewards[pairs.b], pairs.label)


def right(differences: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(M,) bool, one per pair that is no tie: whether the better one has the higher reward."""
    clear = labels != 0.5
    return (differences[clear] > 0) == (labels[clear] == 1.0)


def accuracy(hits: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Share with a 95 % bootstrap interval over pairs; Wilson's where all or none are right, or no pair is there:
    resampling four of four would claim certainty."""
    found = share(hits)
    if 0.0 < found["value"] < 1.0:
        samples = rng.binomial(len(hits), found["value"], DRAWS) / len(hits)
        found["low"], found["high"] = map(float, np.percentile(samples, [2.5, 97.5]))
    return found


def _by(pairs: Pairs, rewards: np.ndarray, labels: Sequence[str], rng: np.random.Generator) -> dict[str, Any]:
    names = np.array(labels)
    return {
        name: accuracy(_hits(rewards, pairs.take(np.flatnonzero(names == name))), rng)
        for name in sorted(set(labels))
        if name
    }
