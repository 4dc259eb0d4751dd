"""push and pull, killed at random steps twenty times each, end with exactly the right tasks and rows."""

import random

import pytest
from process_maker import runs_killed
from studio_maker import make_workspace, plan

from importer.studio.client import connect
from importer.studio.pull import pull
from importer.studio.push import credentials, push
from importer.studio.queues import all_queues
from importer.studio.users import annotator_session
from labeling_config.contract import result_of
from preference.records import Annotator

pytestmark = pytest.mark.slow
KILLS = 20
CHILD = """
import os, signal, sys
from pathlib import Path
import httpx, label_studio_sdk, requests
from sqlalchemy import Engine, event
from importer.studio.pull import pull
from importer.studio.push import push
from preference.workspace import Workspace

left = 0

def step():
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(send):
    def sent(*arguments, **options):
        step()  # before Label Studio hears of it
        reply = send(*arguments, **options)
        step()  # when it was done, and nobody knows
        return reply
    return sent

for client in (httpx.Client, requests.Session):
    client.send = counted(client.send)
event.listen(Engine, "before_cursor_execute", lambda *_: step())
event.listen(Engine, "commit", lambda *_: step())
for line in sys.stdin:
    what, at = line.split()
    if not (child := os.fork()):
        left = int(at)
        {"push": push, "pull": pull}[what](Workspace.open(Path(sys.argv[1])))
        os._exit(0 if left > 0 else 9)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Stages in forks of one process, which has loaded everything; each is killed at its step of the number asked for.

A step is a request that goes out, a reply that came in, or a statement to the database: moments, whatever the
machine's pace.
"""


@pytest.fixture
def ws(label_studio, request, tmp_path):
    workspace = make_workspace(label_studio, f"k{abs(hash(request.node.name)) % 10**8}", simulated=("ann", "bob"))
    studio = workspace.config.label_studio
    (tmp_path / "robopref.toml").write_text(
        f'work = "{workspace.root}"\n[label_studio]\nurl = "{studio.url}"\n'
        f'token = "{studio.token.get_secret_value()}"\ndocument_root = "{studio.document_root}"\n'
    )
    yield workspace
    workspace.store.close()


@pytest.fixture
def killed(ws, tmp_path):
    """`killed("push", 7)` runs the stage and kills it at its seventh step; False where it was done before that."""
    with runs_killed(CHILD, tmp_path / "robopref.toml") as run:
        yield lambda what, at: run(f"{what} {at}")


def test_twenty_kills_of_push_leave_one_task_for_each_assignment(ws, killed):
    rng = random.Random(4)
    unfinished = 0
    for number in range(KILLS):
        if number % 5 == 0:  # somebody new: an account and a project are made as well
            ws.store.put_annotators([Annotator(f"p{number}", f"p{number}.{ws.root.name}@annotators.example")])
            plan(ws, "production-001", f"p{number}", 5, tag=f"new{number}")
        plan(ws, f"production-{number + 2:03d}", "ann" if number % 2 else "bob", 6, tag=number)
        unfinished += killed("push", rng.randint(1, 60))
    assert unfinished >= KILLS // 2, "the kills came too late to matter"
    push(ws)
    assert len(ws.store.assignments()) == KILLS * 7 + 4 * 6
    found = {}
    projects = []
    for queue in all_queues(ws):
        projects.append(queue.project_id)
        for key, tasks in connect(ws).tasks(queue.project_id).items():
            found.setdefault(key, []).extend(tasks)
    kept = {view.assignment.assignment_id: [view.assignment.task_id] for view in ws.store.assignments()}
    assert found == kept
    ours = [p.project_id for p in connect(ws).projects() if f".{ws.root.name}@" in p.description]
    assert sorted(ours) == sorted(projects) and len(set(projects)) == 6, "a project was made twice"
    again = push(ws)
    assert (again.users, again.projects, again.tasks) == (0, 0, 0)


def test_twenty_kills_of_pull_leave_exactly_the_rows_of_the_answers(ws, killed):
    for number in range(KILLS):
        plan(ws, f"production-{number + 1:03d}", "ann", 2, tag=number)
    push(ws)
    rng = random.Random(5)
    email = next(a.email for a in ws.store.annotators() if a.annotator_id == "ann")
    session = annotator_session(ws.config.label_studio.url, email, credentials(ws)[email])
    views = [view.assignment for view in ws.store.assignments()]
    expected = {}
    unfinished = 0
    assert len(views) == 2 * KILLS
    for first, second in zip(views[::2], views[1::2], strict=True):
        for assignment in (first, second):
            side = rng.choice(["left", "right", "equal"])
            body = {"result": result_of(side, rng.randint(1, 5)), "lead_time": 5.0}
            made = session.post(
                f"{ws.config.label_studio.url}/api/tasks/{assignment.task_id}/annotations/", json=body
            ).json()
            said = "equal" if side == "equal" else "AB"[(side == "left") != (assignment.left == "A")]
            expected[assignment.assignment_id] = (made["id"], said)
        unfinished += killed("pull", rng.randint(1, 20))
    assert unfinished >= KILLS // 2, "the kills came too late to matter"
    pull(ws)
    assert {j.assignment_id: (j.annotation_id, j.preference) for j in ws.store.judgments()} == expected
    assert ws.store.rejections() == []
    again = pull(ws)
    assert (again.new, again.updated, again.rejected) == (0, 0, 0)
