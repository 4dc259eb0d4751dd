"""Flags add up over batches, gold is checked and takes the expert's word, and the plain limits stand beside."""

from dataclasses import replace

import numpy as np
import pytest
from qc_maker import draw_batch, draw_campaign

from preference.config import Config, Quality
from preference.records import Annotator, Assignment, Batch, Judgment, Pair, Review, Trajectory
from preference.workspace import Workspace
from qc_reports.agreement.contested import best_against_rest
from qc_reports.annotators.examine import examine
from qc_reports.annotators.history import batches_before, settled_later, with_experts
from qc_reports.annotators.statistics import annotator_stats
from qc_reports.answers import Answered
from qc_reports.decisions import review
from qc_reports.qc import qc
from qc_reports.resolve import answers_to, review_statuses

QUALITY = Quality()


def examined(answers, quality=QUALITY, **options):
    return examine(answers, annotator_stats(answers, quality), quality, rng=np.random.default_rng(0), **options)


def repeats(alike, of, batch):
    first = [Answered(f"{batch}-{i}", "x", "AB"[i % 2], batch_id=batch) for i in range(of)]
    again = [replace(a, duplicate=True, preference=a.preference if i < alike else "equal") for i, a in enumerate(first)]
    return first + again


def test_few_repeats_a_batch_add_up_to_a_flag():
    batches = [repeats(3, 6, f"b{i}") for i in range(4)]
    assert examined(batches[0]).flags == [], "3 of 6 is nothing yet"
    found = examined(batches[0], earlier=batches[1:]).flags
    assert [flag.kind for flag in found] == ["self_consistency"] and found[0].n == 24 and found[0].p < 0.05
    good = [repeats(6, 6, f"good{i}") for i in range(3)]
    assert examined(batches[0], earlier=good).flags == []


def test_one_repeat_a_batch_adds_up_to_a_flag_over_the_last_twenty_and_older_ones_are_forgotten():
    batches = [repeats(i % 3 == 0, 1, f"b{i}") for i in range(30)]
    found = examined(batches[0], earlier=batches[1:]).flags
    assert [(flag.kind, flag.n, flag.value) for flag in found] == [("self_consistency", 20, 0.35)]
    assert examined(batches[0], earlier=batches[1:4]).flags == [], "four repeats are no verdict"
    good = [repeats(1, 1, f"good{i}") for i in range(20)]
    assert examined(good[0], earlier=good[1:] + batches).flags == []


def test_who_answers_repeats_at_random_is_flagged_within_twenty_small_batches_and_the_honest_are_not():
    flagged = []
    for seed in range(5):
        batches = draw_campaign(seed, "repeater")
        looks = [examined(batches[n - 1], earlier=batches[: n - 1][::-1]).flags for n in (10, 12, 14, 16, 18, 20)]
        flagged += {flag.annotator_id for found in looks for flag in found if flag.kind == "self_consistency"}
    assert set(flagged) == {"repeater"} and len(flagged) >= 3


def test_the_newest_batch_weighs_most():
    good, bad = repeats(9, 9, "good"), repeats(3, 9, "bad")
    newest_bad = examined(bad, earlier=[good]).flags
    assert [flag.n for flag in newest_bad] == [9], "the batch at hand alone says more"
    assert examined(good, earlier=[bad]).flags == []


@pytest.mark.parametrize("share", [0.0, 0.28])
def test_gold_that_people_agree_against_is_suspended_and_accuses_nobody(share):
    answers, _ = draw_batch(1, wrong_gold=share)
    found = examined(answers)
    assert found.gold.suspended == (share > 0) and found.flags == []
    assert ("heuristic gold is suspended" in found.gold.sentence) == (share > 0)
    assert found.gold.low <= share <= found.gold.high or share == 0
    assert bool(found.gold.usable) == (share == 0)


