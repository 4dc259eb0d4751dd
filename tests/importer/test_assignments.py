"""The plan is fair: even loads, even company, balanced sides, duplicates that come back late enough."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.pairs.assignments import assign, assign_everyone, assign_thirds, spacing
from importer.pairs.overlap import teams
from importer.pairs.plan import plan_table, seconds_of
from preference.errors import UserError
from preference.records import Pair

NAMES = ["alice", "bo", "chidi", "dana", "eve", "femi", "gita", "hugo"]
QUICK = settings(max_examples=40)


def make_pairs(count, batch_id="production-001"):
    strata = ("adjacent", "adjacent", "same", "distant")
    return [
        Pair(f"p{i:04d}", f"x{i}", f"y{i}", "push", strata[i % 4], "gold" if i % 4 == 3 else "production", batch_id)
        for i in range(count)
    ]


def plan(pairs, names, overlap=2, duplicates=0.07, distance=20, seed=0, likely=None):
    return assign(
        pairs, names, overlap=overlap, duplicates=duplicates, duplicate_distance=distance, batch_id="production-001",
        rng=np.random.default_rng(seed), likely=likely,
    )  # fmt: skip


def by_annotator(assignments):
    queues = {}
    for assignment in assignments:
        queues.setdefault(assignment.annotator_id, []).append(assignment)
    return queues


@QUICK
@given(count=st.integers(0, 250), size=st.integers(2, 12), overlap=st.integers(1, 3), seed=st.integers(0, 1000))
def test_teams_are_even_in_load_and_in_company(count, size, overlap, seed):
    overlap = min(overlap, size)
    made = teams(count, size, overlap, np.random.default_rng(seed))
    assert len(made) == count
    assert all(len(set(team)) == overlap for team in made)
    loads = Counter(member for team in made for member in team)
    assert max((loads[i] for i in range(size)), default=0) - min(loads[i] for i in range(size)) <= 1
    together = Counter(couple for team in made for couple in combinations(sorted(team), 2))
    shared = [together[couple] for couple in combinations(range(size), 2)]
    if overlap >= 2:
        assert max(shared) - min(shared) <= (1 if overlap == 2 else 2)


@QUICK
@given(
    count=st.integers(1, 200), size=st.integers(2, 8), share=st.floats(0, 0.3), distance=st.integers(1, 30),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_every_plan_keeps_the_protocol(count, size, share, distance, seed):
    pairs = make_pairs(count)
    assignments = plan(pairs, NAMES[:size], duplicates=share, distance=distance, seed=seed)
    by_id = {a.assignment_id: a for a in assignments}
    assert len(by_id) == len(assignments)
    originals = [a for a in assignments if a.duplicate_of is None]
    assert Counter(a.pair_id for a in originals) == {pair.pair_id: 2 for pair in pairs}
    assert len({(a.pair_id, a.annotator_id) for a in originals}) == len(originals)
    for queue in by_annotator(assignments).values():
        assert sorted(a.position for a in queue) == list(range(len(queue)))
        assert abs(sum(1 if a.left == "A" else -1 for a in queue)) <= 1
        again = [a for a in queue if a.duplicate_of is not None]
        assert len(again) <= share * (len(queue) - len(again)) + 0.5
        assert len({a.duplicate_of for a in again}) == len(again)
        for duplicate in again:
            first = by_id[duplicate.duplicate_of]
            assert (first.pair_id, first.annotator_id) == (duplicate.pair_id, duplicate.annotator_id)
            assert first.left != duplicate.left
            assert duplicate.position - first.position >= spacing(len(queue) - len(again), distance)


def test_the_wanted_share_of_duplicates_is_reached_where_there_is_room():
    for queue in by_annotator(plan(make_pairs(200), NAMES[:4])).values():
        assert len(queue) == 107
        assert sum(a.duplicate_of is not None for a in queue) == 7


def test_a_load_that_is_too_small_gets_fewer_duplicates_and_the_plan_says_so():
    assignments = plan(make_pairs(24), NAMES[:2], duplicates=0.8)
    table = plan_table(assignments, duplicates=0.8, duplicate_distance=20)
    assert set(table.duplicates.values()) <= set(range(9, 14))
    assert any("duplicates instead of 19" in w and "come 12 tasks later" in w for w in table.warnings)


@pytest.mark.parametrize(("people", "load"), [(5, 20), (8, 12), (12, 8)])
def test_everybody_has_a_duplicate_in_a_small_batch_half_of_their_tasks_later(people, load):
    names = [f"p{i}" for i in range(people)]
    for seed in range(20):
        assignments = plan(make_pairs(50), names, seed=seed)
        table = plan_table(assignments, duplicates=0.07, duplicate_distance=20)
        assert set(table.duplicates.values()) == {1}
        assert not [w for w in table.warnings if "duplicates" in w]
        at = {a.assignment_id: a.position for a in assignments}
        assert all(a.position - at[a.duplicate_of] >= load // 2 for a in assignments if a.duplicate_of)


def test_very_few_tasks_have_no_duplicate_and_the_plan_says_so():
    table = plan_table(plan(make_pairs(5), NAMES[:2], duplicates=0.3), duplicates=0.3, duplicate_distance=20)
    assert set(table.duplicates.values()) == {0}
    assert any("0 duplicates instead of 2: 5 pairs" in w and "come 20 tasks later" in w for w in table.warnings)
    assert [spacing(load, 20) for load in (5, 6, 13, 40, 200)] == [20, 3, 6, 20, 20]


def test_sides_are_balanced_against_the_likely_answer():
    pairs = make_pairs(200)
    likely = {pair.pair_id: "A" if i % 3 else "B" for i, pair in enumerate(pairs)}
    assignments = plan(pairs, NAMES[:5], duplicates=0.0, likely=likely)
    for queue in by_annotator(assignments).values():
        better_left = sum(a.left == likely[a.pair_id] for a in queue)
        assert abs(2 * better_left - len(queue)) <= 2


def test_two_annotators_of_a_pair_do_not_always_see_the_same_side():
    sides = {}
    for assignment in plan(make_pairs(200), NAMES[:4], duplicates=0.0):
        sides.setdefault(assignment.pair_id, set()).add(assignment.left)
    assert 60 < sum(len(found) == 2 for found in sides.values()) < 140


def test_everybody_gets_their_share_of_the_gold_items():
    pairs = make_pairs(200)
    gold = {pair.pair_id for pair in pairs if pair.kind == "gold"}
    queues = by_annotator(plan(pairs, NAMES, duplicates=0.0))
    counts = [sum(a.pair_id in gold for a in queue) for queue in queues.values()]
    assert max(counts) - min(counts) <= 3


def test_the_order_is_each_annotators_own():
    queues = by_annotator(assign_everyone(make_pairs(40), NAMES, batch_id="c", rng=np.random.default_rng(0)))
    orders = {tuple(a.pair_id for a in sorted(queue, key=lambda a: a.position)) for queue in queues.values()}
    assert len(orders) == len(NAMES)
    assert all(len(queue) == 40 and not any(a.duplicate_of for a in queue) for queue in queues.values())


def test_assignment_ids_tell_nothing_of_pair_order_or_duplicate():
    assignments = plan(make_pairs(200), NAMES[:4])
    ids = [a.assignment_id for a in assignments]
    assert {len(i) for i in ids} == {24}
    ranks = np.argsort(np.argsort(ids))
    assert abs(np.corrcoef(ranks, [a.position for a in assignments])[0, 1]) < 0.2
    assert abs(np.corrcoef(ranks, [a.duplicate_of is not None for a in assignments])[0, 1]) < 0.2
    assert set(ids).isdisjoint(a.assignment_id for a in plan(make_pairs(200), NAMES[:4], seed=1))


def test_the_same_seed_gives_the_same_plan():
    assert plan(make_pairs(50), NAMES) == plan(make_pairs(50), NAMES)


def test_too_few_annotators_are_one_clear_message():
    with pytest.raises(UserError, match="Each pair goes to 2 annotators, but only 1"):
        plan(make_pairs(5), ["alice"])


def test_a_third_opinion_comes_from_somebody_new_and_the_loads_stay_even():
    pairs = make_pairs(60)
    had = {}
    for assignment in plan(pairs, NAMES[:5], duplicates=0.0):
        had.setdefault(assignment.pair_id, set()).add(assignment.annotator_id)
    start = {(name, "production-001"): 24 for name in NAMES[:5]}
    third = assign_thirds(
        [(pair, had[pair.pair_id]) for pair in pairs], NAMES[:5], start_positions=start, rng=np.random.default_rng(0)
    )
    assert len(third) == 60
    assert not any(a.annotator_id in had[a.pair_id] for a in third)
    queues = by_annotator(third)
    assert max(map(len, queues.values())) - min(map(len, queues.values())) <= 1
    for queue in queues.values():
        assert sorted(a.position for a in queue) == list(range(24, 24 + len(queue)))
        assert abs(sum(1 if a.left == "A" else -1 for a in queue)) <= 1


def test_where_everybody_has_seen_a_pair_nobody_is_asked_again():
    pair = make_pairs(1)[0]
    assert assign_thirds([(pair, NAMES[:2])], NAMES[:2], start_positions={}, rng=np.random.default_rng(0)) == []


def test_the_plan_table_adds_up():
    table = plan_table(plan(make_pairs(300), NAMES[:5]), duplicates=0.07)
    assert table.pairs == 300
    assert sum(table.loads.values()) == 600 + sum(table.duplicates.values())
    assert table.shared["alice"]["bo"] == table.shared["bo"]["alice"] == 30
    assert table.hours["alice"] == pytest.approx((table.loads["alice"] / 60, table.loads["alice"] / 40))
    assert seconds_of(12) == (60, 90), "the protocol's pace"
    assert seconds_of(92) == (102, 214), "a clip of 92 s is watched once and thought about, or twice"
    assert table.reserve == (45, 60)
    assert [w for w in table.warnings if "share 30 pairs" in w]
    assert not [w for w in table.warnings if "recommended" in w]


def test_fewer_than_five_annotators_are_warned_of():
    warnings = plan_table(plan(make_pairs(600), NAMES[:3], duplicates=0.0)).warnings
    assert len(warnings) == 1
    assert "3 annotators" in warnings[0]


def test_who_knows_where_the_better_one_was_cannot_tell_where_it_is_next():
    pairs = make_pairs(3000)
    likely = {pair.pair_id: "AB"[i % 3 == 0] for i, pair in enumerate(pairs)}
    for own in by_annotator(plan(pairs, NAMES[:2], duplicates=0.0, likely=likely)).values():
        left = np.array([a.left == likely[a.pair_id] for a in sorted(own, key=lambda a: a.position)])
        assert abs(left.mean() - 0.5) < 0.001  # as often on either side
        for back in (1, 2, 3):
            assert abs(np.mean(left[back:] == left[:-back]) - 0.5) < 0.04  # four standard errors
