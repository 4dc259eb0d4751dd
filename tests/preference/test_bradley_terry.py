"""The formulas are right: against finite differences, against choix, and against each other."""

import numpy as np
import pytest

from preference import bradley_terry as bt

RNG = np.random.default_rng(0)
X = RNG.normal(0, 2, 40)
LABELS = RNG.choice([0.0, 0.5, 1.0], 40)
STEP = 1e-6


def slope(function, x):
    return (function(x + STEP) - function(x - STEP)) / (2 * STEP)


def test_the_soft_loss_has_the_gradient_that_it_says():
    assert np.allclose(slope(lambda x: bt.soft_loss(x, LABELS)[0], X), bt.soft_loss(X, LABELS)[1], atol=1e-6)


def test_a_ties_gradient_is_half_the_hyperbolic_tangent():
    assert np.allclose(bt.soft_loss(X, np.full(40, 0.5))[1], 0.5 * np.tanh(X / 2))


def test_davidsons_loss_has_the_gradients_that_it_says():
    _, by_x, by_nu = bt.davidson_loss(X, LABELS, 0.3)
    assert np.allclose(slope(lambda x: bt.davidson_loss(x, LABELS, 0.3)[0], X), by_x, atol=1e-6)
    numeric = (bt.davidson_loss(X, LABELS, 0.3 + STEP)[0] - bt.davidson_loss(X, LABELS, 0.3 - STEP)[0]) / (2 * STEP)
    assert np.allclose(numeric, by_nu, atol=1e-6)


def test_davidsons_three_outcomes_share_all_probability():
    outcomes = [np.exp(-bt.davidson_loss(X, np.full(40, label), -0.4)[0]) for label in (0.0, 0.5, 1.0)]
    assert np.allclose(sum(outcomes), 1.0)


def test_the_margin_loss_draws_tied_items_together_and_not_apart():
    apart = np.array([0.5, 1.0, 2.0])
    loss, gradient = bt.margin_loss(apart, np.full(3, 0.5), 0.3)
    assert (np.diff(loss) > 0).all()
    assert (gradient > 0).all()  # descending it makes |x| smaller


def test_item_scores_are_those_of_choix_at_equal_penalty():
    choix = pytest.importorskip("choix")
    rng = np.random.default_rng(1)
    true = rng.normal(0, 1, 8)
    pairs = [tuple(rng.choice(8, 2, replace=False)) for _ in range(200)]
    won = [(a, b) if rng.random() < bt.sigmoid(true[a] - true[b]) else (b, a) for a, b in pairs]
    a, b = np.array(won).T
    ours = bt.fit_items(a, b, np.ones(len(won)), 8, penalty=0.1)
    theirs = choix.opt_pairwise(8, won, alpha=0.1)
    assert np.allclose(ours - ours.mean(), theirs - theirs.mean(), atol=1e-4)


def test_crowd_bts_loss_has_the_gradients_that_it_says():
    eta = RNG.uniform(0.05, 0.95, 40)
    odds = np.log(eta / (1 - eta))
    _, by_x, by_odds = bt.crowd_loss(X, LABELS, eta)
    assert np.allclose(slope(lambda x: bt.crowd_loss(x, LABELS, eta)[0], X), by_x, atol=1e-6)
    assert np.allclose(slope(lambda o: bt.crowd_loss(X, LABELS, bt.sigmoid(o))[0], odds), by_odds, atol=1e-6)


def test_crowd_bt_is_the_papers_formula_and_a_reliable_annotator_is_plain_bradley_terry():
    eta, won = np.full(40, 0.8), np.ones(40)
    expected = -np.log(0.8 * bt.sigmoid(X) + 0.2 * bt.sigmoid(-X))
    assert np.allclose(bt.crowd_loss(X, won, eta)[0], expected)
    assert np.allclose(bt.crowd_loss(X, LABELS, np.full(40, 1 - 1e-12))[0], bt.soft_loss(X, LABELS)[0], atol=1e-6)


def test_who_says_the_opposite_is_read_the_other_way_round():
    said = bt.crowd_loss(X, np.ones(40), np.full(40, 0.1))
    meant = bt.crowd_loss(X, np.zeros(40), np.full(40, 0.9))
    assert np.allclose(said[0], meant[0])


def test_weights_of_a_linear_reward_are_where_the_gradient_vanishes():
    rng = np.random.default_rng(2)
    difference, label, weight = rng.normal(0, 1, (60, 4)), rng.choice([0.0, 0.5, 1.0], 60), rng.uniform(0.5, 2, 60)
    theta = bt.fit_linear(difference, label, penalty=0.3, weight=weight)

    def objective(theta):
        return weight @ bt.soft_loss(difference @ theta, label)[0] + 0.3 * theta @ theta

    numeric = [(objective(theta + step) - objective(theta - step)) / (2 * STEP) for step in STEP * np.eye(4)]
    assert np.allclose(numeric, 0, atol=1e-6)


def test_gradient_descent_on_the_torch_loss_arrives_at_the_item_scores():
    torch = pytest.importorskip("torch")
    from ml_backend.reward.losses import pair_loss

    rng = np.random.default_rng(3)
    a, b = rng.integers(6, size=(2, 80))
    label = rng.choice([0.0, 0.5, 1.0], 80)
    one_hot = torch.eye(6, dtype=torch.float64)
    theta = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        x = (one_hot[a] - one_hot[b]) @ theta
        loss = pair_loss(x[None], torch.tensor(label), torch.zeros(1), "soft", 0.3).sum() + 0.1 * theta @ theta
        loss.backward()
        return loss

    optimizer.step(closure)
    assert np.allclose(theta.detach().numpy(), bt.fit_items(a, b, label, 6, penalty=0.1), atol=1e-5)
