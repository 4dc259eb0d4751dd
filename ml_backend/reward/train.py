"""Training: features and preferences in, a reward model out.

The network is fitted to all pairs but the test pairs, and a linear part of the steps (`linear`) beside it: of their
inputs, if the model sees the robot's state, and of their progress, if trajectories are known to have succeeded
(`outcomes`). What the two count, the same pairs choose; before any answer the linear part is expected to be
1 − (n/`reward.linear_until`)² of the reward with n labels; with progress that takes twice as many to fall to 0. Where
`reward.parts` names a simpler part, that is fitted instead, and the two are added with weights that the same pairs
choose:

- a Bayesian Bradley-Terry model on what summarizes a trajectory (`summary`, `evidence`), which is hard to beat with
  few labels;
- the network, an ensemble that is trained as one computation: members share the inputs and differ in their initial
  weights and in a bootstrap weight per pair. Adam with a cosine schedule.

Trajectories are dealt to folds. First member k of the network learns from no pair of fold k, and the epoch with the
lowest loss on pairs of what was left out is found; then all members learn from all pairs for as many epochs. The parts
are weighed by stacking (`evidence`) on differences of the same kind, in which no reward comes from a model that knew
the trajectory.

The same seed gives the same weights on a CPU, also where the training was killed and resumed from its checkpoint.

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ml_backend.reward.dataset import Known, Pairs, Split
from ml_backend.reward.evidence import Answers, fit_log_nu, ratio, stack
from ml_backend.reward.features import Features, check_features, fit_normalization
from ml_backend.reward.linear import LinearSteps, learn_linear
from ml_backend.reward.model import ModelSpec, RewardModel
from ml_backend.reward.network import Data, Training, inputs_of, prepare
from ml_backend.reward.outcomes import (
    MOST,
    OUTCOMES,
    PROGRESS,
    Unseen,
    learn_outcomes,
    learnable,
    targets,
    unseen_progress,
)
from ml_backend.reward.summary import learn, measured
from ml_backend.reward.weak import WORTH, WeakPairs, weak_pairs
from preference.config import Reward
from preference.errors import NotReady

PARTS = ("linear", "kernel", "network")
"""From the simplest on."""
FOLDS = 5
"""Of trajectories, at least; with as many members as folds, a member learns from 64 % of the pairs."""
FEWEST = 25
"""Labels without ties below which the simplest part is fitted alone."""
ALONE = 0.5
"""Of `reward.linear_until`: with fewer labels the linear part is the reward, if progress counts in it. On seven
Meta-World tasks it was 0.008 ahead of both parts with 34 labels."""
LONGER = 2
"""Times as many labels as `reward.linear_until` until nothing is expected of a linear part in which progress counts.
On seven Meta-World tasks twice as many gave 0.009, 0.002 and 0.012 more accuracy with 20, 40 and 100 labels."""
WITHIN = 0.95
"""Share of trajectories that end within the horizon; all of up to twenty. One recording that was left running must not
set it: on eight Meta-World pools of 15 steps, one of 60 cost 0.018 ± 0.009 of accuracy with 20 labels when it did."""
BEYOND = 1.5
"""Times `reward.max_frames` is the horizon where it would be that: what is longer is sampled more sparsely, so nobody
sees how long it took. On eight Meta-World tasks seen in six steps (two draws, 20 and 40 labels) still frames then
raised the reward by 0.12 standard deviations, as without progress; with 1 by 0.22, and accuracy was 0.001 higher."""
NOTHING = 1e-6
"""Log odds: a linear part whose rewards differ by less tells no trajectories apart."""


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
    """Part → its weight: `network`, and `simple` or `linear`."""
    attribution: dict[str, float] = field(default_factory=dict)
    """How much of the reward belongs to `steps`, to the `end`, and to neither (`spread`)."""
    outcomes: dict[str, Unseen] = field(default_factory=dict)
    """How good `progress` and `success` are, those of them that could be learned."""
    weak: dict[str, float] = field(default_factory=dict)
    """Of the weak pairs: how many `pairs`, how many `labels` they count as together, and the share that labels are
    taken to have `contradicted`; empty where none were learned from."""
    note: str = ""
    """What a person should know of it: fewer labels than a part can use."""

    @property
    def progress(self) -> float:
        """Log odds that progress counts in the reward: between a trajectory of progress 1 throughout and one of 0."""
        return self.model.linear.progress if self.model.linear is not None else 0.0


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
    known: Sequence[Known] = (),
    checkpoint: Path | None = None,
    on_epoch: Callable[[int], Any] = lambda _: None,
    on_curves: Callable[[int, dict[str, float]], Any] = lambda *_: None,
) -> Trained:
    """Fit a reward to all pairs but the test pairs.

    Args:
        features: Of the whole pool; the normalization is measured on all of them, no label is looked at.
        pairs: Indices into `features`. Where they carry judgments, these are fitted instead of the votes, and each
            annotator's reliability with them. Where they carry quartiles, the network learns from weak pairs too.
        names: trajectory_ids, for messages; default: the places in `features`.
        groups: What is left out together to judge the parts, such as all segments of one trajectory; default: each by
            itself.
        known: Of each trajectory, whether and when it succeeded: what progress and success are learned from, and
            through progress the reward.
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
        spec = replace(spec, summary=False, centres=0, radial=0, linear=False, progress=False, outcomes=())
        # segments end anywhere: nothing is known of what follows
        spec = replace(spec, horizon=_horizon(features, spec) if groups is None else ())
        model = RewardModel(spec, torch.Generator().manual_seed(seed))
        model.set_normalization(fit_normalization(features, spec.projection, rng, max(1, len(spec.cameras))))
        weak = weak_pairs(pairs, split, reward.ties, np.random.default_rng([seed, 4])) if "network" in parts else None
        data = prepare(model, features, pairs, weak)
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
        reliability, unseen = run.reliability(), run.unseen()
        if "network" in parts:
            reliability = _refit(model, data, split, reward, seed, epochs=state.best_epoch)
        answers = _answers(pairs, run.labelled, reward, reliability)
        weights = {"simple": 0.0, "network": 1.0}
        if set(parts) - {"network"}:
            weights = _add_summary(model, features, run, parts, answers, unseen, fold, seed)
        outcomes, knew = _outcomes(model, features, _told_to_reward(known, pairs, split), fold, seed)
        part = _linear_part(model, reward, parts)
        if part is not None:
            weights = _add_linear(model, part, run, unseen, fold[data.used], knew[:, data.used], answers, seed)
        model.centre(features)
    return Trained(
        model,
        state.epoch,
        state.best_epoch,
        state.curves,
        reliability,
        weights,
        model.attribution(features),
        outcomes,
        weak.figures() if weak else {},
        " ".join(filter(None, (about_people, about_parts))),
    )


