"""A small synthetic pool for the tests of the learning half: reward depends on one state value and nothing else."""

from dataclasses import replace

import numpy as np

from ml_backend.reward.dataset import index_pairs, split_pairs
from ml_backend.reward.features import Features
from ml_backend.reward.model import ModelSpec
from ml_backend.reward.train import train_model
from preference.config import Reward
from preference.records import ModelVersion, Preference, Trajectory

ACTIONS, STATE = 2, 3


def spec(**changes):
    values = {
        "encoder": "resnet18", "weights": "none", "image_size": 112, "sample_fps": 5.0, "max_frames": 64,
        "inputs": ("actions", "state"), "frame_size": 0, "action_names": ("a0", "a1"),
        "state_names": ("s0", "s1", "s2"), "temporal": "conv1d", "hidden": 16, "members": 3, "projection": 0,
    }  # fmt: skip
    return ModelSpec(**{**values, **changes})


def features(count=40, seed=0, frame_size=0):
    """Trajectories of different lengths; the true reward is the mean of state 0."""
    rng = np.random.default_rng(seed)
    made, truth = [], []
    for _ in range(count):
        steps = int(rng.integers(5, 15))
        quality = rng.normal()
        state = rng.normal(0, 0.5, (steps, STATE)).astype(np.float32)
        state[:, 0] += quality
        frames = rng.normal(0, 1, (steps, frame_size)).astype(np.float16)
        made.append(Features(frames, rng.normal(0, 1, (steps, ACTIONS)).astype(np.float32), state))
        truth.append(quality)
    return made, np.array(truth)


def trajectories(truth):
    return [
        Trajectory(
            f"t{i}", "d", i, "expert", "push", tier="expert" if value > 0 else "random", true_return=float(value)
        )
        for i, value in enumerate(truth)
    ]


def preferences(truth, count=150, seed=0, ties=0.05):
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        a, b = rng.choice(len(truth), 2, replace=False)
        x = truth[a] - truth[b]
        label = 0.5 if abs(x) < ties else float(x > 0)
        made.append(Preference(f"p{number}", f"t{a}", f"t{b}", label, 3.0, 2, 1.0, ["x", "y"], "unanimous"))
    return made


def pairs_of(truth, **kwargs):
    return index_pairs(preferences(truth, **kwargs), {f"t{i}": i for i in range(len(truth))})


def crowd(truth, rights=(0.95, 0.9, 0.5, 0.1), count=300, seed=0):
    """Pairs with an answer by every annotator, who is right with a probability of their own; and those names."""
    from ml_backend.reward.dataset import index_judgments
    from qc_reports.answers import Answered

    rng = np.random.default_rng(seed)
    names = [f"ann{i}" for i in range(len(rights))]
    answers, votes = [], []
    for p in preferences(truth, count=count, seed=seed, ties=0.0):
        own = ["A" if (p.preference == 1.0) == (rng.random() < right) else "B" for right in rights]
        answers += [Answered(p.pair_id, name, said, 3) for name, said in zip(names, own, strict=True)]
        share = own.count("A") / len(own)
        votes.append(replace(p, preference=0.5 if share == 0.5 else float(share > 0.5)))
    pairs = index_pairs(votes, {f"t{i}": i for i in range(len(truth))})
    return replace(pairs, judgments=index_judgments(pairs.pair_ids, answers)), names


def version(number, pairs=100, accuracy=0.8, **changes):
    record = ModelVersion(f"rm-{number:04d}", f"models/rm-{number:04d}", f"2026-01-{number:02d}", pairs, accuracy, 0.7,
                          "resnet18", "none", metrics={"cross_validated": {"value": accuracy}})  # fmt: skip
    return replace(record, **changes)


SMALL_REWARD = Reward(inputs=["actions", "state"], epochs=8, hidden=16, members=3)


def fit(checkpoint=None, reliability="vote", reward=SMALL_REWARD, **kwargs):
    made, truth = features()
    pairs = crowd(truth)[0] if reliability == "crowd_bt" else pairs_of(truth)
    split = split_pairs(pairs.pair_ids, 0)
    return train_model(made, pairs, split, spec(), reward, seed=1, checkpoint=checkpoint, **kwargs)
