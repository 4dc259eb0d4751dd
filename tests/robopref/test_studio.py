"""Label Studio as a child process: it comes up, goes away, comes back, and never outlives a killed run."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys

import httpx
import pytest
from process_maker import foreign_server, until
from studio_maker import copy_studio

from preference.errors import StudioError, UserError
from robopref.studio import LabelStudioServer

RUN = """
import sys, time
from pathlib import Path
from robopref.studio import LabelStudioServer
print(LabelStudioServer(Path(sys.argv[1]), Path(sys.argv[2])).start().url, flush=True)
time.sleep(600)
"""


@pytest.fixture
def made_before(empty_studio, tmp_path):
    """A data folder that has been started once."""
    return copy_studio(empty_studio, tmp_path / "data")


def run_elsewhere(data_dir, documents):
    """Another process that starts the server and then sleeps; its output's first line."""
    process = subprocess.Popen([sys.executable, "-c", RUN, data_dir, documents], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def answers(url):
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.TransportError:
        return False


def test_the_server_answers_on_loopback_with_secrets_of_its_own(label_studio):
    assert label_studio.url.startswith("http://127.0.0.1:")
    kept = label_studio.data_dir / "credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text())["token"] == label_studio.token
    assert len(label_studio.token) == 40
    me = httpx.get(
        f"{label_studio.url}/api/current-user/whoami", headers={"Authorization": f"Token {label_studio.token}"}
    )
    assert me.json()["email"] == label_studio.username
    log = label_studio.log.read_text()
    assert label_studio.token not in log
    assert label_studio.password not in log


def test_a_folder_in_use_is_left_alone(label_studio):
    other = LabelStudioServer(label_studio.data_dir, label_studio.document_root)
    for attempt in (other.start, other.end_stale):
        with pytest.raises(StudioError, match="in use by another run"):
            attempt()
    other.stop()
    assert answers(label_studio.url)


@pytest.mark.slow
def test_a_killed_run_leaves_no_server_and_the_next_start_has_the_same_credentials(made_before, tmp_path, label_studio):
    process, url = run_elsewhere(made_before, tmp_path / "docs")
    assert answers(url)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert until(lambda: not answers(url))

    server = LabelStudioServer(made_before, tmp_path / "docs")
    with server.start():
        assert (server.username, server.password, server.token) == (
            label_studio.username,
            label_studio.password,
            label_studio.token,
        )
        assert server.start() is server  # already running
        url = server.url
    server.stop()  # a second time
    assert not answers(url)
    assert not (made_before / "label_studio.pid").exists()


def test_a_first_start_that_was_killed_begins_again(tmp_path, monkeypatch):
    """What it left of a database was never used; a database that was used is kept."""
    server = LabelStudioServer(tmp_path / "data", tmp_path / "docs")
    database = tmp_path / "data" / "label_studio.sqlite3"

    def half(*_):
        database.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(LabelStudioServer, "_spawn", half)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert database.exists()
    found = []
    monkeypatch.setattr(LabelStudioServer, "_spawn", lambda self: found.append(database.exists()) or half())
    with pytest.raises(KeyboardInterrupt):
        server.start()
    (tmp_path / "data" / "unfinished").unlink()
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert found == [False, True]


def test_a_foreign_process_behind_an_old_pid_is_not_ended(made_before, tmp_path):
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    (made_before / "label_studio.pid").write_text(str(bystander.pid))
    LabelStudioServer(made_before, tmp_path).end_stale()
    assert bystander.poll() is None
    assert not (made_before / "label_studio.pid").exists()
    bystander.kill()
    bystander.wait()


def test_a_taken_port_is_named(made_before, tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}.*in use"):
            LabelStudioServer(made_before, tmp_path, port).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program of another user")
def test_another_users_program_on_the_port_is_sent_no_token(tmp_path):
    with foreign_server(tmp_path / "log") as port:
        server = LabelStudioServer(tmp_path / "data", tmp_path, port)
        server.token = "t0ken" * 8
        with pytest.raises(StudioError, match="a program of the user nobody"):
            server._answers()
    told = (tmp_path / "log").read_text()
    assert "GET /health" in told and "t0ken" not in told


def test_a_server_that_dies_is_reported_with_the_end_of_its_log(made_before, tmp_path):
    (made_before / "label_studio.sqlite3").write_bytes(b"not a database" * 100)
    server = LabelStudioServer(made_before, tmp_path)
    with pytest.raises(StudioError, match="ended with code") as told:
        server.start()
    assert str(server.log) in str(told.value)
    assert "file is not a database" in str(told.value)


def test_a_server_that_does_not_come_up_in_time_is_ended(made_before, tmp_path):
    server = LabelStudioServer(made_before, tmp_path, timeout_s=0.5)
    with pytest.raises(StudioError, match="did not answer within"):
        server.start()
    assert not (made_before / "label_studio.pid").exists()


def test_lost_credentials_are_said_to_be_lost(made_before, tmp_path):
    (made_before / "credentials.json").unlink()
    with pytest.raises(StudioError, match=r"credentials\.json is missing"):
        LabelStudioServer(made_before, tmp_path).start()


def test_the_callers_environment_does_not_reach_the_server(monkeypatch, tmp_path):
    from robopref.studio import environment

    for name in ("HOST", "PORT", "DEBUG", "USERNAME", "DJANGO_DB", "LABEL_STUDIO_HOST", "DATABASE_NAME"):
        monkeypatch.setenv(name, "surprise")
    given = environment(tmp_path, tmp_path, {"USERNAME": "a"}, plugin=True)
    assert "surprise" not in given.values()
    assert given["PATH"] == os.environ["PATH"]
    assert "DJANGO_SETTINGS_MODULE" not in environment(tmp_path, tmp_path, {}, plugin=False)
