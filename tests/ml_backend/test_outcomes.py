"""Progress and success of each step: learned from whole trajectories, calibrated on those that a member never saw."""

from dataclasses import replace

import numpy as np
import pytest
from ml_maker import features, pairs_of, spec

from ml_backend.reward.dataset import split_pairs
from ml_backend.reward.model import RewardModel
from ml_backend.reward.outcomes import FEWEST, Known, fit_platt, learnable, targets
from ml_backend.reward.train import train_model
from preference.bradley_terry import sigmoid
from preference.config import Reward

REWARD = Reward(inputs=["actions", "state"], epochs=5, hidden=8, members=3)


def journeys(count=60, seed=0):
    """State 1 is how far it is still to go; even ones arrive, at different speeds, and odd ones stop before."""
    made, truth = features(count, seed)
    rng = np.random.default_rng([seed, 1])
    found, known = [], []
    for number, item in enumerate(made):
        steps = len(item)
        done = int(rng.integers(3, steps - 1)) if number % 2 == 0 else None
        left = np.maximum(1.0 - np.arange(steps) / done, 0.0) if done else rng.uniform(0.4, 1.0, steps)
        state = item.state.copy()
        state[:, 1] = left
        found.append(replace(item, state=state))
        known.append(Known(done is not None, done, "push"))
    return found, truth, known


def trained(known, made, truth, **changes):
    pairs = pairs_of(truth)
    own = REWARD.model_copy(update=changes)
    plan = spec(hidden=8, members=own.members)
    return train_model(made, pairs, split_pairs(pairs.pair_ids, 0), plan, own, seed=0, known=known)


def test_targets_are_the_time_to_go_of_good_trajectories_and_nothing_where_nobody_knows():
    known = [Known(True, 4, "push"), Known(True, 2, "push"), Known(False, None, "push"), Known(None), Known(True)]
    fast, slow, failed, unknown, late = targets(known, [6, 4, 3, 2, 3])
    assert np.allclose(fast[:, 0], [0, 0, 1 / 3, 2 / 3, 1, 1]) and fast[:, 1].tolist() == [0, 0, 0, 0, 1, 1]
    assert np.allclose(slow[:, 0], [1 / 3, 2 / 3, 1, 1]), "the unit is the median of the task: 3 steps"
    assert not failed.any() and np.isnan(unknown).all()
    assert np.allclose(late[:, 0], [0, 0.5, 1]) and np.isnan(late[:2, 1]).all() and late[2, 1] == 1.0


def test_each_is_learned_from_enough_of_both_ends():
    good, bad = [Known(True, 1)] * FEWEST, [Known(False)] * FEWEST
    assert learnable(good + bad) == ("progress", "success")
    assert learnable(good + bad[1:]) == ("progress",)
    assert learnable(good[1:] + bad) == () == learnable([Known(None)] * 50)


def test_unseen_steps_get_their_progress_and_success_and_the_file_keeps_them(tmp_path):
    made, truth, known = journeys()
    found = trained(known, made, truth)
    assert found.outcomes["success"].precision > 0.9 and found.outcomes["progress"].error < 0.15
    unseen, _, then = journeys(seed=1)
    found.model.save(tmp_path / "model.pt")
    said = RewardModel.load(tmp_path / "model.pt").score_steps(unseen)
    assert [one.outcomes["progress"].shape for one in said] == [(3, len(item)) for item in unseen]
    told = np.concatenate(targets(then, [len(item) for item in unseen]))
    progress, success = (
        np.concatenate([one.outcomes[n].mean(axis=0) for one in said]) for n in ("progress", "success")
    )
    assert progress.min() >= 0 and success.max() <= 1
    assert np.corrcoef(progress, told[:, 0])[0, 1] > 0.8
    assert success[told[:, 1] == 1].mean() > 0.8 > 0.2 > success[told[:, 1] == 0].mean()


def test_rewards_do_not_depend_on_what_is_known_of_success():
    made, truth, known = journeys(30)
    with_it, without = trained(known, made, truth), trained((), made, truth)
    assert np.array_equal(with_it.model.score(made)[1], without.model.score(made)[1])
    assert without.outcomes == {} and without.model.score_steps(made)[0].outcomes == {}


def test_one_member_alone_is_calibrated_on_a_fold_that_it_did_not_see():
    made, truth, known = journeys()
    found = trained(known, made, truth, members=1)
    assert 0 < found.outcomes["success"].trajectories < len(made)


@pytest.mark.parametrize(("temperature", "shift"), [(2.0, -0.5), (0.7, 1.0)])
def test_the_calibration_finds_the_temperature_and_the_shift_that_made_the_answers(temperature, shift):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 3, 20_000)
    y = (rng.random(len(x)) < sigmoid(x / temperature + shift)).astype(float)
    assert fit_platt(x, y) == pytest.approx((temperature, shift), rel=0.1, abs=0.1)
    assert all(np.isfinite(fit_platt(np.array([-1.0, 1.0]), np.array([0.0, 1.0]))))
