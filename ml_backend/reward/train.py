"""Training: features and preferences in, a reward model out.

Two parts are fitted to all pairs but the test pairs, and added with weights that the same pairs choose:

- a Bayesian Bradley-Terry model on what summarizes a trajectory (`summary`, `evidence`), which is hard to beat with
  few labels;
- the network, an ensemble that is trained as one computation: members share the inputs and differ in their initial
  weights and in a bootstrap weight per pair. Adam with a cosine schedule.

Trajectories are dealt to folds. First member k of the network learns from no pair of fold k, and the epoch with the
lowest loss on pairs of what was left out is found; then all members learn from all pairs for as many epochs. The parts
are weighed by stacking (`stacking`) on differences of the same kind, in which no reward comes from a model that knew
the trajectory.

The same seed gives the same weights on a CPU, also where the training was killed and resumed from its checkpoint.

The inputs of the compared trajectories are normalized once and stay in memory; a step takes the trajectories of its
pairs from there, embeds each once for all members, and cuts the padding at the longest of them.

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import softplus

from ml_backend.reward.checkpoint import TrainingState
from ml_backend.reward.dataset import Pairs, Split
from ml_backend.reward.evidence import Answers
from ml_backend.reward.features import Features, check_features, collate, fit_normalization
from ml_backend.reward.losses import crowd_loss, slipped_loss
from ml_backend.reward.model import ModelSpec, RewardModel
from ml_backend.reward.stacking import fit_log_nu, stack
from ml_backend.reward.summary import CENTRES, RADIAL, SummaryReward, learn, place_centres, standardize
from preference.config import Reward
from preference.errors import NotReady

CHUNK = 256
"""Trajectories that are read from the disk at once."""
PARTS = ("linear", "kernel", "network")
"""From the simplest on."""
FOLDS = 5
"""Of trajectories, at least; with as many members as folds, a member learns from 64 % of the pairs."""
FEWEST = 25
"""Labels without ties below which the simplest part is fitted alone."""
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
    weights: dict[str, float] = field(default_factory=dict)
    """Part → its weight: `simple`, `network`."""
    note: str = ""
    """What a person should know of it: fewer labels than a part can use."""


def train_model(
    features: Sequence[Features],
    pairs: Pairs,
    split: Split,
    spec: ModelSpec,
    reward: Reward,
    *,
    seed: int,
    names: Sequence[str] = (),
    groups: Sequence[int] | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int], Any] = lambda _: None,
    on_curves: Callable[[int, dict[str, float]], Any] = lambda *_: None,
) -> Trained:
    """Fit a reward to all pairs but the test pairs.

    Args:
        features: Of the whole pool; the normalization is measured on all of them, no label is looked at.
        pairs: Indices into `features`. Where they carry judgments, these are fitted instead of the votes, and each
            annotator's reliability with them.
        names: trajectory_ids, for messages; default: the places in `features`.
        groups: What is left out together to judge the parts, such as all segments of one trajectory; default: each by
            itself.
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
    pairs, about_people = _with_annotators_told_apart(pairs, reward)
    parts, about_parts = _usable_parts(reward, pairs.label[np.concatenate([split.train, split.validation])])
    with _one_thread():
        rng = np.random.default_rng(seed)
        spec = replace(spec, summary=False, centres=0, radial=0)
        model = RewardModel(spec, torch.Generator().manual_seed(seed))
        model.set_normalization(fit_normalization(features, spec.projection, rng))
        data = prepare(model, features, pairs)
        fold = _folds(np.arange(len(features)) if groups is None else np.asarray(groups), spec.members, rng)
        run = Training(model, data, split, reward, rng, fold)
        state, key = run.state, run.key(seed) if checkpoint else ""
        if checkpoint and checkpoint.exists():
            state.resume(checkpoint, key)
            on_epoch(state.epoch)
        while "network" in parts and not state.finished(reward.epochs, reward.patience):
            run.run_epoch()
            if checkpoint:
                state.save(checkpoint, key)
            on_curves(state.epoch, {name: values[-1] for name, values in state.curves.items()})
            on_epoch(1)
        model.load_state_dict(state.best)
        model.eval()
        weights, reliability, unseen = (0.0, 1.0), run.reliability(), run.unseen()
        if "network" in parts:
            reliability = _refit(model, data, split, reward, seed, epochs=state.best_epoch)
        if set(parts) - {"network"}:
            answers = _answers(pairs, run.labelled, reward, reliability)
            part, simple = _summary(model, features, run, parts, answers, fold, seed)
            weights = stack(simple, unseen, answers) if "network" in parts else (1.0, 0.0)
            model.combine(part, weights)
            if reward.ties == "davidson":
                both = weights[0] * simple + weights[1] * np.nan_to_num(unseen)
                nn.init.constant_(model.log_nu, fit_log_nu(both, pairs.label[run.labelled]))
        model.centre(features)
    shares: dict[str, float] = {"simple": weights[0], "network": weights[1]}
    note = " ".join(filter(None, (about_people, about_parts)))
    return Trained(model, state.epoch, state.best_epoch, state.curves, reliability, shares, note)


