"""Each rule asks what it says it asks, within a task type, never a pair again, and never one trajectory too often."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.ranking import STRATEGIES, PoolScores, closest_pairs, pair_score, rank_pairs
from preference.errors import ConfigError


def pool(n=40, tasks=2, members=5, size=6, seed=0):
    rng = np.random.default_rng(seed)
    phi = rng.standard_normal((n, size))
    weights = rng.standard_normal((members, size)) * 0.5 + 1
    return PoolScores(
        tuple(f"t{i:04d}" for i in range(n)), tuple(f"task{i % tasks}" for i in range(n)), weights @ phi.T, phi
    )


def rank(scores, count=10, strategy="d_optimal", asked=frozenset(), audit=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return rank_pairs(scores, count, strategy=strategy, asked=set(asked), audit=audit, within_sd=0.5, rng=rng)


@settings(max_examples=60, deadline=None)
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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_trajectory_is_shown_too_often_in_one_batch(strategy):
    uses = Counter(name for choice in rank(pool(60), 30, strategy) for name in choice.trajectories)
    assert max(uses.values()) <= 3


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_asks_the_same(strategy):
    assert rank(pool(), strategy=strategy, audit=0.2) == rank(pool(), strategy=strategy, audit=0.2)


def test_the_audit_arm_is_a_tenth_and_drawn_uniformly():
    strategies = Counter(choice.strategy for choice in rank(pool(), 50, audit=0.1))
    assert strategies == {"d_optimal": 45, "uniform": 5}


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
