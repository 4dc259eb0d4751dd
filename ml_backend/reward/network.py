"""The network's training: epochs over pairs, judged by what members had left out, or by nothing.

The inputs of the compared trajectories are normalized once and stay in memory; a step takes the trajectories of its
pairs from there, embeds each once for all members, and cuts the padding at the longest of them.

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from ml_backend.reward.checkpoint import TrainingState
from ml_backend.reward.dataset import Pairs, Split
from ml_backend.reward.features import Features, collate
from ml_backend.reward.layers import without_some_tasks
from ml_backend.reward.losses import crowd_loss, slipped_loss
from ml_backend.reward.model import RewardModel
from ml_backend.reward.weak import WORTH, WeakPairs, seen_an_epoch
from preference.config import Reward

CHUNK = 256
"""Trajectories that are read from the disk at once."""
RELIABILITY_PRIOR = (8.0, 2.0)
"""Every annotator starts as if seen to be right 8 times and wrong 2: without an anchor, everybody lying about the
opposite reward would explain the answers just as well (Chen et al. 2013)."""
RELIABILITY_RATE = 30.0
"""Times the learning rate: a log odds has to travel some units in a few hundred steps, a weight some hundredths."""


@dataclass(frozen=True)
class Data:
    """The inputs of trajectories that are learned from, in memory, and the pairs of them."""

    pairs: Pairs
    used: np.ndarray
    """(U,) rows of these trajectories in the pool."""
    a: np.ndarray
    b: np.ndarray
    """(N,) places in `used`."""
    inputs: torch.Tensor
    """(U, T, F), normalized."""
    mask: torch.Tensor
    """(U, T)"""
    weak: WeakPairs | None = None
    """Of places in `used`."""


def prepare(model: RewardModel, features: Sequence[Features], pairs: Pairs, weak: WeakPairs | None) -> Data:
    """Only the trajectories of these pairs are read; the model has its normalization."""
    compared = [pairs.a, pairs.b, *([weak.better, weak.worse] if weak else [])]
    used = np.unique(np.concatenate(compared))
    a, b = np.searchsorted(used, pairs.a), np.searchsorted(used, pairs.b)
    if weak:
        weak = replace(weak, better=np.searchsorted(used, weak.better), worse=np.searchsorted(used, weak.worse))
    return Data(pairs, used, a, b, *inputs_of(model, features, used), weak)


class Training:
    """A network on its way.

    Args:
        model: With its normalization set.
        split: All but its test pairs are fitted.
        rng: Draws the bootstrap now, and the order of pairs in every epoch.
        fold: (pool,) of each trajectory. Member k then learns from no pair of fold k, and is judged by it. None: fit
            all, judge nothing.
    """

    def __init__(
        self,
        model: RewardModel,
        data: Data,
        split: Split,
        reward: Reward,
        rng: np.random.Generator,
        fold: np.ndarray | None,
    ) -> None:
        self.model, self.pairs, self.split, self.reward = model, data.pairs, split, reward
        self.a, self.b, self.inputs, self.mask = data.a, data.b, data.inputs, data.mask
        pairs, members = data.pairs, model.spec.members
        self.lengths = self.mask.sum(dim=1)
        self.compared = np.unique(np.concatenate([self.a, self.b]))
        self.labelled = np.sort(np.concatenate([split.train, split.validation]))
        # One member alone is judged by the validation pairs: it cannot leave a fold out and see it as well
        self.rows = split.train if fold is not None and members == 1 else self.labelled
        self.judged = fold is not None
        self.unseen_by = np.zeros((members, len(data.used)), bool)
        """(K, U) which trajectories a member does not learn about."""
        if fold is not None and members > 1:
            self.unseen_by = fold[data.used] == np.arange(members)[:, None]
            kept = ~(self.unseen_by[:, self.a] | self.unseen_by[:, self.b])
            share = kept[:, self.labelled].mean(axis=1, keepdims=True)
            self.drawn = (kept / np.maximum(share, 1e-3)).astype(np.float32)
        else:
            self.drawn = balanced_bootstrap(members, len(pairs), rng)
        self.weak = data.weak
        if self.weak:
            taught = ~(self.unseen_by[:, self.weak.better] | self.unseen_by[:, self.weak.worse])
            share = taught.mean(axis=1, keepdims=True)
            self.taught = torch.from_numpy((taught / np.maximum(share, 1e-3)).astype(np.float32))
            self.weak_seen = min(len(self.weak.better), seen_an_epoch(len(self.rows)))
        self.steps = max(1, math.ceil(len(self.rows) / reward.batch_pairs))
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
        parts = {
            "annotators": nn.ParameterList([self.log_odds]),
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }
        self.state = TrainingState(model, parts, rng)

    def run_epoch(self) -> None:
        """All pairs once, in a new order; then the epoch is judged by what the members had left out."""
        batches = np.array_split(self.state.rng.permutation(self.rows), self.steps)
        for rows, weak in zip(batches, self._weak_batches(), strict=True):
            x, x_weak = self._both_differences(rows, weak)
            loss = self._training_loss(x, rows) + self._weak_loss(x_weak, weak)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.state.losses.append(loss.item())
        if self.judged:
            self.state.finish_epoch(*self._validated())

    @torch.no_grad()
    def _validated(self) -> tuple[float, np.ndarray, np.ndarray]:
        """The loss on pairs of what was not learned about, their differences (V,) and labels (V,)."""
        x = self.unseen()
        known = np.isfinite(x)
        rows, x = self.labelled[known], x[known]
        label = self.pairs.label[rows]
        if not len(rows):
            return 0.0, x, label
        log_nu = self.model.log_nu.mean().reshape(1)
        return self._vote_loss(torch.from_numpy(x).unsqueeze(0), rows, None, log_nu).item(), x, label

    @torch.no_grad()
    def unseen(self) -> np.ndarray:
        """(N,) r_a − r_b of the labelled pairs, each reward by members that learned nothing about its trajectory; nan
        where there is none."""
        rows = self.labelled
        parts = [self.model.rewards(self.model.embed(x, there)) for x, there, _ in self.chunks(self.compared)]
        found = torch.cat(parts, dim=1).double().numpy()
        rewards = np.full((len(found), len(self.lengths)), math.nan)
        rewards[:, self.compared] = found
        if self.model.spec.members == 1:
            x = rewards[0, self.a[rows]] - rewards[0, self.b[rows]]
            return np.where(np.isin(rows, self.split.validation), x, math.nan)
        count = self.unseen_by.sum(axis=0)
        centred = rewards - found.mean(axis=1, keepdims=True)
        own = np.where(count > 0, (centred * self.unseen_by).sum(axis=0) / np.maximum(count, 1), math.nan)
        return own[self.a[rows]] - own[self.b[rows]]

    def chunks(self, rows: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
        """Inputs, mask and rows of these trajectories, some at a time, cut at the longest of them."""
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            longest = int(self.lengths[some].max())
            yield self.inputs[some, :longest], self.mask[some, :longest], some

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
        if self.weak:
            arrays += [self.weak.better, self.weak.worse, np.array([self.weak.slip, WORTH])]
        for array in [*arrays, self.unseen_by, self.inputs.numpy(), self.mask.numpy()]:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def _training_loss(self, x: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """Weighted mean over pairs (or answers), summed over members."""
        drawn = torch.from_numpy(self.drawn[:, rows])
        judgments = self.pairs.judgments
        if judgments is None:
            return self._vote_loss(x, rows, drawn, self.model.log_nu)
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
        return int(np.diff(judgments.start)[self.rows].sum()) if judgments else 0

    def _vote_loss(
        self, x: torch.Tensor, rows: np.ndarray, drawn: torch.Tensor | None, log_nu: torch.Tensor
    ) -> torch.Tensor:
        label, weight = (torch.from_numpy(v[rows]).to(x.dtype) for v in (self.pairs.label, self.pairs.weight))
        reward = self.reward
        losses = slipped_loss(x, label, log_nu, reward.ties, reward.margin, reward.slip)
        return (losses * (weight if drawn is None else weight * drawn)).mean(dim=1).sum()

    def _weak_batches(self) -> list[np.ndarray]:
        """Rows of the weak pairs for each step: some of them an epoch, drawn anew."""
        if self.weak is None:
            return [np.zeros(0, int)] * self.steps
        return np.array_split(self.state.rng.permutation(len(self.weak.better))[: self.weak_seen], self.steps)

    def _weak_loss(self, x: torch.Tensor, rows: np.ndarray) -> torch.Tensor | float:
        """However many an epoch sees, together they count as WORTH of the labelled pairs."""
        if self.weak is None or not len(rows):
            return 0.0
        losses = slipped_loss(x, torch.ones(len(rows)), self.model.log_nu, "soft", 0.0, self.weak.slip)
        mean = (losses * self.taught[:, rows]).sum(dim=1) * (self.steps / self.weak_seen)
        return WORTH / len(self.rows) * mean.sum()

    def _both_differences(self, rows: np.ndarray, weak: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, B) of labelled pairs and (K, W) of weak ones, in one pass: half the calls."""
        a, b = self.a[rows], self.b[rows]
        if self.weak:
            a, b = np.concatenate([a, self.weak.better[weak]]), np.concatenate([b, self.weak.worse[weak]])
        x = self._differences(a, b)
        return x[:, : len(rows)], x[:, len(rows) :]

    def _differences(self, a: np.ndarray, b: np.ndarray) -> torch.Tensor:
        """(K, B) r_a − r_b; each trajectory of the batch is embedded once."""
        used, places = np.unique(np.concatenate([a, b]), return_inverse=True)
        chosen = torch.from_numpy(used)
        longest = int(self.lengths[chosen].max())
        inputs, mask = (
            without_some_tasks(self.inputs[chosen, :longest], len(self.model.spec.layout.tasks), self.state.rng),
            self.mask[chosen, :longest],
        )
        rewards = self.model.rewards(self.model.embed(inputs, mask))
        first, second = (torch.from_numpy(half) for half in np.split(places.reshape(-1), 2))
        return rewards[:, first] - rewards[:, second]


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
def inputs_of(model: RewardModel, features: Sequence[Features], rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
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