def _folds(groups: np.ndarray, members: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) a fold for each trajectory, the same within a group; at least `FOLDS` of them, and one for each member."""
    names, place = np.unique(groups, return_inverse=True)
    return (rng.permutation(len(names)) % max(members, FOLDS))[place]


def _refit(model: RewardModel, data: Data, split: Split, reward: Reward, seed: int, *, epochs: int) -> dict[str, float]:
    """Train the network once more, on all pairs but the test pairs, for as many epochs as were best.

    Returns:
        Annotator → η.
    """
    rng = np.random.default_rng([seed, 2])
    fresh = RewardModel(model.spec, torch.Generator().manual_seed(seed))
    weights = {name: value for name, value in fresh.state_dict().items() if name in dict(fresh.named_parameters())}
    model.load_state_dict(model.state_dict() | weights)
    run = Training(model.train(), data, split, reward, rng, None)
    for _ in range(epochs):
        run.run_epoch()
    model.eval()
    return run.reliability()


def _usable_parts(reward: Reward, label: np.ndarray) -> tuple[list[str], str]:
    """Those of `reward.parts` that so many labels can be fitted to, and a sentence where that is not all of them."""
    parts: list[str] = list(reward.parts)
    clear = int((label != 0.5).sum())
    simplest = next(part for part in PARTS if part in parts)
    if clear >= FEWEST or parts == [simplest]:
        return parts, ""
    note = f"{clear} labels without ties to train on: the {simplest} part alone is fitted; from {FEWEST} on, all are."
    return [simplest], note


def _with_annotators_told_apart(pairs: Pairs, reward: Reward) -> tuple[Pairs, str]:
    """Without the single answers where one person gave all of them: nothing then says how reliable that person is."""
    if pairs.judgments is None or len(pairs.judgments.annotators) != 1:
        return pairs, ""
    name = pairs.judgments.annotators[0]
    note = f"All answers are {name}'s, so reliability cannot be learned: the labels count, with reward.slip."
    return replace(pairs, judgments=None), note


def _summary(
    model: RewardModel,
    features: Sequence[Features],
    run: Training,
    parts: Sequence[str],
    answers: Answers,
    fold: np.ndarray,
    seed: int,
) -> tuple[SummaryReward, np.ndarray]:
    """The part on summaries, and (N,) r_a − r_b of the labelled pairs by fits that saw neither trajectory."""
    rng = np.random.default_rng([seed, 1])
    spec, rows = model.spec, run.labelled
    a, b = run.pairs.a[rows], run.pairs.b[rows]
    compared = np.unique(np.concatenate([a, b]))
    centres = np.sort(rng.permutation(compared)[:CENTRES]) if "kernel" in parts else np.zeros(0, int)
    part = SummaryReward(spec.width, len(centres), min(RADIAL, len(centres)), spec.members)
    raw = torch.from_numpy(model.summaries(features))
    standardize(part, raw, np.repeat([name == "frames" for name in spec.inputs], spec.widths))
    place_centres(part, part.standardized(raw[centres]))
    return part, learn(part, part.features(raw), (a, b), answers, fold, rng, linear="linear" in parts)


def _answers(pairs: Pairs, rows: np.ndarray, reward: Reward, reliability: Mapping[str, float]) -> Answers:
    """What is said of some pairs, which are numbered in their order: by vote, or each annotator's own answers with how
    often that person slips."""
    judgments = pairs.judgments
    if judgments is None:
        label, weight = pairs.label[rows], pairs.weight[rows]
        place, slip = np.arange(len(rows)), np.full(len(rows), reward.slip)
    else:
        found, place = judgments.of(rows)
        label, weight = judgments.label[found], judgments.weight[found]
        slip = 1.0 - np.array([reliability[name] for name in judgments.annotators])[judgments.annotator[found]]
    return Answers(place, label, np.where((label == 0.5) & (reward.ties == "drop"), 0.0, weight), slip)


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


@dataclass(frozen=True)
class Data:
    """The compared trajectories' inputs in memory, and the pairs of them."""

    pairs: Pairs
    used: np.ndarray
    """(U,) rows of the compared trajectories in the pool."""
    a: np.ndarray
    b: np.ndarray
    """(N,) places in `used`."""
    inputs: torch.Tensor
    """(U, T, F), normalized."""
    mask: torch.Tensor
    """(U, T)"""


def prepare(model: RewardModel, features: Sequence[Features], pairs: Pairs) -> Data:
    """Only the compared trajectories are read; the model has its normalization."""
    used = np.unique(np.concatenate([pairs.a, pairs.b]))
    a, b = np.searchsorted(used, pairs.a), np.searchsorted(used, pairs.b)
    return Data(pairs, used, a, b, *_inputs(model, features, used))


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
        for rows in np.array_split(self.state.rng.permutation(self.rows), self.steps):
            loss = self._training_loss(rows)
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
        parts = [self.model.rewards(self.model.embed(x, there)) for x, there in self._chunks()]
        rewards = torch.cat(parts, dim=1).double().numpy()
        if self.model.spec.members == 1:
            x = rewards[0, self.a[rows]] - rewards[0, self.b[rows]]
            return np.where(np.isin(rows, self.split.validation), x, math.nan)
        count = self.unseen_by.sum(axis=0)
        centred = rewards - rewards.mean(axis=1, keepdims=True)
        own = np.where(count > 0, (centred * self.unseen_by).sum(axis=0) / np.maximum(count, 1), math.nan)
        return own[self.a[rows]] - own[self.b[rows]]

    def _chunks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs and mask of the compared trajectories, some at a time, cut at the longest of them."""
        for start in range(0, len(self.inputs), CHUNK):
            rows = slice(start, start + CHUNK)
            longest = int(self.lengths[rows].max())
            yield self.inputs[rows, :longest], self.mask[rows, :longest]

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
        for array in [*arrays, self.unseen_by, self.inputs.numpy(), self.mask.numpy()]:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def _training_loss(self, rows: np.ndarray) -> torch.Tensor:
        """Weighted mean over pairs (or answers), summed over members."""
        x, drawn = self._differences(rows), torch.from_numpy(self.drawn[:, rows])
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
