"""A Bayesian Bradley-Terry model that is linear in blocks of features: differences and labels in, a posterior out; and
by how much it counts beside another model (`stack`).

Each block's weights have a normal prior whose variance the labels choose by the Laplace evidence (MacKay 1992;
Rasmussen and Williams 2006, ch. 3 and 5), under a log-normal hyperprior: evidence alone overfits below a hundred
labels. Of other columns a prior is known beforehand. Answers are slips with a known probability. Pure numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from preference.bradley_terry import davidson_loss, sigmoid

HYPERPRIOR = (math.log(0.1), 1.0)
"""Mean and standard deviation of the logarithm of a block's variance, in squared log odds."""
ROUNDS = 30
"""Updates of the variances; they move by less than 0.01 before."""
NEWTON = 25
"""Steps at most; it takes three or four."""
STEP = 1.0
"""An update changes a variance by at most a factor e."""
SETTLED = 1e-2
FLAT = 1e-8
ENOUGH = 1e-4
"""Nats: less is no improvement."""
PRIOR_SD = 0.5
"""Of both weights, for parts of one size."""

NU_RANGE = (0.01, 20.0)
"""Of Davidson's ν."""


@dataclass(frozen=True)
class Answers:
    """M answers about N pairs."""

    pair: np.ndarray
    """(M,) int64, the pair of each."""
    label: np.ndarray
    """(M,) 1.0, 0.0 or 0.5, which counts half for each side."""
    weight: np.ndarray
    """(M,) 0 = left out."""
    slip: np.ndarray
    """(M,) probability of saying the opposite; above ½ for somebody who lies."""


@dataclass(frozen=True)
class Posterior:
    """Of P weights, normal around the most likely ones."""

    mean: np.ndarray
    """(P,)"""
    precision: np.ndarray
    """(P, P)"""
    centre: np.ndarray
    """(P,) mean of the prior, 0 within blocks."""
    variance: np.ndarray
    """(P,) of the prior, the same within a block."""
    log_evidence: float = 0.0
    """Of the answers and the variances (Laplace's approximation), up to a constant."""

    def draws(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, P) samples, shifted so that their mean is the posterior's: a mean over them loses nothing."""
        if count == 1:
            return self.mean[None]
        factor = np.linalg.cholesky(self.precision)
        spread = np.linalg.solve(factor.T, rng.standard_normal((len(self.mean), count))).T
        return self.mean + (spread - spread.mean(axis=0)) * math.sqrt(count / (count - 1))


def fit(
    difference: np.ndarray, answers: Answers, blocks: Sequence[int], told: Sequence[tuple[float, float]] = ()
) -> Posterior:
    """The posterior at the variances that the labels make most likely.

    Args:
        difference: (N, P) features of a minus features of b of each pair.
        blocks: Columns of each block, in order. Within a block, columns are at one scale.
        told: Mean and standard deviation of the prior of each column after the blocks.
    """
    block = np.repeat(np.arange(len(blocks)), blocks)
    log_v, free = np.full(len(blocks), HYPERPRIOR[0]), len(block)
    centre = np.concatenate([np.zeros(free), [mean for mean, _ in told]])
    known = np.array([sd**2 for _, sd in told])
    w = centre
    for _ in range(ROUNDS if blocks else 0):
        w, precision = _most_likely(difference, answers, w, _prior(log_v[block], known, centre))
        spread = np.diag(np.linalg.inv(precision))[:free]
        sums = (np.bincount(block, x, len(blocks)) for x in (w[:free] ** 2, spread, np.ones(free)))
        step = _evidence_step(log_v, *sums)
        log_v = log_v + step
        if np.abs(step).max() < SETTLED:
            break
    _, variance = prior = _prior(log_v[block], known, centre)
    w, precision = _most_likely(difference, answers, w, prior)
    found = -slipped(difference @ w, answers)[0] - 0.5 * float(np.sum((w - centre) ** 2 / variance))
    found -= 0.5 * float(np.log(variance).sum() + np.linalg.slogdet(precision)[1])
    found -= 0.5 * float(np.sum(((log_v - HYPERPRIOR[0]) / HYPERPRIOR[1]) ** 2))
    return Posterior(w, precision, centre, variance, found)


def likelihoods(found: Sequence[Posterior]) -> np.ndarray:
    """How probable each of several priors is after the answers, if all were equally so before; they add up to 1."""
    log = np.array([one.log_evidence for one in found])
    p = np.exp(log - log.max())
    return p / p.sum()


def unseen(
    phi: np.ndarray, a: np.ndarray, b: np.ndarray, answers: Answers, found: Posterior, fold: np.ndarray
) -> np.ndarray:
    """(N,) r_a − r_b of each pair, where the reward of a trajectory comes from a fit without all pairs of its fold.

    The prior's variances stay: a few numbers that all labels chose.

    Args:
        phi: (T, P) features of the trajectories, mean 0, so that rewards of different fits can be compared.
        a, b: (N,) rows of it.
        fold: (T,) of each trajectory.
    """
    rewards, d = np.zeros(len(phi)), phi[a] - phi[b]
    for number in np.unique(fold):
        kept = ((fold[a] != number) & (fold[b] != number))[answers.pair]
        left = replace(answers, weight=answers.weight * kept)
        w, _ = _most_likely(d, left, found.mean, (found.centre, found.variance))
        rewards[fold == number] = phi[fold == number] @ w
    return rewards[a] - rewards[b]


