"""The folder for label-studio-ml predicts by itself and passes events on: real servers, under 1.0.9 and under 2.x."""

import ast
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from filelock import FileLock
from fresh_environment import make_environment
from packaging.requirements import Requirement
from paths import ROOT
from service_maker import HEADER, SECRET, annotation, planned

from ml_backend.loop.queue_order import publish
from ml_backend.service.app import create_app
from preference.records import ModelVersion
from robopref.child import claim_port

FOLDER = ROOT / "ml_backend" / "label_studio_ml"
TEMPLATE = (ROOT / "labeling_config" / "pair_compare.xml").read_text()
SOURCE = os.environ.get("LABEL_STUDIO_ML_SOURCE", str(ROOT.parent / "shared" / "label-studio-ml-backend"))
"""label-studio-ml 2.x, which is on no package index: a folder, or whatever else pip installs from."""
PROJECT = {"id": 25, "label_config": TEMPLATE}
EVENTS = [
    ("ANNOTATION_CREATED", {"annotation": annotation(), "task": {"id": 10}}),
    ("ANNOTATION_UPDATED", {"annotation": annotation("right"), "task": {"id": 10}}),
    ("ANNOTATIONS_DELETED", {"annotations": [{"id": 77}]}),
    ("START_TRAINING", {}),
]
UNCONCERNED = [("PROJECT_UPDATED", {}), ("TASKS_CREATED", {"tasks": [{"id": 10}]})]


def requirements(name):
    lines = (FOLDER / name).read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def pip(python, *arguments):
    """pip in an environment, or a skipped test that says what pip said."""
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    if done.returncode:
        pytest.skip(f"pip cannot install {arguments[-1]}: {done.stderr.strip()[-300:]}")


def release_1_0_9(config):
    """The release on the package index, with what requirements-1.0.9.txt names; kept in pytest's cache."""
    folder = (
        Path(config.cache.mkdir("label-studio-ml-1.0.9")) / f"python{sys.version_info.major}.{sys.version_info.minor}"
    )
    wanted, complete = (FOLDER / "requirements-1.0.9.txt").read_text(), folder / "complete"
    with FileLock(f"{folder}.lock"):
        if not complete.exists() or complete.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True, timeout=120)
            pip(folder / "bin" / "python", "--no-deps", "label-studio-ml==1.0.9")
            pip(folder / "bin" / "python", "-r", FOLDER / "requirements-1.0.9.txt")
            complete.write_text(wanted)
    return folder / "bin"


def source_2(folder):
    """2.x from its source, beside our own Flask 3 and label-studio-sdk."""
    if "://" not in SOURCE and not Path(SOURCE).is_dir():
        pytest.skip(
            f"no source of label-studio-ml 2.x in {SOURCE}; set LABEL_STUDIO_ML_SOURCE to a clone of "
            "github.com/HumanSignal/label-studio-ml-backend, or to an address that pip installs from"
        )
    names = [one.name for one in requirements("requirements.txt") if one.name != "gunicorn"]
    python = make_environment(folder / "2.x", *names, dependencies=True)
    source = SOURCE
    if Path(SOURCE).is_dir():  # a copy, as pip builds in place
        source = shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns(".git"))
    pip(python, "--no-deps", source)
    return python.parent


@pytest.fixture(scope="module", params=["1.0.9", "2.x"])
def programs(request, tmp_path_factory):
    """The bin folder of an environment with label-studio-ml."""
    if request.param == "1.0.9":
        return release_1_0_9(request.config)
    return source_2(tmp_path_factory.mktemp("label-studio-ml"))


