"""Each rule asks what it says it asks, within a task type, never a pair again, and never one trajectory too often."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from ml_backend.ranking import (
    STRATEGIES,
    Design,
    PoolScores,
    closest_pairs,
    davidson_ties,
    fitted_ties,
    pair_score,
    rank_pairs,
)
from ml_backend.ranking import candidates as candidates_module
from ml_backend.ranking.candidates import candidates, codes, drawn_uniformly
from ml_backend.ranking.choose import diverse
from ml_backend.ranking.utility import (
    covariance,
    d_optimal,
    mutual_information,
    outcomes,
    v_optimal,
    variance,
    wrong_orders,
)
from preference.bradley_terry import davidson_loss, sigmoid
from preference.errors import ConfigError, DataError

CHOOSY = [strategy for strategy in STRATEGIES if strategy not in ("uniform", "smallest_difference")]


def pool(n=40, tasks=2, members=5, size=6, seed=0):
    rng = np.random.default_rng(seed)
    phi = rng.standard_normal((n, size))
    weights = rng.standard_normal((members, size)) * 0.5 + 1
    return PoolScores(
        tuple(f"t{i:04d}" for i in range(n)), tuple(f"task{i % tasks}" for i in range(n)), weights @ phi.T, phi
    )


def rank(scores, count=10, strategy="d_optimal", asked=frozenset(), audit=0.0, seed=0, ties=None, **given):
    rng = np.random.default_rng(seed)
    return rank_pairs(
        scores, count, strategy=strategy, asked=set(asked), audit=audit, within_sd=0.5, rng=rng, ties=ties, **given
    )


def all_pairs(n):
    return np.array(list(combinations(range(n), 2)))


def names(choice):
    return frozenset(choice.trajectories)


@settings(max_examples=60)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40), st.integers(1, 60))
def test_closest_pairs_are_those_of_brute_force(rewards, limit):
    rewards = np.array(rewards)
    found = closest_pairs(rewards, limit)
    gaps = sorted(abs(rewards[a] - rewards[b]) for a, b in combinations(range(len(rewards)), 2))[:limit]
    assert np.allclose([abs(rewards[a] - rewards[b]) for a, b in found], gaps)
    assert len({frozenset(pair) for pair in found.tolist()}) == len(found)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pairs_are_of_one_task_new_and_not_repeated(strategy):
    scores = pool()
    task = dict(zip(scores.trajectory_ids, scores.task_types, strict=True))
    asked = {frozenset(choice.trajectories) for choice in rank(scores, 30, strategy)}
    chosen = rank(scores, 20, strategy, asked)
    keys = [frozenset(choice.trajectories) for choice in chosen]
    assert len(set(keys)) == len(keys) == 20
    assert not set(keys) & asked
    assert all(task[a] == task[b] for a, b in (choice.trajectories for choice in chosen))


@pytest.mark.parametrize("strategy", CHOOSY)
def test_no_trajectory_is_shown_too_often_in_one_batch(strategy):
    uses = Counter(name for choice in rank(pool(60), 30, strategy) for name in choice.trajectories)
    assert max(uses.values()) <= 3


def test_what_earlier_batches_showed_too_often_is_left_alone():
    scores = pool(60, tasks=1)
    asked = {frozenset(("t0000", f"t{i:04d}")) for i in range(1, 31)}
    shown = {name for choice in rank(scores, 20, asked=asked) for name in choice.trajectories}
    assert "t0000" not in shown


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_asks_the_same(strategy):
    assert rank(pool(), strategy=strategy, audit=0.2) == rank(pool(), strategy=strategy, audit=0.2)


def test_the_audit_arm_is_a_tenth_and_drawn_uniformly():
    strategies = Counter(choice.strategy for choice in rank(pool(), 50, audit=0.1))
    assert strategies == {"d_optimal": 45, "uniform": 5}


def test_the_protocols_plain_rule_asks_the_smallest_differences_and_looks_at_nothing_else():
    scores = pool(100)
    rows = [(a, b) for a, b in all_pairs(100).tolist() if scores.task_types[a] == scores.task_types[b]]
    rows.sort(key=lambda pair: abs(scores.rewards[pair[0]] - scores.rewards[pair[1]]))
    wanted = [frozenset((f"t{a:04d}", f"t{b:04d}")) for a, b in rows]
    ties = fitted_ties(np.linspace(-2, 2, 50), np.abs(np.linspace(-2, 2, 50)) < 0.5)
    chosen = rank(scores, 60, "smallest_difference", asked=wanted[:5], ties=ties)
    assert [names(choice) for choice in chosen] == wanted[5:65]


def test_closest_keeps_within_half_a_standard_deviation():
    scores = pool(100)
    rewards = dict(zip(scores.trajectory_ids, scores.rewards, strict=True))
    groups = np.array(scores.task_types)
    spread = max(scores.rewards[groups == task].std() for task in set(groups))
    for choice in rank(scores, 40, "closest"):
        a, b = choice.trajectories
        assert pair_score(rewards[a], rewards[b]) < 0.5 * spread


def test_disagreement_asks_where_members_disagree_most():
    scores = pool(20, tasks=1)
    (first,) = rank(scores, 1, "disagreement")
    spread = {}
    for a, b in combinations(range(20), 2):
        x = scores.members[:, a] - scores.members[:, b]
        spread[a, b] = (1 / (1 + np.exp(-x))).std()
    best = max(spread, key=spread.get)
    assert set(first.trajectories) == {scores.trajectory_ids[i] for i in best}


def test_bald_is_zero_where_members_agree():
    scores = pool(20, tasks=1)
    alike = PoolScores(scores.trajectory_ids, scores.task_types, np.repeat(scores.members[:1], 5, 0), scores.phi)
    assert all(abs(choice.score) < 1e-9 for choice in rank(alike, 5, "bald"))


def test_d_optimal_updates_as_if_the_chosen_pairs_had_been_asked():
    """The sequential rule's second choice is the first choice of a fresh ranking that has the first pair behind it."""
    scores = pool(14, tasks=1)
    first, second = rank(scores, 2, "d_optimal")
    (again,) = rank(scores, 1, "d_optimal", {frozenset(first.trajectories)})
    assert set(again.trajectories) == set(second.trajectories)
    assert again.score == pytest.approx(second.score)


