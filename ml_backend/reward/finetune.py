"""Training the encoder end to end, by the pairs: frames and labels in, a weights file for the same encoder out.

What comes out is used as any other weights file: the pool is encoded with it and the ensemble trained on the features.
So there is one reward model and one way to score with it, and the fine-tuned encoder travels beside it.

The recipe is the protocol's, and `reward.finetune` changes it: a two-layer head on the features' mean over time, Adam
with a learning rate that falls along a cosine, gradients accumulated over the 64 pairs of a step.

On a GPU in bfloat16 and channels-last; under torchrun every process takes its share of each step's pairs. On a CPU the
same in float32, for tests and for the patient. The epoch that does best on the validation pairs is kept; a checkpoint
after each epoch lets a killed run go on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from ml_backend.reward.checkpoint import TrainingState, save
from ml_backend.reward.dataset import Pairs, Split
from ml_backend.reward.encoder import load
from ml_backend.reward.encoder_weights import EncoderSettings
from ml_backend.reward.losses import slipped_loss
from preference.config import Finetune, Reward
from preference.errors import UserError

FRAMES_OF_A = Callable[[int], np.ndarray]
"""Row of a trajectory → its frames (T, H, W, 3) uint8."""


@dataclass(frozen=True)
class Place:
    """Which of how many processes this is; 0 of 1 without torchrun."""

    rank: int
    size: int
    device: str


@dataclass(frozen=True)
class Tuned:
    """What a fine-tuning did."""

    rank: int
    """Of this process; 0 wrote the weights."""
    steps: int
    best_epoch: int
    losses: list[float]
    """One per optimizer step, of this process's pairs."""
    pairs_per_s: float
    """While training, validation aside; 0 where nothing was left to do."""
    peak_memory_mb: float
    """Of the GPU; 0 on a CPU."""


def finetune(
    settings: EncoderSettings,
    frames_of: FRAMES_OF_A,
    pairs: Pairs,
    split: Split,
    out: Path,
    reward: Reward,
    *,
    most_steps: int = 0,
    seed: int = 0,
    checkpoint_to: Path | None = None,
    on_step: Callable[[int], Any] = lambda _: None,
) -> Tuned:
    """Train the encoder of `settings` under a head that gives the reward; the encoder's weights go to `out`.

    Args:
        frames_of: Called for each trajectory of a step; it is what feeds the GPU, so it should read ahead or be quick.
        split: Rows of `pairs` to learn from, and to tell epochs apart by.
        reward: The recipe, what is done with ties, and how often an answer is a slip.
        most_steps: Stop after so many steps; 0 = all epochs.
        checkpoint_to: Written after each epoch and gone at the end; where it exists, training goes on from there.
        on_step: Called with how many steps were done: 1 after each, more at the start where some had been.

    Raises:
        UserError: the loss is no number any more.
        DataError: the checkpoint is broken or another's.
    """
    with _process_group() as place:
        recipe, steps = reward.finetune, step_count(len(split.train), reward.finetune)
        run = _FineTuning(settings, reward, place, seed, steps)
        state = run.state
        key = json.dumps([out.name, reward.model_dump(), seed], sort_keys=True)
        if checkpoint_to and checkpoint_to.exists():
            state.resume(checkpoint_to, key)
            on_step(len(state.losses))
        seconds, done = 0.0, 0
        left = (min(steps, most_steps) if most_steps else steps) - len(state.losses)
        while left > 0 and not state.finished(recipe.epochs, recipe.patience):
            start = time.perf_counter()
            for rows in _steps(state.rng.permutation(split.train), recipe.batch_pairs)[:left]:
                run.step(frames_of, pairs, rows)
                left -= 1
                done += len(rows)
                on_step(1)
            seconds += time.perf_counter() - start
            run.finish_epoch(frames_of, pairs, split.validation)
            if checkpoint_to and place.rank == 0:
                state.save(checkpoint_to, key)
        if place.rank == 0:
            save(state.best, out)
            if checkpoint_to:
                checkpoint_to.unlink(missing_ok=True)
        peak = torch.cuda.max_memory_allocated() / 1e6 if place.device != "cpu" else 0.0
    rate = done / seconds if seconds else 0.0
    return Tuned(place.rank, len(state.losses), state.best_epoch, state.losses, rate, peak)