def slipped(x: np.ndarray, answers: Answers) -> tuple[float, np.ndarray, np.ndarray]:
    """The answers' negative log-likelihood at x = r_a − r_b (N,), and each pair's slope and expected (Fisher)
    curvature, ≥ 0."""
    q, s = sigmoid(x)[answers.pair], answers.slip
    p = np.clip(s + (1.0 - 2.0 * s) * q, 1e-12, 1.0 - 1e-12)
    by_x = (1.0 - 2.0 * s) * q * (1.0 - q)
    loss = -(answers.label * np.log(p) + (1.0 - answers.label) * np.log1p(-p))
    slope = ((1.0 - answers.label) / (1.0 - p) - answers.label / p) * by_x
    slopes, curvatures = (
        np.bincount(answers.pair, answers.weight * each, len(x)) for each in (slope, by_x**2 / (p * (1.0 - p)))
    )
    return float(answers.weight @ loss), slopes, curvatures


def stack(
    simple: np.ndarray, network: np.ndarray, answers: Answers, prior: tuple[float, float] = (0.5, 0.5)
) -> tuple[float, float]:
    """Weights of a reward's two parts, which are at one size.

    Stacking (Wolpert 1992) with weights of at least 0 (Breiman 1996), on the likelihood of the answers. A normal prior
    says what they are before any answer: with few labels the mean of the two is hardly behind the better one, whichever
    that is. Where the answers bear out neither, it is all there is; where the network has no differences, the simple
    part is.

    Args:
        simple: (N,) r_a − r_b of each pair, by a simple part that did not see it.
        network: (N,) the same of the network; nan where it saw the pair.
        prior: The weights' mean, of `simple` and of `network`; their standard deviation is `PRIOR_SD`.
    """
    from scipy.optimize import minimize

    known = np.isfinite(network)
    if not known.any() or network[known].std() == 0.0:
        return 1.0, 0.0
    both = np.column_stack([simple, np.where(known, network, 0.0)])
    kept = Answers(answers.pair, answers.label, answers.weight * known[answers.pair], answers.slip)
    mean = np.array(prior)

    def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope, _ = slipped(both @ w, kept)
        away = (w - mean) / PRIOR_SD**2
        return loss + 0.5 * float(away @ (w - mean)), both.T @ slope + away

    found: Any = minimize(cost, mean, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * 2)
    return (float(found.x[0]), float(found.x[1])) if found.x.sum() > ENOUGH else prior


def ratio(simple: np.ndarray, network: np.ndarray) -> float:
    """What the network's differences (N,), nan where they are not known, are multiplied by to be of the simple part's
    size: those of an early network are small. 1 where it has none."""
    known = np.isfinite(network)
    spread = float(network[known].std()) if known.any() else 0.0
    return float(simple[known].std()) / spread if spread else 1.0


def fit_log_nu(x: np.ndarray, label: np.ndarray) -> float:
    """Log of the ν that Davidson's model (1970) finds most likely at the differences x (N,) of the whole reward."""
    from scipy.optimize import minimize_scalar

    low, high = map(math.log, NU_RANGE)
    found: Any = minimize_scalar(lambda v: float(davidson_loss(x, label, v)[0].sum()), bounds=(low, high),
                                 method="bounded")  # fmt: skip
    return float(found.x)


def _prior(log_v: np.ndarray, known: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance, (P,) each."""
    return centre, np.concatenate([np.exp(log_v), known])


def _most_likely(
    d: np.ndarray, answers: Answers, w: np.ndarray, prior: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (P,) and the posterior's precision (P, P), by Fisher scoring with halved steps.

    Args:
        d: (N, P)
        w: Where to start.
        prior: Mean and variance, (P,) each.
    """
    centre, precision = prior[0], 1.0 / prior[1]

    def cost(at: np.ndarray) -> float:
        return slipped(d @ at, answers)[0] + 0.5 * float(precision @ (at - centre) ** 2)

    now = cost(w)
    for _ in range(NEWTON):
        _, slope, curvature = slipped(d @ w, answers)
        step = np.linalg.solve(_precision(d, curvature, precision), d.T @ slope + precision * (w - centre))
        size = 1.0
        while (then := cost(w - size * step)) > now and size > FLAT:
            size *= 0.5
        gain = now - then
        if gain > 0:
            w, now = w - size * step, then
        if gain < ENOUGH:
            break
    return w, _precision(d, slipped(d @ w, answers)[2], precision)


def _precision(d: np.ndarray, curvature: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return (d * curvature[:, None]).T @ d + np.diag(prior)


def _evidence_step(log_v: np.ndarray, squares: np.ndarray, variance: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The change of each log variance: Newton on the log evidence and the hyperprior, the curvature by the number of
    weights that the labels have determined (MacKay's γ).

    Args:
        squares, variance, size: Of each block: Σ w², Σ posterior variance, number of weights.
    """
    middle, sd = HYPERPRIOR
    v = np.exp(log_v)
    slope = 0.5 * ((squares + variance) / v - size) - (log_v - middle) / sd**2
    determined = np.maximum(size - variance / v, 0.0)
    return np.clip(slope / (0.5 * determined + sd**-2), -STEP, STEP)
