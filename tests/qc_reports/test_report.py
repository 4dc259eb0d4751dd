"""The report answers its three questions first, loads nothing, hides nothing, and fits a phone."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from preference.config import Quality
from preference.records import ANSWERS, Pair
from qc_reports.agreement.contested import contested_pairs, disagreement_table
from qc_reports.answers import Answered
from qc_reports.report.batch_report import figures
from qc_reports.report.gate import by_hand
from qc_reports.report.next_steps import next_steps
from qc_reports.report.page import write_report
from qc_reports.report.response_times import response_times

HOSTILE = '<script>alert("x")</script>&'


def draw_batch(people, pairs=200, seed=0):
    """Two votes a pair; whoever is called `eve` clicks at random and too fast."""
    rng = np.random.default_rng(seed)
    made, answers = [], []
    for i in range(pairs):
        truth = str(rng.choice(["A", "B"]))
        stratum = str(rng.choice(["same", "adjacent", "distant"]))
        pair = Pair(f"p{i:03d}", f"t{i}", f"t{i + 1}", f"task {i % 2}", stratum, "production", expected=truth)
        made.append(pair)
        for name in map(str, rng.choice(people, 2, replace=False)):
            careful = name != "eve" and rng.random() < 0.95
            word = truth if careful else str(rng.choice(ANSWERS))
            time = int(1000 * rng.lognormal(0.5 if name == "eve" else 2.6, 0.3))
            answers.append(
                Answered(pair.pair_id, name, word, 3, time, left=str(rng.choice(["A", "B"])), expected=truth,
                         stratum=stratum, task_type=pair.task_type, assignment_id=f"{pair.pair_id}-{name}")
            )  # fmt: skip
    return answers, made


def check(answers, pairs, **options):
    return figures("production-001", answers, pairs, Quality(bootstrap=200), rng=np.random.default_rng(0), **options)


@pytest.fixture(scope="module")
def good():
    answers, pairs = draw_batch(["alice", "bob", "carmen", "dmitri"])
    return check(answers, pairs), answers, pairs


@pytest.fixture(scope="module")
def held():
    answers, pairs = draw_batch(["alice", "bob", "carmen", "dmitri", "eve"])
    return check(answers, pairs), answers, pairs


def text(page):
    """What a person reads: no tags, no style, no script."""
    words = []

    class Reader(HTMLParser):
        hidden = False

        def handle_starttag(self, tag, attrs):
            self.hidden = tag in ("style", "script")

        def handle_data(self, data):
            if not self.hidden:
                words.append(data)

        def handle_endtag(self, tag):
            self.hidden = False

    Reader().feed(page)
    return re.sub(r"\s+", " ", " ".join(words))


def test_a_good_batch_says_so_and_what_comes_next(good):
    page = text(write_report(*good))
    assert "This batch is good." in page and "Nobody. No annotator has a flag." in page
    assert page.index("robopref resolve") < page.index("robopref train") < page.index("How long they take")


def test_a_held_batch_says_why_who_and_what_to_do(held):
    page = text(write_report(*held))
    assert "This batch is on hold." in page
    first_screen = page[: page.index("Those with a flag come first")]
    assert re.search(
        r"eve Took the side that the others make likelier in \d+% of \d+ pairs, where most would in", first_screen
    )
    assert re.search(r"Disagrees with \d+% of \d+ gold pairs\. Answers in a median of [\d.]+ s", first_screen)
    assert "Go through the answers with eve." in first_screen
    assert "robopref batch review eve --batch production-001 --keep" in first_screen
    assert "robopref batch accept production-001 --by YOU --why REASON" in first_screen


def test_every_figure_on_the_page_is_the_reports(held):
    report, answers, pairs = held
    page = text(write_report(report, answers, pairs))
    alpha = report.alpha
    assert f"95 % interval {alpha['low']:.2f} to {alpha['high']:.2f}" in page
    for row in report.kappa:
        assert f"{row['kappa']:.2f}".replace("-", "−") + f" {row['shared']}" in page
    assert f"{report.judgments} answers" in page
    for name in ("A", "B", "equal", "unresolved"):
        assert re.search(rf" {report.resolved[name]}\b", page)


def test_the_steps_fit_the_status(good):
    report = good[0]
    commands = {
        status: [command for _, command in next_steps(replace(report, status=status))[:-1] if command]
        for status in ("open", "held", "accepted")
    }
    assert commands["open"] == ["robopref pull", "robopref qc --batch production-001"]
    assert commands["held"][-1].startswith("robopref batch accept production-001")
    assert commands["accepted"] == ["robopref resolve", "robopref train"]
    assert next_steps(report)[-1][1] == "robopref status", "the page stays, what was done does not show on it"


@pytest.mark.parametrize(
    ("pending", "said"),
    [(["ann"], "judgments of ann count"), (["ann", "ben"], "ann and ben count"),
     (list("abcdef"), "a, b, c and 3 more count")],
)  # fmt: skip
def test_the_steps_of_a_held_batch_name_whom_to_review(held, pending, said):
    report = replace(held[0], left_out=held[0].left_out | {"pending": pending})
    assert any(said in what and "batch review" in command for what, command in next_steps(report))


@pytest.mark.parametrize(("kind", "proposed"), [("turned", True), ("gold", True), ("speed", False)])
def test_a_refresher_is_proposed_for_whoevers_agreement_fell(held, kind, proposed):
    report, answers, pairs = held
    review = [{"annotator_id": "ann", "kinds": [kind], "reviewed": "", "judgments": []}]
    page = write_report(replace(report, review=review), answers, pairs)
    assert ("robopref annotators refresh ann" in page) == proposed


def test_a_batch_accepted_by_hand_is_not_called_good(held):
    report, answers, pairs = held
    decision = {"status": "accepted", "by": "maria", "at": "2026-01-05T09:00:00+00:00", "why": "Seen and fine."}
    reasons = [*report.reasons, by_hand(decision)]
    page = text(write_report(replace(report, status="accepted", reasons=reasons, decision=decision), answers, pairs))
    assert "This batch was accepted by hand." in page and "is good" not in page
    assert "Accepted by maria on 2026-01-05: Seen and fine." in page


def test_the_page_is_small_though_it_carries_plotly():
    answers, pairs = draw_batch([f"annotator number {i}" for i in range(12)], pairs=500)
    page = write_report(check(answers, pairs), answers, pairs)
    assert 1_000_000 < len(page) < 2_600_000
    own = page[: page.index('id="plotly"')] + page[page.rindex("<script>") :]
    assert len(own.encode()) < 300_000
    assert not re.search(r"https?:|<link|<img|@import|url\(|src=", own)
    assert "default-src 'none'" in page


def test_names_tasks_and_words_cannot_become_markup(good):
    _, answers, pairs = good
    answers = [replace(a, annotator_id=HOSTILE + a.annotator_id, task_type=HOSTILE) for a in answers]
    words = {a.assignment_id: HOSTILE for a in answers}
    page = write_report(replace(check(answers, pairs), batch_id=HOSTILE), answers, pairs, words=words)
    assert page.count("<script") == 3 and "<script>alert" not in page
    assert HOSTILE in text(page)


def test_words_are_printed_only_when_they_are_handed_in(held):
    answers = held[1]
    words = {answer.assignment_id: "it wobbles" for answer in answers}
    assert "it wobbles" in write_report(*held, words=words)
    assert "it wobbles" not in write_report(*held)


def test_answers_of_which_nothing_else_is_known_make_a_page():
    answers = [Answered("p1", "x", "A"), Answered("p2", "y", "B")]
    page = text(write_report(check(answers, []), answers, []))
    assert "No pair has two answers yet" in page and "nan" not in page and "How long" not in page
    alike = [Answered(p, who, "A") for p in ("p1", "p2") for who in ("x", "y")]
    assert "every answer is the same" in text(write_report(check(alike, []), alike, []))


def test_systematic_opposition_has_a_place_on_the_scale():
    answers = [Answered(f"p{i}", who, word) for i in range(20) for who, word in (("x", "A"), ("y", "B"))]
    report = check(answers, [])
    assert report.alpha["value"] < 0
    assert "−0." in text(write_report(report, answers, []))


def test_the_heat_map_counts_by_stratum_and_task():
    def pair(name, stratum, task, *preferences):
        return [Answered(name, f"a{i}", p, stratum=stratum, task_type=task) for i, p in enumerate(preferences)]

    table = disagreement_table(
        pair("p1", "distant", "push", "A", "A") + pair("p2", "same", "push", "A", "B")
        + pair("p3", "same", "push", "B", "B") + pair("p4", "same", "open", "A")
    )  # fmt: skip
    assert list(table.rate.columns) == ["same", "distant", "all"] and list(table.rate.index) == ["open", "push", "all"]
    assert table.rate.loc["push"].tolist() == pytest.approx([0.5, 0.0, 1 / 3])
    assert table.pairs.loc["push"].tolist() == [2, 1, 3] and table.pairs.loc["all", "all"] == 3
    assert table.pairs.loc["open", "all"] == 0 and math.isnan(table.rate.loc["open", "all"])


def test_opposite_and_sure_answers_are_the_most_contested():
    def pair(name, *votes):
        return [Answered(name, f"a{i}", p, c) for i, (p, c) in enumerate(votes)]

    answers = (
        pair("mild", ("A", 5), ("equal", 5)) + pair("unsure", ("A", 1), ("B", 2))
        + pair("sure", ("A", 5), ("B", 5)) + pair("agreed", ("A", 5), ("A", 5))
    )  # fmt: skip
    again = Answered("agreed", "a0", "B", 5, duplicate=True)
    assert [c.pair_id for c in contested_pairs([*answers, again])] == ["sure", "unsure", "mild"]


def test_response_times_count_what_is_under_the_limit_and_keep_what_is_off_the_axis():
    answers = [Answered(f"p{i}", "x", "A", 3, ms) for i, ms in enumerate((0, 2999, 3000, 10_000, 9_000_000))]
    times = response_times([*answers, Answered("p9", "y", "A")], 3.0)
    assert [(t.annotator_id, t.answers, t.too_fast, t.median_s) for t in times.people] == [("x", 5, 2, 3.0)]
    assert times.people[0].bars[0].at == 0.0 and times.people[0].bars[-1].at == pytest.approx(1 - times.width)