def test_flags_by_the_plain_limits_do_not_claim_that_suspended_gold_accuses_nobody():
    answers = draw_batch(1, wrong_gold=0.28)[0]
    found = examined(answers, Quality(flags="protocol"))
    assert found.gold.suspended and any(flag.kind == "gold" for flag in found.flags)
    assert "nobody" not in found.gold.sentence and "count them all the same" in found.gold.sentence


def test_what_an_expert_said_is_never_suspended():
    answers = [replace(a, expected_by_expert=a.expected is not None) for a in draw_batch(1, wrong_gold=0.28)[0]]
    found = examined(answers).gold
    assert (found.heuristic, found.suspended) == (0, False) and len(found.usable) == found.expert > 0


def test_the_protocols_limits_stand_beside_and_are_the_flags_where_somebody_wants_that():
    answers = [*repeats(10, 14, "b")]
    row = next(row for row in examined(answers).thresholds if row.kind == "self_consistency")
    assert row.sentence == "80% of repeats alike asked, 71% seen of 14; chance alone would do that in 1 of 3."
    assert row.crossed and row.chance == pytest.approx(0.302, abs=1e-3)
    assert examined(answers).flags == []
    plain = examined(answers, Quality(flags="protocol")).flags
    assert [(flag.kind, flag.value) for flag in plain] == [("self_consistency", 10 / 14)]


def test_pairs_on_which_the_most_reliable_stand_against_the_rest_are_listed():
    words = {"p1": "AABB", "p2": "AAAB", "p3": "ABBB"}
    answers = [
        Answered(pair, who, word) for pair, said in words.items() for who, word in zip("abcd", said, strict=True)
    ]
    found = best_against_rest(answers, {"a": 0.99, "b": 0.98, "c": 0.7, "d": 0.6})
    assert [(row["pair_id"], row["best"], row["rest"]) for row in found] == [
        ("p1", {"a": "A", "b": "A"}, {"c": "B", "d": "B"})
    ]
    assert best_against_rest(answers, {"a": 0.99, "b": 0.9}) == [], "two people have no rest"


@pytest.fixture
def ws(tmp_path):
    ws = Workspace(Config.model_validate({"work": tmp_path, "quality": {"bootstrap": 0}}))
    ws.store.put_trajectories([Trajectory(f"t{i}", "d", i, "expert", "push") for i in range(4)])
    ws.store.put_annotators([Annotator("ann", "ann@example.org"), Annotator("eva", "eva@example.org", role="expert")])
    batches = (("training", "calibration", "eva"), ("one", "production", "ann"), ("two", "production", "ann"))
    for batch_id, kind, who in batches:
        two = ("t1", "t0") if batch_id == "training" else ("t0", "t1")
        pairs = [Pair(f"{batch_id}-p", *two, "push", "distant", kind if kind == "calibration" else "gold", batch_id,
                      expected=None if kind == "calibration" else "A")]  # fmt: skip
        ws.store.put_pairs(
            Batch(batch_id, kind), pairs, [Assignment(f"{batch_id}-a", f"{batch_id}-p", who, batch_id, 0, "A")]
        )
        ws.store.put_judgments([Judgment(f"{batch_id}-a", who, f"{batch_id}-p", "A", 3, 9000)])
    yield ws
    ws.store.close()


def kept_at(batch_id, kinds, who="ann"):
    return Review(batch_id, who, "keep", kinds, "maria", "", "looked at")


def answers_of(batch_id):
    return Answered(f"{batch_id}-p", "ann", "A", batch_id=batch_id, expected="A")


def test_gold_takes_the_experts_word_whichever_trajectory_came_first(ws):
    found = with_experts(ws, [answers_of("one"), replace(answers_of("two"), expected=None)])
    assert [(a.expected, a.expected_by_expert) for a in found] == [("B", True), (None, False)]


def test_what_a_review_settled_is_held_against_nobody_again(ws):
    answers, order = [answers_of("one"), answers_of("two")], ["training", "one", "two"]
    assert batches_before(order, "two", answers, []) == [[answers[0]]]
    assert batches_before(order, "one", answers, []) == []
    assert batches_before(order, "two", answers, [kept_at("one", ["gold"])]) == []


