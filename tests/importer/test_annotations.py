"""An annotation becomes a judgment, or a rejection that says why, and the rows never depend on what arrived first."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.studio.judgments import (
    UNKNOWN_TASK,
    judge,
    rejudge_unknown,
    replace_annotations,
)
from labeling_config.contract import result_of, settled_result
from preference.records import Annotator, Assignment, Batch, Judgment, Pair, Rejection, Trajectory
from preference.store import Store

ANN = Annotator("ann", "ann@example.com", studio_user_id=7)
SHOWN_A = Assignment("t0", "p0", "ann", "production-001", 0, "A", project_id=1, task_id=100)
SHOWN_B = Assignment("t1", "p1", "ann", "production-001", 1, "B", project_id=1, task_id=101)


def annotation(number=1, task=100, side="left", confidence=4, at=0, **other):
    """What Label Studio's API gives; `at` = seconds after the first version."""
    made = "2026-03-01T10:00:00.000000Z"
    return {
        "id": number,
        "task": task,
        "completed_by": 7,
        "was_cancelled": False,
        "lead_time": 4.25,
        "result": result_of(side, confidence, "smoother"),
        "created_at": made,
        "updated_at": f"2026-03-01T10:00:{at:02d}.500000Z",
        **other,
    }


@pytest.fixture
def store(database_url):
    """A database of each kind with two assignments of ann's, one with A on the left and one with B."""
    store = Store.open(database_url)
    fill(store)
    yield store
    store.close()


def fill(store):
    store.put_trajectories(Trajectory(f"x{i}", "d", i, "expert", "push") for i in range(3))
    store.put_annotators([ANN])
    pairs = [Pair(f"p{i}", "x0", f"x{i + 1}", "push", "same", "production", "production-001") for i in range(2)]
    store.put_pairs(Batch("production-001", "production", created_at="2026"), pairs, [SHOWN_A, SHOWN_B])


def rows(store):
    """Everything that was stored, in one comparable value."""
    return (
        sorted(
            (j.assignment_id, j.preference, j.confidence, j.annotation_id, j.raw["updated_at"])
            for j in store.judgments()
        ),
        sorted((r.annotation_id, r.task_id, r.reason, r.raw["updated_at"]) for r in store.rejections()),
    )


@pytest.mark.parametrize(
    ("assignment", "side", "preference"),
    [
        (SHOWN_A, "left", "A"),
        (SHOWN_A, "right", "B"),
        (SHOWN_A, "equal", "equal"),
        (SHOWN_B, "left", "B"),
        (SHOWN_B, "right", "A"),
        (SHOWN_B, "equal", "equal"),
    ],
)
def test_left_and_right_are_mapped_back_by_the_assignment(assignment, side, preference):
    found = judge(annotation(task=assignment.task_id, side=side), assignment, ANN)
    assert isinstance(found, Judgment)
    assert found.preference == preference


def test_a_judgment_carries_all_that_the_annotation_says():
    found = judge(annotation(confidence=2), SHOWN_A, ANN)
    assert isinstance(found, Judgment)
    assert (found.assignment_id, found.pair_id, found.annotator_id) == ("t0", "p0", "ann")
    assert (found.confidence, found.free_text_reason) == (2, "smoother")
    assert (found.response_time_ms, found.lead_time_ms) == (4250, 4250)
    assert (found.annotation_id, found.task_id) == (1, 100)
    assert found.created_at == "2026-03-01T10:00:00.000000Z"
    assert found.raw["result"] == result_of("left", 2, "smoother")