def _told_to_reward(known: Sequence[Known], pairs: Pairs, split: Split) -> list[Known]:
    """Without the success of trajectories that are compared in test pairs alone: what is said of trajectories that were
    never seen stays true."""
    learned = np.concatenate([split.train, split.validation])
    seen, tested = (np.concatenate([pairs.a[rows], pairs.b[rows]]) for rows in (learned, split.test))
    kept_back = set(np.setdiff1d(tested, seen).tolist())
    return [Known(None, None, one.task) if row in kept_back else one for row, one in enumerate(known)]


def _outcomes(
    model: RewardModel, features: Sequence[Features], known: Sequence[Known], fold: np.ndarray, seed: int
) -> tuple[dict[str, Unseen], np.ndarray]:
    """Progress and success for `model`, as far as so many known trajectories teach them; and (K, N) bool, which member
    learned from which trajectory."""
    names, knew = learnable(known), np.zeros((model.spec.members, len(features)), bool)
    if not names:
        return {}, knew
    rng = np.random.default_rng([seed, 3])
    told = rng.permutation([row for row, one in enumerate(known) if one.success is not None])
    rows = np.sort(told[:MOST])
    inputs, mask = inputs_of(model, features, rows)
    target = np.full((*mask.shape, len(OUTCOMES)), np.nan, np.float32)
    lengths = mask.sum(dim=1).tolist()
    for row, own in enumerate(targets([known[i] for i in rows], lengths)):
        target[row, : len(own)] = own
    part = model.new_outcomes(names, torch.Generator().manual_seed(seed))
    found = learn_outcomes(part, inputs, mask, target, fold[rows], rng, len(model.spec.layout.tasks))
    model.add_outcomes(part.eval())
    knew[:, rows] = fold[rows] != np.arange(len(knew))[:, None]
    return found, knew


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


def _linear_part(model: RewardModel, reward: Reward, parts: Sequence[str]) -> LinearSteps | None:
    """A linear part of the steps, not fitted yet; None where `parts` has simple ones, or nothing is linear.

    Inputs count in it unless the model sees no state (a frame's components are hardly linear in what people see), or is
    told the task (what is good in one may be bad in another).
    """
    spec = model.spec
    if reward.linear_until == 0 or list(parts) != ["network"]:
        return None
    inputs = "state" in spec.columns and not spec.task_columns
    progress = reward.progress_prior and PROGRESS in spec.outcomes
    return LinearSteps(spec.width if inputs else 0, progress, spec.members) if inputs or progress else None


def _horizon(features: Sequence[Features], spec: ModelSpec) -> tuple[int, ...]:
    """Steps that `WITHIN` of the trajectories take; of each task where there are some, of all for one without any."""
    lengths, tasks = np.array([len(item) for item in features]), len(spec.layout.tasks)
    own = np.array([item.state[0, -tasks:] for item in features]).T > 0 if tasks else [np.ones(len(lengths), bool)]
    within = [int(np.quantile(lengths[of if of.any() else ...], WITHIN, method="higher")) for of in own]
    return tuple(round(BEYOND * steps) if steps >= spec.max_frames else steps for steps in within)


