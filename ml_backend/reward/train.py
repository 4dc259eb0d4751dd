"""Training: features and preferences in, a reward model out.

The ensemble is trained as one computation: members share the inputs and differ in their initial weights and in a
bootstrap weight per pair. Adam with a cosine schedule; the epoch with the lowest validation loss is kept. The same seed
gives the same weights on a CPU, also where the training was killed and resumed from its checkpoint.

The inputs of the compared trajectories are normalized once and stay in memory; a step takes the trajectories of its
pairs from there, embeds each once for all members, and cuts the padding at the longest of them.

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from ml_backend.reward.checkpoint import TrainingState
from ml_backend.reward.dataset import Pairs, Split
from ml_backend.reward.features import Features, check_features, collate, fit_normalization
from ml_backend.reward.losses import crowd_loss, slipped_loss
from ml_backend.reward.model import ModelSpec, RewardModel
from preference.config import Reward
from preference.errors import NotReady

CHUNK = 256
"""Trajectories that are read from the disk at once."""
RELIABILITY_PRIOR = (8.0, 2.0)
"""Every annotator starts as if seen to be right 8 times and wrong 2: without an anchor, everybody lying about the
opposite reward would explain the answers just as well (Chen et al. 2013)."""
RELIABILITY_RATE = 30.0
"""Times the learning rate: a log odds has to travel some units in a few hundred steps, a weight some hundredths."""


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
    if not len(split.train):
        reason = f"None of the {len(pairs)} labelled pairs is among the 70 % to train on."
        raise NotReady(reason, fix="Ask more pairs.")
    check_features(features, names or [f"trajectory {i}" for i in range(len(features))], spec.sizes, spec.inputs)
    with _one_thread():
        rng = np.random.default_rng(seed)
        model = RewardModel(spec, torch.Generator().manual_seed(seed))
        model.set_normalization(fit_normalization(features, spec.projection, rng))
        run = Training(model, features, pairs, split, reward, rng)
        state, key = run.state, run.key(seed) if checkpoint else ""
        if checkpoint and checkpoint.exists():
            state.resume(checkpoint, key)
            on_epoch(state.epoch)
        while not state.finished(reward.epochs, reward.patience):
            run.run_epoch()
            if checkpoint:
                state.save(checkpoint, key)
            on_curves(state.epoch, {name: values[-1] for name, values in state.curves.items()})
            on_epoch(1)
        model.load_state_dict(state.best)
        model.eval().centre(features)
    return Trained(model, state.epoch, state.best_epoch, state.curves, run.reliability())


@contextmanager
def _one_thread() -> Iterator[None]:
    """A step's matrices are small, so threads cost more than they bring: on two idle cores 30 epochs on the sample pool
    took 1.7 s with one thread and 2.3 s with two, and 6 s against 32 s beside another busy process. It also makes the
    weights the same on machines with different numbers of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Training:
    """A reward model on its way.

    Args:
        model: With its normalization set.
        features: Of the pool; only those of compared trajectories are read.
        pairs, train: What to fit, and which rows of it.
        rng: Draws the bootstrap now, and the order of pairs in every epoch.
    """

    def __init__(
        self,
        model: RewardModel,
        features: Sequence[Features],
        pairs: Pairs,
        split: Split,
        reward: Reward,
        rng: np.random.Generator,
    ) -> None:
        self.model, self.pairs, self.split, self.reward = model, pairs, split, reward
        used = np.unique(np.concatenate([pairs.a, pairs.b]))
        self.a, self.b = np.searchsorted(used, pairs.a), np.searchsorted(used, pairs.b)
        self.inputs, self.mask = _inputs(model, features, used)
        self.lengths = self.mask.sum(dim=1)
        self.steps = max(1, math.ceil(len(split.train) / reward.batch_pairs))
        annotators = len(pairs.judgments.annotators) if pairs.judgments else 0
        right, wrong = RELIABILITY_PRIOR
        self.log_odds = nn.Parameter(torch.full((model.spec.members, annotators), math.log(right / wrong)))
        weights = [parameter for name, parameter in model.named_parameters() if name != "log_nu"]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": reward.weight_decay},
            {"params": [model.log_nu]},
        ]
        if annotators:
            groups.append({"params": [self.log_odds], "lr": RELIABILITY_RATE * reward.learning_rate})
        self.optimizer = torch.optim.Adam(groups, lr=reward.learning_rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, reward.epochs * self.steps)
        self.bootstrap = balanced_bootstrap(model.spec.members, len(pairs), rng)
        parts = {
            "annotators": nn.ParameterList([self.log_odds]),
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        self.state = TrainingState(model, parts, rng)

    def run_epoch(self) -> None:
        """All training pairs once, in a new order; then the epoch is judged on the validation pairs."""
        for rows in np.array_split(self.state.rng.permutation(self.split.train), self.steps):
            loss = self._training_loss(rows)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.state.losses.append(loss.item())
        self.state.finish_epoch(*self._validated(), self.pairs.label[self.split.validation])

    @torch.no_grad()
    def _validated(self) -> tuple[float, np.ndarray]:
        """The loss on the validation pairs, and the mean reward of a minus that of b, (V,)."""
        rows = self.split.validation
        if not len(rows):
            return 0.0, np.zeros(0)
        x = self._differences(rows)
        return self._vote_loss(x, rows, None).item(), x.mean(dim=0).double().numpy()

    def reliability(self) -> dict[str, float]:
        """Annotator → η, the probability that they mean what they say, mean over members; empty without Crowd-BT."""
        names = self.pairs.judgments.annotators if self.pairs.judgments else ()
        return dict(zip(names, torch.sigmoid(self.log_odds.detach()).mean(dim=0).tolist(), strict=True))

    def key(self, seed: int) -> str:
        """Of everything that the weights depend on."""
        digest = hashlib.sha256(json.dumps([self.model.spec.__dict__, self.reward.model_dump(), seed]).encode())
        arrays = [self.a, self.b, self.pairs.label, self.pairs.weight, self.split.train, self.split.validation]
        if self.pairs.judgments:
            judgments = self.pairs.judgments
            arrays += [judgments.start, judgments.annotator, judgments.label, judgments.weight]
        for array in [*arrays, self.inputs.numpy(), self.mask.numpy()]:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def _training_loss(self, rows: np.ndarray) -> torch.Tensor:
        """Weighted mean over pairs (or answers), summed over members."""
        x, drawn = self._differences(rows), torch.from_numpy(self.bootstrap[:, rows])
        judgments = self.pairs.judgments
        if judgments is None:
            return self._vote_loss(x, rows, drawn)
        answers, place = judgments.of(rows)
        if not len(answers):
            return x.sum() * 0.0
        label, weight = (torch.from_numpy(v[answers]).to(x.dtype) for v in (judgments.label, judgments.weight))
        log_odds = self.log_odds[:, judgments.annotator[answers]]
        reward = self.reward
        losses = crowd_loss(x[:, place], label, self.model.log_nu, reward.ties, reward.margin, log_odds)
        right, wrong = RELIABILITY_PRIOR
        prior = right * softplus(-self.log_odds) + wrong * softplus(self.log_odds)
        # The prior counts once an epoch, as each answer does
        share = len(answers) / max(1, self._answers())
        fit = (losses * weight * drawn[:, place]).sum(dim=1) + share * prior.sum(dim=1)
        return (fit / len(answers)).sum()

    def _answers(self) -> int:
        """How many answers the training pairs have."""
        judgments = self.pairs.judgments
        return int(np.diff(judgments.start)[self.split.train].sum()) if judgments else 0

    def _vote_loss(self, x: torch.Tensor, rows: np.ndarray, drawn: torch.Tensor | None) -> torch.Tensor:
        label, weight = (torch.from_numpy(v[rows]).to(x.dtype) for v in (self.pairs.label, self.pairs.weight))
        reward = self.reward
        losses = slipped_loss(x, label, self.model.log_nu, reward.ties, reward.margin, reward.slip)
        return (losses * (weight if drawn is None else weight * drawn)).mean(dim=1).sum()

    def _differences(self, rows: np.ndarray) -> torch.Tensor:
        """(K, B) r_a − r_b; each trajectory of the batch is embedded once."""
        used, places = np.unique(np.concatenate([self.a[rows], self.b[rows]]), return_inverse=True)
        chosen = torch.from_numpy(used)
        longest = int(self.lengths[chosen].max())
        inputs, mask = self.inputs[chosen, :longest], self.mask[chosen, :longest]
        rewards = self.model.rewards(self.model.embed(inputs, mask))
        a, b = (torch.from_numpy(half) for half in np.split(places.reshape(-1), 2))
        return rewards[:, a] - rewards[:, b]


def balanced_bootstrap(members: int, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """How often each member sees each pair, (K, N) float32: K draws of each pair, dealt to the members at random.

    Balanced (Davison, Hinkley and Schechtman 1986): members differ as in a plain bootstrap, while all of them together
    see every pair equally often, so their mean reward is fitted to all labels. On the benchmark's episodes (actions and
    state, six seeds that it does not use) plain Poisson weights gave 0.865, these 0.875, none at all 0.878 with
    `temporal = "mean"`; with `conv1d`, 12 steps and hidden 32, 0.877, 0.882 and 0.883.

    One draw per pair, and not per answer: answers to one pair are no independent evidence about others.
    """
    return rng.multinomial(members, np.full(members, 1.0 / members), size=pairs).T.astype(np.float32)


@torch.no_grad()
def _inputs(model: RewardModel, features: Sequence[Features], rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(U, T, F) normalized and (U, T): the frames' features take a small part of the room that they do on the disk."""
    parts = []
    for start in range(0, len(rows), CHUNK):
        chunk = [features[i] for i in rows[start : start + CHUNK]]
        frames, actions, state, present = (torch.from_numpy(array) for array in collate(chunk))
        parts.append((model.normalize(frames, actions, state) * present.unsqueeze(-1), present))
    longest = max(present.shape[1] for _, present in parts)
    inputs = torch.zeros(len(rows), longest, model.spec.width)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for start, (values, present) in zip(range(0, len(rows), CHUNK), parts, strict=True):
        place = slice(start, start + len(present)), slice(0, present.shape[1])
        inputs[place], mask[place] = values, present
    return inputs, mask
