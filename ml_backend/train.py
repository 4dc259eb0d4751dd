"""Training: features and preferences in, a reward model and its split out.

The ensemble is trained as one computation: members share the inputs and differ in their initial weights and in a
bootstrap weight per pair. Adam with a cosine schedule; of the epochs whose ranking accuracy on validation pairs is
within a standard error of the best, the one with the lowest validation loss is kept. The same seed gives the same
weights on a CPU.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.dataset import Pairs, collate, fit_normalization
from preference.config import Reward
from preference.errors import DataError, NotReady

if TYPE_CHECKING:
    import torch

    from ml_backend.features import Features
    from ml_backend.reward_model import ModelSpec, RewardModel

SPLITS = ("train", "validation", "test")
SHARES = (0.70, 0.15, 0.15)
"""Of the pairs; the protocol's."""


@dataclass(frozen=True)
class Split:
    """Rows of a `Pairs`, by what they are for."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Trained:
    """A reward model and how it came about."""

    model: RewardModel
    epochs: int
    """Epochs that were run."""
    best_epoch: int
    curves: dict[str, list[float]] = field(default_factory=dict)
    """Per epoch: `train_loss`, `validation_loss`, `validation_accuracy`."""


def split_pairs(pair_ids: Sequence[str], seed: int) -> Split:
    """70/15/15, decided by a hash of each pair's id: a pair keeps its place when later rounds add others, so a test
    pair of today is never a training pair of tomorrow. The shares are met in expectation."""
    draws = np.array([_fraction(f"{seed} {pair_id}") for pair_id in pair_ids])
    first, second = SHARES[0], SHARES[0] + SHARES[1]
    return Split(
        np.flatnonzero(draws < first),
        np.flatnonzero((draws >= first) & (draws < second)),
        np.flatnonzero(draws >= second),
    )


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def check_labels(pairs: Pairs, minimum: int) -> None:
    """Refuse what nothing can be learned from.

    Raises:
        NotReady: too few pairs, or all of them ties.
    """
    if len(pairs) < minimum:
        raise NotReady(
            f"{len(pairs)} pairs have a label; training needs at least {minimum}.",
            fix="Ask more pairs, or lower reward.min_preferences.",
        )
    if not (pairs.label != 0.5).any():
        raise NotReady(f"All {len(pairs)} labelled pairs are ties: nothing says which behaviour is better.")


def train_model(
    features: Sequence[Features],
    pairs: Pairs,
    split: Split,
    spec: ModelSpec,
    reward: Reward,
    *,
    seed: int,
    on_epoch: Callable[[int], Any] = lambda _: None,
) -> Trained:
    """Fit an ensemble to the training pairs.

    Args:
        features: Of the whole pool; the normalization is measured on all of them, no label is looked at.
        pairs: Indices into `features`.
        on_epoch: Called after each epoch with 1.

    Raises:
        DataError: trajectories differ in their number of action or state values.
    """
    with _one_thread():
        return _fit(features, pairs, split, spec, reward, seed, on_epoch)


def _fit(
    features: Sequence[Features],
    pairs: Pairs,
    split: Split,
    spec: ModelSpec,
    reward: Reward,
    seed: int,
    on_epoch: Callable[[int], Any],
) -> Trained:
    import torch

    from ml_backend.reward_model import RewardModel

    _check_sizes(features, spec)
    rng = np.random.default_rng(seed)
    model = RewardModel(spec, torch.Generator().manual_seed(seed))
    model.set_normalization(fit_normalization(features, spec.projection, rng))
    frames, actions, state, mask = (torch.from_numpy(array) for array in collate(features))
    inputs = model.normalize(frames, actions, state).detach()
    steps = max(1, math.ceil(len(split.train) / reward.batch_pairs))
    optimizer = torch.optim.Adam(model.parameters(), lr=reward.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, reward.epochs * steps)
    bootstrap = rng.poisson(1.0, (spec.members, len(pairs))).astype(np.float32)
    curves: dict[str, list[float]] = {"train_loss": [], "validation_loss": [], "validation_accuracy": []}
    best, best_epoch, epoch = _weights(model), 0, 0
    for epoch in range(1, reward.epochs + 1):
        order = rng.permutation(split.train)
        losses = []
        for rows in np.array_split(order, steps):
            loss = _loss(model, inputs, mask, pairs, rows, reward, torch.from_numpy(bootstrap[:, rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        with torch.no_grad():
            validation = _loss(model, inputs, mask, pairs, split.validation, reward, None).item()
            accuracy = ranking_accuracy(_pool_rewards(model, inputs, mask), pairs.take(split.validation))
        for name, value in zip(curves, (float(np.mean(losses)), validation, accuracy), strict=True):
            curves[name].append(value)
        on_epoch(1)
        if is_better(curves, best_epoch, len(split.validation)):
            best, best_epoch = _weights(model), epoch
        elif epoch - best_epoch >= reward.patience:
            break
    model.load_state_dict(best)
    with torch.no_grad():
        model.offset += model.rewards(model.embed(inputs, mask)).mean(dim=1)
    return Trained(model.eval(), epoch, best_epoch, curves)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A step's matrices are small, so threads cost more than they bring: on two idle cores 30 epochs on the sample pool
    took 1.7 s with one thread and 2.3 s with two, and 6 s against 32 s beside another busy process. It also makes the
    weights the same on machines with different numbers of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_better(curves: dict[str, list[float]], best_epoch: int, pairs: int) -> bool:
    """Whether the newest epoch takes the place of `best_epoch` (from 1; 0 = none yet).

    Thirty pairs tell an accuracy to within 0.07, so its highest value is often luck, and was seen at epoch 1 or 2: the
    ranking was as good as later, but rewards were up to 20 times too small for σ(r_a − r_b) to be a probability.
    Without validation pairs nothing tells epochs apart, and the last one is kept.
    """
    accuracy, loss = curves["validation_accuracy"], curves["validation_loss"]
    if best_epoch == 0 or not pairs:
        return True
    if not math.isfinite(accuracy[-1]):  # nothing but ties
        return loss[-1] < loss[best_epoch - 1]
    top = max(accuracy)
    good_enough = top - math.sqrt(top * (1.0 - top) / pairs)
    return accuracy[-1] >= good_enough and (loss[-1] < loss[best_epoch - 1] or accuracy[best_epoch - 1] < good_enough)


def ranking_accuracy(rewards: np.ndarray, pairs: Pairs) -> float:
    """Share of the pairs, ties left out, whose better trajectory has the higher reward; nan where all are ties.

    Args:
        rewards: (N,) one reward per trajectory.
    """
    clear = pairs.label != 0.5
    if not clear.any():
        return math.nan
    x = rewards[pairs.a[clear]] - rewards[pairs.b[clear]]
    return float(np.mean((x > 0) == (pairs.label[clear] == 1.0)))


def _loss(
    model: RewardModel,
    inputs: torch.Tensor,
    mask: torch.Tensor,
    pairs: Pairs,
    rows: np.ndarray,
    reward: Reward,
    bootstrap: torch.Tensor | None,
) -> torch.Tensor:
    """Weighted mean over pairs, summed over members. Each trajectory of the batch is embedded once."""
    import torch

    from ml_backend.losses import pair_loss

    if not len(rows):
        return torch.zeros(())
    used, places = np.unique(np.concatenate([pairs.a[rows], pairs.b[rows]]), return_inverse=True)
    chosen = torch.from_numpy(used)
    rewards = model.rewards(model.embed(inputs[chosen], mask[chosen]))
    a, b = (torch.from_numpy(half) for half in np.split(places.reshape(-1), 2))
    label = torch.from_numpy(pairs.label[rows]).to(rewards.dtype)
    weight = torch.from_numpy(pairs.weight[rows]).to(rewards.dtype)
    if bootstrap is not None:
        weight = weight * bootstrap
    losses = pair_loss(rewards[:, a] - rewards[:, b], label, model.log_nu, reward.ties, reward.margin)
    return (losses * weight).mean(dim=1).sum()


def _pool_rewards(model: RewardModel, inputs: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    return model.rewards(model.embed(inputs, mask)).mean(dim=0).double().numpy()


def _weights(model: RewardModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _check_sizes(features: Sequence[Features], spec: ModelSpec) -> None:
    for name, expected in (("actions", len(spec.action_names)), ("state", len(spec.state_names))):
        sizes = {getattr(item, name).shape[1] for item in features}
        if sizes != {expected}:
            raise DataError(
                f"{name}: expected {expected} values in every trajectory, found {sorted(sizes)}.",
                fix=f"Pool only robots of one kind, or leave {name} out of reward.inputs.",
            )
