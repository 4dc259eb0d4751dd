"""The five sources: who drives the robot, and how well.

Skill is drawn anew for every episode, so that each source is a range and the pool a continuum of quality.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sample_pool.rollout import Environment, Policy, roll_out

SOURCES = ("expert", "novice", "policy_checkpoint_1", "policy_checkpoint_2", "random")
DEMONSTRATIONS = 16
"""Expert episodes that the behaviour-cloned policies learn from."""
EPOCHS = (1, 5)
"""After so many epochs the two checkpoints are taken: one knows where to go, the other sometimes arrives."""


def scripted(task: str) -> Policy:
    """Meta-World's own scripted policy."""
    from metaworld.policies import ENV_POLICY_MAP

    return ENV_POLICY_MAP[task]().get_action


def expert(task: str, rng: np.random.Generator) -> Policy:
    """The scripted policy, a little slower than it could be, with a tremor."""
    drive, speed, tremor = scripted(task), rng.uniform(0.7, 1.0), rng.uniform(0.0, 0.06)

    def policy(observation: np.ndarray) -> np.ndarray:
        action = np.clip(drive(observation), -1.0, 1.0)
        action[:3] = speed * action[:3] + tremor * rng.standard_normal(3)
        return action

    return policy


def novice(task: str, rng: np.random.Generator) -> Policy:
    """The scripted policy in unsure hands: starts late, drifts, overshoots, stops to think, lets go."""
    drive = scripted(task)
    clumsiness = rng.uniform(0.25, 1.0)
    speed, drift, hurry = rng.uniform(0.35, 0.8), _SmoothNoise(rng, 0.5 * clumsiness), rng.uniform(0.0, 0.5)
    pause, slip = int(rng.integers(0, 15)), 0
    previous = np.zeros(3)

    def policy(observation: np.ndarray) -> np.ndarray:
        nonlocal pause, slip, previous
        if pause > 0:
            pause -= 1
            return np.array([*(0.05 * drift()), -1.0 if observation[3] > 0.5 else 1.0])
        if rng.random() < 0.03 * clumsiness:
            pause = int(rng.integers(4, 16))
        if rng.random() < 0.02 * clumsiness:
            slip = int(rng.integers(3, 8))
        action = np.clip(drive(observation), -1.0, 1.0)
        previous = hurry * previous + (1.0 - hurry) * (speed * action[:3] + drift())
        slip = max(0, slip - 1)
        return np.array([*previous, -1.0 if slip else action[3]])

    return policy


def random_policy(_task: str, rng: np.random.Generator) -> Policy:
    """Smooth random motion; the gripper opens and closes now and then."""
    drift, grip = _SmoothNoise(rng, rng.uniform(0.5, 1.2)), _SmoothNoise(rng, 1.0)
    return lambda _observation: np.array([*drift(), np.sign(grip()[0])])


class _SmoothNoise:
    """An Ornstein-Uhlenbeck process in three dimensions, of the given standard deviation."""

    def __init__(self, rng: np.random.Generator, scale: float, memory: float = 0.92) -> None:
        self._rng, self._memory = rng, memory
        self._kick = scale * np.sqrt(1.0 - memory**2)
        self._value = scale * rng.standard_normal(3)

    def __call__(self) -> np.ndarray:
        self._value = self._memory * self._value + self._kick * self._rng.standard_normal(3)
        return self._value


def clone_behaviour(observations: np.ndarray, actions: np.ndarray, seed: int) -> list[Policy]:
    """Behaviour cloning on expert steps: one policy for each entry of EPOCHS, from a single training run.

    Args:
        observations: (N, 39) float32.
        actions: (N, 4) float32.
    """
    import torch

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(observations.shape[1], 96), torch.nn.Tanh(),
            torch.nn.Linear(96, 96), torch.nn.Tanh(), torch.nn.Linear(96, actions.shape[1]),
        )  # fmt: skip
    mean, scale = observations.mean(0), observations.std(0) + 1e-2
    inputs = torch.from_numpy(((observations - mean) / scale).astype(np.float32))
    targets = torch.from_numpy(actions.astype(np.float32))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    policies: list[Policy] = []
    for epoch in range(1, max(EPOCHS) + 1):
        for rows in torch.randperm(len(inputs), generator=generator).split(64):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(network(inputs[rows]), targets[rows]).backward()
            optimizer.step()
        if epoch in EPOCHS:
            weights = [parameter.detach().numpy().copy() for parameter in network.parameters()]
            policies.append(_as_policy(weights, mean, scale))
    return policies


def _as_policy(weights: list[np.ndarray], mean: np.ndarray, scale: np.ndarray) -> Policy:
    def policy(observation: np.ndarray) -> np.ndarray:
        hidden = (observation - mean) / scale
        for layer in range(0, len(weights), 2):
            hidden = weights[layer] @ hidden + weights[layer + 1]
            if layer + 2 < len(weights):
                hidden = np.tanh(hidden)
        return hidden

    return policy


def shaky(policy: Policy, rng: np.random.Generator) -> Policy:
    """A rollout of a learned policy, with its exploration noise."""
    noise = _SmoothNoise(rng, rng.uniform(0.0, 0.35), memory=0.6)

    def noisy(observation: np.ndarray) -> np.ndarray:
        action = policy(observation)
        action[:3] += noise()
        return action

    return noisy


def policies_for(task: str, cloned: list[Policy]) -> dict[str, Callable[[np.random.Generator], Policy]]:
    """Source → a maker of one episode's policy."""
    first, second = cloned
    makers: dict[str, Callable[[np.random.Generator], Policy]] = {
        "expert": lambda rng: expert(task, rng),
        "novice": lambda rng: novice(task, rng),
        "policy_checkpoint_1": lambda rng: shaky(first, rng),
        "policy_checkpoint_2": lambda rng: shaky(second, rng),
        "random": lambda rng: random_policy(task, rng),
    }
    return {source: makers[source] for source in SOURCES}


def demonstrate(
    environment: Environment, variations: list[Any], task: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Expert steps for behaviour cloning: observations (N, 39) and actions (N, 4), both float32."""
    observations: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    for index in range(DEMONSTRATIONS):
        drive = expert(task, rng)

        def noting(observation: np.ndarray, drive: Policy = drive) -> np.ndarray:
            observations.append(observation.astype(np.float32))
            return drive(observation)

        variation = variations[index % len(variations)]
        actions.append(roll_out(environment, variation, noting, task=task, source="expert", seed=index).actions)
    return np.stack(observations), np.concatenate(actions)
