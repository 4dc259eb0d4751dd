"""Behaviour cloning: recorded rows and how much each counts in, a policy out; and how often that policy arrives.

A small network on the recorded state, with the same number of steps whatever the weights: a row is drawn as often as
its weight says. What is compared differs in the weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from sample_pool.rollout import ROWS, STATE_COLUMNS, roll_out

HIDDEN, STEPS, BATCH, RATE = 96, 4_000, 128, 1e-3
STARTS = 50
Policy = Callable[[np.ndarray], np.ndarray]
"""State (14,) → action (4,)."""


def clone(states: np.ndarray, actions: np.ndarray, weights: np.ndarray, seed: int, steps: int = STEPS) -> Policy:
    """Least squares, Adam, cosine.

    Args:
        states: (R, S) float32 rows, by which the inputs are standardized, whatever their weights.
        actions: (R, A).
        weights: (R,) at least 0; only their proportions count.
    """
    import torch

    torch.set_num_threads(1)
    rng, generator = np.random.default_rng([seed, 7]), torch.Generator().manual_seed(seed)
    mean, scale = states.mean(axis=0), states.std(axis=0)
    scale = np.where(scale > 1e-4, scale, 1.0)
    sizes = (states.shape[1], HIDDEN, HIDDEN, actions.shape[1])
    values: list[Any] = []
    for before, after in pairwise(sizes):
        bound = 1.0 / np.sqrt(before)
        values.append(((torch.rand(before, after, generator=generator) * 2 - 1) * bound).requires_grad_())
        values.append(torch.zeros(after, requires_grad=True))
    inputs = torch.from_numpy(((states - mean) / scale).astype(np.float32))
    targets = torch.from_numpy(actions.astype(np.float32))
    optimizer = torch.optim.Adam(values, RATE, fused=True)
    drawn = torch.from_numpy(rng.choice(len(states), (steps, BATCH), p=weights / weights.sum()))
    for step, rows in enumerate(drawn):
        optimizer.param_groups[0]["lr"] = 0.5 * RATE * (1.0 + math.cos(math.pi * step / steps))
        hidden = torch.relu(torch.addmm(values[1], inputs[rows], values[0]))
        hidden = torch.relu(torch.addmm(values[3], hidden, values[2]))
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(torch.addmm(values[5], hidden, values[4]), targets[rows]).backward()
        optimizer.step()
    w1, b1, w2, b2, w3, b3 = (one.detach().numpy() for one in values)

    def policy(state: np.ndarray) -> np.ndarray:
        hidden = np.maximum(((state - mean) / scale) @ w1 + b1, 0.0)
        return np.maximum(hidden @ w2 + b2, 0.0) @ w3 + b3

    return policy


def drive(policy: Policy) -> Callable[[np.ndarray], np.ndarray]:
    """The policy on whole observations."""
    return lambda observation: policy(observation[STATE_COLUMNS])


def arrivals(environment: Any, variations: list[Any], policy: Policy, task: str) -> list[int]:
    """For each start the first row in which the task is done; ROWS = never."""
    found = []
    for number, variation in enumerate(variations[:STARTS]):
        one = roll_out(environment, variation, drive(policy), task=task, source="cloned", seed=number, until_done=True)
        found.append(len(one.success) - 1 if one.success[-1] else ROWS)
    return found
