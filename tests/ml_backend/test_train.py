"""Training learns what the labels say, repeats itself, and refuses what nothing can be learned from."""

from dataclasses import replace

import numpy as np
import pytest
from ml_maker import features, pairs_of, preferences, spec

from ml_backend.reward.checkpoint import is_better
from ml_backend.reward.dataset import SHARES, Split, check_labels, index_pairs, ranking_accuracy, split_pairs
from ml_backend.reward.train import train_model
from preference.config import Reward
from preference.errors import DataError, NotReady

REWARD = Reward(inputs=["actions", "state"], epochs=40, hidden=16, members=3)


def fit(seed=0, truth_seed=0, reward=REWARD, **kwargs):
    made, truth = features(seed=truth_seed)
    pairs = pairs_of(truth, **kwargs)
    split = split_pairs(pairs.pair_ids, 0)
    return train_model(made, pairs, split, spec(), reward, seed=seed), made, truth, pairs, split


def test_a_reward_that_depends_on_the_state_is_learned():
    trained, made, truth, pairs, split = fit()
    rewards, _ = trained.model.score(made)
    assert ranking_accuracy(rewards, pairs.take(split.test)) > 0.85
    assert np.corrcoef(rewards, truth)[0, 1] > 0.9


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, made, *_ = fit(seed=1)
    again, *_ = fit(seed=1)
    other, *_ = fit(seed=2)
    assert np.array_equal(first.model.score(made)[1], again.model.score(made)[1])
    assert not np.allclose(first.model.score(made)[1], other.model.score(made)[1])


def test_a_pair_keeps_its_split_when_others_come():
    ids = [f"p{i}" for i in range(400)]
    few, many = split_pairs(ids[:200], 7), split_pairs(ids, 7)
    for name in ("train", "validation", "test"):
        assert set(getattr(few, name)) == {i for i in getattr(many, name) if i < 200}
    shares = [len(getattr(many, name)) / 400 for name in ("train", "validation", "test")]
    assert np.allclose(shares, SHARES, atol=0.07)


def test_the_best_epoch_is_kept_and_patience_ends_the_rest():
    trained, *_ = fit(reward=REWARD.model_copy(update={"epochs": 200, "patience": 5, "learning_rate": 1e-2}))
    losses = trained.curves["validation_loss"]
    assert trained.epochs == len(losses) == trained.best_epoch + 5 < 200
    assert trained.best_epoch == 1 + np.argmin(losses)


def test_the_epoch_with_the_lowest_validation_loss_is_kept_however_lucky_an_accuracy_was():
    assert is_better([0.69], 0, pairs=30)
    assert is_better([0.69, 0.40], 1, pairs=30)
    assert not is_better([0.69, 0.40, 0.41], 2, pairs=30)
    assert is_better([0.69, 0.40, 0.41], 2, pairs=0), "nothing tells epochs apart"


def test_rewards_are_centred_on_the_pool():
    trained, made, *_ = fit()
    assert np.allclose(trained.model.score(made)[1].mean(axis=1), 0, atol=1e-4)


@pytest.mark.parametrize("ties", ["soft", "davidson", "margin", "drop"])
def test_every_way_with_ties_learns(ties):
    trained, made, truth, *_ = fit(reward=REWARD.model_copy(update={"ties": ties}), ties=0.4)
    assert np.corrcoef(trained.model.score(made)[0], truth)[0, 1] > 0.8


def test_too_few_labels_and_nothing_but_ties_are_refused():
    _, truth = features()
    with pytest.raises(NotReady, match="10 pairs have a label; training needs at least 20"):
        check_labels([*pairs_of(truth, count=10).label, None, None], 20)
    with pytest.raises(NotReady, match="ties"):
        check_labels([0.5] * 30, 20)
    with pytest.raises(NotReady, match="All 30 labelled pairs say B:"):
        check_labels([0.0] * 30, 20)
    with pytest.raises(NotReady, match=r"All 25 labelled pairs say A \(5 ties aside\)"):
        check_labels([1.0] * 25 + [0.5] * 5, 20)
    check_labels([1.0, 0.0] + [0.5] * 28, 20)