def step_count(pairs: int, recipe: Finetune) -> int:
    """How many optimizer steps all epochs take."""
    return recipe.epochs * -(-pairs // recipe.batch_pairs)


def _steps(order: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows of each optimizer step of one epoch."""
    return [order[start : start + size] for start in range(0, len(order), size)]


class _FineTuning:
    """The encoder, and the head on top of it, while they are trained."""

    def __init__(self, settings: EncoderSettings, reward: Reward, place: Place, seed: int, steps: int) -> None:
        torch.manual_seed(seed)
        encoder = load(settings)
        self.reward, self.place, self.steps = reward, place, steps
        self.module = encoder.module.to(place.device).requires_grad_(True)
        layers = [nn.Linear(encoder.size, reward.hidden), nn.ReLU(), nn.Linear(reward.hidden, 1, bias=False)]
        self.head = nn.Sequential(*layers).to(place.device)
        self.log_nu = nn.Parameter(torch.zeros(1, device=place.device))
        """Of Davidson's ν; without gradients where ties are not modelled by it."""
        self.parameters = [*self.module.network.parameters(), *self.head.parameters(), self.log_nu]
        self.optimizer = torch.optim.Adam(self.parameters, lr=reward.finetune.learning_rate)
        parts = {"head": self.head, "ties": nn.ParameterList([self.log_nu]), "optimizer": self.optimizer}
        rng = np.random.default_rng(seed)  # the same order in every process
        self.state = TrainingState(self.module.network, parts, rng)

    def step(self, frames_of: FRAMES_OF_A, pairs: Pairs, rows: np.ndarray) -> None:
        """One optimizer step on `rows`, of which this process takes its share, one pair in memory at a time.

        Raises:
            UserError: the loss is no number any more.
        """
        self.module.train()
        _freeze_statistics(self.module)
        own = rows[self.place.rank :: self.place.size]
        total = 0.0
        for row in own.tolist():
            loss = self._loss(self._difference(frames_of, pairs, row), pairs, np.array([row]))
            (loss * float(pairs.weight[row]) / len(rows)).backward()
            total += float(loss.detach())
        mean = total / max(1, len(own))
        if not np.isfinite(mean):
            raise UserError("Fine-tuning diverged: the loss is no longer a number.", fix="Use fewer epochs.")
        _average(self.parameters, self.place)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(len(self.state.losses))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.losses.append(mean)

    def _learning_rate(self, step: int) -> float:
        """Of this step, from 0; half a cosine from the recipe's down to nearly 0 (Loshchilov and Hutter 2017)."""
        recipe = self.reward.finetune
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        return recipe.learning_rate * (cosine if recipe.schedule == "cosine" else 1.0)

    def finish_epoch(self, frames_of: FRAMES_OF_A, pairs: Pairs, validation: np.ndarray) -> None:
        """Judge the epoch on the validation pairs, and keep its weights if it is the best."""
        self.module.eval()
        x = torch.zeros(len(validation), device=self.place.device)
        with torch.no_grad():
            for at in range(self.place.rank, len(validation), self.place.size):
                x[at] = self._difference(frames_of, pairs, int(validation[at]))
            if self.place.size > 1:
                dist.all_reduce(x)
            loss = float(self._loss(x, pairs, validation)) if len(validation) else 0.0
        self.state.finish_epoch(loss, x.double().cpu().numpy(), pairs.label[validation])

    def _difference(self, frames_of: FRAMES_OF_A, pairs: Pairs, row: int) -> torch.Tensor:
        """(1,) r_a − r_b of one pair."""
        both = [frames_of(int(pairs.a[row])), frames_of(int(pairs.b[row]))]
        batch = torch.from_numpy(np.concatenate(both)).to(self.place.device, non_blocking=True)
        with torch.autocast("cuda", torch.bfloat16) if self.place.device != "cpu" else nullcontext():
            phi = self.module(batch)
        first, second = phi.float().split([len(both[0]), len(both[1])])
        return self.head(first.mean(dim=0)) - self.head(second.mean(dim=0))

    def _loss(self, x: torch.Tensor, pairs: Pairs, rows: np.ndarray) -> torch.Tensor:
        """Mean over pairs, without their weights, from x (B,)."""
        reward = self.reward
        label = torch.tensor(pairs.label[rows], dtype=torch.float32, device=self.place.device)
        return slipped_loss(x.unsqueeze(0), label, self.log_nu, reward.ties, reward.margin, reward.slip).mean()


def _freeze_statistics(module: torch.nn.Module) -> None:
    """Batch statistics stay: a batch is one pair's frames, which are all alike."""
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
            part.eval()


def _average(parameters: list[torch.Tensor], place: Place) -> None:
    """Sum the processes' gradients; each is already a share of the step's mean."""
    if place.size == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:  # this process had no pair in the step
            parameter.grad = parameter.new_zeros(parameter.shape)
        dist.all_reduce(parameter.grad)


@contextmanager
def _process_group() -> Iterator[Place]:
    """As torchrun arranged it in the environment; alone where it did not."""
    cuda = torch.cuda.is_available()
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield Place(0, 1, "cuda" if cuda else "cpu")
        return
    if cuda:
        torch.cuda.set_device(dist.get_node_local_rank())
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        device = f"cuda:{dist.get_node_local_rank()}" if cuda else "cpu"
        yield Place(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()
