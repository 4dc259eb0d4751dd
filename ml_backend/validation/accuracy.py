"""Is the reward model to be trusted? Ranking accuracy, calibration, agreement with the ground truth, tiers, probes.

A model, its split and the pool come in; one dictionary of figures comes out, which `loop.train` writes as
validation.json. Every figure says what it was measured on:

- `ranking_accuracy`: the test pairs, never trained on; their trajectories may be in training pairs
- `calibration_on_test`: the same test pairs, by the model as it is kept, after its temperatures
- `cross_validated`, `calibration`, `ties`: every pair, by a model that was not trained on it: the test pairs by the
  model itself, each other pair by a fold model (`fit_folds`); steadier, because they rest on all pairs
- `by_task`: the same of each task type, of pools with several
- `audit`, `not_chosen`: of these, the uniform audit arm, and all that no selection rule chose (`audited`)
- `unseen_trajectories`: pairs of which neither trajectory was in any training pair
- `noise_ceiling`: what a model would score on all labels that always knows the better one (`ceiling`)
- `spearman`, `kendall`: with the simulator's return (or the ground-truth quality) over the whole pool, per task type
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from importer.pairs.batches import REPLACEMENT
from ml_backend.reward.dataset import Known, Pairs, Split, pair_folds, right, trajectory_folds
from ml_backend.reward.features import FeatureFiles, Features, FeatureViews
from ml_backend.reward.layout import Placed
from ml_backend.reward.model import ModelSpec
from ml_backend.reward.train import Trained, train_model
from ml_backend.reward.weak import seen_an_epoch
from ml_backend.validation.learning_curve import TARGETS
from ml_backend.validation.probes import correlations, ground_truth, groups, measures, standardized
from ml_backend.validation.temperature import Temperatures, calibrated, calibration, temperatures
from preference.config import Reward
from preference.errors import UserError
from preference.records import Preference, Trajectory
from preference.work import HERE, Workers, parallel_map
from qc_reports.agreement.ceiling import noise_ceiling
from qc_reports.answers import Answered

DRAWS = 1000
IN_PROCESS = 250_000
"""Pairs times epochs, over all trainings, below which processes save less than it takes to start them: about a minute
of one core."""


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
    answers: Sequence[Answered] = (),
    known: Sequence[Known] = (),
    workers: Workers = HERE,
) -> dict[str, Any]:
    """All figures of one model.

    Args:
        answers: Of which `preferences` were made, for the noise ceiling.
        known: Of each trajectory, whether and when it succeeded, as the model knew it.
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
    same = np.minimum(pairs.a, pairs.b) * len(trajectories) + np.maximum(pairs.a, pairs.b)
    fitted = np.sort(np.concatenate([split.train, split.validation]))
    crossed, unseen = pair_folds(fitted, rng, same), trajectory_folds(pairs, len(trajectories), rng)
    splits = [*crossed, *unseen]
    seeds, spec = [seed] * len(splits), trained.model.spec
    found = fit_folds(features, pairs, spec, reward, splits, seeds, known, workers=workers)
    differences = np.full(len(pairs), math.nan)
    for fold, own in zip(crossed, found, strict=False):
        differences[fold.test] = own * _unit(rewards[compared(pairs)], reward)
    differences[split.test] = rewards[test.a] - rewards[test.b]
    judged = np.isfinite(differences)  # of fewer than three pairs to learn from, no fold can be left out
    of_pair = np.array([tasks[i] for i in pairs.a])
    apart = trained.model.tasks_apart
    cooled, slips = calibrated(differences, pairs.label, of_pair, [*crossed, split], reward, apart)
    divided = temperatures(differences[fitted], pairs.label[fitted], of_pair[fitted], reward, apart)
    hits = [right(own, pairs.label[fold.test]) for fold, own in zip(unseen, found[len(crossed) :], strict=True)]
    return {
        "ranking_accuracy": accuracy(_hits(rewards, test), rng),
        "target": TARGETS["multi_task" if multi else "single_task"],
        "by_stratum": _by(test, rewards, [strata.get(pair_id, "") for pair_id in test.pair_ids], rng),
        "by_task_type": _by(test, rewards, [tasks[i] for i in test.a], rng),
        "ties_in_test": int((test.label == 0.5).sum()),
        "cross_validated": accuracy(right(differences[judged], pairs.label[judged]), rng),
        **audited(differences, pairs.label, [(strategies or {}).get(pair_id, "") for pair_id in pairs.pair_ids]),
        "calibration": calibration(cooled, pairs.label, slips) | {"temperature": divided.shared, "slip": divided.slip},
        "by_task": by_task(cooled, slips, pairs.label, of_pair, divided, rng) if multi else {},
        "calibration_on_test": calibration(cooled[split.test], test.label, slips[split.test]),
        "ties": ties(differences, pairs.label),
        "unseen_trajectories": accuracy(np.concatenate([np.zeros(0, bool), *hits]), rng),
        "noise_ceiling": noise_ceiling(preferences, answers, rng),
        **_truth(rewards, trajectories),
        "tiers": tiers(rewards, trajectories),
        "probes": correlations(rewards, trajectories, measures(features, trajectories)),
        "best_epoch": trained.best_epoch,
        "epochs": trained.epochs,
        "pairs": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
    }