@pytest.mark.parametrize(("reviewed", "flagged"), [([], True), (["gold"], True), (["self_consistency"], False)])
def test_a_review_of_self_consistency_settles_the_repeats_of_all_batches_up_to_it(reviewed, flagged):
    order = [f"b{i}" for i in range(12)]
    batches = [repeats(i > 10, 1, name) for i, name in enumerate(order)]
    answers = [a for batch in batches for a in batch]
    reviews = [kept_at("b10", reviewed, "x")] if reviewed else []
    earlier = batches_before(order, "b11", answers, reviews)
    assert [flag.kind for flag in examined(batches[11], earlier=earlier).flags] == ["self_consistency"] * flagged
    firsts = [a for batch in earlier for a in batch if not a.duplicate]
    assert len(firsts) == 11 - len(reviews), "first answers of other batches still count"
    old = examined(batches[9], earlier=batches[:9][::-1], settled=settled_later(order, "b9", reviews))
    assert bool(old.flags) == flagged
    assert settled_later(order, "b10", reviews) == set(), "the flag that was reviewed stays in sight"


def test_after_a_review_only_new_repeats_accuse():
    order = [f"b{i}" for i in range(30)]
    batches = [repeats(0, 1, name) for name in order]
    answers, reviews, flagged = [a for batch in batches for a in batch], [], []
    for i, name in enumerate(order):
        found = examined(batches[i], earlier=batches_before(order, name, answers, reviews)).flags
        if found:
            flagged.append((i, found[0].n))
            reviews.append(kept_at(name, ["self_consistency"], "x"))
    counts = [n for _, n in flagged]
    assert len(flagged) >= 2 and len(set(counts)) == 1 and sum(counts) <= 30, "each repeat accuses once"


@pytest.fixture
def wrong_repeats(ws):
    """Ann answers each of ten batches' repeats otherwise than before; all were checked, and are held or accepted."""
    names = [f"small-{i:02d}" for i in range(10)]
    for name in names:
        pair = Pair(f"{name}-p", "t0", "t1", "push", "same", "production", name)
        first = Assignment(f"{name}-a", pair.pair_id, "ann", name, 0, "A")
        again = replace(first, assignment_id=f"{name}-b", position=1, left="B", duplicate_of=first.assignment_id)
        ws.store.put_pairs(Batch(name, "production", created_at="2026-01-01"), [pair], [first, again])
        said = Judgment(first.assignment_id, "ann", pair.pair_id, "A", 3, 9000)
        ws.store.put_judgments([said, replace(said, assignment_id=again.assignment_id, preference="B")])
        qc(ws, name)
    return names


def pending(ws):
    where = review_statuses(ws, answers_to(ws, ws.store.assignments(calibration=False)))
    return [name for name, one in where.items() if one.pending]


def test_one_review_of_the_newest_batch_is_enough_where_many_wait_for_one(ws, wrong_repeats):
    waiting = pending(ws)
    assert len(waiting) > 1 and waiting[-1] == wrong_repeats[-1]
    assert {batch.batch_id for batch in ws.store.batches() if batch.status == "held"} == set(waiting)
    kept = review(ws, wrong_repeats[-1], "ann", "keep", by="maria", why="hard pairs")
    assert kept.kinds == ["self_consistency"] and pending(ws) == []
    assert "held" not in {batch.status for batch in ws.store.batches()}, "those before were checked again"
    assert review(ws, wrong_repeats[-1], "ann", "keep", by="maria", why="again").kinds == kept.kinds


def test_a_review_that_leaves_answers_out_settles_no_other_batch(ws, wrong_repeats):
    waiting = pending(ws)
    review(ws, wrong_repeats[-1], "ann", "leave_out", by="maria", why="did not look")
    assert pending(ws) == waiting[:-1]
    review(ws, wrong_repeats[-2], "ann", "keep", by="maria", why="looked then")
    assert pending(ws) == [] and ws.store.left_out() == {(wrong_repeats[-1], "ann")}
