"""push and pull, killed at random moments twenty times each, end with exactly the right tasks and rows."""

import random
import subprocess
import sys
import time

import pytest
from paths import ROOT
from studio_maker import make_workspace, plan

from importer.studio.client import connect
from importer.studio.pull import pull
from importer.studio.push import credentials, push
from importer.studio.queues import all_queues
from importer.studio.users import annotator_session
from labeling_config.contract import result_of
from preference.records import Annotator

KILLS = 20
CHILD = """
import sys
from pathlib import Path
from importer.studio.pull import pull
from importer.studio.push import push
import label_studio_sdk
from preference.workspace import Workspace
ws = Workspace.open(Path(sys.argv[2]))
ws.store
print("ready", flush=True)
{"push": push, "pull": pull}[sys.argv[1]](ws)
print("done", flush=True)
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


def killed(what, config, after_s):
    """Run the stage in a process and kill it so long after it began; True where it was done before that."""
    command = [sys.executable, "-c", CHILD, what, str(config)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(after_s)
    process.kill()
    said = process.stdout.read()
    process.wait()
    return "done" in said


def test_twenty_kills_of_push_leave_one_task_for_each_assignment(ws, tmp_path):
    rng = random.Random(4)
    unfinished = 0
    for number in range(KILLS):
        if number % 5 == 0:  # somebody new: an account and a project are made as well
            ws.store.put_annotators([Annotator(f"p{number}", f"p{number}.{ws.root.name}@annotators.example")])
            plan(ws, "production-001", f"p{number}", 5, tag=f"new{number}")
        plan(ws, f"production-{number + 2:03d}", "ann" if number % 2 else "bob", 6, tag=number)
        unfinished += not killed("push", tmp_path / "robopref.toml", rng.uniform(0.02, 0.7))
    assert unfinished >= KILLS // 3, "the kills came too late to matter"
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


def test_twenty_kills_of_pull_leave_exactly_the_rows_of_the_answers(ws, tmp_path):
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
        unfinished += not killed("pull", tmp_path / "robopref.toml", rng.uniform(0.0, 0.25))
    assert unfinished >= KILLS // 3, "the kills came too late to matter"
    pull(ws)
    assert {j.assignment_id: (j.annotation_id, j.preference) for j in ws.store.judgments()} == expected
    assert ws.store.rejections() == []
    again = pull(ws)
    assert (again.new, again.updated, again.rejected) == (0, 0, 0)