def tiers(rewards: np.ndarray, trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Rewards per tier, standardized within each task type, and how far neighbours in quality overlap.

    `overlap` of two tiers is the probability that a trajectory of the lower one beats one of the higher: 0 = apart,
    0.5 = the same. `random_over_expert` is that of the two ends, nan where one is missing.
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
    apart = {"expert", "random"} <= groups.keys()
    random_over_expert = (
        float(np.mean(np.subtract.outer(groups["random"], groups["expert"]) > 0)) if apart else math.nan
    )
    mean = {tier: float(np.mean(groups[tier])) for tier in ranked}
    return {"mean": mean, "overlap": overlap, "random_over_expert": random_over_expert}


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


@dataclass(frozen=True)
class Fold:
    """What to train on, what to stop by, what to judge by, and the seed."""

    number: int
    split: Split
    seed: int


@dataclass(frozen=True)
class _Fit:
    features: Sequence[Features]
    pairs: Pairs
    spec: ModelSpec
    reward: Reward
    known: Sequence[Known]

    def __call__(self, fold: Fold) -> tuple[int, np.ndarray]:
        trained = train_model(
            self.features, self.pairs, fold.split, self.spec, self.reward, seed=fold.seed, known=self.known
        )
        rows = compared(self.pairs)
        rewards, _ = trained.model.score([self.features[i] for i in rows])
        test = self.pairs.take(fold.split.test)
        a, b = np.searchsorted(rows, test.a), np.searchsorted(rows, test.b)
        return fold.number, (rewards[a] - rewards[b]) / _unit(rewards, self.reward)


def compared(pairs: Pairs) -> np.ndarray:
    """The trajectories of any pair, in order."""
    return np.unique(np.concatenate([pairs.a, pairs.b]))


def _unit(rewards: np.ndarray, reward: Reward) -> float:
    """A model's own: the standard deviation of its rewards. Where training stopped decides how large they are, so
    another model's probabilities tell something of it only in this unit; but with Davidson's ties ν goes with them."""
    return 1.0 if reward.ties == "davidson" else max(float(rewards.std()), 1e-9)


def fit_folds(
    features: Sequence[Features],
    pairs: Pairs,
    spec: ModelSpec,
    reward: Reward,
    splits: Sequence[Split],
    seeds: Sequence[int],
    known: Sequence[Known] = (),
    *,
    workers: Workers = HERE,
    description: str = "Validating",
) -> list[np.ndarray]:
    """r_a − r_b of each split's test pairs, by a model that was trained on its training pairs; in the unit of that
    model, the standard deviation of its rewards over all trajectories compared (with Davidson's ties as they are).

    One training keeps one core busy, so several run at once, each in a process of its own; where they run changes no
    weight.

    Args:
        known: Of each trajectory, whether and when it succeeded; not looked at where the reward counts no progress.

    Raises:
        UserError: what `train_model` raises.
    """
    folds = [Fold(n, split, seed) for n, (split, seed) in enumerate(zip(splits, seeds, strict=True))]
    few = sum(_pairs_an_epoch(len(fold.split.train), pairs) for fold in folds) * reward.epochs < IN_PROCESS
    found: dict[int, np.ndarray] = {}
    whole = features
    while isinstance(whole, FeatureViews | Placed):
        whole = whole.whole if isinstance(whole, FeatureViews) else whole.recorded
    files = whole.paths if isinstance(whole, FeatureFiles) else ()
    workers = HERE if few else workers
    fit = _Fit(features, pairs, spec, reward, known if spec.progress else ())
    for _, result in parallel_map(fit, folds, workers=workers, description=description, reads=files):
        if isinstance(result, UserError):
            raise result
        number, differences = result
        found[number] = differences
    return [found[fold.number] for fold in folds]


def _pairs_an_epoch(labelled: int, pairs: Pairs) -> int:
    """How many a training goes through, weak ones with them."""
    return labelled + (seen_an_epoch(labelled) if pairs.quartiles else 0)


def audited(differences: np.ndarray, labels: np.ndarray, strategies: Sequence[str]) -> dict[str, dict[str, float]]:
    """`audit` and `not_chosen`, each with value, low, high (95 %) and pairs; ties are left out.

    A rule asks what the model gets wrong half of the time, so accuracy over all answers falls as rounds go on although
    the model gets better. Two sets are free of that: the audit arm (a tenth of each active round, uniform over all
    pairs not asked yet), and with it the stratified batches.

    Args:
        differences: (N,) r_a − r_b, by models not trained on the pair.
        labels: (N,) 1.0 (A), 0.0 (B), 0.5 (tie).
        strategies: The rule that chose each pair; empty for those of stratified batches, which may hold replacements.
    """
    known = np.isfinite(differences) & (labels != 0.5)
    hits = (differences > 0) == (labels == 1.0)
    rules = np.array(strategies, dtype=str)
    sets = {"audit": rules == "uniform", "not_chosen": np.isin(rules, ["", "uniform", REPLACEMENT])}
    return {name: share(hits[rows & known]) for name, rows in sets.items()}


def share(hits: np.ndarray) -> dict[str, float]:
    """Share of the true ones with Wilson's 95 % interval (1927), which is honest for five of five as well."""
    from scipy.stats import binomtest

    n = len(hits)
    if not n:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "pairs": 0}
    interval = binomtest(int(hits.sum()), n).proportion_ci(method="wilson")
    return {"value": float(hits.mean()), "low": float(interval.low), "high": float(interval.high), "pairs": n}