@contextlib.contextmanager
def started(programs, folder, **settings):
    """`label-studio-ml start`, as a user would, on a free port; stopped by its process group."""
    folder.mkdir(exist_ok=True)
    port, log = claim_port(None, "label-studio-ml"), folder / "log"
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    environment = {**kept, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder), **settings}
    environment |= {"ROBOPREF_WORK": str(folder / "work"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [programs / "label-studio-ml", "start", FOLDER, "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_up(client, process, log)
            yield SimpleNamespace(client=client, work=folder / "work", log=log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def wait_until_up(client, process, log):
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health").json()["status"] == "UP":
                return
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])


@pytest.fixture
def service():
    """Remembers what it is sent: an address, and (path, body, secret) of each request."""
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
        yield f"http://127.0.0.1:{server.server_port}", heard
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


def test_it_ranks_as_the_service_does_and_follows_what_is_published(programs, tmp_path):
    """Before /setup, after a new model, without the file and with it again: always what the file says now."""
    (tmp_path / "robopref").mkdir()
    ws = planned(tmp_path / "robopref")
    asked = ("x2", "x0", "x1", "not ours")
    with started(programs, tmp_path) as backend:
        assert predict(backend, *asked) == []
        assert setup(backend) == "unpublished"
        assert "predictions.json cannot be used" in backend.log.read_text()

        publish(ws)
        backend.work.symlink_to(ws.root)
        service = create_app(ws).test_client()
        body = {"tasks": [{"data": {"assignment_id": name}} for name in asked]}
        with_password = {"auth": ("robopref", ws.config.service.password.get_secret_value())}
        expected = service.post("/predict", json=body, **with_password).get_json()["results"]
        assert predict(backend, *asked) == expected
        assert [one["score"] for one in expected] == [2e-6, 0.0, 1e-6, 1.0]
        assert setup(backend) == "planned"

        ws.store.put_model_version(ModelVersion("rm-0001", "models/rm-0001", "2026", 5, 0.8, 0.7, "resnet18", "none"))
        publish(ws)
        assert {one["model_version"] for one in predict(backend, *asked)} == {"rm-0001"}
        assert setup(backend) == "rm-0001"

        (ws.root / "predictions.json").write_text('{"model_version": "rm-0002", "scores"')
        assert predict(backend, *asked) == []
        publish(ws)
        assert len(predict(backend, *asked)) == len(asked)
        assert "Traceback" not in backend.log.read_text()
    ws.store.close()


def test_events_reach_the_service_with_its_secret(programs, tmp_path, service):
    url, heard = service
    with started(programs, tmp_path, ROBOPREF_EVENTS_URL=f"{url}/", ROBOPREF_WEBHOOK_SECRET=SECRET) as backend:
        for action, more in EVENTS + UNCONCERNED:
            assert send(backend, action, more, HEADER).is_success
        assert heard == [
            ("/webhook", {"action": action, "project": PROJECT, **more}, SECRET) for action, more in EVENTS
        ]

        heard.clear()
        for headers in (None, {"X-Robopref-Secret": "guessed"}):
            assert send(backend, *EVENTS[0], headers).status_code == 401
        assert heard == []
        assert send(backend, *EVENTS[3]).is_success, "Label Studio sends START_TRAINING without the header"
        assert [body["action"] for _, body, _ in heard] == ["START_TRAINING"]


def test_without_a_secret_events_are_passed_on_without_one(programs, tmp_path, service):
    url, heard = service
    with started(programs, tmp_path, ROBOPREF_EVENTS_URL=url) as backend:
        assert send(backend, *EVENTS[0]).is_success
        assert [(body["action"], secret) for _, body, secret in heard] == [("ANNOTATION_CREATED", None)]


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9"], ids=["no service", "service is down"])
def test_where_no_service_takes_events_the_log_says_who_finds_them(programs, tmp_path, url):
    """Label Studio gets its 201 all the same: it would not try again."""
    with started(programs, tmp_path, **({"ROBOPREF_EVENTS_URL": url} if url else {})) as backend:
        for action, more in EVENTS:
            response = send(backend, action, more)
            assert response.status_code == 201 and response.json().get("result", response.json()) == {
                "passed_on": False
            }
        log = backend.log.read_text()
        reason = "was not passed on" if url else "is not passed on, as ROBOPREF_EVENTS_URL is not set"
        assert all(f"{action} {reason}" in log for action, _ in EVENTS)
        assert "robopref worker pulls the answers from Label Studio" in log


def test_at_debug_the_log_has_no_token(programs, tmp_path):
    with started(programs, tmp_path, LOG_LEVEL="DEBUG") as backend:
        setup(backend)
        assert "POST /setup" in backend.log.read_text()
        assert "user-token" not in backend.log.read_text()


def test_the_requirements_are_all_that_2_x_asks_for():
    asked_for = Path(SOURCE) / "requirements.txt"
    if not asked_for.is_file():
        pytest.skip(f"no source of label-studio-ml 2.x in {SOURCE} (LABEL_STUDIO_ML_SOURCE)")
    lines = (line.strip() for line in asked_for.read_text().splitlines())
    names = {Requirement(line).name.lower() for line in lines if line and not line.startswith("#")}
    assert names <= {one.name.lower() for one in requirements("requirements.txt")}


def test_image_and_readme_install_the_same():
    """One commit of label-studio-ml, and files that exist."""
    dockerfile, readme = (FOLDER / "Dockerfile").read_text(), (FOLDER / "README.md").read_text()
    archive = next(word for word in dockerfile.split() if word.endswith(".tar.gz"))
    assert archive in readme
    for name in ("model.py", "_wsgi.py", "requirements.txt", "requirements-1.0.9.txt", "docker-compose.yml"):
        assert (FOLDER / name).exists() and name in readme, name
