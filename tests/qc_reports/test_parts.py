"""Agreement of every part of the answers, what leaving people out changes, and what a reader is warned of."""

from dataclasses import asdict, replace

import krippendorff
import numpy as np
import pytest

from preference.config import Quality
from preference.records import Pair, Review
from qc_reports.agreement.coefficients import SCALE
from qc_reports.agreement.parts import batch_parts, parts
from qc_reports.annotators.flag import Flag
from qc_reports.annotators.reviews import review_status
from qc_reports.answers import Answered, votes
from qc_reports.report.batch_report import figures, warnings
from qc_reports.resolution.exclusions import left_out
from qc_reports.resolution.vote import resolve


def rng():
    return np.random.default_rng(0)


def answers(pairs=120, wrong=0.3, stratum="same", people=("x", "y"), **more):
    """Two people on each pair; the second says something else on a share of them."""
    draw = np.random.default_rng(5)
    found = []
    for i in range(pairs):
        word = SCALE[int(draw.integers(3))]
        other = SCALE[int(draw.integers(3))] if draw.random() < wrong else word
        for who, said in zip(people, (word, other), strict=True):
            when = f"2026-01-05T{9 + i // 60:02d}:{i % 60:02d}:00+00:00"
            found.append(
                Answered(f"{stratum}{i:03d}", who, said, 3, 9000, when, stratum=stratum, task_type="push", **more)
            )
    return found


def test_each_part_has_the_alpha_and_the_disagreement_of_its_own_pairs():
    hard = answers(wrong=0.9, tiers="expert / novice", quartiles="2 / 2", batch_id="b1")
    easy = answers(wrong=0.0, stratum="distant", tiers="expert / random", quartiles="1 / 4", batch_id="b2")
    found = parts([*hard, *easy], draws=50, rng=rng())
    assert [part["name"] for part in found["stratum"]] == ["distant", "same"]
    same = found["stratum"][1]
    ballots = votes(hard)
    codes = [[SCALE.index(b[who]) for b in ballots.values()] for who in ("x", "y")]
    expected = krippendorff.alpha(np.array(codes, float), level_of_measurement="ordinal", value_domain=[0, 1, 2])
    assert same["alpha"]["value"] == pytest.approx(expected, abs=1e-9)
    assert same["alpha"]["low"] < expected < same["alpha"]["high"]
    differing = sum(len(set(b.values())) > 1 for b in ballots.values())
    assert (same["disagreement"], same["pairs"]) == (differing / 120, 120)
    assert same["low"] < same["disagreement"] < same["high"]
    assert found["stratum"][0]["alpha"]["value"] == 1 and found["stratum"][0]["disagreement"] == 0
    for way, names in {
        "tiers": ["expert / novice", "expert / random"], "quartiles": ["1 / 4", "2 / 2"], "batch": ["b1", "b2"],
        "task_type": ["push"], "task_type_and_tiers": ["push: expert / novice", "push: expert / random"],
    }.items():  # fmt: skip
        assert [part["name"] for part in found[way]] == names
    every = batch_parts([*hard, *easy], ["b2", "b1"], draws=0, rng=rng())
    assert [(part["name"], part["pairs"]) for part in every] == [("b2", 120), ("b1", 120), ("all batches", 240)]


def test_over_time_shows_where_agreement_fell():
    good, bad = answers(pairs=60, wrong=0.0), answers(pairs=60, wrong=0.9, stratum="later")
    late = [replace(a, created_at=a.created_at.replace("2026-01-05", "2026-01-06")) for a in bad]
    found = parts([*late, *good], draws=0, rng=rng())["time"]
    assert [part["pairs"] for part in found] == [30, 30, 30, 30]
    assert [part["disagreement"] for part in found[:2]] == [0, 0] and found[2]["disagreement"] > 0.3
    assert found[0]["name"] < found[1]["name"] < found[2]["name"]
    assert parts([replace(a, created_at="") for a in good], draws=0, rng=rng())["time"] == []


def test_what_nothing_is_known_of_is_in_no_part():
    found = parts([Answered("p", "x", "A"), Answered("p", "y", "B")], draws=0, rng=rng())
    assert all(found[way] == [] for way in found)


