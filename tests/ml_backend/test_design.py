"""The small model that rounds are planned by: it learns from the labels, test pairs apart, and says when it cannot."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from ml_maker import features, pairs_of, spec

from ml_backend.loop import models
from ml_backend.ranking import fit_design
from ml_backend.ranking.scores import FEWEST
from ml_backend.reward.dataset import pair_keys, ranking_accuracy, split_pairs
from ml_backend.reward.features import fit_normalization
from ml_backend.reward.linear import EITHER, LinearSteps
from ml_backend.reward.model import RewardModel
from preference.config import Config
from preference.records import Preference, Trajectory


def fresh(made):
    """A model that has learned nothing: only its normalization is used."""
    model = RewardModel(spec(inputs=("actions", "state"), frame_size=0, projection=0, hidden=8), torch.Generator())
    model.set_normalization(fit_normalization(made, 0, np.random.default_rng(0)))
    return model


def test_its_rewards_order_pairs_it_did_not_see_and_are_linear_in_phi():
    made, truth = features(frame_size=0)
    pairs = pairs_of(truth)
    split = split_pairs(pairs.pair_ids, 0)
    design = fit_design(fresh(made), made, pairs.take(split.train), 0.1, 0)
    phi, rewards = design.phi, design.rewards
    assert ranking_accuracy(rewards, pairs.take(split.test)) > 0.8
    weights = np.linalg.lstsq(phi, rewards, rcond=None)[0]
    assert np.allclose(phi @ weights, rewards, atol=1e-6)


def test_where_the_reward_counts_progress_so_does_it():
    made, truth = features(frame_size=0)
    pairs = pairs_of(truth)
    model = fresh(made)
    bare = fit_design(model, made, pairs, 0.1, 0)
    model.add_outcomes(model.new_outcomes(("progress",), torch.Generator().manual_seed(0)))
    model.add_linear(LinearSteps(0, True, model.spec.members), (1.0, 1.0))
    design = fit_design(model, made, pairs, 0.1, 0)
    progress = np.array([one.outcomes["progress"].mean() for one in model.score_steps(made)])
    assert design.phi.shape[1] == bare.phi.shape[1] + 1
    assert np.allclose(design.phi[:, -1], EITHER[1] * (progress - progress.mean()), atol=1e-5)


def test_with_too_few_labels_or_only_ties_it_says_nothing():
    made, truth = features(frame_size=0)
    pairs = pairs_of(truth)
    assert fit_design(fresh(made), made, pairs.take(np.arange(FEWEST - 1)), 0.1, 0) is None
    assert fit_design(fresh(made), made, replace(pairs, label=np.full(len(pairs), 0.5)), 0.1, 0) is None


def test_no_test_pair_is_among_what_it_learns_from():
    trajectories = [Trajectory(f"t{i}", "task", i, "scripted", "env") for i in range(30)]
    labelled = [
        Preference(f"p{i}", f"t{i}", f"t{(i + 1) % 30}", 1.0, 3.0, 2, 1.0, ["x"], "unanimous") for i in range(30)
    ]
    elsewhere = Preference("p30", "t0", "gone", 1.0, 3.0, 2, 1.0, ["x"], "unanimous")
    store = SimpleNamespace(labelled=lambda: [*labelled, elsewhere], resolved=lambda: True)
    ws = SimpleNamespace(store=store, config=Config())
    learned, slip = models._learned(ws, trajectories)
    split = split_pairs(pair_keys(labelled), ws.config.seed)
    assert len(split.test)
    assert set(learned.pair_ids) == {f"p{i}" for i in (*split.train, *split.validation)}
    assert slip == ws.config.reward.slip
