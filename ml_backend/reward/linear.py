"""The reward's linear part: a Bayesian Bradley-Terry model of steps, which few labels suffice for.

A step's reward is linear in its inputs and in their squares, so a trajectory's is linear in the means of both: it
knows what is high, what is low, and what is far from the middle. The prior's variances are chosen by evidence
(`evidence`). With few labels this is better than the network, whose best epoch is then a guess; with many the network
sees what is neither linear nor square, and what the linear part still adds is for the labels to say.

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ml_backend.reward.evidence import Answers, fit, unseen
from ml_backend.reward.summary import shares, unit_size

BLOCKS = 2
"""Inputs and their squares, each with a prior of its own."""


class LinearSteps(nn.Module):
    """K samples of a Bayesian reward that is linear in a step's inputs and their squares.

    Args:
        width: F, values of a step's normalized input.
        members: K.
    """

    size: torch.Tensor
    """(2F,) of each column, the standard deviation of its prior."""
    weight: torch.Tensor
    """(K, 2F)"""

    def __init__(self, width: int, members: int) -> None:
        super().__init__()
        self.register_buffer("size", torch.zeros(BLOCKS * width))
        self.register_buffer("weight", torch.zeros(members, BLOCKS * width))

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Rewards (K, B) from (B, T, F) normalized inputs and (B, T)."""
        return self.of_means(means(inputs, mask))

    def of_means(self, phi: torch.Tensor) -> torch.Tensor:
        """Rewards (K, B) from (B, 2F) `means`."""
        return torch.matmul(self.weight, (phi * self.size).transpose(0, 1))

    def basis(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, 2F) in which the rewards are linear, each column at its prior's standard deviation."""
        return means(inputs, mask) * self.size

    def steps(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Each step's part of the rewards, (K, B, T): they add up to `forward`'s."""
        own = torch.matmul(_squared(inputs), (self.weight * self.size).transpose(0, 1))
        return own.permute(2, 0, 1) * shares(mask, inputs.dtype)


def means(inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, 2F): the mean of the inputs and of their squares, over the steps that are there."""
    return (_squared(inputs) * shares(mask, inputs.dtype).unsqueeze(-1)).sum(dim=1)


def _squared(inputs: torch.Tensor) -> torch.Tensor:
    return torch.cat([inputs, inputs**2], dim=-1)


@torch.no_grad()
def learn_linear(
    phi: torch.Tensor,
    rows: tuple[np.ndarray, np.ndarray],
    answers: Answers,
    relative: np.ndarray,
    fold: np.ndarray,
    members: int,
    rng: np.random.Generator,
) -> tuple[LinearSteps, np.ndarray]:
    """Fit to what is said of M pairs, and draw the members.

    Args:
        phi: (N, 2F) `means` of some trajectories.
        rows: (M,) and (M,) which of them are a and b.
        relative: (F,) bool: inputs that keep their size relative to each other.
        fold: (N,) of each trajectory.

    Returns:
        The part, and (M,) r_a − r_b of the pairs, where the reward of a trajectory comes from a fit without its fold.
    """
    part, blocks = LinearSteps(len(relative), members), [len(relative)] * BLOCKS
    x = phi.double()
    sd = x[np.unique(np.concatenate(rows))].std(dim=0, unbiased=False).reshape(BLOCKS, -1)
    if relative.any():
        together = torch.from_numpy(relative)
        sd[:, together] = sd[:, together].amax(dim=1, keepdim=True)
    scale = torch.where(sd > 1e-4, 1.0 / sd.clamp(min=1e-4), torch.zeros_like(sd)).flatten()
    x, scale = (x * scale).numpy(), scale.numpy()
    unit = unit_size(x[np.unique(np.concatenate(rows))], blocks)
    x = (x - x.mean(axis=0)) * unit
    found = fit(x[rows[0]] - x[rows[1]], answers, blocks)
    prior = np.sqrt(found.variance)
    part.size.copy_(torch.from_numpy(scale * unit * prior))
    part.weight.copy_(torch.from_numpy(found.draws(members, rng) / prior))
    return part, unseen(x, *rows, answers, found, fold)
