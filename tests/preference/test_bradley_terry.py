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


def test_gradient_descent_on_the_torch_loss_arrives_at_the_item_scores_of_choix_at_equal_penalty():
    torch, choix = pytest.importorskip("torch"), pytest.importorskip("choix")
    from ml_backend.reward.losses import pair_loss

    rng = np.random.default_rng(3)
    true = rng.normal(0, 1, 8)
    pairs = [tuple(rng.choice(8, 2, replace=False)) for _ in range(200)]
    won = [(a, b) if rng.random() < bt.sigmoid(true[a] - true[b]) else (b, a) for a, b in pairs]
    a, b = np.array(won).T
    one_hot, label = torch.eye(8, dtype=torch.float64), torch.ones(len(won), dtype=torch.float64)
    theta = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        x = (one_hot[a] - one_hot[b]) @ theta
        loss = pair_loss(x[None], label, torch.zeros(1), "soft", 0.3).sum() + 0.1 * theta @ theta
        loss.backward()
        return loss

    optimizer.step(closure)
    ours, theirs = theta.detach().numpy(), choix.opt_pairwise(8, won, alpha=0.1)
    assert np.allclose(ours - ours.mean(), theirs - theirs.mean(), atol=1e-4)
