"""Labels as arrays, and their splits: preferences (or single judgments) in, `Pairs` and `Split` out. Pure numpy.

Single judgments are for training that learns how reliable each annotator is (Crowd-BT, Chen et al. 2013). Both ways of
training see the same pairs and the same split: those that have a label of their own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preference.errors import DataError, NotReady
from preference.records import LABELS, Preference, Trajectory
from qc_reports.answers import Answered

SPLITS = ("train", "validation", "test")
SHARES = (0.70, 0.15, 0.15)
"""Of the pairs; the protocol's."""
FOLDS = 5
TRAJECTORY_FOLDS = 3
"""Of trajectories: a third held out leaves a ninth of the pairs with both ends unseen, in each of three trainings."""
UNSAID = 3.0
"""Confidence of an answer that came without: the middle of 1 to 5."""


@dataclass(frozen=True)
class Judgments:
    """M answers, in the order of their pairs."""

    annotators: tuple[str, ...]
    start: np.ndarray
    """(N + 1,) int64: the answers to pair i are start[i] to start[i + 1]."""
    annotator: np.ndarray
    """(M,) int64, into `annotators`."""
    label: np.ndarray
    """(M,) float64: 1.0 (A), 0.0 (B), 0.5 (tie)."""
    weight: np.ndarray
    """(M,) float64, mean 1, proportional to the answer's own confidence."""

    def of(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the answers to `pairs`, and for each its place in `pairs`."""
        first, counts = self.start[pairs], np.diff(self.start)[pairs]
        place = np.repeat(np.arange(len(pairs)), counts)
        within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return first[place] + within, place


@dataclass(frozen=True)
class Quartiles:
    """What the pool's quality says of N trajectories."""

    quartile: np.ndarray
    """(N,) int64, 1 (worst) to 4 (best); 0 = not ranked."""
    task: np.ndarray
    """(N,) int64, the same for trajectories of one task type."""

    def steps(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """How many quartiles a is above b; 0 where that is not known, or means nothing between two task types."""
        told = (self.quartile[a] > 0) & (self.quartile[b] > 0) & (self.task[a] == self.task[b])
        return np.where(told, self.quartile[a] - self.quartile[b], 0)


@dataclass(frozen=True)
class Pairs:
    """Labelled pairs as arrays; a and b index a list of trajectories."""

    pair_ids: tuple[str, ...]
    a: np.ndarray
    """(N,) int64."""
    b: np.ndarray
    """(N,) int64."""
    label: np.ndarray
    """(N,) float64: 1.0 (A), 0.0 (B), 0.5 (tie)."""
    weight: np.ndarray
    """(N,) float64, mean 1, proportional to the mean confidence."""
    judgments: Judgments | None = None
    """The single answers, where training is to learn how reliable each annotator is."""
    quartiles: Quartiles | None = None
    """Of all trajectories, where training is to learn from these as well (`weak`)."""

    def __len__(self) -> int:
        return len(self.pair_ids)

    def take(self, rows: np.ndarray) -> Pairs:
        """Some of them, without single answers."""
        ids = tuple(self.pair_ids[i] for i in rows)
        return Pairs(ids, self.a[rows], self.b[rows], self.label[rows], self.weight[rows])


@dataclass(frozen=True)
class Known:
    """What is known of one trajectory."""

    success: bool | None
    """None: nobody knows, or those who should know contradict each other."""
    done: int | None = None
    """The step at which it was done, of one that succeeded; None where that is unknown."""
    task: str = ""


@dataclass(frozen=True)
class Split:
    """Rows of a `Pairs`, by what they are for."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def index_pairs(preferences: Sequence[Preference], position: Mapping[str, int]) -> Pairs:
    """The preferences that have a label, as arrays.

    Args:
        position: trajectory_id → its place in the list of features.

    Raises:
        DataError: a trajectory has no features, a label is none of 0, 0.5 and 1, or a confidence is no number.
    """
    labelled = [p for p in preferences if p.preference is not None]
    missing = sorted({t for p in labelled for t in (p.trajectory_a_id, p.trajectory_b_id) if t not in position})
    if missing:
        raise DataError(
            f"{len(missing)} compared trajectories have no features, the first is {missing[0]!r}.",
            fix="Run `robopref pool` and see failures.csv; their pairs cannot be trained on.",
        )
    for p in labelled:
        if p.preference not in (0.0, 0.5, 1.0):
            raise DataError(f"Pair {p.pair_id!r}, preference: expected 1.0, 0.0 or 0.5, found {p.preference!r}.")
        if not 0 < p.confidence_mean < float("inf"):
            raise DataError(f"Pair {p.pair_id!r}, confidence_mean: expected 1 to 5, found {p.confidence_mean!r}.")
    confidence = np.array([p.confidence_mean for p in labelled], dtype=np.float64)
    return Pairs(
        tuple(p.pair_id for p in labelled),
        np.array([position[p.trajectory_a_id] for p in labelled], dtype=np.int64),
        np.array([position[p.trajectory_b_id] for p in labelled], dtype=np.int64),
        np.array([p.preference for p in labelled], dtype=np.float64),
        confidence / confidence.mean() if len(confidence) else confidence,
    )


def index_quartiles(trajectories: Sequence[Trajectory]) -> Quartiles:
    """Of trajectories in the order that pairs index."""
    task = np.unique([t.task_type for t in trajectories], return_inverse=True)[1]
    return Quartiles(np.array([t.quartile for t in trajectories], dtype=np.int64), task)


def index_judgments(pair_ids: Sequence[str], answers: Iterable[Answered]) -> Judgments:
    """The answers to `pair_ids`; an annotator's second showing of a pair does not count."""
    position = {pair_id: i for i, pair_id in enumerate(pair_ids)}
    used = [answer for answer in answers if answer.pair_id in position and not answer.duplicate]
    used.sort(key=lambda answer: (position[answer.pair_id], answer.annotator_id))
    annotators = tuple(sorted({answer.annotator_id for answer in used}))
    number = {name: i for i, name in enumerate(annotators)}
    pairs = np.array([position[answer.pair_id] for answer in used], dtype=np.int64)
    confidence = np.array([UNSAID if a.confidence is None else a.confidence for a in used], dtype=np.float64)
    return Judgments(
        annotators,
        np.searchsorted(pairs, np.arange(len(pair_ids) + 1)).astype(np.int64),
        np.array([number[answer.annotator_id] for answer in used], dtype=np.int64),
        np.array([LABELS[answer.preference] for answer in used], dtype=np.float64),
        confidence / confidence.mean() if len(used) else confidence,
    )


def check_labels(labels: Sequence[float | None], minimum: int) -> None:
    """Refuse what nothing can be learned from.

    Args:
        labels: 1.0 (A), 0.0 (B), 0.5 (tie), or None where a pair has none.

    Raises:
        NotReady: too few labels, or all of them say the same.
    """
    known = [label for label in labels if label is not None]
    clear = [label for label in known if label != 0.5]
    if len(known) < minimum:
        raise NotReady(
            f"{len(known)} pairs have a label; training needs at least {minimum}.",
            fix="Ask more pairs, or lower reward.min_preferences.",
        )
    if not clear:
        raise NotReady(
            f"All {len(known)} labelled pairs are ties: nothing says which behaviour is better.",
            fix="Ask pairs that differ more: `robopref pairs` draws them from distant quartiles too.",
        )
    if len(clear) > 1 and len(set(clear)) == 1:
        ties = f" ({len(known) - len(clear)} ties aside)" if len(clear) < len(known) else ""
        raise NotReady(
            f"All {len(clear)} labelled pairs say {'A' if clear[0] else 'B'}{ties}: that says nothing about which "
            "behaviour is better.",
            fix="If the better trajectory was always on one side, swap the sides of half of the pairs.",
        )


def split_pairs(keys: Sequence[str], seed: int) -> Split:
    """70/15/15, decided by a hash of each pair's key: a pair keeps its place when later rounds add others, so a test
    pair of today is never a training pair of tomorrow. The shares are met in expectation."""
    draws = np.array([_fraction(f"{seed} {key}") for key in keys])
    first, second = SHARES[0], SHARES[0] + SHARES[1]
    return Split(
        np.flatnonzero(draws < first),
        np.flatnonzero((draws >= first) & (draws < second)),
        np.flatnonzero(draws >= second),
    )


def pair_keys(preferences: Sequence[Preference]) -> list[str]:
    """What `split_pairs` goes by for the labelled ones: the two trajectories, so that a pair that was asked twice, also
    under another id or the other way round, is in one split."""
    labelled = [p for p in preferences if p.preference is not None]
    return [" ".join(sorted((p.trajectory_a_id, p.trajectory_b_id))) for p in labelled]


def average_precision(scores: np.ndarray, success: np.ndarray) -> float:
    """Area under precision over recall, Σ (R_n − R_{n−1}) P_n over falling thresholds; equal scores are one threshold.
    nan where all or none succeeded.
    """
    total = int(success.sum())
    if total in (0, len(success)):
        return math.nan
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(success[order])
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision, recall = found[ends] / (ends + 1), found[ends] / total
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def pair_folds(rows: np.ndarray, rng: np.random.Generator, same: np.ndarray | None = None) -> list[Split]:
    """Each of `rows` is tested once, by a model that was neither trained on it nor stopped by it; fewer folds than
    `FOLDS` where there are fewer pairs.

    Args:
        rows: Of the pairs to deal to folds; no other is in any split.
        same: (N,) of all pairs, equal for those that are one pair asked twice: these are in one fold. None: none was.
    """
    _, place = np.unique(rows if same is None else same[rows], return_inverse=True)
    distinct = len(set(place.tolist()))
    drawn = np.array_split(rng.permutation(distinct), min(FOLDS, distinct))
    folds = [rows[np.isin(place, fold)] for fold in drawn]
    splits = []
    for number, held in enumerate(folds):
        stop = folds[(number + 1) % len(folds)]
        rest = [fold for fold in folds if fold is not held and fold is not stop]
        if rest:
            splits.append(Split(np.sort(np.concatenate(rest)), np.sort(stop), held))
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


def ranking_accuracy(rewards: np.ndarray, pairs: Pairs) -> float:
    """Share of the pairs, ties left out, whose better trajectory has the higher reward; nan where all are ties.

    Args:
        rewards: (N,) one reward per trajectory.
    """
    return share_right(rewards[pairs.a] - rewards[pairs.b], pairs.label)


def share_right(x: np.ndarray, label: np.ndarray) -> float:
    """The same from differences r_a − r_b and labels."""
    hits = right(x, label)
    return float(np.mean(hits)) if len(hits) else math.nan


def right(x: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(M,) bool, one per pair that is no tie: whether the better one has the higher reward, from x = r_a − r_b."""
    clear = label != 0.5
    return (x[clear] > 0) == (label[clear] == 1.0)


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
