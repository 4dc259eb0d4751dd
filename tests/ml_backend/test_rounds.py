"""Queues keep their order, and the gate holds."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ml_backend.loop import queue_order as scores_module
from ml_backend.loop.queue_order import QueueScores, informative_first, publish_if_changed, queue_scores
from ml_backend.loop.rounds import check_finished, check_gate, unfinished
from preference.errors import NotReady
from preference.records import (
    Annotator,
    Assignment,
    AssignmentView,
    Batch,
    Certification,
    Judgment,
    ModelVersion,
    Pair,
    Preference,
)


@pytest.fixture
def ws(planned_batch):
    return planned_batch


def view(name, position=0, duplicate_of=None):
    pair = Pair(name, "a", "b", "push", "same", "active", "active-001")
    return AssignmentView(Assignment(name, name, "ann", "active-001", position, "A", duplicate_of), pair)


def test_a_stratified_batch_keeps_its_planned_order(ws):
    assert queue_scores(ws) == {"x4": 0.0, "x3": 1.0, "x2": 2.0, "x1": 3.0, "x0": 4.0}


def test_what_is_answered_has_no_place(ws):
    ws.store.put_judgments([Judgment("x4", "ann", "p4", "A", 3, 1000)])
    assert queue_scores(ws) == {"x3": 0.0, "x2": 1.0, "x1": 2.0, "x0": 3.0}
    assert ws.store.open_by_batch() == {"production-001": 4}


def test_in_an_active_batch_the_most_informative_comes_first():
    worth = {"p0": 3.0, "p1": 1.0, "p2": 2.0}
    order = informative_first([view(name) for name in worth], lambda v: worth[v.pair.pair_id], 20)
    assert [v.pair.pair_id for v in order] == ["p1", "p2", "p0"]


def test_a_duplicate_keeps_its_distance_from_its_original():
    views = [view(f"p{i:02d}") for i in range(30)] + [view("again", duplicate_of="p00")]
    order = [v.pair.pair_id for v in informative_first(views, lambda v: v.pair.pair_id, 20)]
    assert order.index("again") - order.index("p00") >= 20
    assert len(order) == 31


def test_a_duplicate_of_a_small_active_batch_comes_half_of_the_tasks_later(ws, monkeypatch):
    pairs = [Pair(f"q{i:02d}", "t0", "t1", "push", "same", "active", "active-001") for i in range(12)]
    planned = [Assignment(pair.pair_id, pair.pair_id, "ann", "active-001", i, "A") for i, pair in enumerate(pairs)]
    again = Assignment("again", "q00", "ann", "active-001", 12, "B", "q00")
    ws.store.put_pairs(Batch("active-001", "active"), pairs, [*planned, again])
    monkeypatch.setattr(scores_module, "_informativeness", lambda ws: lambda v: v.pair.pair_id)
    places = queue_scores(ws)
    assert places["again"] - places["q00"] == 6, "as it was planned; not 20, which would put it last"


def test_in_a_short_queue_the_duplicate_comes_last():
    views = [view("p0"), view("p1"), view("again", duplicate_of="p0")]
    assert informative_first(views, lambda v: v.pair.pair_id, 20)[-1].pair.pair_id == "again"


def test_predict_is_answered_from_memory_until_an_assignment_is_new(ws, monkeypatch):
    counted = []
    monkeypatch.setattr(scores_module, "queue_scores", lambda ws: counted.append(1) or queue_scores(ws))
    scores = QueueScores(ws)
    tasks = [{"data": {"assignment_id": name}} for name in ("x4", "x0", "nobody", "")]
    ws.store.put_judgments([Judgment("x4", "ann", "p4", "A", 3, 1000)])
    assert scores.of(tasks) == scores.of(tasks) == ("planned", [1.0, 3e-6, 1.0, 1.0])
    assert len(counted) == 1
    ws.store.put_annotators([Annotator("bob", "bob@example.org")])
    ws.store.put_pairs(ws.store.batches()[0], [], [Assignment("y0", "p0", "bob", "production-001", 0, "A")])
    assert scores.of([{"data": {"assignment_id": "y0"}}])[1] == [0.0]
    assert len(counted) == 2


def test_what_is_published_is_what_the_service_answers_and_follows_models_and_assignments(ws):
    tasks = [{"data": {"assignment_id": name}} for name in ("x4", "x0")]
    publish_if_changed(ws)
    published = json.loads((ws.root / "predictions.json").read_text())
    version, scores = QueueScores(ws).of(tasks)
    assert (published["model_version"], [published["scores"][name] for name in ("x4", "x0")]) == (version, scores)
    assert set(published) == {"model_version", "assignments", "scores"}, "no pair, trajectory or reward"
    before = (ws.root / "predictions.json").stat().st_mtime_ns
    publish_if_changed(ws)
    assert (ws.root / "predictions.json").stat().st_mtime_ns == before
    ws.store.put_model_version(ModelVersion("rm-0001", "models/rm-0001", "2026", 5, 0.8, 0.7, "resnet18", "none"))
    publish_if_changed(ws)
    assert json.loads((ws.root / "predictions.json").read_text())["model_version"] == "rm-0001"


def test_a_file_of_rewards_that_was_cut_short_leaves_the_planned_order(ws):
    ws.store.put_model_version(ModelVersion("rm-0001", "models/rm-0001", "2026", 5, 0.8, 0.7, "resnet18", "none"))
    (ws.models / "rm-0001").mkdir(parents=True)
    (ws.models / "rm-0001" / "rewards.csv").write_text("trajectory_id,reward\nt0,0.5\nt1,")
    assert queue_scores(ws) == {"x4": 0.0, "x3": 1.0, "x2": 2.0, "x1": 3.0, "x0": 4.0}


def labelled(count):
    return [Preference(f"q{i}", "a", "b", 1.0, 3.0, 2, 1.0, [], "unanimous") for i in range(count)]


def test_a_round_waits_for_open_answers_and_for_enough_labels(ws):
    ws.config.active.bootstrap = 100
    with pytest.raises(NotReady, match="still waits for 5 answers"):
        check_gate(ws, labelled(100))
    ws.store.put_judgments([Judgment(f"x{i}", "ann", f"p{i}", "A", 3, 5000) for i in range(5)])
    with pytest.raises(NotReady, match=r"79 labelled pairs.*at least 80"):
        check_gate(ws, labelled(79))
    check_gate(ws, labelled(80))
    assert ws.store.batches()[0].status == "accepted"


def test_a_batch_that_qc_holds_stops_the_round(ws):
    ws.store.put_judgments([Judgment(f"x{i}", "ann", f"p{i}", "A", 3, 100) for i in range(5)])
    ws.config.quality.min_answers, ws.config.active.bootstrap = 3, 100
    ws.config.quality.flags = "protocol"  # five answers prove nothing beyond chance
    with pytest.raises(NotReady, match=r"held by QC.*0\.1 s"):
        check_gate(ws, labelled(100))


def test_a_batch_is_checked_once_when_its_last_answer_is_in(ws):
    ws.store.put_judgments([Judgment(f"x{i}", "ann", f"p{i}", "A", 3, 9000) for i in range(4)])
    assert check_finished(ws) == []
    ws.store.put_judgments([Judgment("x4", "ann", "p4", "B", 3, 9000)])
    assert check_finished(ws) == ["production-001"]
    assert (ws.reports / "production-001" / "qc.json").exists()
    assert check_finished(ws) == [], "it has its verdict"


def test_the_next_round_is_planned_when_four_of_five_answers_are_in(ws):
    ws.config.active.bootstrap = 100
    ws.store.put_judgments([Judgment(f"x{i}", "ann", f"p{i}", "A", 3, 9000) for i in range(3)])
    with pytest.raises(NotReady, match="still waits for 2 answers"):
        check_gate(ws, labelled(100))
    ws.store.put_judgments([Judgment("x3", "ann", "p3", "A", 3, 9000)])
    check_gate(ws, labelled(100))
    assert ws.store.batches()[0].status == "open", "its QC comes with the last answer"
    ws.config.active.plan_next_at = 1.0
    with pytest.raises(NotReady, match="still waits for 1 answers"):
        check_gate(ws, labelled(100))


def test_qc_of_the_answers_so_far_stands_before_the_next_round_and_so_does_a_batch_on_hold(ws):
    ws.config.quality.min_answers, ws.config.active.bootstrap, ws.config.quality.flags = 3, 100, "protocol"
    ws.store.put_judgments([Judgment(f"x{i}", "ann", f"p{i}", "A", 3, 100) for i in range(4)])
    with pytest.raises(NotReady, match=r"would be held by QC.*0\.1 s"):
        check_gate(ws, labelled(100))
    assert ws.store.batches()[0].status == "open"
    ws.store.put_judgments([Judgment(f"x{i}", "ann", f"p{i}", "A", 3, 9000) for i in range(4)])
    check_gate(ws, labelled(100))
    ws.store.set_batch_status("production-001", "held", ["said so"])
    ws.store.put_decision("production-001", {"status": "held", "by": "maria", "at": "", "why": "the camera moved"})
    with pytest.raises(NotReady, match="is held by QC"):
        check_gate(ws, labelled(100))


def test_half_a_batch_is_enough_where_somebody_at_work_runs_out_of_pairs(ws):
    at = datetime.now(UTC)
    ws.store.put_judgments(
        [Judgment(f"x{i}", "ann", f"p{i}", "A", 3, 9000, created_at=at.isoformat()) for i in range(3)]
    )
    assert unfinished(ws, at) == {"production-001": 2}, "ann is not certified, so gets no further pairs"
    ws.store.put_pairs(Batch("calibration-1", "calibration"), [], [])
    ws.store.put_certification(Certification("ann", "calibration-1", 1, 0.9, 0.8, 1.0, True, 40))
    assert unfinished(ws, at) == {}
    assert unfinished(ws, at + timedelta(hours=1)) == {"production-001": 2}, "ann has gone home"
    ws.config.active.plan_next_at = 1.0
    assert unfinished(ws, at) == {"production-001": 2}
