"""The Bayesian part: its slopes are those of its likelihood, its variances those that the evidence is highest at."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ml_backend.reward.evidence import HYPERPRIOR, Answers, Posterior, fit, fit_log_nu, ratio, slipped, stack, unseen


def answers_to(d, weights, rng, slip=0.1):
    """M answers by Bradley and Terry's model, one in ten a slip."""
    p = slip + (1 - 2 * slip) / (1 + np.exp(-d @ weights))
    n = len(d)
    return Answers(np.arange(n), (rng.random(n) < p).astype(float), np.ones(n), np.full(n, slip))


def test_slope_and_curvature_are_those_of_the_likelihood():
    rng = np.random.default_rng(0)
    x, pair = rng.normal(0, 2, 6), rng.integers(6, size=20)
    said = Answers(pair, rng.choice([0.0, 0.5, 1.0], 20), rng.uniform(0, 2, 20), rng.uniform(0, 0.95, 20))
    slope = slipped(x, said)[1]
    for i, step in enumerate(1e-6 * np.eye(6)):
        assert slope[i] == pytest.approx((slipped(x + step, said)[0] - slipped(x - step, said)[0]) / 2e-6, abs=1e-5)
    p = 0.2 + 0.6 / (1 + math.exp(-0.7))
    expected = [
        q * slipped(np.array([0.7]), Answers(np.zeros(1, int), np.array([y]), np.ones(1), np.full(1, 0.2)))[1][0] ** 2
        for y, q in ((1.0, p), (0.0, 1 - p))
    ]
    one = Answers(np.zeros(1, int), np.array([1.0]), np.ones(1), np.full(1, 0.2))
    assert slipped(np.array([0.7]), one)[2][0] == pytest.approx(sum(expected)), "Fisher information: E[slope²]"


def log_evidence(d, said, blocks, log_v):
    block = np.repeat(np.arange(len(blocks)), blocks)
    from ml_backend.reward.evidence import _most_likely

    prior, zero = np.exp(-np.asarray(log_v))[block], np.zeros(len(block))
    w, precision = _most_likely(d, said, zero, (zero, 1.0 / prior))
    laplace = -slipped(d @ w, said)[0] - 0.5 * prior @ w**2
    laplace += 0.5 * np.log(prior).sum() - 0.5 * np.linalg.slogdet(precision)[1]
    return laplace - 0.5 * (((np.asarray(log_v) - HYPERPRIOR[0]) / HYPERPRIOR[1]) ** 2).sum()


def test_a_block_that_tells_something_gets_a_variance_and_one_that_tells_nothing_loses_it():
    rng = np.random.default_rng(0)
    d = rng.normal(size=(300, 40)) / math.sqrt(20)
    said = answers_to(d, np.concatenate([2 * rng.normal(size=20), np.zeros(20)]), rng)
    found = fit(d, said, [20, 20])
    assert found.variance[0] > 10 * found.variance[-1]
    best = np.log(found.variance[[0, -1]])
    for away in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]):
        assert log_evidence(d, said, [20, 20], best + away) < log_evidence(d, said, [20, 20], best) + 0.5


def test_a_column_with_a_prior_of_its_own_keeps_it_until_answers_say_otherwise():
    rng = np.random.default_rng(0)
    d = rng.normal(size=(400, 5))
    truth = np.array([1.0, -1.0, 0.0, 0.5, -2.0])

    def weight(count, told):
        return fit(d[:count], answers_to(d[:count], truth, np.random.default_rng(1)), [4], [told]).mean[4]

    assert weight(0, (3.0, 1.0)) == pytest.approx(3.0), "no answer"
    assert weight(10, (3.0, 1.0)) > weight(400, (3.0, 1.0)) and abs(weight(400, (3.0, 1.0)) + 2.0) < 0.7
    assert weight(10, (3.0, 0.01)) == pytest.approx(3.0, abs=0.01), "as firmly as it is told"
    alone = fit(d[:, 4:], answers_to(d, truth, rng), [], [(0.0, 10.0)])
    assert abs(alone.mean[0] + 1.5) < 0.5 and alone.variance.tolist() == [100.0], "it needs no block"


def test_members_spread_as_the_posterior_does_and_their_mean_is_its_mean():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 4))
    precision = a @ a.T + np.eye(4)
    posterior = Posterior(np.arange(4.0), precision, np.zeros(4), np.ones(4))
    drawn = posterior.draws(4000, rng)
    assert np.allclose(drawn.mean(axis=0), np.arange(4.0))
    assert np.allclose(np.cov(drawn.T), np.linalg.inv(precision), atol=0.05)
    assert np.array_equal(posterior.draws(1, rng)[0], posterior.mean)


def test_no_reward_comes_from_a_fit_that_knew_the_trajectory():
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(20, 3))
    a, b = rng.integers(20, size=(2, 80))
    fold = np.arange(20) % 4
    said = answers_to(phi[a] - phi[b], np.array([1.0, -1.0, 0.0]), rng)
    found = fit(phi[a] - phi[b], said, [3])
    before = unseen(phi, a, b, said, found, fold)
    touched = (fold[a] == 0) | (fold[b] == 0)
    other = replace(said, label=np.where(touched, 1 - said.label, said.label))
    after = unseen(phi, a, b, other, found, fold)
    inside = (fold[a] == 0) & (fold[b] == 0)
    assert inside.any() and np.allclose(before[inside], after[inside], atol=1e-3)
    assert not np.allclose(before[~inside], after[~inside], atol=1e-2)


def test_few_labels_weigh_both_parts_alike_and_many_as_they_are_worth():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 2000)
    simple, network = truth + rng.normal(0, 3, 2000), truth + rng.normal(0, 0.3, 2000)
    p = 0.1 + 0.8 / (1 + np.exp(-truth))
    said = Answers(np.arange(2000), (rng.random(2000) < p).astype(float), np.ones(2000), np.full(2000, 0.1))
    weights = stack(simple, network, said)
    assert weights[0] < 0.2 and weights[1] > 0.6
    few = Answers(*(getattr(said, name)[:10] for name in ("pair", "label", "weight", "slip")))
    one, other = stack(simple[:10], network[:10], few)
    assert 0.5 < one / other < 2
    one, other = stack(simple[:10], network[:10], few, (0.9, 0.1))
    assert one > 2 * other, "what is expected before they are looked at"
    noise = rng.normal(0, 0.01, 2000)
    size = ratio(network, noise)
    assert (size * noise).std() == pytest.approx(network.std())
    assert stack(network, size * noise, said)[1] < 0.1, "nothing for noise, brought to one size"
    assert stack(-truth, -network, said, (0.7, 0.3)) == (0.7, 0.3), "the answers bear out neither"
    assert stack(simple, np.full(2000, math.nan), said) == (1.0, 0.0)
    assert min(stack(network, -network, said)) >= 0


def test_nu_is_found_again():
    rng = np.random.default_rng(0)
    x, nu = rng.normal(0, 2, 5000), 0.6
    weight = np.stack([np.exp(x / 2), np.exp(-x / 2), np.full(5000, 2 * nu)])
    at = (rng.random(5000) > (weight / weight.sum(axis=0)).cumsum(axis=0)).sum(axis=0)
    assert math.exp(fit_log_nu(x, np.array([1.0, 0.0, 0.5])[at])) == pytest.approx(nu, rel=0.1)
