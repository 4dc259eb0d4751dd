"""The folder for label-studio-ml predicts by itself and passes events on: real servers, under 1.0.9 and under 2.x."""

import ast
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from label_studio_ml_maker import ARCHIVE, FOLDER, SOURCE, release_1_0_9, requirements, source_2, started
from loop_maker import until
from packaging.requirements import Requirement
from paths import ROOT
from service_maker import HEADER, SECRET, annotation, planned
from studio_maker import answer, make_workspace, plan, sign_in
from werkzeug.serving import make_server

from importer.studio.push import push
from importer.studio.users import admin_session
from ml_backend.loop.queue_order import publish
from ml_backend.service.app import create_app
from preference.records import ModelVersion

TEMPLATE = (ROOT / "labeling_config" / "pair_compare.xml").read_text()
PROJECT = {"id": 25, "label_config": TEMPLATE}
MODEL = ModelVersion("rm-0001", "models/rm-0001", "2026", 5, 0.8, 0.7, "resnet18", "none")
EVENTS = [
    ("ANNOTATION_CREATED", {"annotation": annotation(), "task": {"id": 10}}),
    ("ANNOTATION_UPDATED", {"annotation": annotation("right"), "task": {"id": 10}}),
    ("ANNOTATIONS_DELETED", {"annotations": [{"id": 77}]}),
    ("START_TRAINING", {}),
]
UNCONCERNED = [("PROJECT_UPDATED", {}), ("TASKS_CREATED", {"tasks": [{"id": 10}]})]


@pytest.fixture(scope="module", params=["1.0.9", "2.x"])
def programs(request, tmp_path_factory):
    """The bin folder of an environment with label-studio-ml."""
    if request.param == "1.0.9":
        return release_1_0_9(request.config)
    return source_2(tmp_path_factory.mktemp("label-studio-ml"))


@pytest.fixture(scope="module")
def alone(programs, tmp_path_factory):
    """The backend with no service to pass events on to, and nothing published yet."""
    with started(programs, tmp_path_factory.mktemp("alone"), LOG_LEVEL="DEBUG") as backend:
        yield backend


@pytest.fixture
def service():
    """Remembers what it is sent: `url`, `heard` as (path, body, secret) of each request, and `stop`."""
    heard = []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append((self.path, body, self.headers.get("X-Robopref-Secret")))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def stop():
            server.shutdown()
            server.server_close()

        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", heard=heard, stop=stop)
        server.shutdown()


def setup(backend):
    body = {
        "project": "25.1795394922", "schema": TEMPLATE, "hostname": "http://localhost:8080",
        "access_token": "user-token", "extra_params": None,
    }  # fmt: skip
    response = backend.client.post("/setup", json=body)
    assert response.status_code == 200, response.text
    return response.json()["model_version"]


def predict(backend, *assignment_ids):
    tasks = [
        {"id": i, "data": {"assignment_id": name, "video_left": "l.mp4"}, "annotations": [], "predictions": []}
        for i, name in enumerate(assignment_ids)
    ]
    params = {"login": None, "password": None, "context": None}
    body = {"tasks": tasks, "project": "25.1795394922", "label_config": TEMPLATE, "params": params}
    response = backend.client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return response.json()["results"]


def send(backend, action, more, headers=None):
    return backend.client.post("/webhook", json={"action": action, "project": PROJECT, **more}, headers=headers)


def test_model_and_server_need_nothing_of_ours_and_nothing_heavy():
    modules = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(str(node.module).partition(".")[0])
    assert modules - set(sys.stdlib_module_names) == {"label_studio_ml", "requests", "model", "manager"}


def test_it_ranks_as_the_service_does_and_follows_what_is_published(alone, tmp_path):
    """Before /setup, after a new model, without the file and with it again: always what the file says now."""
    ws = planned(tmp_path)
    asked = ("x2", "x0", "x1", "not ours")
    assert predict(alone, *asked) == []
    assert setup(alone) == "unpublished"
    assert "predictions.json cannot be used" in alone.log.read_text()

    publish(ws)
    alone.work.symlink_to(ws.root)
    password = ws.config.service.password.get_secret_value()
    body = {"tasks": [{"data": {"assignment_id": name}} for name in asked]}
    response = create_app(ws).test_client().post("/predict", json=body, auth=("robopref", password))
    expected = response.get_json()["results"]
    assert predict(alone, *asked) == expected
    assert [one["score"] for one in expected] == [2e-6, 0.0, 1e-6, 1.0]
    assert setup(alone) == "planned"

    ws.store.put_model_version(MODEL)
    publish(ws)
    assert {one["model_version"] for one in predict(alone, *asked)} == {"rm-0001"}
    assert setup(alone) == "rm-0001"

    (ws.root / "predictions.json").write_text('{"model_version": "rm-0002", "scores"')
    assert predict(alone, *asked) == []
    publish(ws)
    assert len(predict(alone, *asked)) == len(asked)
    assert "Traceback" not in alone.log.read_text()
    ws.store.close()


def test_without_a_service_the_log_says_who_finds_the_answers(alone):
    for action, more in EVENTS:
        not_taken(send(alone, action, more))
        assert f"{action} is not passed on, as ROBOPREF_EVENTS_URL is not set" in alone.log.read_text()
    assert "robopref worker pulls the answers from Label Studio" in alone.log.read_text()


def test_at_debug_the_log_has_no_token(alone):
    setup(alone)
    assert "POST /setup" in alone.log.read_text()
    assert "user-token" not in alone.log.read_text()