@torch.no_grad()
def _add_linear(
    model: RewardModel,
    part: LinearSteps,
    run: Training,
    unseen: np.ndarray,
    fold: np.ndarray,
    knew: np.ndarray,
    answers: Answers,
    seed: int,
) -> dict[str, float]:
    """Fit the linear part to what the network learned from, weak pairs included, and add it with the weight that the
    answers choose. Not where it tells no trajectories apart, as when all labels are ties and progress does not count.

    Args:
        unseen: (N,) r_a − r_b of the labelled pairs by networks that saw neither trajectory.
        fold: (U,) of each trajectory that may be compared.
        knew: (K, U) bool: which member's progress learned from it.

    Returns:
        Part → its share.
    """
    reward, label = run.reward, run.pairs.label[run.labelled]
    labels = np.count_nonzero(label != 0.5) if reward.ties == "drop" else len(label)
    until = reward.linear_until * (LONGER if part.counts_progress else 1)
    expected = max(0.0, 1.0 - (labels / until) ** 2)
    if part.counts_progress and labels < ALONE * reward.linear_until:
        unseen = np.full(len(unseen), np.nan)
    rows, said = (run.a[run.labelled], run.b[run.labelled]), answers
    if run.weak:
        said = _with_weak(answers, len(run.labelled), run.weak)
        rows = np.concatenate([rows[0], run.weak.better]), np.concatenate([rows[1], run.weak.worse])
    seen = np.unique(np.concatenate(rows))
    phi, network = [], []
    for x, there, own in run.chunks(seen):
        progress = None
        if part.counts_progress and model.outcomes is not None:
            progress = model.held(unseen_progress(model.outcomes, x, there, knew[:, own]), x, there)
        phi.append(part.means(x, there, progress))
        network.append(model.rewards(model.embed(x, there)))
    phi, network = torch.cat(phi), torch.cat(network, dim=1)
    places = np.searchsorted(seen, rows[0]), np.searchsorted(seen, rows[1])
    rng = np.random.default_rng([seed, 5])
    by_linear = learn_linear(part, phi, places, said, model.spec.relative, fold[seen], rng)
    own, other = (float(rewards.mean(dim=0).std()) for rewards in (part.of_means(phi), network))
    if own <= NOTHING:
        return {"network": 1.0}
    size = own / max(other, NOTHING)
    linear, rest = stack(by_linear[: len(unseen)], size * unseen, answers, (expected, 1.0 - expected))
    model.add_linear(part, (linear, rest * size))
    return {"linear": linear / (linear + rest), "network": rest / (linear + rest)}


def _with_weak(answers: Answers, pairs: int, weak: WeakPairs) -> Answers:
    """What is said of so many pairs, and of the weak ones after them, which count as `WORTH` answers together."""
    count = len(weak.better)
    return Answers(
        np.concatenate([answers.pair, pairs + np.arange(count)]),
        np.concatenate([answers.label, np.ones(count)]),
        np.concatenate([answers.weight, np.full(count, WORTH / count)]),
        np.concatenate([answers.slip, np.full(count, weak.slip)]),
    )


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


def _add_summary(
    model: RewardModel,
    features: Sequence[Features],
    run: Training,
    parts: Sequence[str],
    answers: Answers,
    unseen: np.ndarray,
    fold: np.ndarray,
    seed: int,
) -> dict[str, float]:
    """Fit the part on summaries and add it, with the weight that the answers choose where there is a network too.

    Args:
        unseen: (N,) r_a − r_b of the labelled pairs by networks that saw neither trajectory.

    Returns:
        Part → its weight.
    """
    rng = np.random.default_rng([seed, 1])
    spec, rows = model.spec, run.labelled
    a, b = run.pairs.a[rows], run.pairs.b[rows]
    raw = torch.from_numpy(model.summaries(features))
    part = measured(raw, np.unique([a, b]), spec.relative, spec.members, rng, kernel="kernel" in parts)
    simple = learn(part, part.features(raw), (a, b), answers, fold, rng, linear="linear" in parts)
    weights = 1.0, 0.0
    if "network" in parts:
        size = ratio(simple, unseen)
        weights = stack(simple, size * unseen, answers)
        weights = weights[0], weights[1] * size
    model.combine(part, weights)
    if run.reward.ties == "davidson":
        both = weights[0] * simple + weights[1] * np.nan_to_num(unseen)
        nn.init.constant_(model.log_nu, fit_log_nu(both, run.pairs.label[rows]))
    model.spread_rest(features)
    return {"simple": weights[0], "network": weights[1]}


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
