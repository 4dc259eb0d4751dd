"""The reward's linear part: a Bayesian Bradley-Terry model of steps, which few labels suffice for.

A step's reward is linear in its inputs, in their squares and in its progress, so a trajectory's is linear in the means
of these: it knows what is high, what is low, what is far from the middle, and how far the task has come. The variances
of the prior of inputs and squares are chosen by evidence (`evidence`). With few labels this is better than the network,
whose best epoch is then a guess; with many the network sees what is neither linear nor square, and what the linear part
still adds is for the labels to say.

Progress (`outcomes`) is learned from which trajectories succeeded, so it costs no answer. Before any answer it is as
likely that people prefer it as that it means nothing to them. The rewards under either are added up, each times its
probability after the answers (Bayesian model averaging, Hoeting et al. 1999).

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ml_backend.reward.evidence import Answers, fit, likelihoods, unseen
from ml_backend.reward.summary import shares, unit_size

BLOCKS = 2
"""Inputs and their squares, each with a prior of its own."""
PROGRESS = ((0.0, 3.3), (10.0, 3.3))
"""Mean and standard deviation of what progress counts, in log odds between a trajectory of progress 1 throughout and
one of 0, if it means nothing and if people prefer it. Mean progress has a standard deviation of 0.2 to 0.36 over pools
in which some succeed, so the second is about 3 log odds for each, as much as the simulated annotators' own noise."""
EITHER = (5.0, 6.0)
"""Mean and standard deviation of the two together, where one prior has to do."""


class LinearSteps(nn.Module):
    """K samples of a Bayesian reward that is linear in a step's inputs, their squares, and its progress.

    Args:
        width: F, values of a step's normalized input; 0 = these do not count.
        progress: Whether progress counts.
        members: K.
    """

    size: torch.Tensor
    """(P,) of each column, the standard deviation of its prior; P = 2F, and one for progress."""
    weight: torch.Tensor
    """(K, P)"""

    def __init__(self, width: int, progress: bool, members: int) -> None:
        super().__init__()
        self.width, self.counts_progress = width, progress
        self.register_buffer("size", torch.zeros(BLOCKS * width + progress))
        self.register_buffer("weight", torch.zeros(members, BLOCKS * width + progress))

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor, progress: torch.Tensor | None) -> torch.Tensor:
        """Rewards (K, B) from (B, T, F) normalized inputs, (B, T), and (B, T) where progress counts."""
        return self.of_means(self.means(inputs, mask, progress))

    def of_means(self, phi: torch.Tensor) -> torch.Tensor:
        """Rewards (K, B) from (B, P) `means`."""
        return torch.matmul(self.weight, (phi * self.size).transpose(0, 1))

    def basis(self, inputs: torch.Tensor, mask: torch.Tensor, progress: torch.Tensor | None) -> torch.Tensor:
        """(B, P) in which the rewards are linear, each column at its prior's standard deviation."""
        return self.means(inputs, mask, progress) * self.size

    def steps(self, inputs: torch.Tensor, mask: torch.Tensor, progress: torch.Tensor | None) -> torch.Tensor:
        """Each step's part of the rewards, (K, B, T): they add up to `forward`'s."""
        own = torch.matmul(self._columns(inputs, progress), (self.weight * self.size).transpose(0, 1))
        return own.permute(2, 0, 1) * shares(mask, inputs.dtype)

    def means(self, inputs: torch.Tensor, mask: torch.Tensor, progress: torch.Tensor | None) -> torch.Tensor:
        """(B, P): the mean of each column over the steps that are there."""
        return (self._columns(inputs, progress) * shares(mask, inputs.dtype).unsqueeze(-1)).sum(dim=1)

    def _columns(self, inputs: torch.Tensor, progress: torch.Tensor | None) -> torch.Tensor:
        """(B, T, P)"""
        own = [inputs, inputs**2] if self.width else []
        return torch.cat([*own, progress.unsqueeze(-1)] if self.counts_progress and progress is not None else own, -1)

    @property
    def progress(self) -> float:
        """Log odds between a trajectory of progress 1 throughout and one of 0; 0 where progress does not count."""
        return float(self.weight[:, -1].mean() * self.size[-1]) if self.counts_progress else 0.0


@torch.no_grad()
def learn_linear(
    part: LinearSteps,
    phi: torch.Tensor,
    rows: tuple[np.ndarray, np.ndarray],
    answers: Answers,
    relative: np.ndarray,
    fold: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Fit the weights of `part` to what is said of M pairs, and draw its members.

    Args:
        phi: (N, P) `means` of some trajectories, progress by models that did not learn from the trajectory.
        rows: (M,) and (M,) which of them are a and b.
        relative: (F,) bool: inputs that keep their size relative to each other.
        fold: (N,) of each trajectory.

    Returns:
        (M,) r_a − r_b of the pairs, where the reward of a trajectory comes from a fit without its fold.
    """
    x = phi.double().numpy()
    compared = np.unique(np.concatenate(rows))
    scale, blocks = np.ones(x.shape[1]), [part.width] * (BLOCKS if part.width else 0)
    if blocks:
        own = slice(0, sum(blocks))
        scale[own] = _scale(x[compared, own], relative)
        scale[own] *= unit_size(x[compared, own] * scale[own], blocks)
    x = (x - x.mean(axis=0)) * scale
    priors = [[prior] for prior in PROGRESS] if part.counts_progress else [[]]
    found = [fit(x[rows[0]] - x[rows[1]], answers, blocks, prior) for prior in priors]
    p = likelihoods(found)
    # so many members under each prior as it is probable; their mean is that of all
    members = np.bincount(rng.choice(len(p), size=len(part.weight), p=p), minlength=len(p)).tolist()
    drawn = np.concatenate([one.draws(count, rng) for one, count in zip(found, members, strict=True) if count])
    drawn += np.tensordot(p, [one.mean for one in found], axes=1) - drawn.mean(axis=0)
    prior = np.sqrt(found[int(p.argmax())].variance)
    part.size.copy_(torch.from_numpy(scale * prior))
    part.weight.copy_(torch.from_numpy(drawn / prior))
    return np.tensordot(p, [unseen(x, *rows, answers, one, fold) for one in found], axes=1)


def _scale(x: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """(2F,) what makes the standard deviations of the columns of (N, 2F) 1; 0 where a column does not vary."""
    sd = x.std(axis=0).reshape(BLOCKS, -1)
    if relative.any():
        sd[:, relative] = sd[:, relative].max(axis=1, keepdims=True)
    return np.where(sd > 1e-4, 1.0 / np.maximum(sd, 1e-4), 0.0).ravel()
