"""What is kept of a frame: a pool's frames in, the mean and the directions out onto which the model projects them.

The directions are slow features (Wiskott & Sejnowski 2002): those combinations of the first principal components that
change least from one frame to the next, in relation to how much they change over a trajectory. Where the hand and the
object are changes steadily, and much else that an encoder reacts to jumps. Each view has its own.

In relation to the trajectory, and not to the pool as in the paper, so that what never changes within a trajectory is
not the slowest of all: its light, or where its camera stands. Measured in docs/reward_model.md. No label is looked at.
Pure numpy.
"""

from __future__ import annotations

import hashlib

import numpy as np

COMPONENTS = 64
"""Principal components among which slow features are looked for; where there are fewer than are kept, the principal
components themselves are kept. 32 and 128 did as well."""
LEAST = 1e-3
"""Of the first component's variance: others that have less are not looked at. Whatever is among them would be enlarged
thirty times and more, and with it what another encoding of the same video changes: with a network of random weights,
whose 64th component has 1e-5, that moved rewards by a tenth of their standard deviation. With ImageNet weights the 64th
has 3e-3 to 7e-3."""
WITHIN = 0.5
"""Share of the frames' variance that must be within trajectories, or principal components are kept. Fixed cameras had
0.62 to 0.75; where camera and light were others in each episode it was 0.35 to 0.45, and slow features did worse."""
STEPS_PER_COMPONENT = 2
"""With fewer steps from a frame to the next, some combination is slow by chance."""
FLOOR = 1e-3
"""Added to the variance of a step, of components of variance 1: what hardly changes is not slow for that."""

_last: tuple[str, tuple[np.ndarray, np.ndarray]] | None = None
"""Digest of the last frames that `fit_projection` was given, and its result. Validation fits many models on one pool,
and with 1280 features per frame the eigenvectors took as long as a fifth of a fit."""


def fit_projection(
    frames: np.ndarray, lengths: np.ndarray, count: int, views: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (V·D,) and directions (V·D, P); computed once for calls with the same arguments in a row.

    Args:
        frames: (N, V·D) float32, whole trajectories one after the other; nan where a view is missing.
        lengths: Frames of each trajectory.
        count: P, of all views together.
        views: V; each has P / V directions of its own frames.
    """
    global _last
    told = repr((frames.shape, lengths.tolist(), count, views, COMPONENTS)).encode()
    digest = hashlib.sha256(told + np.ascontiguousarray(frames).data).hexdigest()
    if _last is None or _last[0] != digest:
        _last = digest, _of_each_view(frames, np.repeat(np.arange(len(lengths)), lengths), count, views)
    return _last[1]


def _of_each_view(frames: np.ndarray, owner: np.ndarray, count: int, views: int) -> tuple[np.ndarray, np.ndarray]:
    mean, directions = np.zeros(frames.shape[1], np.float32), np.zeros((frames.shape[1], count), np.float32)
    size, kept = frames.shape[1] // views, count // views
    for view in range(views):
        place, columns = slice(view * size, (view + 1) * size), slice(view * kept, (view + 1) * kept)
        own = frames[:, place]
        there = np.isfinite(own).all(axis=1)
        if there.any() and size and kept:
            mean[place], found = _directions(own[there].astype(np.float64), owner[there], kept)
            directions[place, columns][:, : found.shape[1]] = found
    return mean, directions


def _directions(frames: np.ndarray, owner: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and at most `count` directions; fewer where the frames vary in fewer ways, none where they do not."""
    mean = frames.mean(axis=0)
    centred = frames - mean
    variance, vectors = np.linalg.eigh(centred.T @ centred / len(frames))
    order = np.argsort(variance)[::-1]
    order = order[variance[order] > 1e-9 * max(1.0, float(np.abs(mean).max()) ** 2)]
    variance, vectors = variance[order], vectors[:, order]
    return mean, _signed(_slow(centred, owner, variance, vectors, count))


def _slow(centred: np.ndarray, owner: np.ndarray, variance: np.ndarray, vectors: np.ndarray, count: int) -> np.ndarray:
    """(D, ≤ count) the slowest directions, or principal ones where the frames do not tell what is slow.

    The first has variance 1 over the pool. The others have less: slow features by as much as they are quicker, and
    principal components as they are. Both are priors: what jumps, or varies little, is believed to matter little. On
    260 of the benchmark's episodes (442 pairs to train on, 12 steps, hidden 32, no bootstrap; ten seeds that it does
    not use) principal components of a random network's frames, scaled to variance 1 each, gave 0.862; as they are,
    0.871; none, 0.867.
    """
    principal = vectors[:, :count] / np.sqrt(variance[:1])
    step = owner[1:] == owner[:-1]
    heard = int((variance >= LEAST * variance[:1]).sum())
    most = min(COMPONENTS, int(step.sum()) // STEPS_PER_COMPONENT, heard)
    if most < min(count, len(variance)) or not len(variance):
        return principal
    white = vectors[:, :most] / np.sqrt(variance[:most])
    scores = centred @ white
    steps, own = np.diff(scores, axis=0)[step], _about_own_mean(scores, owner)
    change = own.T @ own / len(own)
    if np.diag(change) @ variance[:most] < WITHIN * variance[:most].sum():
        return principal
    # eigenvectors of (steps)^-1 (change), by the root of the first
    root = np.linalg.inv(np.linalg.cholesky(steps.T @ steps / len(steps) + FLOOR * np.eye(most)))
    slowness, found = np.linalg.eigh(root @ change @ root.T)
    slowness, found = slowness[::-1][:count], root.T @ found[:, ::-1][:, :count]
    size = np.sqrt(np.maximum(slowness, 0.0) / slowness[0])
    return white @ (found / np.linalg.norm(found, axis=0) * size)


def _about_own_mean(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """(N, C) less the mean of each trajectory's own rows."""
    start = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    length = np.diff(np.r_[start, len(owner)])
    return values - np.repeat(np.add.reduceat(values, start) / length[:, None], length, axis=0)


def _signed(directions: np.ndarray) -> np.ndarray:
    """Eigenvectors have no sign of their own: fix it, so that the same pool gives the same projection everywhere."""
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])]
    return directions * np.where(largest < 0, -1.0, 1.0)
