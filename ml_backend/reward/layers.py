"""Layers over time, each with a leading member axis: K members are one computation.

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from preference.errors import ConfigError

KERNEL = 3
"""Steps that the convolution sees at once."""
HEADS = 4
"""Of the transformer's attention, where `hidden` can be divided so."""

TASK_DROPOUT = 0.15
"""Probability with which a step does not say which pairs are of a task."""


def without_some_tasks(inputs: torch.Tensor, tasks: int, rng: np.random.Generator) -> torch.Tensor:
    """(B, T, F) whose last `tasks` columns are the task types': some lose theirs for this step of a training, so that
    what is learned has something to say of a task unseen."""
    if not tasks:
        return inputs
    kept = torch.ones(inputs.shape[-1])
    kept[-tasks:] = torch.from_numpy(rng.random(tasks) >= TASK_DROPOUT)
    return inputs * kept


def temporal_layer(kind: str, width: int, hidden: int, members: int, generator: torch.Generator | None) -> nn.Module:
    """The layer of that name: steps (B, T, F) and their mask in, (K, B, T, P) out, with K = 1 where all members
    see the same; `.size` is P. With (B, C) `chosen` steps, (K, B, C, P): what the layer makes of these, at less cost.

    Nothing of a trajectory's length reaches the result by itself: steps beyond its end are left out, the convolution
    repeats the first and the last step instead of seeing zeros there, and the transformer knows only how far apart two
    steps are (rotary positions, Su et al. 2021). So a robot that stands still gets the same vector after two seconds
    and after ten.

    Raises:
        ConfigError: there is none of that name.
    """
    if kind == "mean":
        return Mean(width)
    if kind == "conv1d":
        return Convolution(width, hidden, members, generator)
    if kind == "transformer":
        return Transformer(width, hidden, members, generator)
    raise ConfigError(f"reward.temporal: expected mean, conv1d or transformer, found {kind!r}.")


class Mean(nn.Module):
    """Each step by itself, so the trajectory's mean is blind to order."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.size = width

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        return at(inputs, chosen).unsqueeze(0)


class Convolution(nn.Module):
    """Each step with its two neighbours: what changes from step to step counts, in the large no order.

    One matrix product for all members; on a CPU twice as fast as torch's convolution.
    """

    def __init__(self, width: int, hidden: int, members: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.size, self.members = hidden, members
        self.weight = uniform((members, KERNEL * width, hidden), KERNEL * width, generator)
        self.bias = nn.Parameter(torch.zeros(members, 1, hidden))

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        before = torch.cat([inputs[:, :1], inputs[:, :-1]], dim=1)
        after = torch.cat([inputs[:, 1:], inputs[:, -1:]], dim=1)
        goes_on = torch.cat([mask[:, 1:], mask[:, -1:]], dim=1).unsqueeze(-1)
        seen = at(torch.cat([before, inputs, torch.where(goes_on, after, inputs)], dim=-1), chosen)
        found = torch.baddbmm(self.bias, seen.flatten(0, 1).expand(self.members, -1, -1), self.weight)
        return torch.relu_(found).unflatten(1, seen.shape[:2])


class Transformer(nn.Module):
    """One block of attention over all steps; each member has its own weights."""

    def __init__(self, width: int, hidden: int, members: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.size, self.members = hidden, members
        self.heads = next(n for n in (HEADS, 2, 1) if hidden % (2 * n) == 0 or n == 1)
        self.enter = uniform((members, width, hidden), width, generator)
        self.attend = uniform((members, hidden, 3 * hidden), hidden, generator)
        self.merge = uniform((members, hidden, hidden), hidden, generator)
        self.widen = uniform((members, hidden, 2 * hidden), hidden, generator)
        self.narrow = uniform((members, 2 * hidden, hidden), 2 * hidden, generator)

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        batch, steps = inputs.shape[0], inputs.shape[1]
        x = torch.matmul(inputs.flatten(0, 1), self.enter)  # (K, B·T, H)
        q, k, v = (self._split(part, batch, steps) for part in torch.matmul(_norm(x), self.attend).chunk(3, dim=-1))
        seen = mask.view(1, batch, 1, 1, steps)
        weights = (_rotated(q) @ _rotated(k).transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(~seen, -1e9)
        found = (weights.softmax(dim=-1) @ v).transpose(2, 3).reshape(self.members, batch * steps, self.size)
        x = x + torch.matmul(found, self.merge)
        x = x + torch.matmul(torch.relu(torch.matmul(_norm(x), self.widen)), self.narrow)
        x = x.reshape(self.members, batch, steps, self.size)
        return x if chosen is None else x[:, torch.arange(batch).unsqueeze(1), chosen]

    def _split(self, x: torch.Tensor, batch: int, steps: int) -> torch.Tensor:
        """(K, B·T, H) → (K, B, heads, T, H / heads)."""
        return x.reshape(self.members, batch, steps, self.heads, self.size // self.heads).transpose(2, 3)


def at(values: torch.Tensor, chosen: torch.Tensor | None) -> torch.Tensor:
    """(B, T, ...) at the (B, C) chosen steps of each trajectory, (B, C, ...); without a choice, all of it."""
    return values if chosen is None else values[torch.arange(len(values)).unsqueeze(1), chosen]


def uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator | None) -> nn.Parameter:
    """Initial weights, uniform in ±1/√inputs: torch's own choice for a linear layer."""
    bound = 1.0 / math.sqrt(max(1, inputs))
    return nn.Parameter((torch.rand(shape, generator=generator) * 2.0 - 1.0) * bound)


def _norm(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.layer_norm(x, x.shape[-1:])


def _rotated(x: torch.Tensor) -> torch.Tensor:
    """(..., T, d), turned by an angle that grows with the step: products of two depend on their distance alone."""
    half = x.shape[-1] // 2
    steps = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)
    rates = 100.0 ** (-torch.arange(half, dtype=x.dtype, device=x.device) / max(1, half))
    angle = steps.unsqueeze(-1) * rates
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos, rest], dim=-1)
