"""The worker looks at what is there: at the right moments, once at a time, and again when something was in trouble."""

import os
from dataclasses import replace

import pytest
from ml_maker import version

from ml_backend.loop import worker
from ml_backend.loop.models import damage, digests, retire_damaged
from ml_backend.loop.rounds import RoundResult
from ml_backend.loop.worker import Worker, train_as_requested, work
from preference.errors import NotReady, StudioError
from preference.locks import LEARNING, WORKER, exclusively, taken
from preference.records import Judgment, Preference
from preference.work import progress


@pytest.fixture
def ws(planned_batch):
    return planned_batch


class Stop(Exception):
    pass


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def heard(ws, monkeypatch):
    """What a worker on `ws` does, with Label Studio and training left out."""
    told = []
    monkeypatch.setattr(
        worker, "update_labels", lambda ws, whole: told.append("whole" if whole else "pull") or ws.labels
    )
    monkeypatch.setattr(worker, "check_finished", lambda ws: [])
    monkeypatch.setattr(worker, "deliver", lambda ws: told.append("deliver"))
    monkeypatch.setattr(worker, "retire_damaged", lambda ws: "")
    monkeypatch.setattr(worker, "run_round", lambda ws, labels: told.append("round") or RoundResult(None, None, 0))
    monkeypatch.setattr("ml_backend.loop.worker.train", lambda ws: told.append("train"))
    ws.labels = []
    return told


def labelled(count):
    return [Preference(f"q{i}", "a", "b", 1.0, 3.0, 2, 1.0, [], "unanimous") for i in range(count)]


def answer_all(ws):
    ws.store.put_judgments([Judgment(f"x{i}", "ann", f"p{i}", "A", 3, 5000) for i in range(5)])


def test_it_pulls_every_two_minutes_and_reads_everything_once_an_hour(ws, heard):
    clock = Clock()
    looks = Worker(ws, clock=clock)
    for _ in range(13 * 60):
        looks.look()
        clock.now += 5.0
    pulls = [word for word in heard if word != "deliver"]
    assert (pulls.count("whole"), len(pulls)) == (2, 33)
    assert pulls[0] == "whole", "a new worker knows nothing of what was before"


def test_the_last_answer_of_a_batch_is_seen_at_the_next_look(ws, heard):
    looks = Worker(ws, clock=Clock())
    looks.look()
    answer_all(ws)
    ws.labels = labelled(200)
    looks.look()
    assert heard[-3:] == ["pull", "deliver", "round"]
    looks.look()
    assert heard[-1] == "round" and heard.count("round") == 1, "it asked nothing, and nothing is new"


def test_a_round_is_made_while_the_last_answers_are_still_to_come_if_the_gate_is_open(ws, heard, monkeypatch):
    clock, closed = Clock(), [NotReady("Not yet.")]

    def gate(ws, labels):
        if closed:
            raise closed[0]

    monkeypatch.setattr(worker, "check_gate", gate)
    ws.labels = labelled(200)
    looks = Worker(ws, clock=clock)
    ws.store.put_judgments([Judgment(f"x{i}", "ann", f"p{i}", "A", 3, 5000) for i in range(3)])
    looks.look()
    assert "round" not in heard, "three of five are too few"
    ws.store.put_judgments([Judgment("x3", "ann", "p3", "A", 3, 5000)])
    looks.look()
    assert len(heard) == 2, "it has pulled just now"
    clock.now += 30.0
    looks.look()
    assert heard.count("pull") == 1 and "round" not in heard, "QC of the answers so far does not pass"
    clock.now += 30.0
    looks.look()
    assert heard.count("pull") == 1, "nothing is new"
    closed.clear()
    clock.now += 120.0
    looks.look()
    assert heard[-1] == "round"


def test_a_round_that_was_killed_after_its_training_is_still_made(ws, heard):
    answer_all(ws)
    ws.labels = labelled(200)
    ws.store.put_model_version(version(1, pairs=200))
    Worker(ws, clock=Clock()).look()
    assert heard[-1] == "round"


def test_the_first_round_waits_for_the_bootstrap(ws, heard):
    answer_all(ws)
    ws.labels = labelled(39)
    Worker(ws, clock=Clock()).look()
    assert "round" not in heard
    ws.labels = labelled(40)
    Worker(ws, clock=Clock()).look()
    assert "round" in heard


@pytest.mark.parametrize(("bootstrap", "enough"), [(25, 20), (200, 160)])
def test_rounds_start_sooner_or_by_the_protocols_plan(ws, heard, bootstrap, enough):
    answer_all(ws)
    ws.config.active.bootstrap = bootstrap
    ws.labels = labelled(enough - 1)
    Worker(ws, clock=Clock()).look()
    assert "round" not in heard
    ws.labels = labelled(enough)
    Worker(ws, clock=Clock()).look()
    assert "round" in heard


def test_a_round_takes_the_labels_that_were_updated_just_now_unless_a_training_came_between(ws, heard, monkeypatch):
    given = []
    monkeypatch.setattr(worker, "run_round", lambda ws, labels: given.append(labels) or RoundResult(None, None, 0))
    answer_all(ws)
    ws.labels = labelled(200)
    Worker(ws, clock=Clock()).look()
    ws.store.request_training()
    Worker(ws, clock=Clock()).look()
    assert given == [ws.labels, None]


def test_no_round_is_made_while_a_manager_has_stopped_them(ws, heard):
    answer_all(ws)
    ws.labels = labelled(200)
    ws.store.put_request("rounds stop", by="maria", why="budget", state="done")
    Worker(ws, clock=Clock()).look()
    assert "round" not in heard
    ws.store.put_request("rounds go on", by="maria", why="new budget", state="done")
    Worker(ws, clock=Clock()).look()
    assert "round" in heard


