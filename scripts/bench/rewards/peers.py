"""Reward models of other kinds, with the help that ours gets: steps and answered pairs in, a reward each out.

A linear model, a kernel model, a Gaussian process and a network like imitation's. Each has the same slip; penalty,
prior, decay and epochs are chosen on these answers alone, by cross-validation or by evidence. The kernel model and
the Gaussian process see the summaries that ours sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ml_backend.reward.evidence import HYPERPRIOR
from preference.bradley_terry import sigmoid

SLIP, GAMMA, FOLDS = 0.1, 0.3, 5
PENALTIES = 10.0 ** np.arange(-3, 3)
DECAYS, EPOCHS, NETWORK_FOLDS = (1e-2, 1e-1), 40, 3


@dataclass(frozen=True)
class Given:
    """What a method may look at, and the answers that it may learn from."""

    inputs: np.ndarray
    """(N, T, F) of each trajectory's or segment's steps."""
    a: np.ndarray
    b: np.ndarray
    """(M,) rows of `inputs` that were compared."""
    label: np.ndarray
    """(M,) 1.0 (A), 0.0 (B), 0.5 (equal)."""
    pool: np.ndarray
    """Rows by which inputs are standardized."""
    seed: int

    @cached_property
    def steps(self) -> np.ndarray:
        """(N, T, F), standardized over the pool."""
        seen = self.inputs[self.pool].reshape(-1, self.inputs.shape[2])
        return _standardized(self.inputs, seen)

    @cached_property
    def summaries(self) -> np.ndarray:
        """(N, 4F) mean, change, spread and end, each standardized over the pool."""
        x = self.steps
        every = np.concatenate([x.mean(axis=1), x[:, -1] - x[:, 0], x.std(axis=1), x[:, -1]], axis=1)
        return _standardized(every, every[self.pool])

    def difference(self, values: np.ndarray) -> np.ndarray:
        return values[self.a] - values[self.b]


def _standardized(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    mean, sd = seen.mean(axis=0), seen.std(axis=0)
    return np.clip((values - mean) * np.where(sd > 1e-6, 1.0 / np.where(sd > 1e-6, sd, 1.0), 0.0), -5.0, 5.0)


def misfit(x: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]:
    """Negative log-likelihood of labels with slips, and its slope."""
    q = sigmoid(x)
    p = SLIP + (1.0 - 2.0 * SLIP) * q
    loss = -np.sum(label * np.log(p) + (1.0 - label) * np.log1p(-p))
    return float(loss), ((1.0 - label) / (1.0 - p) - label / p) * (1.0 - 2.0 * SLIP) * q * (1.0 - q)


def folds(given: Given, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(kept, held) places in the labels, by pair."""
    order = np.random.default_rng(given.seed).permutation(len(given.label))
    return [(np.setdiff1d(order, held), held) for held in np.array_split(order, count)]


def penalized(given: Given, values: np.ndarray) -> np.ndarray:
    """Bradley-Terry, linear in `values` (N, P), with slips; the penalty by cross-validation."""
    from scipy.optimize import minimize

    d, label = given.difference(values), given.label

    def fitted(rows: np.ndarray, penalty: float) -> np.ndarray:
        def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
            loss, slope = misfit(d[rows] @ w, label[rows])
            return loss + penalty * float(w @ w), d[rows].T @ slope + 2.0 * penalty * w

        return minimize(cost, np.zeros(d.shape[1]), jac=True, method="L-BFGS-B").x

    def unseen(penalty: float) -> float:
        return sum(misfit(d[held] @ fitted(kept, penalty), label[held])[0] for kept, held in folds(given, FOLDS))

    return values @ fitted(np.arange(len(label)), min(PENALTIES, key=unseen))


def linear(given: Given) -> np.ndarray:
    """On the mean and the change of the inputs."""
    x = given.steps
    every = np.concatenate([x.mean(axis=1), x[:, -1] - x[:, 0]], axis=1)
    every = _standardized(every, every[given.pool])
    return penalized(given, every / np.sqrt(every.shape[1]))


def radial(s: np.ndarray, c: np.ndarray) -> np.ndarray:
    squared = (s**2).sum(axis=1)[:, None] + (c**2).sum(axis=1) - 2.0 * s @ c.T
    return np.exp(-GAMMA / s.shape[1] * np.maximum(squared, 0.0))


