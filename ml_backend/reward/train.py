"""Training: features and preferences in, a reward model and its split out.

The ensemble is trained as one computation: members share the inputs and differ in their initial weights and in a
bootstrap weight per pair. Adam with a cosine schedule; of the epochs whose ranking accuracy on validation pairs is
within a standard error of the best, the one with the lowest validation loss is kept. The same seed gives the same
weights on a CPU, also where the training was killed and went on from its checkpoint.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.reward.dataset import Pairs, check_features, fit_normalization
from preference.config import Reward
from preference.errors import NotReady
from preference.records import Preference

if TYPE_CHECKING:
    import torch

    from ml_backend.reward.features import Features
    from ml_backend.reward.model import ModelSpec, RewardModel

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
    reliability: dict[str, float] = field(default_factory=dict)
    """Annotator → probability that they mean what they say; empty unless it was learned."""


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


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


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
            f"All {len(clear)} labelled pairs say {'A' if clear[0] else 'B'}{ties}: that tells of the sides, not of "
            "the behaviour.",
            fix="If one side always had the better one by plan, swap the sides of half of the pairs.",
        )


def train_model(
    features: Sequence[Features],
    pairs: Pairs,
    split: Split,
    spec: ModelSpec,
    reward: Reward,
    *,
    seed: int,
    names: Sequence[str] = (),
    checkpoint: Path | None = None,
    on_epoch: Callable[[int], Any] = lambda _: None,
    on_curves: Callable[[int, dict[str, float]], Any] = lambda *_: None,
) -> Trained:
    """Fit an ensemble to the training pairs.

    Args:
        features: Of the whole pool; the normalization is measured on all of them, no label is looked at.
        pairs: Indices into `features`. Where they carry judgments, these are fitted instead of the votes, and each
            annotator's reliability with them.
        names: trajectory_ids, for messages; default: the places in `features`.
        checkpoint: Written after each epoch; where it exists, training goes on from there.
        on_epoch: Called with how many epochs were done: 1 after each, more at the start where some had been.
        on_curves: Called after each epoch with its number and its figures.

    Raises:
        DataError: the features are of different sizes, constant or no numbers; the checkpoint is broken or another's.
        NotReady: no pair is there to train on.
    """
    from ml_backend.reward.checkpoint import resume, save
    from ml_backend.reward.model import RewardModel
    from ml_backend.reward.trainer import Training

    if not len(split.train):
        reason = f"None of the {len(pairs)} labelled pairs is among the 70 % to train on."
        raise NotReady(reason, fix="Ask more pairs.")
    check_features(features, names or [f"trajectory {i}" for i in range(len(features))], spec.sizes, spec.inputs)
    with _one_thread():
        rng = np.random.default_rng(seed)
        model = RewardModel(spec, _generator(seed))
        model.set_normalization(fit_normalization(features, spec.projection, rng))
        run = Training(model, features, pairs, split, reward, rng)
        progress = Progress(_weights(model))
        key = run.key(seed) if checkpoint else ""
        if checkpoint and checkpoint.exists():
            found = resume(checkpoint, key)
            run.restore(found["training"])
            progress = Progress(**found["progress"])
            on_epoch(run.epoch)
        while not progress.finished(run.epoch, reward.epochs, reward.patience):
            progress.add(run.run_epoch(), *run.validate(), pairs.take(split.validation))
            progress.keep_if_better(lambda: _weights(model), len(split.validation))
            if checkpoint:
                save({"key": key, "training": run.state(), "progress": asdict(progress)}, checkpoint)
            on_curves(run.epoch, {name: values[-1] for name, values in progress.curves.items()})
            on_epoch(1)
        model.load_state_dict(progress.best)
        model.eval().centre(features)
    return Trained(model, run.epoch, progress.best_epoch, progress.curves, run.reliability())


@dataclass
class Progress:
    """The best weights, and the curves that chose them; it travels in the checkpoint."""

    best: dict[str, torch.Tensor]
    best_epoch: int = 0
    curves: dict[str, list[float]] = field(
        default_factory=lambda: {"train_loss": [], "validation_loss": [], "validation_accuracy": []}
    )

    def add(self, train_loss: float, validation_loss: float, x: np.ndarray, validation: Pairs) -> None:
        figures = (train_loss, validation_loss, share_right(x, validation.label))
        for name, value in zip(self.curves, figures, strict=True):
            self.curves[name].append(value)

    def keep_if_better(self, weights: Callable[[], dict[str, torch.Tensor]], pairs: int) -> None:
        """After `add`: `weights()` are the best so far where the newest epoch is the better one."""
        if is_better(self.curves, self.best_epoch, pairs):
            self.best, self.best_epoch = weights(), len(self.curves["train_loss"])

    def finished(self, epoch: int, epochs: int, patience: int) -> bool:
        return epoch >= epochs or (self.best_epoch > 0 and epoch - self.best_epoch >= patience)


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
    return share_right(rewards[pairs.a] - rewards[pairs.b], pairs.label)


def share_right(x: np.ndarray, label: np.ndarray) -> float:
    """The same from differences r_a − r_b and labels."""
    clear = label != 0.5
    return float(np.mean((x[clear] > 0) == (label[clear] == 1.0))) if clear.any() else math.nan


def _generator(seed: int) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(seed)


def _weights(model: RewardModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