def test_who_answered_may_come_as_an_id_or_as_an_object():
    expanded = annotation(completed_by={"id": 7, "email": "ann@example.com"})
    assert isinstance(judge(expanded, SHOWN_A, ANN), Judgment)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"was_cancelled": True, "result": [], "lead_time": None}, "skipped"),
        ({"result": []}, "empty"),
        ({"result": None}, "empty"),
        ({"result": "left"}, "empty"),
        ({"result": result_of("left", 3)[:1]}, "no confidence"),
        ({"result": result_of("left", 3)[1:]}, "no preference"),
        ({"result": [{**result_of("left", 3)[0], "value": {"choices": ["both"]}}]}, "unknown choice 'both'"),
        ({"result": [*result_of("left", 3), *result_of("right", 3)]}, "more than one preference"),
        ({"completed_by": 8}, "answered by Label Studio's user 8, assigned to ann"),
        ({"completed_by": None}, "answered by Label Studio's user None, assigned to ann"),
        ({"lead_time": None}, "response time None"),
        ({"lead_time": -3.0}, "response time -3.0"),
        ({"lead_time": "soon"}, "response time 'soon'"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_its_reason(broken, reason):
    found = judge(annotation(**broken), SHOWN_A, ANN)
    assert isinstance(found, Rejection)
    assert reason in found.reason
    assert found.raw["id"] == 1


@pytest.mark.parametrize("confidence", ["0", "6", "3.5", "", "high"])
def test_a_confidence_that_is_not_1_to_5_is_rejected(confidence):
    side, sure = result_of("left", 3)
    found = judge(annotation(result=[side, {**sure, "value": {"choices": [confidence]}}]), SHOWN_A, ANN)
    assert isinstance(found, Rejection)
    assert "confidence" in found.reason


def test_text_and_times_that_a_database_cannot_hold_are_made_to_fit(store):
    strange = annotation(lead_time=1e9, result=result_of("left", 3, "a\0b\ud800c"))
    replace_annotations(store, {100: [strange]})
    (found,) = store.judgments()
    assert (found.free_text_reason, found.response_time_ms) == ("a�b�c", 2**31 - 1)


@pytest.mark.parametrize("odd", ["\0", "\ud800", float("inf"), {"\0": ["\0"]}, 10**400])
def test_whatever_json_comes_beside_an_answer_every_database_reads_it_again(store, odd):
    given = annotation(unique_id=odd)
    assert replace_annotations(store, {100: [given]}).new == 1
    assert store.annotation_stamps([100]) == {1: given["updated_at"]}
    assert replace_annotations(store, {100: [given]}).new == 0
    assert store.judgments()[0].raw["result"] == given["result"]


def test_an_annotation_without_an_id_is_left_aside(store):
    replace_annotations(
        store, {100: [annotation(number=None), annotation(2)], 101: [annotation(number=2**31, task=101)]}
    )
    assert [j.annotation_id for j in store.judgments()] == [2]


def test_an_annotation_of_a_task_that_is_not_ours_is_rejected(store):
    replace_annotations(store, {999: [annotation(task=999)]})
    assert rows(store)[1][0][:3] == (1, 999, UNKNOWN_TASK)
    assert not store.judgments()


def test_recording_twice_changes_nothing(store):
    given = {100: [annotation()], 101: [annotation(2, task=101, result=[])]}
    first = replace_annotations(store, given)
    before = rows(store)
    assert (first.new, first.updated, first.rejected) == (1, 0, 1)
    again = replace_annotations(store, given)
    assert (again.new, again.updated, again.rejected) == (0, 0, 0)
    assert rows(store) == before


def test_a_changed_answer_replaces_the_old_one(store):
    replace_annotations(store, {100: [annotation(side="left", at=0)]})
    assert replace_annotations(store, {100: [annotation(side="right", at=9)]}).updated == 1
    assert [j.preference for j in store.judgments()] == ["B"]


def test_what_came_after_a_page_was_read_is_not_undone_by_it(store):
    """An answer, a second version of one, and an answer that was deleted: only the last is missing from the page."""
    replace_annotations(store, {100: [annotation(side="left", at=0)], 101: [annotation(2, task=101)]})
    before = store.annotation_stamps([100, 101])
    page = {100: [annotation(side="left", at=0)], 101: []}
    replace_annotations(store, {100: [annotation(side="right", at=9), annotation(3, side="equal", at=8)]})
    replace_annotations(store, page, before)
    assert [(j.annotation_id, j.preference) for j in store.judgments()] == [(3, "equal")]
    assert [(r.annotation_id, r.raw["updated_at"][17:19]) for r in store.rejections()] == [(1, "09")]


def test_a_skipped_task_that_is_answered_later_counts(store):
    skipped = annotation(was_cancelled=True, result=[], at=0)
    replace_annotations(store, {100: [skipped]})
    assert replace_annotations(store, {100: [annotation(at=5)]}).new == 1
    assert len(store.judgments()) == 1
    assert not store.rejections()


def test_a_training_pair_that_was_closed_is_not_counted_as_rejected(store):
    closed = annotation(1, 100, was_cancelled=True, result=settled_result())
    skipped = annotation(2, 101, was_cancelled=True, result=[])
    recorded = replace_annotations(store, {100: [closed], 101: [skipped]})
    assert (recorded.new, recorded.rejected, recorded.closed) == (0, 1, 1)
    assert (store.count_rejections(), store.count_rejections(closed=False)) == (2, 1)


def test_an_answer_that_is_made_unusable_is_no_judgment_any_more(store):
    replace_annotations(store, {100: [annotation(at=0)]})
    replace_annotations(store, {100: [annotation(result=[], at=5)]})
    assert not store.judgments()
    assert [r.reason for r in store.rejections()] == ["empty"]


def test_of_two_annotations_of_a_task_the_newer_is_the_judgment(store):
    replace_annotations(store, {100: [annotation(2, side="right"), annotation(1, side="left")]})
    assert rows(store)[0][0][1:4] == ("B", 4, 2)
    assert [(r.annotation_id, r.reason) for r in store.rejections()] == [(1, "superseded by annotation 2")]


def test_deleting_the_newer_one_brings_the_older_back(store):
    replace_annotations(store, {100: [annotation(2, side="right"), annotation(1, side="left")]})
    replace_annotations(store, {100: [annotation(1, side="left")]})
    assert [(j.annotation_id, j.preference) for j in store.judgments()] == [(1, "A")]
    assert not store.rejections()
    replace_annotations(store, {100: []})
    assert not store.judgments()


def test_an_answer_that_came_before_its_task_was_known_is_looked_at_again(store):
    replace_annotations(store, {555: [annotation(task=555)]})
    assert not store.judgments()
    store.set_tasks([("t0", 1, 555)])
    assert rejudge_unknown(store).new == 1
    assert [j.assignment_id for j in store.judgments()] == ["t0"]
    assert not store.rejections()


def test_in_a_test_the_first_answer_counts_and_nothing_changes_once_all_is_answered(store):
    """Without the plugin nobody refuses a second answer, a correction or a deletion."""
    name = "calibration-1"
    pairs = [Pair(f"c{i}", "x0", f"x{i + 1}", "push", "same", "calibration", name) for i in range(2)]
    asked = [Assignment(f"c{i}", f"c{i}", "ann", name, i, "A", project_id=2, task_id=200 + i) for i in range(2)]
    store.put_pairs(Batch(name, "calibration", created_at="2025"), pairs, asked)
    replace_annotations(store, {200: [annotation(1, 200, "left", at=0), annotation(2, 200, "right", at=1)]})
    replace_annotations(store, {200: [annotation(1, 200, "equal", at=3), annotation(2, 200, "right", at=1)]})
    assert [j.preference for j in store.judgments()] == ["equal"], "corrected before the test was finished"
    replace_annotations(store, {201: [annotation(3, 201, "left", at=4)]})
    before = rows(store)
    for later in ([annotation(1, 200, "right", at=9)], []):
        replace_annotations(store, {200: [*later, annotation(4, 200, "right", at=9)], 201: []})
    assert rows(store)[0] == before[0]
    assert [r[:3] for r in rows(store)[1]] == [
        (2, 200, "repeats annotation 1: a test is answered once"),
        (4, 200, "repeats annotation 1: a test is answered once"),
    ]


def test_more_pairs_do_not_reopen_the_answers_of_a_finished_test(store):
    """As the plugin has it (`finished_since`): the first part is settled, the second one is not yet."""
    name = "calibration-1"
    pairs = [Pair(f"c{i}", f"x{i}", f"x{(i + 1) % 3}", "push", "same", "calibration", name) for i in range(3)]
    asked = [
        Assignment(f"c{i}", f"c{i}", "ann", name, i, "A", project_id=2, task_id=200 + i, part=int(i > 0))
        for i in range(3)
    ]
    store.put_pairs(Batch(name, "calibration", created_at="2025"), pairs, asked)
    replace_annotations(store, {200: [annotation(1, 200, "left")], 201: [annotation(2, 201, "left")]})
    replace_annotations(store, {200: [annotation(1, 200, "right", at=9)], 201: [annotation(2, 201, "right", at=9)]})
    assert {j.assignment_id: j.preference for j in store.judgments()} == {"c0": "A", "c1": "B"}
    replace_annotations(store, {200: []})
    assert len(store.judgments()) == 2
    replace_annotations(store, {202: [annotation(3, 202, "left", at=9)]})
    replace_annotations(store, {201: [annotation(2, 201, "equal", at=19)], 202: []})
    assert {j.assignment_id: j.preference for j in store.judgments()} == {"c0": "A", "c1": "B", "c2": "A"}


def test_the_experts_answers_to_a_test_may_be_corrected(store):
    store.put_annotators([replace(ANN, role="expert")])
    pair = Pair("c0", "x0", "x1", "push", "same", "calibration", "calibration-1")
    asked = Assignment("c0", "c0", "ann", "calibration-1", 0, "A", project_id=2, task_id=200)
    store.put_pairs(Batch("calibration-1", "calibration", created_at="2025"), [pair], [asked])
    for number, side in enumerate(("left", "right")):
        replace_annotations(store, {200: [annotation(1, 200, side, at=number)]})
    assert [j.preference for j in store.judgments()] == ["B"]


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('stores') / 'robopref.db'}")
    fill(store)
    yield store
    store.close()


