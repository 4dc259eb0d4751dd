"""The adapter under label-studio-ml 1.0.9 as PyPI has it, in an environment of its own, and under the 2.x interface."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from paths import ROOT

ADAPTER = ROOT / "ml_backend" / "label_studio_ml" / "model.py"
# what 1.0.9 imports when it is loaded; its own list pins a Flask that no Python of today runs
NEEDED = ["requests", "redis", "rq", "attrs", "colorama", "label-studio-tools", "lxml", "flask", "setuptools<81"]
TWO = """
class LabelStudioMLBase:
    extra_params = {"url": "%s", "secret": "s3"}
    def __init__(self, project_id=None, label_config=None):
        self.kept = {}
        self.setup()
    def set(self, key, value):
        self.kept[key] = value
"""
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from label_studio_ml_adapter import Robopref
model = Robopref(**json.loads(sys.argv[3]))
print(json.dumps([getattr(model, "kept", {}), model.predict([{"id": 1}], context=None), eval(sys.argv[2])]))
"""


@pytest.fixture
def service():
    """Remembers what it is sent and answers as ours does."""
    heard = []

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            secret, login = self.headers.get("X-Robopref-Secret"), self.headers.get("Authorization")
            heard.append((self.path, body, secret, bool(login)))
            said = {
                "model_version": "rm-0007",
                "results": [{"result": [], "score": 0.5} for _ in body.get("tasks", [])],
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()


def load(python, folder, call, settings):
    done = subprocess.run(
        [python, "-c", PROGRAM, folder, call, json.dumps(settings)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_it_is_small_and_needs_nothing_of_ours():
    lines = ADAPTER.read_text().splitlines()
    assert len(lines) <= 80
    modules = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert modules == {"__future__", "typing", "requests", "label_studio_ml"}


def test_under_the_release_on_pypi(service, tmp_path):
    url, heard = service
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    try:
        subprocess.run([*pip, "--no-deps", "label-studio-ml==1.0.9"], check=True, timeout=120, capture_output=True)
        subprocess.run([*pip, *NEEDED], check=True, timeout=240, capture_output=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"label-studio-ml cannot be installed here: {str(error.stderr)[-200:]}")
    (tmp_path / "label_studio_ml_adapter.py").write_text(ADAPTER.read_text())
    settings = {"url": url, "password": "pw", "label_config": "<View/>", "train_output": None}
    call = "model.process_event('ANNOTATION_CREATED', {'annotation': {'id': 3}}, 'job', {})"
    _, results, trained = load(python, tmp_path, call, settings)
    assert results == [{"result": [], "score": 0.5}]
    assert trained == {"model_version": "rm-0007"}
    assert ("/webhook", {"annotation": {"id": 3}, "action": "ANNOTATION_CREATED"}, None, True) in heard
    load(python, tmp_path, "model.fit([], workdir='.')", settings)
    assert ("/webhook", {"action": "START_TRAINING"}, None, True) in heard


def test_under_the_interface_of_2(service, tmp_path):
    url, heard = service
    package = tmp_path / "label_studio_ml"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.py").write_text(TWO % url)
    (tmp_path / "label_studio_ml_adapter.py").write_text(ADAPTER.read_text())
    kept, results, trained = load(
        sys.executable, tmp_path, "model.fit('ANNOTATION_UPDATED', {'annotation': {'id': 4}})", {"project_id": "1"}
    )
    assert results == [{"result": [], "score": 0.5}]
    assert trained == {"model_version": "rm-0007"}
    assert ("/webhook", {"annotation": {"id": 4}, "action": "ANNOTATION_UPDATED"}, "s3", True) in heard
    assert kept == {"model_version": "rm-0007"}