def kernel(given: Given) -> np.ndarray:
    """Radial features of the summaries, all of them."""
    s = given.summaries
    centres = s[np.unique([given.a, given.b])]
    values, vectors = np.linalg.eigh(radial(centres, centres))
    kept = values > 1e-9 * values[-1]
    return penalized(given, radial(s, centres) @ vectors[:, kept] / np.sqrt(values[kept]))


def gaussian_process(given: Given) -> np.ndarray:
    """Of the reward, with a linear and a radial kernel of the summaries at one variance, chosen by the Laplace evidence
    under the prior that ours has (Chu and Ghahramani 2005)."""
    from scipy.optimize import minimize_scalar

    s, label, both = given.summaries, given.label, (given.a, given.b)
    whole = s @ s.T / (s**2).sum(axis=1).mean() + radial(s, s)
    side = whole[:, both[0]] - whole[:, both[1]]
    own = side[both[0]] - side[both[1]]

    def posterior(variance: float) -> tuple[np.ndarray, float]:
        """Weights of the pairs, and the log evidence."""
        k, weight, factor = variance * own, np.zeros(len(label)), np.eye(len(label))
        for _ in range(30):
            x = k @ weight
            _, slope = misfit(x, label)
            q = sigmoid(x)
            p = SLIP + (1.0 - 2.0 * SLIP) * q
            root = (1.0 - 2.0 * SLIP) * q * (1.0 - q) / np.sqrt(p * (1.0 - p))
            factor = np.eye(len(x)) + root[:, None] * k * root
            aim = root**2 * x - slope
            new = aim - root * np.linalg.solve(factor, root * (k @ aim))
            moved, weight = float(np.abs(new - weight).max()), 0.5 * weight + 0.5 * new
            if moved < 1e-4:
                break
        x = k @ weight
        return weight, -misfit(x, label)[0] - 0.5 * float(weight @ x) - 0.5 * float(np.linalg.slogdet(factor)[1])

    middle, sd = HYPERPRIOR
    best: Any = minimize_scalar(
        lambda log_v: -posterior(np.exp(log_v))[1] + 0.5 * ((log_v - middle) / sd) ** 2,
        bounds=(-6.0, 4.0), method="bounded", options={"xatol": 0.1},
    )  # fmt: skip
    return side @ posterior(np.exp(best.x))[0]


def network(given: Given) -> np.ndarray:
    """Like imitation's BasicRewardNet: two layers of 32 on each step, summed over the segment; Adam at 1e-3, the weight
    decay and the number of epochs by cross-validation."""
    import torch

    torch.set_num_threads(1)
    steps = torch.tensor(given.steps, dtype=torch.float32)
    a, b = torch.tensor(given.a), torch.tensor(given.b)
    label = torch.tensor(given.label, dtype=torch.float32)

    def loss(x: Any, y: Any) -> Any:
        p = SLIP + (1.0 - 2.0 * SLIP) * torch.sigmoid(x)
        return -(y * p.log() + (1.0 - y) * (1.0 - p).log())

    def trained(rows: np.ndarray, held: np.ndarray, decay: float, last: int) -> tuple[Any, np.ndarray]:
        """The network after epoch `last`, and the loss on `held` after each."""
        torch.manual_seed(given.seed)
        layer = torch.nn.Linear
        net = torch.nn.Sequential(
            layer(steps.shape[2], 32), torch.nn.ReLU(), layer(32, 32), torch.nn.ReLU(), layer(32, 1)
        )
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=decay)
        rng, curve = np.random.default_rng(given.seed), []
        for _ in range(last):
            order = rng.permutation(rows)
            for some in np.array_split(order, max(1, len(order) // 32)):
                x = net(steps[a[some]]).sum(dim=(1, 2)) - net(steps[b[some]]).sum(dim=(1, 2))
                optimizer.zero_grad()
                loss(x, label[some]).mean().backward()
                optimizer.step()
            with torch.no_grad():
                x = net(steps[a[held]]).sum(dim=(1, 2)) - net(steps[b[held]]).sum(dim=(1, 2))
                curve.append(float(loss(x, label[held]).sum()))
        return net, np.array(curve)

    choices = {}
    for decay in DECAYS:
        curve = sum(trained(kept, held, decay, EPOCHS)[1] for kept, held in folds(given, NETWORK_FOLDS))
        choices[decay] = np.asarray(curve)
    decay = min(choices, key=lambda one: choices[one].min())
    every = np.arange(len(label))
    net, _ = trained(every, every[:1], decay, int(choices[decay].argmin()) + 1)
    with torch.no_grad():
        return net(steps).sum(dim=(1, 2)).numpy()