@settings(max_examples=60)
@given(st.data())
def test_whichever_pulls_overlap_nothing_is_lost_and_the_last_one_puts_all_right(shared_store, data):
    """Readers note what is known, read a page and write it, each step at any time while people answer."""
    store = shared_store
    replace_annotations(store, {100: [], 101: []})
    studio = {100: {}, 101: {}}
    readers = {}
    for second in range(1, data.draw(st.integers(1, 25)) + 1):
        what = data.draw(st.sampled_from(["answer", "change", "delete", "note", "read", "write"]))
        task = data.draw(st.sampled_from([100, 101]))
        who = data.draw(st.integers(0, 2))
        reader = readers.get(who)
        if what == "answer" or (what == "change" and studio[task]):
            number = second if what == "answer" else data.draw(st.sampled_from(sorted(studio[task])))
            side = data.draw(st.sampled_from(["left", "right", "equal"]))
            studio[task][number] = annotation(number, task, side, at=second)
        elif what == "delete" and studio[task]:
            del studio[task][data.draw(st.sampled_from(sorted(studio[task])))]
        elif what == "note":
            readers[who] = [store.annotation_stamps(studio), None]
        elif what == "read" and reader and reader[1] is None:
            reader[1] = {key: list(own.values()) for key, own in studio.items()}
        elif what == "write" and reader and reader[1] is not None:
            known = store.annotation_stamps(studio)
            replace_annotations(store, reader[1], reader[0])
            there = {number for own in studio.values() for number in own}
            now = store.annotation_stamps(studio)
            assert all(now[number] >= known[number] for number in set(known) & there), "dropped, or an older version"
            del readers[who]
    final = {key: list(own.values()) for key, own in studio.items()}
    replace_annotations(store, final, store.annotation_stamps(studio))
    got = rows(store)
    replace_annotations(store, {100: [], 101: []})
    replace_annotations(store, final)
    assert got == rows(store)
