"""The pool's quality is a prior: it helps where it is right and few have answered, and answers overrule it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ml_maker import features, pairs_of, spec

from importer.pool.quality import quartiles
from ml_backend.reward.dataset import Pairs, Quartiles, Split, split_pairs
from ml_backend.reward.features import fit_normalization
from ml_backend.reward.model import RewardModel
from ml_backend.reward.network import Training, prepare
from ml_backend.reward.train import train_model
from ml_backend.reward.weak import APART, COUNT, SEEN, WORTH, contradicted, weak_pairs
from preference.config import Reward

REWARD = Reward(inputs=["actions", "state"], epochs=40, hidden=16, members=3)
SEEDS = range(4)


def quality(values, tasks=1):
    return Quartiles(quartiles(np.asarray(values)), np.arange(len(values)) % tasks)


def pool(seed, answers, of):
    """Features, truth, pairs with the quartiles of `of` (truth, rng), and a split that tests on none."""
    made, truth = features(count=60, seed=seed)
    pairs = pairs_of(truth, count=answers, seed=seed)
    known = of(truth, np.random.default_rng(seed))
    rows = np.arange(answers)
    return made, truth, replace(pairs, quartiles=known), Split(rows, rows[:0], rows[:0])


def right_share(seed, answers, of):
    """Of all pairs of another pool of the same kind, by a model that learned from `answers` labels."""
    made, _, pairs, split = pool(seed, answers, of)
    trained = train_model(made, pairs, split, spec(), REWARD, seed=seed)
    unseen, truth = features(count=60, seed=seed + 100)
    rewards = trained.model.score(unseen)[0]
    a, b = np.triu_indices(len(truth), 1)
    return float(np.mean((rewards[a] > rewards[b]) == (truth[a] > truth[b]))), trained.weak


def nothing(truth, rng):
    return None


def true(truth, rng):
    return quality(truth)


def reversed_(truth, rng):
    return quality(-truth)


def random(truth, rng):
    return quality(rng.random(len(truth)))


def test_a_quality_that_is_right_helps_where_few_have_answered():
    with_it = [right_share(seed, 12, true)[0] for seed in SEEDS]
    without = [right_share(seed, 12, nothing)[0] for seed in SEEDS]
    assert np.mean(with_it) > np.mean(without) + 0.01


@pytest.mark.parametrize("answers", [50, 150])
def test_a_quality_the_wrong_way_round_changes_nothing_from_fifty_answers_on(answers):
    for seed in SEEDS:
        made, _, pairs, split = pool(seed, answers, reversed_)
        trained = train_model(made, pairs, split, spec(), REWARD, seed=seed)
        without = train_model(made, replace(pairs, quartiles=None), split, spec(), REWARD, seed=seed)
        assert trained.weak == {} and np.array_equal(trained.model.score(made)[0], without.model.score(made)[0])


@pytest.mark.parametrize("answers", [50, 150])
def test_a_quality_that_means_nothing_is_not_worse_than_none_from_fifty_answers_on(answers):
    found = [right_share(seed, answers, random) for seed in SEEDS]
    without = [right_share(seed, answers, nothing)[0] for seed in SEEDS]
    assert np.mean([share for share, _ in found]) > np.mean(without) - 0.005
    assert all(weak == {} or weak["contradicted"] > 0.4 for _, weak in found)


def test_a_quality_of_which_nobody_has_said_anything_is_not_learned_from():
    *_, pairs, split = pool(0, 1, true)
    nobody = Split(*[np.zeros(0, int)] * 3)
    assert pairs.quartiles is not None
    assert weak_pairs(pairs, nobody, "soft", np.random.default_rng(0)) is None
    assert weak_pairs(pairs, split, "soft", np.random.default_rng(0)) is None, "one answer proves nothing"
    *_, pairs, split = pool(0, 20, true)
    assert weak_pairs(pairs, nobody, "soft", np.random.default_rng(0)) is None
    assert weak_pairs(pairs, split, "soft", np.random.default_rng(0)) is not None, "twenty do"


def test_ties_that_are_dropped_contradict_nothing():
    *_, pairs, split = pool(0, 60, true)
    tied = replace(pairs, label=np.where(np.arange(60) < 30, 0.5, pairs.label))
    clear = replace(split, train=split.train[30:])
    one, other, kept = (
        weak_pairs(tied, rows, ties, np.random.default_rng(0))
        for rows, ties in ((split, "drop"), (clear, "soft"), (split, "soft"))
    )
    assert one.slip == other.slip < kept.slip


def test_an_epoch_sees_some_of_the_weak_pairs_and_no_more_than_labelled_ones():
    def seen(answers, batch):
        made, _, pairs, split = pool(0, answers, true)
        weak = weak_pairs(pairs, split, "soft", np.random.default_rng(0))
        reward = REWARD.model_copy(update={"batch_pairs": batch})
        model = RewardModel(spec(), torch.Generator().manual_seed(0))
        model.set_normalization(fit_normalization(made, 0, np.random.default_rng(0), 1))
        run = Training(model, prepare(model, made, pairs, weak), split, reward, np.random.default_rng(0), None)
        counts = np.zeros(len(weak.better))
        total = 0.0
        for _ in range(400):
            batches = run._weak_batches()
            assert len(batches) == run.steps and len(np.unique(np.concatenate(batches))) == run.weak_seen
            for rows in batches:
                counts[rows] += 1
                # where every difference is the same, so is every loss: what is left is the weight
                total += float(run._weak_loss(torch.zeros(model.spec.members, len(rows)), rows)) if len(rows) else 0.0
        assert total / 400 == pytest.approx(model.spec.members * np.log(2) * WORTH * run.steps / answers, rel=1e-4)
        assert counts.min() > 0 and counts.max() < 3 * counts.mean(), "none is left out"
        return run.weak_seen

    assert [seen(12, 64), seen(150, 64), seen(60, 1)] == [12, SEEN, SEEN]


def test_the_share_of_contradictions_is_the_posteriors_mean_and_deviation():
    known = Quartiles(np.array([1, 4, 2, 0]), np.array([0, 0, 0, 0]))
    pairs = Pairs(
        tuple("abcd"), np.array([1, 0, 2, 3]), np.array([0, 2, 1, 0]), np.array([1.0, 1.0, 0.5, 1.0]), np.ones(4)
    )
    # right, wrong, half, and one of which quartiles say nothing: a beta posterior of (2.5, 2.5)
    assert contradicted(pairs, np.arange(4), known) == pytest.approx(0.5 + np.sqrt(0.25 / 6), abs=1e-9)


def test_weak_pairs_are_of_one_task_type_far_apart_not_asked_and_none_about_unseen_trajectories():
    *_, pairs, _ = pool(0, 120, lambda truth, rng: quality(truth, tasks=2))
    held = np.arange(10)
    out = np.isin(pairs.a, held) & np.isin(pairs.b, held)
    inside = ~np.isin(pairs.a, held) & ~np.isin(pairs.b, held)
    split = Split(np.flatnonzero(inside), np.zeros(0, int), np.flatnonzero(out))
    assert len(split.test)
    known = pairs.quartiles
    weak = weak_pairs(pairs, split, "soft", np.random.default_rng(0))
    assert 100 < len(weak.better) <= COUNT
    assert (known.task[weak.better] == known.task[weak.worse]).all()
    assert (known.quartile[weak.better] - known.quartile[weak.worse] >= APART).all()
    asked = {frozenset(pair) for pair in zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)}
    made = [frozenset(pair) for pair in zip(weak.better.tolist(), weak.worse.tolist(), strict=True)]
    assert len(set(made)) == len(made) and not asked & set(made)
    tested = {*pairs.a[split.test].tolist(), *pairs.b[split.test].tolist()}
    assert not tested & {*weak.better.tolist(), *weak.worse.tolist()}


def test_what_test_pairs_say_changes_nothing():
    made, _, pairs, _ = pool(1, 100, true)
    split = split_pairs(pairs.pair_ids, 0)
    other = pairs.label.copy()
    other[split.test] = 1.0 - other[split.test]
    one, two = (train_model(made, p, split, spec(), REWARD, seed=0) for p in (pairs, replace(pairs, label=other)))
    assert one.weak == two.weak and one.weak["labels"] == 10
    assert np.array_equal(one.model.score(made)[1], two.model.score(made)[1])


def test_a_training_with_weak_pairs_goes_on_from_its_checkpoint(tmp_path):
    made, _, pairs, split = pool(2, 60, true)
    file = tmp_path / "c.pt"

    def stop(epoch, figures):
        if epoch == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(made, pairs, split, spec(), REWARD, seed=0, checkpoint=file, on_curves=stop)
    resumed = train_model(made, pairs, split, spec(), REWARD, seed=0, checkpoint=file)
    whole = train_model(made, pairs, split, spec(), REWARD, seed=0)
    assert np.array_equal(resumed.model.score(made)[1], whole.model.score(made)[1])
