"""Disputed pairs: asked again blind, with the others' answers after it, and what is decided becomes the label."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from disputed_maker import SAID, decide, disputed_batch

from importer.studio.adjudication import open_adjudication
from importer.studio.queues import all_queues, task_of_view
from labeling_config import contract
from labeling_config.questions import CAUSES, DECISIONS, answers_in, for_adjudication
from preference.adjudicated import copy_of, decisions
from preference.errors import UserError
from preference.records import Annotator, Assignment, Batch, Judgment, Pair
from qc_reports.resolution.disputed import disputed, without_third
from qc_reports.resolve import resolve_labels


@pytest.fixture
def ws(tmp_path, database_url, monkeypatch):
    monkeypatch.setenv("ROBOPREF_DATABASE_URL", database_url)
    made = disputed_batch(tmp_path)
    yield made
    made.store.close()


def reasons(ws):
    return {p.pair_id: (p.preference, p.reason) for p in resolve_labels(ws).preferences}


def test_ambiguous_pairs_are_asked_once_in_a_project_that_counts_as_no_vote_and_no_test(ws):
    assert disputed(ws, [{"pair_id": "p2"}, {"pair_id": "p0"}]) == ["p0", "p1", "p2"]
    before = reasons(ws)
    made = open_adjudication(ws, "rosa", ["p0", "p1", "p0"])
    assert sorted(a.pair_id for a in made) == [copy_of("p0"), copy_of("p1")]
    assert open_adjudication(ws, "rosa", ["p0", "p1"]) == []
    assert ws.store.open_by_batch() == {} and reasons(ws) == before
    (queue,) = [queue for queue in all_queues(ws) if queue.phase == "adjudication-001"]
    assert (queue.title, queue.shows_expert) == ("Adjudication 001 · rosa", False)
    decide(ws, made[0], "A")
    assert set(reasons(ws)) == {"p0", "p1", "p2"}


def two_differ(ws):
    """A pair p9 on which two people differ."""
    ws.store.put_annotators([Annotator(name, f"{name}@example.org") for name in ("dee", "eli", "fay")])
    pair = Pair("p9", "t0", "t3", "push", "same", "production", "production-002")
    own = [Assignment(f"{name}-9", "p9", name, "production-002", 0, "A") for name in ("dee", "eli")]
    ws.store.put_pairs(Batch("production-002", "production"), [pair], own)
    ws.store.put_judgments(
        Judgment(a.assignment_id, a.annotator_id, "p9", said, 4, 9000) for a, said in zip(own, ("A", "B"), strict=True)
    )
    assert reasons(ws)["p9"] == (None, "needs_third")


def test_a_pair_on_which_two_differ_is_disputed_while_nobody_is_asked(ws):
    two_differ(ws)
    assert without_third(ws) == ["p9"] and disputed(ws, []) == ["p0", "p1", "p9"]
    third = Assignment("fay-9", "p9", "fay", "production-002", 0, "A", third=True)
    ws.store.put_pairs(Batch("production-002", "production"), [], [third])
    assert without_third(ws) == [], "somebody is asked"


def test_a_pair_that_lacks_a_third_opinion_can_be_decided(ws):
    two_differ(ws)
    (made,) = open_adjudication(ws, "rosa", without_third(ws))
    assert without_third(ws) == [], "an adjudicator has it"
    decide(ws, made, "B")
    assert reasons(ws)["p9"] == (0.0, "adjudicated")


def test_what_is_decided_is_the_label_and_what_is_not_stays(ws):
    first, second = sorted(open_adjudication(ws, "rosa", ["p0", "p1"]), key=lambda a: a.pair_id)
    assert reasons(ws) == {"p0": (None, "ambiguous"), "p1": (None, "ambiguous"), "p2": (1.0, "unanimous")}
    decide(ws, first, "B", "gap in the guidelines")
    decide(ws, second, "none", "bad clip")
    assert reasons(ws)["p0"] == (0.0, "adjudicated") and reasons(ws)["p1"] == (None, "ambiguous")
    found = decisions(ws)
    assert (found["p0"].adjudicator, found["p0"].blind, found["p0"].cause) == ("rosa", "equal", "gap in the guidelines")
    assert disputed(ws, []) == [], "they are decided"
    ws.store.set_batch_status("production-001", "held", [])
    assert reasons(ws)["p0"] == (None, "held"), "a held batch gives no label"


def test_the_task_has_the_others_answers_without_names_on_the_adjudicators_sides(ws):
    (made,) = open_adjudication(ws, "rosa", ["p0"])
    (view,) = [v for v in ws.store.assignments() if v.assignment.assignment_id == made.assignment_id]
    pool = {t.trajectory_id: replace(t, clip=t.clip) for t in ws.store.trajectories()}
    task = task_of_view(view, pool, ws.config)
    side = "left" if made.left == "A" else "right"
    assert f"1: {side} is better, sure 5 of 5, “it let go”" in task["expert_reasoning"]
    assert "3: roughly equal, sure 3 of 5" in task["expert_reasoning"]
    assert not any(name in str(task) for name in SAID)


def test_nobody_adjudicates_their_own_answers_and_mistakes_are_one_sentence(ws):
    assert open_adjudication(ws, "ann", ["p0"]) == []
    with pytest.raises(UserError, match="no annotator 'nobody'"):
        open_adjudication(ws, "nobody", ["p0"])
    with pytest.raises(UserError, match="no pair 'p9'"):
        open_adjudication(ws, "rosa", ["p9"])


def test_the_template_asks_for_the_decision_only_after_ones_own_answer():
    root = ElementTree.fromstring(for_adjudication(contract.load_template("calibration")))
    (outer,) = [view for view in root.iter("View") if view.get("whenTagName") == "preference"]
    (inner,) = [view for view in outer if view.find(".//Choices[@name='decision']") is not None]
    assert (inner.get("visibleWhen"), inner.get("whenTagName")) == ("choice-selected", "confidence")
    for name, words in (("decision", DECISIONS), ("cause", CAUSES)):
        assert [one.get("value") for one in root.find(f".//Choices[@name='{name}']")] == list(words)

    def said(choice):
        region = {"from_name": "decision", "type": "choices", "value": {"choices": [choice]}}
        return answers_in([*contract.result_of("left", 4), region], "B").get("decision")

    assert [said(choice) for choice in (*DECISIONS, "maybe")] == ["B", "equal", "A", "none", None]