def test_d_optimal_does_not_ask_for_the_same_difference_twice():
    """Two copies of each trajectory: after one pair, its twin tells little."""
    scores = pool(8, tasks=1)
    twins = PoolScores(
        tuple(f"t{i}" for i in range(16)), ("task",) * 16, np.tile(scores.members, 2), np.tile(scores.phi, (2, 1))
    )
    first, second = rank(twins, 2, "d_optimal")
    assert {int(name[1:]) % 8 for name in first.trajectories} != {int(name[1:]) % 8 for name in second.trajectories}


def test_a_large_pool_is_ranked_without_looking_at_all_pairs():
    rng = np.random.default_rng(0)
    n = 20_000
    phi = rng.standard_normal((n, 4))
    scores = PoolScores(tuple(map(str, range(n))), ("task",) * n, rng.standard_normal((3, 4)) @ phi.T, phi)
    assert len(rank(scores, 100, "closest")) == 100


def test_when_everything_was_asked_nothing_is_left():
    scores = pool(4, tasks=1)
    everything = {frozenset(pair) for pair in combinations(scores.trajectory_ids, 2)}
    assert rank(scores, 5, asked=everything) == []


def test_an_unknown_strategy_is_named_with_those_that_exist():
    with pytest.raises(ConfigError, match="d_optimal"):
        rank(pool(), strategy="clairvoyance")