def not_taken(response):
    """Label Studio gets its 201 all the same: it would not try again."""
    said = response.json()
    assert (response.status_code, said.get("result", said)) == (201, {"passed_on": False})


def test_events_reach_the_service_with_its_secret(programs, tmp_path, service):
    settings = {"ROBOPREF_EVENTS_URL": f"{service.url}/", "ROBOPREF_WEBHOOK_SECRET": SECRET}
    with started(programs, tmp_path, **settings) as backend:
        for action, more in EVENTS + UNCONCERNED:
            assert send(backend, action, more, HEADER).is_success
        expected = [("/webhook", {"action": action, "project": PROJECT, **more}, SECRET) for action, more in EVENTS]
        assert service.heard == expected

        service.heard.clear()
        created, start_training = EVENTS[0], EVENTS[3]
        for headers in (None, {"X-Robopref-Secret": "guessed"}):
            assert send(backend, *created, headers).status_code == 401
        assert service.heard == []
        not_taken(send(backend, *start_training))  # Label Studio sends it without the header, and so may anybody
        backend.client.post("/train", json={"annotations": [{}]})  # how Label Studio before 1.4.1 asks 1.0.9
        assert service.heard == []
        assert "START_TRAINING is not passed on, as it carried neither the header" in backend.log.read_text()


def test_with_a_password_label_studios_start_training_is_passed_on(programs, tmp_path, service):
    if "1.0.9" in str(programs):
        pytest.skip("label-studio-ml 1.0.9 has no Basic auth")
    settings = {"ROBOPREF_EVENTS_URL": service.url, "ROBOPREF_WEBHOOK_SECRET": SECRET}
    settings |= {"BASIC_AUTH_USER": "ls", "BASIC_AUTH_PASS": "quiet"}
    with started(programs, tmp_path, **settings) as backend:
        event = {"action": "START_TRAINING", "project": PROJECT}
        assert backend.client.post("/webhook", json=event).status_code == 401
        assert service.heard == []
        assert backend.client.post("/webhook", json=event, auth=("ls", "quiet")).json()["result"] == {"passed_on": True}
        assert [(body["action"], secret) for _, body, secret in service.heard] == [("START_TRAINING", SECRET)]


def test_without_a_secret_none_is_sent_and_a_service_that_is_down_loses_nothing(programs, tmp_path, service):
    with started(programs, tmp_path, ROBOPREF_EVENTS_URL=service.url) as backend:
        assert send(backend, *EVENTS[0]).is_success
        assert [(body["action"], secret) for _, body, secret in service.heard] == [("ANNOTATION_CREATED", None)]
        service.stop()
        not_taken(send(backend, *EVENTS[0]))
        assert "ANNOTATION_CREATED was not passed on" in backend.log.read_text()
        assert "robopref worker pulls the answers from Label Studio" in backend.log.read_text()


def test_label_studio_takes_its_scores_and_its_events_become_judgments(programs, tmp_path, label_studio):
    """Label Studio → label-studio-ml → Robopref's own service, all real."""
    name = f"lsml{programs.parent.name.replace('.', '')}"
    ws = make_workspace(label_studio, name)
    server = make_server("127.0.0.1", 0, create_app(ws), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "ROBOPREF_EVENTS_URL": f"http://127.0.0.1:{server.port}",
        "ROBOPREF_WEBHOOK_SECRET": ws.config.service.webhook_secret.get_secret_value(),
    }
    plan(ws, "production-001", "ann", 4)
    with started(programs, tmp_path, **settings) as backend:
        backend.work.symlink_to(ws.root)
        push(ws, backend_url=str(backend.client.base_url))
        ws.store.put_model_version(MODEL)
        publish(ws)
        manager, assignments = admin_session(label_studio.url, label_studio.token), ws.store.assignments()
        project = assignments[0].assignment.project_id
        action = f"{label_studio.url}/api/dm/actions/?id=retrieve_tasks_predictions&project={project}"
        assert manager.post(action, json={"selectedItems": {"all": True, "excluded": []}}).is_success
        rows = manager.get(f"{label_studio.url}/api/predictions/?project={project}").json()
        found = {row["task"]: row["score"] for row in rows if row["model_version"] == "rm-0001"}
        published = json.loads((ws.root / "predictions.json").read_text())["scores"]
        assert found == {v.assignment.task_id: published[v.assignment.assignment_id] for v in assignments}

        answer(ws, sign_in(ws, "ann"), assignments[0].assignment.task_id)
        assert until(lambda: ws.store.count_judgments() == 1, 30), backend.log.read_text()[-2000:]
    server.shutdown()
    ws.store.close()


def test_the_requirements_are_all_that_2_x_asks_for():
    asked_for = Path(SOURCE) / "requirements.txt"
    if not asked_for.is_file():
        pytest.skip("no clone of label-studio-ml 2.x at hand; set LABEL_STUDIO_ML_SOURCE to one")
    lines = (line.strip() for line in asked_for.read_text().splitlines())
    names = {Requirement(line).name.lower() for line in lines if line and not line.startswith("#")}
    assert names <= {one.name.lower() for one in requirements("requirements.txt")}


def test_image_and_readme_install_the_same():
    """One commit of label-studio-ml, and files that exist."""
    dockerfile, readme = (FOLDER / "Dockerfile").read_text(), (FOLDER / "README.md").read_text()
    assert ARCHIVE in dockerfile and ARCHIVE in readme
    for name in ("model.py", "_wsgi.py", "requirements.txt", "requirements-1.0.9.txt", "docker-compose.yml"):
        assert (FOLDER / name).exists() and name in readme, name
