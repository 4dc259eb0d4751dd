"""From features and preferences to arrays: padded batches, normalization, and pairs by index.

Pure numpy; what training, scoring and validation share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ml_backend.reward.features import Features
from ml_backend.reward.judgments import Judgments
from preference.errors import DataError
from preference.records import Preference

FITTED_FRAMES = 20_000
"""Frames that the principal components are fitted on; more change them by less than the labels' noise."""


@dataclass(frozen=True)
class Normalization:
    """What the model subtracts and multiplies with, measured on the training pool."""

    frame_mean: np.ndarray
    """(D,) float32."""
    frame_projection: np.ndarray
    """(D, P) float32: principal directions, all scaled alike, so that the first component has variance 1."""
    action_mean: np.ndarray
    """(A,) float32."""
    action_scale: np.ndarray
    """(A,) float32: 1 / standard deviation; 0 for a constant column, which tells nothing."""
    state_mean: np.ndarray
    """(S,) float32."""
    state_scale: np.ndarray
    """(S,) float32."""


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

    def __len__(self) -> int:
        return len(self.pair_ids)

    def take(self, rows: np.ndarray) -> Pairs:
        """Some of them, without single answers."""
        ids = tuple(self.pair_ids[i] for i in rows)
        return Pairs(ids, self.a[rows], self.b[rows], self.label[rows], self.weight[rows])


def collate(features: Sequence[Features]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames (B, T, D), actions (B, T, A) and state (B, T, S), all float32 and padded with zeros, and mask (B, T)."""
    features = list(features)
    longest = max(len(item) for item in features)
    mask = np.zeros((len(features), longest), dtype=bool)
    padded = []
    for name in ("frames", "actions", "state"):
        size = getattr(features[0], name).shape[1]
        out = np.zeros((len(features), longest, size), dtype=np.float32)
        for row, item in enumerate(features):
            out[row, : len(item)] = getattr(item, name)
        padded.append(out)
    for row, item in enumerate(features):
        mask[row, : len(item)] = True
    return padded[0], padded[1], padded[2], mask


def fit_normalization(features: Sequence[Features], projection: int, rng: np.random.Generator) -> Normalization:
    """Means, scales and principal directions over the steps of the pool; no label is looked at.

    Args:
        projection: P, how many principal components of the frame features are kept.
        rng: Draws the frames that they are fitted on, where the pool has more than enough.
    """
    # copies: a view would keep its file open
    both = [(np.array(item.actions), np.array(item.state)) for item in features]
    action_mean, action_scale = _standardization([actions for actions, _ in both])
    state_mean, state_scale = _standardization([state for _, state in both])
    frame_mean, directions = _principal(_some_frames(features, rng), projection)
    return Normalization(frame_mean, directions, action_mean, action_scale, state_mean, state_scale)


def _some_frames(features: Sequence[Features], rng: np.random.Generator) -> np.ndarray:
    """(≤ FITTED_FRAMES, D) float32; only those are read from the disk."""
    ends = np.cumsum([len(item) for item in features])
    if ends[-1] <= FITTED_FRAMES:
        return np.concatenate([item.frames for item in features]).astype(np.float32)
    drawn = np.sort(rng.choice(ends[-1], FITTED_FRAMES, replace=False))
    parts = np.split(drawn, np.searchsorted(drawn, ends[:-1]))
    starts = [0, *ends[:-1]]
    return np.concatenate(
        [item.frames[rows - start] for item, rows, start in zip(features, parts, starts, strict=True) if len(rows)]
    ).astype(np.float32)


def check_features(
    features: Sequence[Features], names: Sequence[str], sizes: Mapping[str, int], inputs: Sequence[str]
) -> None:
    """Refuse what nothing can be learned from, before anything is.

    Args:
        names: trajectory_id of each, for the message.
        sizes: Values per step that frames, actions and state should have.
        inputs: Which of these the model uses.

    Raises:
        DataError: trajectories differ in their number of values, hold nan or infinity, have no step, or an input that
            the model uses is the same in every step of every trajectory.
    """
    low, high = {}, {}
    for item, trajectory in zip(features, names, strict=True):
        if not len(item):
            raise DataError(f"{trajectory}: it has no step.", fix="Leave it out of the pool.")
        for name, size in sizes.items():
            if (found := getattr(item, name).shape[1]) != size:
                raise DataError(
                    f"{trajectory}, {name}: expected {size} values in every step, as {names[0]} has; found {found}.",
                    fix="Pool only robots of one kind.",
                )
        for name in inputs:
            # ten times faster than looking for the extremes of half-precision values
            values = np.asarray(getattr(item, name), dtype=np.float32)
            least, most = values.min(axis=0), values.max(axis=0)
            if not (np.isfinite(least).all() and np.isfinite(most).all()):
                raise DataError(
                    f"{trajectory}, {name}: holds nan or infinity.", fix="Correct the dataset, or leave it out."
                )
            low[name] = np.minimum(low.get(name, least), least)
            high[name] = np.maximum(high.get(name, most), most)
    for name in inputs:
        if sizes[name] and (low[name] == high[name]).all():
            raise DataError(
                f"{name}: the same in every step of all {len(features)} trajectories.",
                fix=f"See what the dataset holds there, or leave {name} out of reward.inputs.",
            )


def _standardization(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    values = np.concatenate(parts).astype(np.float64)
    mean, sd = values.mean(axis=0), values.std(axis=0)
    constant = sd <= 1e-6 * np.maximum(1.0, np.abs(mean))
    scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, sd))
    return mean.astype(np.float32), scale.astype(np.float32)


def _principal(frames: np.ndarray, projection: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and directions (D, P); directions beyond the rank are 0, and so are all of constant frames.

    Components keep their relative size, which is a prior: what varies little in the pictures is believed to matter
    little. On 260 of the benchmark's episodes (442 pairs to train on, 12 steps, hidden 32, no bootstrap; ten seeds that
    it does not use) a random network's frames, scaled to variance 1 each, gave 0.862; as they are, 0.871; none, 0.867.
    """
    size = frames.shape[1]
    if size == 0:
        return np.zeros(0, np.float32), np.zeros((0, projection), np.float32)
    mean = frames.mean(axis=0, dtype=np.float64)
    centred = frames.astype(np.float64) - mean
    variance, vectors = np.linalg.eigh(centred.T @ centred / max(1, len(frames)))
    order = np.argsort(variance)[::-1][:projection]
    variance, vectors = variance[order], vectors[:, order]
    # eigenvectors have no sign of their own: fix it, so that the same pool gives the same projection everywhere
    vectors *= np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(order))] < 0, -1.0, 1.0)
    kept = variance > 1e-9 * max(1.0, float(np.abs(mean).max()) ** 2)
    directions = np.zeros((size, projection))
    if kept.any():
        directions[:, : len(order)][:, kept] = vectors[:, kept] / np.sqrt(variance[0])
    return mean.astype(np.float32), directions.astype(np.float32)


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
