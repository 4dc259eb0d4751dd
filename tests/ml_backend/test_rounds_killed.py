"""A rolling round's process is killed by the kernel between planning and opening it: run again, nothing is there twice
and nothing half. The database, ranking and process are real; Label Studio is a file of tasks."""

import shutil
from collections import Counter

import pytest
from pool_maker import trained_pool
from process_maker import runs_killed

from preference.records import Judgment
from preference.workspace import Workspace

pytestmark = pytest.mark.slow

CHILD = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace

import timm, torch
from sqlalchemy import Engine, event

from ml_backend.loop import rounds
from ml_backend.loop.rounds import run_round
from preference.workspace import Workspace

folder = Path(sys.argv[1])
tasks = folder / "tasks.txt"
rank, left = rounds.rank, None

def step(*_):
    global left
    if left is not None:
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

def ranked(*arguments, **options):
    global left
    found = rank(*arguments, **options)
    left = at + 1  # the next round is planned, and nothing of it is written
    if not at:
        step()
    return found

def push(ws, scores=()):
    there = tasks.read_text().split()
    for number, view in enumerate([v for v in ws.store.assignments() if v.assignment.task_id is None]):
        key = view.assignment.assignment_id
        step()
        if key not in there:  # the real one asks Label Studio
            with tasks.open("a") as file:
                file.write(key + chr(10))
        step()
        ws.store.set_tasks([(key, 1, len(there) + number + 1)])

rounds.rank, rounds.push = ranked, push
rounds.pull = lambda ws, **_: None
rounds.resolve_labels = lambda ws: SimpleNamespace(preferences=ws.store.preferences())
rounds.out_of_order = lambda ws, version: False
rounds.rescore = lambda ws, scores, version: None
event.listen(Engine, "before_cursor_execute", step)
event.listen(Engine, "commit", step)
for line in sys.stdin:
    at = int(line)
    if not (child := os.fork()):
        try:
            run_round(Workspace.open(folder / "robopref.toml"))
        except rounds.NotReady as error:
            print(error.message, file=sys.stderr)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Rounds in forks of one process, which has loaded everything. Each is killed so many steps after it knew which pairs
to ask: a step is a statement to the database, a commit, or a task on its way to Label Studio."""


@pytest.fixture(scope="module")
def trained(run_folder, tmp_path_factory):
    return trained_pool(run_folder, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def killed(trained, tmp_path):
    """`killed(7)` runs a round and kills it at the seventh step after the ranking; False where it was done before."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    settings = tmp_path / "robopref.toml"  # of so small a pool v_optimal finds three pairs a round, not four
    settings.write_text(settings.read_text().replace("[active]\n", '[active]\nstrategy = "d_optimal"\n'))
    (tmp_path / "tasks.txt").touch()
    with runs_killed(CHILD, tmp_path) as run:
        yield run


NEVER = 10**6


def test_a_rolling_round_killed_between_planning_and_opening_is_opened_once_and_whole(killed, tmp_path):
    assert not killed(NEVER)
    ws = Workspace.open(tmp_path / "robopref.toml")
    first = [view.assignment for view in ws.store.assignments("active-001")]
    ws.store.put_judgments(Judgment(a.assignment_id, a.annotator_id, a.pair_id, "A", 3, 9000) for a in first[:-1])
    ws.store.set_batch_status("active-001", "accepted", [])
    assert ws.store.open_by_batch() == {"active-001": 1}, "somebody is still answering: the next round is a rolling one"

    kills = 0
    for at in (0, 1, 2, 3, 5, 8, 13, 21, 34):
        kills += killed(at)
        rounds = Counter(batch.batch_id for batch in ws.store.batches() if batch.kind == "active")
        assert set(rounds) <= {"active-001", "active-002"} and max(rounds.values()) == 1
        pairs, asked = ws.store.pairs("active-002"), ws.store.assignments("active-002")
        people = Counter(v.assignment.pair_id for v in asked if v.assignment.duplicate_of is None)
        whole = len(pairs) == 4 and sorted(people.values()) == [2] * 4
        assert whole or not (pairs or asked), "the batch is there whole, or not at all"
    assert kills >= 3
    assert not killed(NEVER)
    every = [
        view.assignment.assignment_id for view in ws.store.assignments() if view.assignment.batch_id != "calibration-1"
    ]
    assert sorted((tmp_path / "tasks.txt").read_text().split()) == sorted(every)
    assert ws.store.count_without_task() == 0
    seen = Counter(frozenset((p.trajectory_a_id, p.trajectory_b_id)) for p in ws.store.pairs())
    assert max(seen.values()) == 1, "no pair is asked in two rounds"
    assert [b.batch_id for b in ws.store.batches() if b.kind == "active"] == ["active-001", "active-002"]
    ws.store.close()
