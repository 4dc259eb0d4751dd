"""What a small Bayesian model of the labels knows of the pool, so that `v_optimal` can tell what is worth asking.

A Bradley-Terry model on summaries of the trajectories, linear and radial, whose posterior is exact enough to plan by
and takes a second to fit. It is never released and scores nothing: the reward model is what learns from the answers.
Of the rules here, this one chooses better pairs for the network than the network's own last layer does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ml_backend.reward.dataset import Pairs
from ml_backend.reward.evidence import Answers
from ml_backend.reward.features import Features
from ml_backend.reward.model import RewardModel
from ml_backend.reward.summary import learn, measured

FEWEST = 10
"""Labels, ties apart, below which nothing is planned by them."""


def design(
    model: RewardModel, features: Sequence[Features], pairs: Pairs, slip: float, seed: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Features φ (N, P) of the pool, each at its prior's standard deviation, and the rewards (N,), linear in them.

    Args:
        model: Normalizes the inputs, and is not asked for anything else.
        pairs: The labels, without test pairs: what is asked next must not depend on these.
        slip: Probability that an answer says the opposite.

    Returns:
        None where there are too few labels.
    """
    if (pairs.label != 0.5).sum() < FEWEST:
        return None
    rng = np.random.default_rng([seed, 3])
    raw = torch.from_numpy(model.summaries(features))
    compared = np.unique(np.concatenate([pairs.a, pairs.b]))
    part = measured(raw, compared, model.spec.relative, 1, rng, kernel=True)
    basis = part.features(raw)
    count = len(pairs)
    answers = Answers(np.arange(count), pairs.label, pairs.weight, np.full(count, slip))
    learn(part, basis, (pairs.a, pairs.b), answers, np.zeros(len(raw), int), rng, linear=True)
    phi = (basis * part.size).double().numpy()
    return phi, phi @ part.weight[0].double().numpy()