def test_a_look_during_a_training_by_hand_does_nothing(ws, heard):
    with exclusively(ws, LEARNING), pytest.raises(NotReady, match="learning lock"):
        Worker(ws).look()
    assert heard == []


def test_start_training_is_done_once_and_a_request_that_comes_meanwhile_is_the_next(ws, heard, monkeypatch):
    ws.store.request_training()
    ws.store.request_training()
    looks = Worker(ws, clock=Clock())
    looks.look()
    assert ws.store.training_request() and "train" not in heard, "too few labels: it waits"
    ws.labels = labelled(20)
    looks.look()
    assert ws.store.training_request() is None and heard.count("train") == 1

    ws.store.request_training()
    monkeypatch.setattr("ml_backend.loop.worker.train", lambda ws: ws.store.request_training())
    train_as_requested(ws)
    assert ws.store.training_request()


def test_what_managers_ask_for_is_done_once_and_a_failure_says_why(ws, heard):
    def handle(ws, request):
        with progress("Packing", 2) as advance:
            advance(1)
            seen.append((request.kind, ws.store.activity().doing, ws.store.activity().step))
        if request.kind == "pairs":
            raise NotReady("There are no clips to show yet.", fix="Run `robopref clips`.")
        return "1.0.0 was built."

    seen = []
    failing, released = ws.store.put_request("pairs"), ws.store.put_request("release", subject="1.0.0")
    Worker(ws, handle=handle, clock=Clock()).look()
    Worker(ws, handle=handle, clock=Clock()).look()
    assert seen == [("pairs", "Pairs", "Packing"), ("release", "Release 1.0.0", "Packing")]
    found = {request.request_id: (request.state, request.result) for request in ws.store.requests()}
    assert found[failing] == ("failed", "There are no clips to show yet. Run `robopref clips`.")
    assert found[released] == ("done", "1.0.0 was built.")
    assert ws.store.activity() is None


def test_a_request_whose_worker_was_killed_is_taken_up_again(ws, heard):
    def killed(ws, request):
        raise KeyboardInterrupt

    ws.store.put_request("release", subject="1.0.0")
    with pytest.raises(KeyboardInterrupt):
        Worker(ws, handle=killed, clock=Clock()).look()
    Worker(ws, handle=lambda ws, request: "Done.", clock=Clock()).look()
    assert ws.store.requests()[0].state == "done"


def test_a_training_that_is_killed_is_still_asked_for(ws, monkeypatch):
    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ml_backend.loop.worker.train", killed)
    ws.store.request_training()
    with pytest.raises(KeyboardInterrupt):
        train_as_requested(ws)
    assert ws.store.training_request()


def run(ws, looks, monkeypatch):
    """`work` over these looks, each a result or an error; returns what was told and how long it slept each time."""
    told, slept = [], []
    left = iter(looks)

    def look(_):
        assert taken(ws, WORKER)
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == len(looks):
            raise Stop

    monkeypatch.setattr(Worker, "look", look)
    with pytest.raises(Stop):
        work(ws, every_s=10.0, on_round=told.append, on_trouble=lambda e: told.append(e.message), sleep=sleep)
    return told, slept


def test_trouble_is_told_once_and_tried_again_later_each_time(ws, monkeypatch):
    away = StudioError("away")
    told, slept = run(ws, [away] * 7 + ["round", None, away], monkeypatch)
    assert told == ["away", "round", "away"]
    assert slept == [20, 40, 80, 160, 300, 300, 300, 10, 10, 20]


def test_waiting_for_people_is_no_trouble(ws, monkeypatch):
    assert run(ws, [NotReady("held"), NotReady("held")], monkeypatch) == (["held"], [10, 10])


def test_a_second_worker_stands_by_and_takes_over(ws, monkeypatch):
    told, slept = [], []
    with exclusively(ws, WORKER) as first:

        def sleep(seconds):
            slept.append(seconds)
            if len(slept) == 2:
                first.release()
            if len(slept) == 4:
                raise Stop

        monkeypatch.setattr(Worker, "look", lambda _: "round")
        with pytest.raises(Stop):
            work(ws, every_s=1.0, on_round=told.append, on_trouble=lambda e: told.append(e.message), sleep=sleep)
    assert told == ["Another worker is running; this one stands by.", "round", "round"]


def models(ws, count):
    for number in range(1, count + 1):
        record = version(number)
        folder = ws.root / record.path
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(b"weights" * 1000)
        (folder / "rewards.csv").write_text("trajectory_id,reward\nt0,0.5\n")
        ws.store.put_model_version(replace(record, metrics={"files": digests(folder)}))


@pytest.mark.parametrize("name", ["model.pt", "rewards.csv"])
def test_a_file_that_was_cut_short_puts_the_model_before_it_into_use(ws, name):
    models(ws, 3)
    assert retire_damaged(ws) == ""
    os.truncate(ws.models / "rm-0003" / name, 5)
    assert "rm-0003 is damaged: " + name in retire_damaged(ws)
    assert ws.store.active_model().version == "rm-0002"
    assert not (ws.models / "rm-0003").exists() and (ws.models / "rm-0003.damaged").exists()
    assert retire_damaged(ws) == ""


def test_where_every_model_is_damaged_none_is_in_use(ws):
    models(ws, 2)
    for number in (1, 2):
        (ws.models / f"rm-000{number}" / "model.pt").unlink()
    assert damage(ws, ws.store.active_model()) == "model.pt is missing"
    retire_damaged(ws)
    assert ws.store.active_model() is None