def three(*said):
    """Pairs on which x, y and eve say what the words spell."""
    pairs = [Pair(f"p{i}", f"t{i}", f"u{i}", "push", "same", "production") for i in range(len(said))]
    given = {"A": "A", "B": "B", "=": "equal"}
    found = [Answered(f"p{i}", who, given[w]) for i, word in enumerate(said)
             for who, w in zip(("x", "y", "eve"), word, strict=True) if w in given]  # fmt: skip
    return pairs, found


def test_what_leaving_somebody_out_changes_is_counted():
    pairs, found = three("AAA", "ABB", "AB=", "  B", "A B", "A=A")
    without = [a for a in found if a.annotator_id != "eve"]
    before, after = resolve(pairs, found), resolve(pairs, without)
    change = left_out(before, after, pending=["eve"], dropped=[], judgments=6)
    assert (change.changed, change.vanished, change.gained) == (0, 3, 1)
    assert change.pairs == [
        {"pair_id": "p1", "with_all": "B", "without": "needs_third"},
        {"pair_id": "p3", "with_all": "B", "without": "unanswered"},
        {"pair_id": "p4", "with_all": "needs_third", "without": "A"},
        {"pair_id": "p5", "with_all": "A", "without": "needs_third"},
    ]


def test_who_stands_how_after_flags_and_reviews():
    flag = Flag("eve", "gold", 0.5, 0.2, 20, "eve …")
    keep = Review("b", "bob", "keep", ["speed"], "maria", "", "w")
    gone = Review("b", "zoe", "leave_out", [], "maria", "", "w")
    where = review_status([flag, replace(flag, annotator_id="bob", kind="speed")], [keep, gone])
    assert (where.pending, where.kept, where.dropped) == (["eve"], [keep], [gone])
    assert where.left_out == {"eve", "zoe"}


def test_a_report_leaves_the_flagged_out_and_says_what_that_does():
    quick = [replace(a, annotator_id="eve", response_time_ms=500) for a in answers(wrong=0.0) if a.annotator_id == "x"]
    found = [*answers(wrong=0.0), *quick]
    pairs = [Pair(f"same{i:03d}", "t", "u", "push", "same", "production") for i in range(120)]
    report = figures("b", found, pairs, Quality(bootstrap=0), rng=rng())
    assert report.left_out["pending"] == ["eve"] and report.left_out["judgments"] == 120
    whole = figures("b", found, pairs, Quality(bootstrap=0), rng=rng(), leave_out=False)
    assert whole.left_out == report.left_out and whole.status == "held"
    assert asdict(whole)["parts"]["stratum"][0]["pairs"] == 120


def test_every_flag_says_its_smallest_sample_and_its_interval():
    quick = [replace(a, response_time_ms=500 + i) for i, a in enumerate(answers(wrong=0.9))]
    report = figures("b", quick, [], Quality(bootstrap=0), rng=rng())
    assert report.flags and all(f["n"] >= f["minimum"] > 5 for f in report.flags)
    assert all(f["low"] <= f["value"] <= f["high"] for f in report.flags)


def test_hard_pairs_that_divide_nobody_and_gold_that_divides_are_warned_of():
    assert any("only 0 of 120 pairs of one quartile, which should be hard" in s for s in warnings(answers(wrong=0.0)))
    assert not any("one quartile" in s for s in warnings(answers(wrong=0.5)))
    assert not any("one quartile" in s for s in warnings(answers(pairs=20, wrong=0.0))), "twenty pairs say nothing"
    gold = [replace(a, expected="A", stratum="distant") for a in answers(wrong=0.9)]
    assert any("gold pairs, which should be easy" in s for s in warnings(gold))
    assert not any("should be easy" in s for s in warnings([replace(a, expected="A") for a in answers(wrong=0.1)]))


def test_kappas_of_few_shared_pairs_are_called_rough():
    assert any("1 of 1 pairs of annotators share fewer than 100 pairs" in s for s in warnings(answers(pairs=99)))
    assert not any("couples" in s for s in warnings(answers(pairs=100)))
