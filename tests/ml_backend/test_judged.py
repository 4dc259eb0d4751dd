"""Single answers keep their pairs and their annotators, and training on them finds out who can be relied on."""

import numpy as np
import pytest
import torch
from ml_maker import crowd, features, spec

from ml_backend.reward.dataset import index_judgments, split_pairs
from ml_backend.reward.losses import crowd_loss
from ml_backend.reward.train import train_model
from preference import bradley_terry as bt
from preference.config import Reward
from qc_reports.answers import Answered

REWARD = Reward(inputs=["actions", "state"], epochs=60, hidden=16, members=3, learning_rate=5e-3)


def fit(pairs, made, reward=REWARD):
    return train_model(made, pairs, split_pairs(pairs.pair_ids, 0), spec(), reward, seed=0)


def test_answers_are_found_by_pair_and_second_showings_left_out():
    answers = [
        Answered("p2", "bob", "equal", 5),
        Answered("p0", "bob", "A", 1),
        Answered("p0", "amy", "B", 3),
        Answered("p0", "amy", "A", 3, duplicate=True),
        Answered("elsewhere", "amy", "A", 3),
    ]
    judgments = index_judgments(["p0", "p1", "p2"], answers)
    assert judgments.annotators == ("amy", "bob")
    rows, place = judgments.of(np.array([2, 0, 1]))
    assert judgments.label[rows].tolist() == [0.5, 0.0, 1.0]
    assert judgments.annotator[rows].tolist() == [1, 0, 1]
    assert place.tolist() == [0, 1, 1]
    assert judgments.weight.tolist() == pytest.approx([1.0, 1 / 3, 5 / 3])


def test_crowd_bt_is_the_papers_formula():
    rng = np.random.default_rng(0)
    x, label, eta = rng.normal(0, 2, 30), rng.choice([0.0, 0.5, 1.0], 30), rng.uniform(0.05, 0.95, 30)
    odds = torch.tensor(np.log(eta / (1 - eta)))[None]
    found = crowd_loss(torch.tensor(x)[None], torch.tensor(label), torch.zeros(1), "soft", 0.3, odds)
    said, opposite = (np.exp(-bt.soft_loss(x, word)[0]) for word in (label, 1 - label))
    assert np.allclose(found[0].numpy(), -np.log(eta * said + (1 - eta) * opposite))


def test_reliable_guessing_and_lying_annotators_are_told_apart():
    made, truth = features()
    pairs, names = crowd(truth)
    eta = fit(pairs, made).reliability
    assert list(eta) == names
    assert eta["ann0"] > 0.8
    assert eta["ann1"] > 0.8
    assert 0.35 < eta["ann2"] < 0.65  # it guesses
    assert eta["ann3"] < 0.3


def test_where_most_annotators_guess_or_lie_it_learns_more_than_from_the_vote():
    from dataclasses import replace

    made, truth = features()
    pairs, _ = crowd(truth, rights=(0.95, 0.95, 0.5, 0.5, 0.2))
    learned = fit(pairs, made).model.score(made)[0]
    voted = fit(replace(pairs, judgments=None), made).model.score(made)[0]
    assert np.corrcoef(learned, truth)[0, 1] > np.corrcoef(voted, truth)[0, 1]


@pytest.mark.parametrize("ties", ["soft", "davidson", "margin", "drop"])
def test_it_goes_with_every_way_with_ties(ties):
    made, truth = features()
    pairs, _ = crowd(truth)
    trained = fit(pairs, made, REWARD.model_copy(update={"ties": ties, "epochs": 30}))
    assert np.corrcoef(trained.model.score(made)[0], truth)[0, 1] > 0.8
