"""Training the encoder end to end, by the pairs: frames and labels in, a weights file for the same encoder out.

What comes out is used as any other weights file: the pool is encoded with it and the ensemble trained on the features.
So there is one reward model and one way to score with it, and the fine-tuned encoder travels beside it.

On a GPU in bfloat16 and channels-last, with gradients accumulated over `accumulate` pairs a step; under torchrun every
process takes its share of each step's pairs. On a CPU the same in float32, for tests and for the patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend import checkpoint
from preference.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ml_backend.dataset import Pairs
    from ml_backend.encoder import EncoderSettings

LEARNING_RATE = 1e-4
"""The protocol's."""
ACCUMULATE = 16
"""Pairs per optimizer step, over all processes."""
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
    losses: list[float]
    """One per optimizer step, of this process's pairs."""
    pairs_per_s: float
    peak_memory_mb: float
    """Of the GPU; 0 on a CPU."""


def finetune(
    settings: EncoderSettings,
    frames_of: FRAMES_OF_A,
    pairs: Pairs,
    train: np.ndarray,
    out: Path,
    *,
    epochs: int,
    accumulate: int = ACCUMULATE,
    most_steps: int = 0,
    seed: int = 0,
    on_step: Callable[[int], Any] = lambda _: None,
) -> Tuned:
    """Train the encoder of `settings` with a linear reward on its features' mean over time; its weights go to `out`.

    Args:
        frames_of: Called for each trajectory of a step; it is what feeds the GPU, so it should read ahead or be quick.
        train: Rows of `pairs` to learn from.
        accumulate: Pairs per optimizer step, over all processes.
        most_steps: Stop after so many steps; 0 = all of `epochs`.

    Raises:
        UserError: the loss is no number any more.
    """
    import time

    import torch

    from ml_backend.encoder import load

    with _process_group() as place:
        torch.manual_seed(seed)
        encoder = load(settings)
        module = encoder.module.to(place.device).requires_grad_(True).train()
        _freeze_statistics(module)
        head = torch.nn.Linear(encoder.size, 1, bias=False, device=place.device)
        parameters = [*module.network.parameters(), *head.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
        rng = np.random.default_rng(seed)  # the same order in every process
        losses: list[float] = []
        start = time.perf_counter()
        for rows in _steps(train, epochs, accumulate, most_steps, rng):
            own = rows[place.rank :: place.size]
            loss = _accumulate(module, head, frames_of, pairs, own, len(rows), place)
            if not np.isfinite(loss):
                raise UserError("Fine-tuning went astray: the loss is no number any more.", fix="Use fewer epochs.")
            _average(parameters, place)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss)
            on_step(1)
        seconds = time.perf_counter() - start
        if place.rank == 0:
            _save(module.network, out)
        done = sum(len(rows) for rows in _steps(train, epochs, accumulate, most_steps, np.random.default_rng(seed)))
        peak = torch.cuda.max_memory_allocated() / 1e6 if place.device != "cpu" else 0.0
    return Tuned(place.rank, len(losses), losses, done / max(seconds, 1e-9), peak)


def step_count(pairs: int, epochs: int, accumulate: int, most_steps: int = 0) -> int:
    """How many optimizer steps `finetune` takes."""
    whole = epochs * -(-pairs // accumulate)
    return min(whole, most_steps) if most_steps else whole


def _steps(train: np.ndarray, epochs: int, size: int, most: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The rows of each optimizer step."""
    taken = 0
    for _ in range(epochs):
        order = rng.permutation(train)
        for start in range(0, len(order), size):
            if most and taken == most:
                return
            taken += 1
            yield order[start : start + size]


def _accumulate(
    module: Any, head: nn.Module, frames_of: FRAMES_OF_A, pairs: Pairs, rows: np.ndarray, whole: int, place: Place
) -> float:
    """Gradients of the mean loss over the step's pairs, one pair in memory at a time."""
    import torch

    total = 0.0
    half = torch.autocast("cuda", torch.bfloat16) if place.device != "cpu" else nullcontext()
    for row in rows.tolist():
        both = [frames_of(int(pairs.a[row])), frames_of(int(pairs.b[row]))]
        batch = torch.from_numpy(np.concatenate(both)).to(place.device, non_blocking=True)
        with half:
            phi = module(batch)
        first, second = phi.float().split([len(both[0]), len(both[1])])
        difference = head(first.mean(dim=0)) - head(second.mean(dim=0))
        label = torch.tensor([pairs.label[row]], dtype=torch.float32, device=place.device)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(difference, label)
        (loss * float(pairs.weight[row]) / whole).backward()
        total += float(loss.detach())
    return total / max(1, len(rows))


def _freeze_statistics(module: nn.Module) -> None:
    """Batch statistics stay: a batch is one pair's frames, which are all alike."""
    import torch

    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
            part.eval()


def _average(parameters: list[torch.Tensor], place: Place) -> None:
    """Sum the processes' gradients; each is already a share of the step's mean."""
    if place.size == 1:
        return
    import torch.distributed as dist

    for parameter in parameters:
        if parameter.grad is None:  # this process had no pair in the step
            parameter.grad = parameter.new_zeros(parameter.shape)
        dist.all_reduce(parameter.grad)


@contextmanager
def _process_group() -> Iterator[Place]:
    """As torchrun arranged it in the environment; alone where it did not."""
    import torch
    import torch.distributed as dist

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


def _save(network: nn.Module, out: Path) -> None:
    checkpoint.save({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}, out)