def test_the_audit_arm_is_uniform_over_all_pairs_of_a_large_pool():
    """1,000 trajectories whose rewards crowd together for half of them: the audit does not see the crowd more often."""
    n = 1_000
    rng = np.random.default_rng(0)
    rewards = np.concatenate([np.linspace(0, 1e-6, n // 2), np.linspace(1, 50, n // 2)])
    scores = PoolScores(tuple(map(str, range(n))), ("task",) * n, rewards[None], rewards[:, None])
    drawn = drawn_uniformly(scores, np.empty(0, np.int64), 4_000, rng)
    assert len(np.unique(codes(drawn, n))) == 4_000
    both_in_the_crowd = np.mean((drawn < n // 2).all(axis=1))
    assert both_in_the_crowd == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 4_000))


def test_closest_candidates_of_a_large_pool_are_those_of_brute_force_without_the_asked_ones(monkeypatch):
    monkeypatch.setattr(candidates_module, "EXHAUSTIVE", 100)
    monkeypatch.setattr(candidates_module, "CANDIDATES", 150)
    scores = pool(90, tasks=1)
    pairs = all_pairs(90)
    gap = np.abs(scores.rewards[pairs[:, 0]] - scores.rewards[pairs[:, 1]])
    order = np.argsort(gap)
    taken = np.sort(codes(pairs[order[:400:2]], 90))
    expected = [row for row in order if codes(pairs[[row]], 90)[0] not in set(taken.tolist())][:120]
    found = candidates(scores, taken, 120, 0.5, np.random.default_rng(0))
    assert set(codes(pairs[expected], 90).tolist()) <= set(codes(found, 90).tolist())
    assert not set(codes(found, 90).tolist()) & set(taken.tolist())


def test_many_task_types_do_not_add_up_to_more_candidates():
    n = 40_000
    rng = np.random.default_rng(0)
    phi = rng.standard_normal((n, 3))
    tasks = tuple(f"task {i % 400}" for i in range(n))
    scores = PoolScores(tuple(map(str, range(n))), tasks, phi.T.copy(), phi)
    found = candidates(scores, np.empty(0, np.int64), 1, 0.5, rng)
    assert len(found) <= candidates_module.CANDIDATES + len(scores.groups)
    assert {tasks[a] for a in found[:, 0]} == set(tasks)
    assert all(tasks[a] == tasks[b] for a, b in found)


def test_the_candidates_of_a_large_pool_tell_nearly_as_much_as_all_its_pairs(monkeypatch):
    """What the chosen batch takes away from the uncertainty about the last layer, in nats."""

    def told(scores, chosen):
        place = {name: i for i, name in enumerate(scores.trajectory_ids)}
        rows = np.array([[place[name] for name in choice.trajectories] for choice in chosen])
        none = np.empty(0, np.int64)
        before = covariance(scores.phi, scores.rewards, none, none)
        after = covariance(scores.phi, scores.rewards, rows[:, 0], rows[:, 1])
        return np.linalg.slogdet(before)[1] - np.linalg.slogdet(after)[1]

    scores = pool(300, tasks=1, size=12)
    monkeypatch.setattr(candidates_module, "CANDIDATES", 6_000)
    some = told(scores, rank(scores, 50))
    monkeypatch.setattr(candidates_module, "EXHAUSTIVE", 10**6)
    assert some > 0.85 * told(scores, rank(scores, 50))


def test_d_optimal_gives_the_same_order_as_looking_at_every_candidate_again_each_time():
    rng = np.random.default_rng(1)
    phi, pairs = rng.standard_normal((80, 5)), all_pairs(80)
    weight = rng.uniform(0.0, 0.25, len(pairs)) ** 3
    sigma = np.diag(rng.uniform(0.5, 2.0, 5))
    lazy = [row for row, _ in islice(d_optimal(phi, pairs, weight, sigma, lambda a, b: True), 60)]
    x, plain, now = phi[pairs[:, 0]] - phi[pairs[:, 1]], [], sigma.copy()
    for _ in range(60):
        worth = weight * variance(now, x)
        worth[plain] = -1.0
        best = int(np.argmax(worth))
        plain.append(best)
        now = np.linalg.inv(np.linalg.inv(now) + weight[best] * np.outer(x[best], x[best]))
    assert lazy == plain


def expected_wrong_orders(phi, rewards, sigma, pairs):
    """Sum over the pairs of Φ(−|m| / √v)."""
    x = phi[pairs[:, 0]] - phi[pairs[:, 1]]
    m = np.abs(rewards[pairs[:, 0]] - rewards[pairs[:, 1]])
    return norm.cdf(-m / np.sqrt(np.einsum("ch,hk,ck->c", x, sigma, x))).sum()


def test_wrong_orders_is_how_the_expected_number_falls_with_the_posterior():
    rng = np.random.default_rng(3)
    phi, sigma = rng.standard_normal((30, 4)), np.diag(rng.uniform(0.5, 2.0, 4))
    rewards, pairs = phi @ rng.standard_normal(4), all_pairs(30)
    orders = wrong_orders(phi, rewards, sigma, pairs)
    direction = rng.standard_normal((4, 4))
    less = 1e-6 * direction @ direction.T
    fall = expected_wrong_orders(phi, rewards, sigma, pairs) - expected_wrong_orders(phi, rewards, sigma - less, pairs)
    assert fall == pytest.approx(np.trace(orders @ less), rel=1e-4)


def test_v_optimal_gives_the_same_order_as_the_whole_formula_for_every_candidate_each_time():
    rng = np.random.default_rng(1)
    phi, pairs = rng.standard_normal((40, 5)), all_pairs(40)
    weight = rng.uniform(0.0, 0.25, len(pairs))
    sigma = np.diag(rng.uniform(0.5, 2.0, 5))
    orders = wrong_orders(phi, phi @ rng.standard_normal(5), sigma, pairs)
    found = list(islice(v_optimal(phi, pairs, weight, sigma, orders, lambda a, b: True), 30))
    x, now, taken = phi[pairs[:, 0]] - phi[pairs[:, 1]], sigma.copy(), []
    for row, worth in found:
        after = [np.linalg.inv(np.linalg.inv(now) + w * np.outer(v, v)) for w, v in zip(weight, x, strict=True)]
        mended = np.array([np.trace(orders @ (now - then)) for then in after])
        mended[taken] = -1.0
        assert row == int(np.argmax(mended))
        assert worth == pytest.approx(mended[row])
        taken.append(row)
        now = after[row]


def test_v_optimal_plans_by_the_design_where_there_is_one():
    scores = pool(30, tasks=1)
    rng = np.random.default_rng(5)
    phi = rng.standard_normal((30, 3))
    rewards = phi @ np.array([1.0, -1.0, 0.5])
    planned = rank(replace(scores, design=Design(phi, rewards)), 6, "v_optimal")
    itself = rank(PoolScores(scores.trajectory_ids, scores.task_types, rewards[None], phi), 6, "v_optimal")
    assert [names(choice) for choice in planned] == [names(choice) for choice in itself]
    assert [names(choice) for choice in planned] != [names(choice) for choice in rank(scores, 6, "v_optimal")]
    left = replace(scores, design=Design(phi, rewards)).take([4, 7, 9])
    assert left.trajectory_ids == ("t0004", "t0007", "t0009")
    assert np.array_equal(left.design.rewards, rewards[[4, 7, 9]])


def taken_from(process, count):
    found = [next(process)]
    while len(found) < count:
        found.append(process.send(True))
    return found


def test_a_diverse_batch_is_the_greedy_maximum_of_the_determinant():
    rng = np.random.default_rng(2)
    x, utility = rng.standard_normal((30, 4)), rng.uniform(0.5, 1.0, 30)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    kernel = np.outer(utility, utility) * (unit @ unit.T) ** 2 + 1e-6 * np.diag(utility**2)
    expected = []
    for _ in range(6):
        rest = [i for i in range(30) if i not in expected]
        expected.append(max(rest, key=lambda i: np.linalg.slogdet(kernel[np.ix_([*expected, i], [*expected, i])])[1]))
    assert taken_from(diverse(x, utility), 6) == expected


def test_a_diverse_batch_asks_a_copy_last_whichever_way_round_it_is():
    x = np.array([[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]])
    assert taken_from(diverse(x, np.array([1.0, 0.9, 0.1])), 3) == [0, 2, 1]


@pytest.mark.parametrize("strategy", ["closest", "disagreement", "bald"])
def test_no_rule_asks_about_the_same_difference_twice(strategy):
    """Three copies of each trajectory: a pair of two copies, and a pair like one that was chosen, tell nothing new."""
    rng = np.random.default_rng(3)
    phi = np.repeat(rng.standard_normal((20, 5)), 3, axis=0)
    weights = rng.standard_normal((5, 5)) * 0.5 + 1
    scores = PoolScores(tuple(f"t{i:02d}" for i in range(60)), ("task",) * 60, weights @ phi.T, phi)
    kinds = [frozenset(int(name[1:]) // 3 for name in choice.trajectories) for choice in rank(scores, 6, strategy)]
    assert len(set(kinds)) == 6
    assert sum(len(kind) == 1 for kind in kinds) <= 1


def test_with_davidson_bald_counts_three_outcomes():
    x, nu = np.array([[0.4, -1.0], [2.0, 0.3]]), np.array([0.5, 1.5])
    p = np.array(
        [[np.exp(-davidson_loss(x[k], np.full(2, y), np.log(nu[k]))[0]) for k in range(2)] for y in (1, 0, 0.5)]
    )
    assert np.allclose(outcomes(x, nu), p)
    entropy = -(p * np.log(p)).sum(axis=0).mean(axis=0)
    mean = p.mean(axis=1)
    assert np.allclose(mutual_information(x, nu), -(mean * np.log(mean)).sum(axis=0) - entropy)


def test_the_share_of_ties_by_difference_is_found_again():
    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, 2_000)
    tie = rng.random(2_000) < sigmoid(0.5 - 3.0 * np.abs(x))
    ties = fitted_ties(x, tie)
    grid = np.array([[0.0, 0.3, 1.0, 2.0]])
    assert np.allclose(ties(grid), sigmoid(0.5 - 3.0 * np.abs(grid[0])), atol=0.08)


def test_of_two_ties_nothing_is_concluded():
    assert fitted_ties(np.arange(30.0), np.arange(30) < 2) is None


@pytest.mark.parametrize("strategy", CHOOSY)
def test_pairs_that_people_would_call_equal_are_asked_less(strategy):
    scores = pool(60, tasks=1)
    ties = davidson_ties(np.full(5, 20.0))
    sharp = fitted_ties(np.linspace(0, 4, 400), np.linspace(0, 4, 400) < 0.5)
    plain = np.mean([choice.tie for choice in rank(scores, 10, strategy, ties=lambda x: 1e-9 + 0 * sharp(x))])
    assert plain < 1e-6
    before = np.mean([sharp(np.diff(choice.rewards)[None])[0] for choice in rank(scores, 10, strategy)])
    after = np.mean([choice.tie for choice in rank(scores, 10, strategy, ties=sharp)])
    assert after < before
    assert all(0 < choice.tie < 1 for choice in rank(scores, 10, strategy, ties=ties))


def test_a_choice_says_what_is_expected_of_it():
    scores = pool(40, tasks=1)
    reward = dict(zip(scores.trajectory_ids, scores.rewards, strict=True))
    for choice in rank(scores, 10, audit=0.2):
        assert choice.rewards == pytest.approx(tuple(reward[name] for name in choice.trajectories))
        assert 0 <= choice.information <= 1


def test_a_pool_of_single_trajectories_has_nothing_to_ask():
    scores = PoolScores(("a", "b"), ("push", "pull"), np.zeros((2, 2)), np.zeros((2, 3)))
    assert [rank(scores, 5, strategy, audit=0.5) for strategy in STRATEGIES] == [[]] * len(STRATEGIES)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_given_pairs_are_ranked_and_asked_ones_where_a_round_is_replayed(strategy):
    scores = pool(tasks=1)
    among = [(f"t{i:04d}", f"t{i + 20:04d}") for i in range(20)]
    chosen = rank(scores, 8, strategy, audit=0.25, among=among)
    assert len(chosen) == 8 and {names(c) for c in chosen} <= set(map(frozenset, among))
    rest = [pair for pair in among if frozenset(pair) not in {names(c) for c in chosen}]
    asked = {names(c) for c in chosen}
    later = rank(scores, 8, strategy, asked=asked, among=rest)
    assert (later or strategy == "closest") and not {names(c) for c in later} & asked
    again = rank(scores, 8, strategy, asked=asked, among=[tuple(sorted(pair)) for pair in asked], again=True)
    assert {names(c) for c in again} <= asked and again


def test_where_all_pairs_are_given_the_choice_is_that_without_a_list():
    scores = pool(n=12, tasks=1)
    every = list(combinations(scores.trajectory_ids, 2))
    assert [c.trajectories for c in rank(scores, among=every)] == [c.trajectories for c in rank(scores)]


@pytest.mark.parametrize(
    ("among", "words"),
    [
        ([("t0000", "gone")], "has no reward for 'gone'"),
        ([("t0000", "t0001")], "two task types, 'task0' and 'task1'"),
        ([("t0000", "t0002"), ("t0002", "t0000")], "t0002, t0000: it is listed twice"),
        ([("t0000", "t0000")], "it is one trajectory"),
        ([("t0004", "t0006"), ("t0000", "t0002")], "t0000, t0002: it was asked before, as 1 of 2 were"),
    ],
)
def test_a_list_of_candidates_that_cannot_be_ranked_is_one_clear_error(among, words):
    with pytest.raises(DataError, match=words):
        rank(pool(), among=among, asked={frozenset(("t0000", "t0002"))})
