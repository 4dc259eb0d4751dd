"""After a training, "Label All Tasks" serves the open tasks in the new model's order: seen in the browser."""

import json

import pytest
import screen_maker
from studio_maker import answer, make_workspace, plan, sign_in

from importer.studio.client import connect
from importer.studio.order import out_of_order
from importer.studio.push import push
from ml_backend.loop.queue_order import queue_scores
from ml_backend.loop.worker import deliver
from preference.records import ModelVersion

SHOWN = """() => { const data = window.Htx?.task?.data ?? '{}';
  return (typeof data === 'string' ? JSON.parse(data) : data).assignment_id ?? ''; }"""
REWARDS = {"d-000000": 0.0, "d-000001": 3.0, "d-000002": 3.1, "d-000003": 9.0}


@pytest.fixture
def ws(label_studio, request):
    workspace = make_workspace(label_studio, f"o{abs(hash(request.node.name)) % 10**8}", simulated=("ann",))
    yield workspace
    workspace.store.close()


@pytest.fixture
def page(chromium, label_studio):
    """The manager, signed in."""
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        screen_maker.sign_in(page, label_studio, label_studio.username, label_studio.password)
        yield page


def served(page, server, project):
    """Which assignment the button brings."""
    page.goto(f"{server.url}/projects/{project}/data")
    page.get_by_text("Label All Tasks").first.click()
    page.wait_for_function(f"() => ({SHOWN})() !== ''")
    return page.evaluate(SHOWN)


def test_the_button_serves_the_most_informative_pair_of_the_newest_model(ws, page, label_studio):
    plan(ws, "active-001", "ann", 5, "active")
    push(ws)
    planned = [view.assignment.assignment_id for view in ws.store.assignments()]
    project = ws.store.assignments()[0].assignment.project_id

    made = ModelVersion("rm-0001", "models/rm-0001", "2026-02-01", 50, 0.8, 0.7, "resnet18", "none")
    (ws.models / "rm-0001").mkdir(parents=True)
    rows = "".join(f"{name},{reward}\n" for name, reward in REWARDS.items())
    (ws.models / "rm-0001" / "rewards.csv").write_text("trajectory_id,reward\n" + rows)
    ws.store.put_model_version(made)
    assert out_of_order(ws, "rm-0001")
    deliver(ws)
    assert not out_of_order(ws, "rm-0001")
    assert connect(ws).projects([project])[0].model_version == "rm-0001"

    places = queue_scores(ws)
    order = sorted(places, key=places.__getitem__)
    assert order[0] != planned[0], json.dumps(places)
    ann, tasks = sign_in(ws, "ann"), {v.assignment.assignment_id: v.assignment.task_id for v in ws.store.assignments()}
    for expected in order[:3]:
        assert served(page, label_studio, project) == expected
        answer(ws, ann, tasks[expected])