def test_no_pair_to_train_on_is_said():
    made, truth = features()
    pairs = pairs_of(truth, count=3)
    nothing = Split(np.array([], int), np.array([0]), np.array([1, 2]))
    with pytest.raises(NotReady, match="None of the 3 labelled pairs is among the 70 % to train on"):
        train_model(made, pairs, nothing, spec(), REWARD, seed=0)


def test_mixed_action_sizes_are_named():
    made, truth = features()
    made[3] = replace(made[3], actions=made[3].actions[:, :1])
    pairs = pairs_of(truth)
    with pytest.raises(
        DataError, match="trajectory 3, actions: expected 2 values in every step, as trajectory 0 has; found 1"
    ):
        train_model(made, pairs, split_pairs(pairs.pair_ids, 0), spec(), REWARD, seed=0)


def refused(made, truth, **changes):
    pairs = pairs_of(truth)
    names = [f"t{i}" for i in range(len(made))]
    with pytest.raises(DataError) as refusal:
        train_model(made, pairs, split_pairs(pairs.pair_ids, 0), spec(**changes), REWARD, seed=0, names=names)
    return str(refusal.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_named_with_its_trajectory(value):
    made, truth = features()
    made[5].state[2, 1] = value
    assert "t5, state: holds nan or infinity" in refused(made, truth)


def test_an_input_that_never_changes_is_named():
    made, truth = features(frame_size=4)
    made = [replace(item, frames=np.ones_like(item.frames)) for item in made]
    message = refused(made, truth, inputs=("frames", "state"), frame_size=4, projection=2)
    assert "frames: the same in every step of all 40 trajectories" in message


def test_one_constant_value_beside_others_is_no_obstacle():
    made, truth = features()
    for item in made:
        item.actions[:, 1] = 7.0
    pairs = pairs_of(truth)
    trained = train_model(made, pairs, split_pairs(pairs.pair_ids, 0), spec(), REWARD, seed=0)
    assert np.isfinite(trained.model.score(made)[0]).all()


def test_a_trajectory_without_features_is_named():
    _, truth = features()
    with pytest.raises(DataError, match=r"1 compared trajectories have no features, the first is 't7'"):
        index_pairs(preferences(truth), {f"t{i}": i for i in range(len(truth)) if i != 7})


def test_only_compared_trajectories_are_seen_while_training(monkeypatch):
    from ml_backend.reward.model import RewardModel

    made, truth = features(count=200)
    pairs = pairs_of(truth[:20], count=60)
    seen = []
    embed = RewardModel.embed
    monkeypatch.setattr(RewardModel, "embed", lambda self, x, mask: seen.append(len(x)) or embed(self, x, mask))
    train_model(made, pairs, split_pairs(pairs.pair_ids, 0), spec(), REWARD, seed=0)
    assert max(seen[:-1]) <= 20  # the last one centres the rewards on the pool
    assert seen[-1] == 200


def test_an_empty_validation_split_does_not_stop_training():
    made, truth = features()
    pairs = pairs_of(truth, count=30)
    everything = Split(np.arange(30), np.array([], int), np.array([], int))
    reward = REWARD.model_copy(update={"epochs": 3})
    assert train_model(made, pairs, everything, spec(), reward, seed=0).epochs == 3


def test_without_validation_pairs_the_last_epoch_is_kept_and_not_the_first():
    made, truth = features()
    pairs = pairs_of(truth, count=30)
    nothing = [np.array([], int)] * 2
    trained = train_model(made, pairs, Split(np.arange(30), *nothing), spec(members=1), REWARD, seed=0)
    assert trained.best_epoch == REWARD.epochs, "one member has nobody else to judge it"


def test_members_see_different_pairs_and_all_together_every_pair_equally_often():
    from ml_backend.reward.network import balanced_bootstrap

    weights = balanced_bootstrap(5, 2000, np.random.default_rng(0))
    assert weights.shape == (5, 2000)
    assert (weights.sum(axis=0) == 5).all()
    assert np.allclose(weights.mean(axis=1), 1, atol=0.06)
    assert np.allclose(weights.var(axis=1), 0.8, atol=0.08)  # of a plain bootstrap: 1
    assert abs(np.corrcoef(weights)[0, 1]) < 0.35
    assert (balanced_bootstrap(1, 10, np.random.default_rng(0)) == 1).all()