def by_task(
    cooled: np.ndarray,
    slips: np.ndarray,
    labels: np.ndarray,
    tasks: np.ndarray,
    divided: Temperatures,
    rng: np.random.Generator,
) -> dict[str, dict[str, Any]]:
    """Task type → its accuracy, its calibration, and the `temperature` that the model divides its rewards by: above the
    shared one, the model was too sure of this task.

    Args:
        cooled, slips: (N,) as `calibrated` gives them.
    """
    found = {}
    for task in np.unique(tasks).tolist():
        own = (tasks == task) & np.isfinite(cooled)
        found[task] = {
            "accuracy": accuracy(right(cooled[own], labels[own]), rng),
            "calibration": calibration(cooled[own], labels[own], slips[own]),
            "temperature": float(divided.of(np.array([task]))[0]),
            "shared_temperature": divided.shared,
        }
    return found


def ties(differences: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Whether pairs that people called equal lie closer together than the others: `auc` is the probability that a
    tie's |r_a − r_b| is the smaller one; ½ says that the model does not know ties."""
    known = np.isfinite(differences)
    sizes, tie = np.abs(differences[known]), labels[known] == 0.5
    if tie.all() or not tie.any():
        return {"pairs": int(tie.sum()), "auc": float("nan")}
    less = np.subtract.outer(sizes[tie], sizes[~tie])
    return {"pairs": int(tie.sum()), "auc": float(np.mean(less < 0) + 0.5 * np.mean(less == 0))}
