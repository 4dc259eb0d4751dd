"""Simulated annotators answer as people do: signed in, in the order served, each task once, whatever goes wrong."""

import threading

import httpx
import pytest
from process_maker import PATIENCE_S
from studio_maker import make_workspace, plan

from importer.simulate import answering as simulate_module
from importer.simulate.answering import simulate
from importer.simulate.teachers import SimulatedAnswer
from importer.studio.pull import pull
from importer.studio.push import push
from labeling_config.contract import side_of
from preference.errors import StudioError


@pytest.fixture
def ws(label_studio, request):
    workspace = make_workspace(label_studio, f"s{abs(hash(request.node.name)) % 10**8}", simulated=("ann", "bob"))
    yield workspace
    workspace.store.close()


def b_is_better(view):
    """Always B, whichever side it is on."""
    side = side_of("B", view.assignment.left)
    return SimulatedAnswer(side, confidence=5, response_s=3.5, reason="it arrived")


ALL_B = {"ann": b_is_better, "bob": b_is_better}


def test_everybody_answers_everything_and_the_pull_brings_it_mapped(ws):
    plan(ws, "production-001", "ann", 5)
    plan(ws, "production-001", "bob", 5)
    push(ws)
    result = simulate(ws, answers=ALL_B)
    assert (result.answered, result.errors) == (12, [])
    assert pull(ws).new == 12
    assert {(j.preference, j.confidence, j.response_time_ms, j.free_text_reason) for j in ws.store.judgments()} == {
        ("B", 5, 3500, "it arrived")
    }
    assert {j.assignment_id for j in ws.store.judgments()} == {
        v.assignment.assignment_id for v in ws.store.assignments()
    }


def test_without_further_word_annotators_answer_as_their_teachers_say(ws):
    plan(ws, "production-001", "ann", 4)
    push(ws)
    assert simulate(ws).answered == 5
    pull(ws)
    assert {j.preference for j in ws.store.judgments()} == {"B"}  # the oracle sees that b has the higher return


def test_tasks_are_answered_in_the_planned_order_with_duplicates_where_they_were_planned(ws):
    plan(ws, "production-001", "ann", 6)
    push(ws)
    simulate(ws, answers=ALL_B)
    pull(ws)
    planned = [v.assignment.assignment_id for v in ws.store.assignments()]
    answered = [j.assignment_id for j in sorted(ws.store.judgments(), key=lambda j: j.annotation_id or 0)]
    assert answered == planned


def test_what_was_answered_is_not_asked_again_even_before_it_was_pulled(ws):
    plan(ws, "production-001", "ann", 3)
    push(ws)
    assert simulate(ws, answers=ALL_B).answered == 4
    assert simulate(ws, answers=ALL_B).answered == 0
    pull(ws)
    assert simulate(ws, answers=ALL_B).answered == 0


def test_one_batch_can_be_answered_alone(ws):
    plan(ws, "calibration-1", "ann", 2, "calibration")
    plan(ws, "production-001", "ann", 2)
    push(ws)
    assert simulate(ws, "calibration-1", answers=ALL_B).answered == 2
    pull(ws)
    assert {j.assignment_id.split("-")[2] for j in ws.store.judgments()} == {"c"}


def test_a_submission_whose_answer_was_lost_is_not_doubled(ws, monkeypatch):
    plan(ws, "production-001", "ann", 4)
    push(ws)
    post, lost = httpx.Client.post, []

    def loses_every_second_answer(session, address, **options):
        response = post(session, address, **options)
        if "/annotations/" in address and response.status_code == 201 and len(lost) < 3:
            lost.append(address)
            raise httpx.ConnectError("the line went dead")
        return response

    monkeypatch.setattr(httpx.Client, "post", loses_every_second_answer)
    result = simulate(ws, answers=ALL_B)
    assert (result.answered, result.errors, len(lost)) == (5, [], 3)
    assert pull(ws).new == 5
    assert not ws.store.rejections()  # a second annotation of a task would be here, as superseded


def test_a_run_that_was_killed_half_way_is_finished_by_the_next(ws):
    plan(ws, "production-001", "ann", 5)
    push(ws)
    seen = []

    def dies_at_the_third(view):
        seen.append(view)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return b_is_better(view)

    with pytest.raises(KeyboardInterrupt):
        simulate(ws, answers={"ann": dies_at_the_third})
    assert simulate(ws, answers=ALL_B).answered == 4
    assert pull(ws).new == 6


def test_a_skipped_task_is_skipped_and_the_others_are_answered(ws):
    plan(ws, "production-001", "ann", 3)
    push(ws)
    shy = next(v.assignment.assignment_id for v in ws.store.assignments())
    answers = {"ann": lambda view: None if view.assignment.assignment_id == shy else b_is_better(view)}
    found = simulate(ws, answers=answers)
    assert (found.answered, found.skipped, found.not_asked) == (3, 1, 0)
    pull(ws)
    assert len(ws.store.judgments()) == 3
    assert [r.reason for r in ws.store.rejections()] == ["skipped"]
    assert simulate(ws, answers=ALL_B).answered == 1  # it came back at the end
    pull(ws)
    assert len(ws.store.judgments()) == 4


def test_nobody_skips_in_training_since_the_test_waits_for_it(ws):
    plan(ws, "training", "ann", 2, "calibration")
    plan(ws, "calibration-1", "ann", 2, "calibration")
    push(ws)
    result = simulate(ws, answers={"ann": lambda view: None if view.pair.batch_id == "training" else b_is_better(view)})
    assert (result.answered, result.errors) == (4, [])
    pull(ws)
    said = [(j.preference, j.confidence) for j in ws.store.judgments("training")]
    assert said == [("equal", 1)] * 2


def test_what_a_training_closes_is_counted_apart_and_all_numbers_add_up(ws, capsys):
    tasks = plan(ws, "training", "ann", 6, "calibration", dimension="grasp")
    push(ws)
    found = simulate(ws, answers=ALL_B)
    assert (found.answered, found.skipped, found.not_asked) == (5, 0, 2), "of seven tasks five in a row were right"
    assert len(tasks) == 7
    shown = capsys.readouterr()
    assert "Simulated annotators: done (5 of 7)" in shown.out + shown.err


def test_one_annotator_in_trouble_does_not_stop_the_others(ws):
    plan(ws, "production-001", "ann", 2)
    plan(ws, "production-001", "bob", 2)
    push(ws)

    def broken(view):
        raise StudioError("no idea")

    result = simulate(ws, answers={"ann": broken, "bob": b_is_better})
    assert result.answered == 2
    assert [error.partition(":")[0] for error in result.errors] == [f"ann.{ws.root.name}@annotators.example"]


def test_annotators_work_at_the_same_time_and_at_most_as_many_as_asked(ws):
    for who in ("ann", "bob"):
        plan(ws, "production-001", who, 2)
    push(ws)
    meeting = threading.Barrier(2, timeout=PATIENCE_S)

    def waits_for_the_other(view):
        if not view.assignment.position:
            meeting.wait()
        return b_is_better(view)

    assert simulate(ws, answers=dict.fromkeys(ALL_B, waits_for_the_other)).answered == 4


def test_a_server_that_went_away_is_one_message(ws, monkeypatch):
    plan(ws, "production-001", "ann", 2)
    push(ws)
    monkeypatch.setattr(simulate_module, "ATTEMPTS", 1)
    ws.config.label_studio.url = "http://127.0.0.1:9"
    with pytest.raises(StudioError, match="does not answer"):
        simulate(ws, answers=ALL_B)
