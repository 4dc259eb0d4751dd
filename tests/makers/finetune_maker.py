"""Trajectories whose reward can be seen: the bright ones are better."""

from dataclasses import replace

import numpy as np

from ml_backend.reward.dataset import Pairs, Split
from ml_backend.reward.encoder_weights import resolve_weights

SETTINGS = replace(resolve_weights("resnet10t", "none"), image_size=32)


def bright_and_dark(row):
    """Even trajectories are bright, odd ones dark; the bright ones are better."""
    rng = np.random.default_rng(row)
    return rng.integers(*((150, 256) if row % 2 == 0 else (0, 100)), (2, 32, 32, 3), dtype=np.uint8)


def bright_pairs(count=40):
    a = np.arange(count)
    b = a + 1
    return Pairs(tuple(f"p{i}" for i in a), a, b, (a % 2 == 0).astype(float), np.ones(count))


def pairs_to_learn_from(train=np.arange(40), validation=np.arange(0)):
    return Split(train, validation, np.arange(0))
