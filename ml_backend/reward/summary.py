"""The reward's simple part: linear and radial in what summarizes a trajectory.

A trajectory is summarized by the mean of its inputs, how they change from the first step to the last, how they spread,
and how they end. The reward is linear in that, and in radial features of it, exp(−γ |s − c|²) of some trajectories c
(Nyström, Williams and Seeger 2001). Nothing of a trajectory's length reaches it by itself.

Importing this module imports torch: do it inside the function that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ml_backend.reward.evidence import Answers, fit, unseen

SUMMARIES = 4
"""Mean, change, spread, end: each as wide as a step's inputs."""
CENTRES = 512
"""Trajectories that the radial features are measured from, drawn of those compared where there are more."""
RADIAL = 128
"""Principal radial features that are kept; of the rest, labels determine nothing."""
GAMMA = 0.3
"""Over the number of summary values: two trajectories a standard deviation apart in each are alike by e^(−2·0.3)."""
LIMIT = 5.0
"""Standardized summaries are held within ± so many standard deviations."""


class SummaryReward(nn.Module):
    """K samples of a Bayesian reward on summaries.

    Args:
        width: F, values of a step's normalized input.
        centres: M; 0 = linear alone.
        radial: R, radial features.
        members: K.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    centres: torch.Tensor
    whiten: torch.Tensor
    size: torch.Tensor
    weight: torch.Tensor
    slope: torch.Tensor

    def __init__(self, width: int, centres: int, radial: int, members: int) -> None:
        super().__init__()
        values = SUMMARIES * width
        shapes = {
            "mean": (values,),
            "scale": (values,),
            "centres": (centres, values),
            "whiten": (centres, radial),
            "size": (values + radial,),
            "weight": (members, values + radial),
            "slope": (width,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    @property
    def blocks(self) -> list[int]:
        """Columns of each block of `features`."""
        radial = self.whiten.shape[1]
        return [len(self.mean) // SUMMARIES] * SUMMARIES + ([radial] if radial else [])

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Rewards (K, B) from (B, T, F) normalized inputs and (B, T)."""
        return torch.matmul(self.weight, self.basis(inputs, mask).transpose(0, 1))

    def basis(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, 4F + R) in which the rewards are linear, each column at its prior's standard deviation."""
        return self.features(summarize(inputs, mask)) * self.size

    def steps(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Each step's part of the rewards, (K, B, T): they add up to `forward`'s.

        What is linear in the mean belongs to the steps, and so does the spread, by their squared distances from the
        mean. What is linear in the end, and in how far it is from the start, belongs to the last step. What is left,
        the radial features above all, is spread by a linear model of the steps that `spread_rest` fitted to it.
        """
        steps, end, rest = self.split(inputs, mask)
        share, last = shares(mask, inputs.dtype), _last(mask, inputs.dtype)
        away = (inputs - _mean(inputs, mask).unsqueeze(1)) @ self.slope
        return steps + end.unsqueeze(2) * last + (rest.unsqueeze(2) + away) * share

    def split(self, inputs: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The rewards as what belongs to the steps (K, B, T), to the end (K, B), and to no step (K, B)."""
        share = shares(mask, inputs.dtype).unsqueeze(-1)
        summaries = summarize(inputs, mask)
        mean, change, spread, end = summaries.chunk(SUMMARIES, dim=1)
        weight = self.weight * self.size
        by = (weight[:, : summaries.shape[1]] * self.scale).unflatten(1, (SUMMARIES, -1))
        centre = self.mean.unflatten(0, (SUMMARIES, -1))
        distance = (inputs - mean.unsqueeze(1)) ** 2 / spread.unsqueeze(1)
        steps = torch.einsum("btf,kf->kbt", (inputs - centre[0]) * share, by[:, 0])
        steps = steps + torch.einsum("btf,kf->kbt", (distance - centre[2]) * share, by[:, 2])
        last = torch.einsum("bf,kf->kb", change - centre[1], by[:, 1])
        last = last + torch.einsum("bf,kf->kb", end - centre[3], by[:, 3])
        return steps, last, self(inputs, mask) - steps.sum(dim=2) - last

    def features(self, summaries: torch.Tensor) -> torch.Tensor:
        """(B, 4F + R), standardized and radial, from (B, 4F)."""
        s = self.standardized(summaries)
        return torch.cat([s, radial(s, self.centres) @ self.whiten], dim=1) if self.whiten.shape[1] else s

    def standardized(self, summaries: torch.Tensor) -> torch.Tensor:
        """(B, 4F), each about standard normal over the pool."""
        return ((summaries - self.mean) * self.scale).clamp(-LIMIT, LIMIT).to(self.scale.dtype)


def shares(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, T): 1 / steps where the trajectory has a step, else 0."""
    there = mask.to(dtype)
    return there / there.sum(dim=1, keepdim=True).clamp(min=1.0)


def summarize(inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, 4F): mean, change, spread and end over the steps that are there."""
    mean = _mean(inputs, mask)
    share = shares(mask, inputs.dtype).unsqueeze(-1)
    spread = (((inputs - mean.unsqueeze(1)) ** 2) * share).sum(dim=1).clamp(min=1e-12).sqrt()
    end = (inputs * _last(mask, inputs.dtype).unsqueeze(-1)).sum(dim=1)
    return torch.cat([mean, end - inputs[:, 0], spread, end], dim=1)


def _mean(inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, F)"""
    return (inputs * shares(mask, inputs.dtype).unsqueeze(-1)).sum(dim=1)


def _last(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, T): 1 at a trajectory's last step, else 0."""
    there = mask.to(dtype)
    return there - torch.cat([there[:, 1:], torch.zeros_like(there[:, :1])], dim=1)


def radial(s: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """(B, M) exp(−γ |s − c|²)."""
    squared = (s**2).sum(dim=1, keepdim=True) + (centres**2).sum(dim=1) - 2.0 * s @ centres.transpose(0, 1)
    return torch.exp(-GAMMA / s.shape[1] * squared.clamp(min=0.0))


def measured(
    raw: torch.Tensor,
    compared: np.ndarray,
    relative: np.ndarray,
    members: int,
    rng: np.random.Generator,
    *,
    kernel: bool,
) -> SummaryReward:
    """A part whose features are ready and whose weights are 0.

    Args:
        raw: (N, 4F) summaries of the pool.
        compared: Rows of it from which the centres of the radial features are drawn; none of these unless `kernel`.
        relative: (F,) bool, as `standardize` has it.
    """
    centres = np.sort(rng.permutation(compared)[:CENTRES]) if kernel else np.zeros(0, int)
    part = SummaryReward(raw.shape[1] // SUMMARIES, len(centres), min(RADIAL, len(centres)), members)
    standardize(part, raw, relative)
    place_centres(part, part.standardized(raw[centres]))
    return part


@torch.no_grad()
def standardize(part: SummaryReward, pool: torch.Tensor, relative: np.ndarray) -> None:
    """Measure what a summary subtracts and is scaled by on the pool's.

    Args:
        pool: (N, 4F) summaries; no label is looked at.
        relative: (F,) bool: inputs that keep their size relative to each other.
    """
    part.mean.copy_(pool.mean(dim=0))
    sd = pool.std(dim=0, unbiased=False).reshape(SUMMARIES, -1)
    if relative.any():
        together = torch.from_numpy(relative)
        sd[:, together] = sd[:, together].amax(dim=1, keepdim=True)
    part.scale.copy_(torch.where(sd > 1e-4, 1.0 / sd.clamp(min=1e-4), torch.zeros_like(sd)).flatten())


@torch.no_grad()
def place_centres(part: SummaryReward, s: torch.Tensor) -> None:
    """Radial features of unit kernel: of the centres `s`, (M, 4F) standardized, the principal directions.

    Directions beyond the rank are 0.
    """
    if not len(s):
        return
    values, vectors = np.linalg.eigh(radial(s, s).double().numpy())
    kept = part.whiten.shape[1]
    values, vectors = values[::-1][:kept], vectors[:, ::-1][:, :kept]
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(kept)] < 0, -1.0, 1.0)
    enough = values > 1e-6 * values[0]
    whiten = vectors * np.where(enough, 1.0 / np.sqrt(np.where(enough, values, 1.0)), 0.0)
    part.centres.copy_(s)
    part.whiten.copy_(torch.from_numpy(whiten.copy()))


@torch.no_grad()
def learn(
    part: SummaryReward,
    pool: torch.Tensor,
    rows: tuple[np.ndarray, np.ndarray],
    answers: Answers,
    fold: np.ndarray,
    rng: np.random.Generator,
    *,
    linear: bool,
) -> np.ndarray:
    """Fit the weights of `part` to what is said of M pairs, and draw its members.

    Returns:
        (M,) r_a − r_b of each pair, by fits that saw neither trajectory.

    Args:
        pool: (N, 4F + R) `features` of the pool.
        rows: (M,) and (M,) its rows that are a and b.
        fold: (N,) of each trajectory: those of one fold are left out together.
        linear: Whether the summaries themselves count, beside the radial features.
    """
    phi = pool.double().numpy()
    unit = unit_size(phi, part.blocks)
    if not linear:
        unit[: len(part.mean)] = 0.0
    phi = (phi - phi.mean(axis=0)) * unit
    found = fit(phi[rows[0]] - phi[rows[1]], answers, part.blocks)
    sd = np.sqrt(found.variance)
    part.size.copy_(torch.from_numpy(unit * sd))
    part.weight.copy_(torch.from_numpy(found.draws(part.weight.shape[0], rng) / sd))
    return unseen(phi, *rows, answers, found, fold)


def unit_size(phi: np.ndarray, blocks: Sequence[int]) -> np.ndarray:
    """(P,) what each block is multiplied by, so that rewards of unit weights have variance 1 over the pool."""
    power = [part.var(axis=0).sum() for part in np.split(phi, np.cumsum(blocks)[:-1], axis=1)]
    return np.repeat([1.0 / np.sqrt(p) if p > 0 else 0.0 for p in power], blocks)
