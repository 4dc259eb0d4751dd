"""Pairs keep the protocol: exact strata, no repetition, even use, and nothing that gives an answer away."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from importer.calibration.sets import DIMENSIONS, propose_calibration
from importer.pairs.sampling import (
    active_pairs,
    asked,
    likely_answers,
    make_pair,
    pair_id_of,
    sample_pairs,
    shortfalls,
    stratum_of,
)
from importer.pairs.strata import StratumError, apportion
from importer.pool.quality import quartiles
from preference.errors import UserError
from preference.records import Trajectory

SHARES = {"adjacent": 0.4, "same": 0.3, "distant": 0.3}
QUICK = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def make_pool(sizes, seed=0):
    """Ranked trajectories, `sizes` of each task type, of random quality and measures."""
    rng = np.random.default_rng(seed)
    pool = []
    for number, size in enumerate(sizes):
        quality = rng.random(size)
        for value, quartile in zip(quality, quartiles(quality), strict=True):
            measures = dict(zip(("smoothness", "path_efficiency", "duration_s"), rng.random(3).tolist(), strict=True))
            pool.append(
                Trajectory(
                    f"t-{len(pool):06d}", "d", len(pool), "expert", f"task-{number}", quality=float(value),
                    quartile=int(quartile), success=bool(value > 0.4), grasp_stability=float(rng.choice([1.0, 0.5])),
                    true_return=float(value), clip="clip.mp4", **measures,
                )
            )  # fmt: skip
    return pool


def sample(pool, count, seed=0, exclude=frozenset(), strata=SHARES):
    return sample_pairs(
        pool, count, strata=strata, rng=np.random.default_rng(seed), batch_id="production-001", exclude=exclude
    )


def uses(pairs, pool):
    counts = Counter(i for pair in pairs for i in (pair.trajectory_a_id, pair.trajectory_b_id))
    return [counts[t.trajectory_id] for t in pool]


@QUICK
@given(
    sizes=st.lists(st.integers(24, 80), min_size=1, max_size=4),
    count=st.integers(0, 150),
    seed=st.integers(0, 1000),
)
def test_every_sample_keeps_the_protocol(sizes, count, seed):
    pool = make_pool(sizes, seed)
    by_id = {t.trajectory_id: t for t in pool}
    pairs = sample(pool, count, seed)
    strata = Counter(pair.stratum for pair in pairs)
    tasks = Counter(pair.task_type for pair in pairs)
    assert len(pairs) == len(asked(pairs)) == len({pair.pair_id for pair in pairs}) == count
    assert all(abs(strata[name] - share * count) < 1 for name, share in SHARES.items())
    assert all(abs(tasks[f"task-{i}"] - count * size / sum(sizes)) <= 2 for i, size in enumerate(sizes))
    for pair in pairs:
        a, b = by_id[pair.trajectory_a_id], by_id[pair.trajectory_b_id]
        assert a.task_type == b.task_type == pair.task_type
        assert pair.stratum == stratum_of(a, b)
        assert pair.kind == ("gold" if pair.stratum == "distant" else "production")
        assert pair.expected == (("A" if a.quality > b.quality else "B") if pair.kind == "gold" else None)


@QUICK
@given(size=st.integers(40, 120), count=st.integers(60, 200), seed=st.integers(0, 1000))
def test_every_trajectory_is_used_about_equally_often(size, count, seed):
    pool = make_pool([size, size], seed)
    used = uses(sample(pool, count, seed), pool)
    assert max(used) - min(used) <= 2


def test_later_batches_even_out_the_use_and_repeat_nothing():
    pool, seen = make_pool([40, 40]), set()
    everything = []
    for seed in range(4):
        pairs = sample(pool, 150, seed, exclude=seen)
        assert not asked(pairs) & seen
        seen |= asked(pairs)
        everything += pairs
    used = uses(everything, pool)
    assert max(used) - min(used) <= 3


def test_the_last_pairs_of_a_pool_are_found_and_then_it_says_so_with_the_numbers():
    pool = make_pool([16])
    every = sample(pool, 24, strata={"same": 1.0})  # 4 quartiles of 4: 6 pairs each
    assert len(asked(every)) == 24
    with pytest.raises(StratumError, match=r"1 same pairs are needed, but only 0 have not.*16 ranked.*task-0: 0"):
        sample(pool, 1, exclude=asked(every), strata={"same": 1.0})


def test_a_small_task_type_leaves_its_share_to_the_others():
    pool = make_pool([8, 80])
    strata = Counter(pair.stratum for pair in sample(pool, 200))
    assert strata == {"adjacent": 80, "same": 60, "distant": 60}


def test_with_fill_a_stratum_that_runs_out_is_filled_from_the_nearest_and_said():
    ids = [(f"t{i}", quartile) for i, quartile in enumerate([1] * 3 + [2] * 30 + [3] * 30)]
    pool = [Trajectory(i, "d", n, "expert", "push", quality=n, quartile=q) for n, (i, q) in enumerate(ids)]
    with pytest.raises(StratumError, match="--fill"):
        sample(pool, 600)
    pairs = sample_pairs(pool, 600, strata=SHARES, rng=np.random.default_rng(0), batch_id="b", fill=True)
    counts = Counter(pair.stratum for pair in pairs)
    assert counts["distant"] == 90, "not all of 3 x 30 pairs between quartile 1 and 3 were used"
    assert counts == {"distant": 90, "adjacent": 240 + 90, "same": 180}
    assert shortfalls(pairs, SHARES) == [
        "330 adjacent pairs instead of 240: they stand in for other strata.",
        "90 distant pairs instead of 180: the pool has no more of them.",
    ]
    assert len(asked(pairs)) == 600


def test_fill_changes_nothing_where_nothing_lacks_and_a_pool_without_pairs_is_still_an_error():
    pool = make_pool([60])
    filled = sample_pairs(pool, 100, strata=SHARES, rng=np.random.default_rng(0), batch_id="production-001", fill=True)
    assert filled == sample(pool, 100) and shortfalls(filled, SHARES) == []
    with pytest.raises(StratumError, match="are needed"):
        sample_pairs(make_pool([8]), 29, strata=SHARES, rng=np.random.default_rng(0), batch_id="b", fill=True)


@QUICK
@given(
    sizes=st.lists(st.integers(4, 14), min_size=1, max_size=3),
    shares=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9)),
    part=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_filling_gives_as_many_pairs_as_are_wanted_and_each_stratum_all_it_has_or_its_share(sizes, shares, part, seed):
    pool = make_pool(sizes, seed)
    room = Counter(stratum_of(a, b) for i, a in enumerate(pool) for b in pool[:i] if a.task_type == b.task_type)
    count = int(part * room.total())
    strata = {name: share / sum(shares) for name, share in zip(("adjacent", "same", "distant"), shares, strict=True)}
    pairs = sample_pairs(pool, count, strata=strata, rng=np.random.default_rng(seed), batch_id="b", fill=True)
    made = Counter(pair.stratum for pair in pairs)
    assert len(pairs) == len(asked(pairs)) == count
    assert all(pair.trajectory_a_id != pair.trajectory_b_id for pair in pairs)
    for name, share in strata.items():
        assert made[name] > min(share * count - 1, room[name] - 1)
    lacking = [name for name, share in strata.items() if share * count >= room[name] + 1]
    assert bool(shortfalls(pairs, strata)) >= bool(lacking)
    if not shortfalls(pairs, strata):
        assert all(abs(made[name] - share * count) < 1 for name, share in strata.items())


@QUICK
@given(
    sizes=st.lists(st.integers(6, 40), min_size=1, max_size=3), count=st.integers(4, 50), training=st.integers(0, 15),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_calibration_and_training_sets_never_share_a_pair_and_say_when_they_are_smaller(sizes, count, training, seed):
    made = propose_calibration(make_pool(sizes, seed), count, np.random.default_rng(seed), training=training)
    sets = [made.first, made.second, made.training]
    assert len(set().union(*(asked(pairs) for pairs in sets))) == sum(map(len, sets))
    assert len(made.first) == len(made.second) <= count
    assert len(made.training) <= training
    smaller = len(made.first) < count or len(made.training) < training
    assert any("instead of" in note for note in made.notes) == smaller


def test_unranked_trajectories_are_never_asked():
    pool = make_pool([40]) + [Trajectory(f"x{i}", "e", i, "novice", "task-0") for i in range(10)]
    assert not any(
        i.startswith("x") for pair in sample(pool, 100) for i in (pair.trajectory_a_id, pair.trajectory_b_id)
    )


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others():
    pool = make_pool([60])
    assert sample(pool, 80, 3) == sample(pool, 80, 3)
    assert asked(sample(pool, 80, 3)) != asked(sample(pool, 80, 4))


def test_ids_order_and_sides_do_not_give_the_answer_away():
    pairs = sample(make_pool([200, 200]), 1000)
    gold = [pair for pair in pairs if pair.kind == "gold"]
    assert 0.4 < np.mean([pair.expected == "A" for pair in gold]) < 0.6
    places = [i for i, pair in enumerate(pairs) if pair.kind == "gold"]
    assert 450 < np.mean(places) < 550
    assert all(len(pair.pair_id) == 20 and int(pair.pair_id, 16) >= 0 for pair in pairs)
    by_id = sorted(pairs, key=lambda pair: pair.pair_id)
    assert 400 < np.mean([i for i, pair in enumerate(by_id) if pair.kind == "gold"]) < 600


def test_a_pair_has_one_id_whichever_is_a():
    assert pair_id_of("x", "y") == pair_id_of("y", "x") != pair_id_of("x", "z")


def test_ten_thousand_pairs_of_a_large_pool_are_all_different_and_use_no_trajectory_twice():
    pool = make_pool([15_000, 15_000])
    pairs = sample(pool, 10_000)
    assert len(asked(pairs)) == 10_000
    assert max(uses(pairs, pool)) == 1


@pytest.mark.parametrize("other", [Trajectory("z", "d", 9, "novice", "elsewhere", quartile=1),
                                   Trajectory("z", "d", 9, "novice", "task-0")])  # fmt: skip
def test_what_cannot_be_compared_is_refused(other):
    with pytest.raises(UserError, match="z"):
        stratum_of(make_pool([8])[0], other)


def test_active_pairs_keep_their_strategy_and_get_their_stratum():
    pool = make_pool([40])
    chosen = [(pool[i].trajectory_id, pool[i + 1].trajectory_id) for i in range(0, 40, 2)]
    pairs = active_pairs(chosen, ["d_optimal"] * 19 + ["uniform"], pool, "active-001", rng=np.random.default_rng(0))
    assert [{p.trajectory_a_id, p.trajectory_b_id} for p in pairs] == [set(ids) for ids in chosen]
    assert {(p.kind, p.batch_id, p.expected) for p in pairs[:-1]} == {("active", "active-001", None)}
    assert [p.strategy for p in pairs] == ["d_optimal"] * 19 + ["uniform"]
    assert 0 < sum(p.trajectory_a_id == ids[0] for p, ids in zip(pairs, chosen, strict=True)) < 20
    with pytest.raises(UserError, match="nowhere"):
        active_pairs([("nowhere", "t-000000")], ["x"], pool, "active-001", rng=np.random.default_rng(0))


def test_of_an_active_batch_distant_pairs_that_no_rule_chose_are_gold():
    pool = make_pool([40])
    worst, best = (min(pool, key=lambda t: t.quality), max(pool, key=lambda t: t.quality))
    near = sorted(pool, key=lambda t: t.quality)[1]
    ids = [tuple(t.trajectory_id for t in pair) for pair in ((worst, best), (worst, near), (best, near))]
    rules = ["uniform", "uniform", "v_optimal"]
    far, close, chosen = active_pairs(ids, rules, pool, "active-001", rng=np.random.default_rng(0))
    assert (far.kind, far.strategy) == ("gold", "uniform")
    assert far.expected == ("A" if far.trajectory_a_id == best.trajectory_id else "B")
    assert (close.kind, close.expected, chosen.kind, chosen.expected) == ("active", None, "active", None)


def test_the_likely_answer_is_the_one_of_higher_quality():
    low, high = sorted(make_pool([8]), key=lambda t: t.quality)[:2]
    pair = make_pair(low, high, "production", "b")
    assert likely_answers([pair], [low, high]) == {pair.pair_id: "B"}


@given(
    data=st.lists(st.tuples(st.floats(0, 100, allow_subnormal=False), st.integers(0, 50)), min_size=1, max_size=8),
    share=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_shares_are_whole_add_up_and_stay_under_their_limits(data, share, seed):
    weights, limits = np.array([w for w, _ in data]), np.array([k for _, k in data])
    total = int(share * limits.sum())
    given_out = apportion(total, weights, limits, np.random.default_rng(seed))
    assert given_out.sum() == total
    assert (given_out >= 0).all()
    assert (given_out <= limits).all()


def test_shares_without_limits_are_the_largest_remainders():
    rng = np.random.default_rng(0)
    plenty = np.full(3, 1000)
    assert apportion(10, np.array([0.4, 0.3, 0.3]), plenty, rng).tolist() == [4, 3, 3]
    assert apportion(7, np.array([0.5, 0.3, 0.2]), plenty, rng).tolist() == [4, 2, 1]


def test_the_calibration_sets_are_disjoint_balanced_and_cover_the_dimensions():
    pool = make_pool([60, 60])
    first, second, _, notes = propose_calibration(pool, 40, np.random.default_rng(0))
    assert notes == []
    assert len(asked(first)) == len(asked(second)) == 40
    assert not asked(first) & asked(second)
    for pairs, batch_id in ((first, "calibration-1"), (second, "calibration-2")):
        assert Counter(pair.task_type for pair in pairs) == {"task-0": 20, "task-1": 20}
        assert {pair.dimension for pair in pairs} == set(DIMENSIONS)
        assert {(pair.kind, pair.batch_id, pair.expected) for pair in pairs} == {("calibration", batch_id, None)}


def test_a_calibration_pair_shows_what_it_is_about_and_differs_clearly():
    pool = make_pool([80])
    by_id = {t.trajectory_id: t for t in pool}
    first, second, _, _ = propose_calibration(pool, 40, np.random.default_rng(1))
    for pair in first + second:
        a, b = by_id[pair.trajectory_a_id], by_id[pair.trajectory_b_id]
        assert abs(a.quality - b.quality) > 0.1
        if pair.dimension == "smoothness":
            assert (a.smoothness - b.smoothness) * (a.duration_s - b.duration_s) > 0
        if pair.dimension == "efficiency":
            assert a.success and b.success and abs(a.path_efficiency - b.path_efficiency) > 0.1
        if pair.dimension == "grasp":
            assert a.grasp_stability != b.grasp_stability
        if pair.dimension == "recovery":
            assert a.success != b.success


def test_a_small_pool_gives_smaller_calibration_sets_and_says_so():
    first, second, _, notes = propose_calibration(make_pool([8]), 40, np.random.default_rng(0))
    assert len(first) == len(second) == 14  # 28 pairs in all
    assert any("14 pairs in each calibration set instead of 40" in note for note in notes)
    with pytest.raises(UserError, match="at least 8 pairs"):
        propose_calibration(make_pool([4]), 40, np.random.default_rng(0))


def test_calibration_of_a_large_pool_asks_nothing_twice():
    pool = make_pool([20_000])
    first, *_ = propose_calibration(pool, 40, np.random.default_rng(0))
    again, *_ = propose_calibration(pool, 40, np.random.default_rng(0), asked(first))
    assert not asked(first) & asked(again)


def test_the_training_set_is_apart_from_both_test_sets_and_covers_the_dimensions():
    pool = make_pool([60, 60])
    first, second, training, notes = propose_calibration(pool, 40, np.random.default_rng(0), training=10)
    assert notes == [] and len(asked(training)) == 10
    assert not asked(training) & asked([*first, *second])
    assert {pair.dimension for pair in training} == set(DIMENSIONS)
    assert Counter(pair.task_type for pair in training) == {"task-0": 5, "task-1": 5}
    same, again, *_ = propose_calibration(pool, 40, np.random.default_rng(0))
    assert (same, again) == (first, second), "the test sets depend on the training set"


def test_a_pool_without_pairs_for_training_says_so():
    *_, training, notes = propose_calibration(make_pool([8]), 40, np.random.default_rng(0), training=10)
    assert training == [] and any("0 pairs in the training set instead of 10" in note for note in notes)


def test_a_measure_that_nobody_took_gives_no_pairs_about_it():
    pool = [Trajectory(f"t{i}", "d", i, "expert", "push", quality=i / 40, quartile=1 + i // 10) for i in range(40)]
    first, second, _, notes = propose_calibration(pool, 30, np.random.default_rng(0))
    assert {pair.dimension for pair in first + second} == {"contrast"}
    assert any("smoothness, efficiency, grasp, recovery" in note for note in notes)
