"""Answers that claim more watching than the server's clock leaves time for are flagged; honest people are not."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from clock_maker import cheat, honest, judgment_at, lengths, watched
from studio_maker import answer, make_workspace, plan, serve, sign_in

from importer.studio.pull import pull
from importer.studio.push import push
from labeling_config.contract import result_of
from preference.config import Config
from preference.records import Annotator, Assignment, Batch, Pair, Trajectory
from preference.workspace import Workspace
from qc_reports.annotators.clock import clock_flags, impossible
from qc_reports.answers import Answered
from qc_reports.qc import qc
from qc_reports.resolve import resolve_labels

MOVING = {f"p{task}": 5.0 for task in range(20)}


def flagged(judgments, skips, moving, demanded=True):
    found = impossible(judgments, skips, moving, demanded=demanded)
    known = [Answered(j.pair_id, j.annotator_id, "A", impossible=found.get(j.assignment_id)) for j in judgments]
    return clock_flags(known)


def test_twenty_answers_a_tenth_of_a_second_apart_that_claim_nine_seconds_each_are_flagged():
    (flag,) = flagged(cheat(np.random.default_rng(0), MOVING), [], MOVING)
    assert (flag.annotator_id, flag.kind, flag.value, flag.n) == ("eve", "clock", 1.0, 19)
    assert flag.sentence == "eve claims, in 19 of 19 answers, more watching than the server's clock leaves time for."


def test_sending_every_answer_again_an_hour_later_makes_no_time_pass_at_the_screen():
    again = []
    for number, judgment in enumerate(cheat(np.random.default_rng(0), MOVING)):
        changed = datetime.fromisoformat(judgment.raw["created_at"]) + timedelta(hours=1, seconds=number / 10)
        again.append(replace(judgment, raw=judgment.raw | {"updated_at": changed.isoformat()}))
    assert flagged(again, [], MOVING)


@pytest.mark.parametrize("how", [{"every_s": 3.2, "claims_s": 3.1, "seen": True}, {"every_s": 3.2, "claims_s": 3.1}])
def test_who_waits_a_little_but_less_than_the_clips_last_is_flagged_too(how):
    assert flagged(cheat(np.random.default_rng(0), MOVING, **how), [], MOVING)
    short = dict.fromkeys(MOVING, 2.0)
    assert bool(flagged(cheat(np.random.default_rng(0), short, **how), [], short)) == ("seen" not in how)


@pytest.mark.parametrize("to_end", [True, False])
def test_honest_people_are_not_flagged_however_fast(to_end):
    accused = []
    for seed in range(150):
        rng = np.random.default_rng([seed, 7])
        moving = lengths(rng, 120)
        judgments, skips = honest(rng, moving, to_end=to_end)
        accused += flagged(judgments, skips, moving, demanded=to_end)
    assert accused == []


def test_what_was_watched_before_a_skip_counts_for_the_answer_that_came_later():
    judgments, skips = honest(np.random.default_rng(3), lengths(np.random.default_rng(3), 60))
    task = skips[0].task_id
    (late,) = [j for j in judgments if j.task_id == task]
    moving = dict.fromkeys((f"p{t}" for t in range(60)), 2.0)
    assert impossible(judgments, skips, moving, demanded=True)[late.assignment_id] is False
    assert impossible(judgments, [], moving, demanded=True)[late.assignment_id] is True


@pytest.mark.parametrize(("claimed", "found"), [(10**400, True), (-(10**400), False), ("9000", False), (None, False)])
def test_a_claim_that_is_no_time_stops_nobody(claimed, found):
    answers = [judgment_at("ann", 0, 0.0, watched(1)), judgment_at("ann", 1, 60.0, watched(1) | {"left_ms": claimed})]
    assert impossible(answers, [], {"p0": 3.0, "p1": 3.0}, demanded=True) == {"ann-1": found}


def test_the_first_answer_and_those_without_stamps_are_not_judged():
    first, second = judgment_at("ann", 0, 0.0, watched(50)), judgment_at("ann", 1, 1.0, watched(50))
    assert impossible([first, second], [], MOVING, demanded=False) == {"ann-1": True}
    assert impossible([replace(second, raw={})], [], MOVING, demanded=False) == {}


@pytest.fixture
def ws(tmp_path):
    workspace = Workspace(Config.model_validate({"work": tmp_path, "quality": {"bootstrap": 50}}))
    workspace.store.put_trajectories(
        Trajectory(f"t{i}", "d", i, "expert", "push", start_s=0.0, end_s=5.0) for i in range(21)
    )
    people = [Annotator("eve", "eve@example.org"), Annotator("robot", "robot@example.org", teacher="oracle")]
    workspace.store.put_annotators(people)
    pairs = [Pair(f"p{i}", f"t{i}", f"t{i + 1}", "push", "same", "production", "production-001") for i in range(20)]
    work = [
        Assignment(f"{who}-{i}", f"p{i}", who, "production-001", i, "A", project_id=1, task_id=100 * place + i)
        for place, who in enumerate(("eve", "robot"))
        for i in range(20)
    ]
    workspace.store.put_pairs(Batch("production-001", "production"), pairs, work)
    yield workspace
    workspace.store.close()


def test_the_batch_is_held_and_the_answers_left_out_but_not_those_of_simulated_annotators(ws):
    rng = np.random.default_rng(0)
    for place, who in enumerate(("eve", "robot")):
        ws.store.put_judgments(
            replace(j, annotation_id=100 * place + j.annotation_id + 1, task_id=100 * place + j.task_id)
            for j in cheat(rng, MOVING, name=who)
        )
    report = qc(ws, "production-001")
    assert [(f["annotator_id"], f["kind"]) for f in report.flags if f["kind"] == "clock"] == [("eve", "clock")]
    assert report.status == "held"
    assert ("production-001", "eve") in resolve_labels(ws).left_out
    assert "server&#39;s clock" in (ws.reports / "production-001" / "report.html").read_text()


def test_answers_sent_by_a_program_through_label_studio_are_flagged(label_studio):
    ws = make_workspace(label_studio, "clocked", simulated=())
    ws.store.put_annotators([Annotator("eve", "eve.clocked@annotators.example")])
    plan(ws, "production-001", "eve", 20)
    push(ws)
    session = sign_in(ws, "eve")
    while task := serve(ws, session, ws.store.assignments()[0].assignment.project_id):
        result = result_of("left", 4)
        result[0]["meta"] = {"robopref": watched(9.0, seen=False)}
        answer(ws, session, task["id"], result=result)
    assert pull(ws).new == 21
    assert [flag["kind"] for flag in qc(ws, "production-001").flags if flag["kind"] == "clock"] == ["clock"]
    ws.store.close()
