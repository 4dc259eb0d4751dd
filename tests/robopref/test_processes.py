"""A child process ends with its parent, even by kill -9, unless it was told to stay; a worker that crashes restarts."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from preference.errors import UserError
from robopref.child import HOST, Child, claim_port
from robopref.processes import keep_working

RUN = """
import sys, time, os
from pathlib import Path
from robopref.child import Child
folder, port, ending = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
child = Child("http.server", folder, folder / "server.log")
child.spawn([port, "--bind", "127.0.0.1", "--directory", str(folder)], os.environ)
print("started", flush=True)
if ending == "leave":
    child.leave_running()
else:
    time.sleep(600)
"""


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def until(what, patience_s=30.0):
    deadline = time.monotonic() + patience_s
    while not what() and time.monotonic() < deadline:
        time.sleep(0.05)
    return what()


def children():
    found = psutil.Process().children(recursive=True)
    return {process.pid for process in found if process.status() != psutil.STATUS_ZOMBIE}


@pytest.fixture
def run_elsewhere(tmp_path):
    """Another process that starts a server and then sleeps, or leaves it running; the process and the port."""
    port = claim_port(None, "The test")
    started = []

    def run(ending):
        command = [sys.executable, "-c", RUN, str(tmp_path), str(port), ending]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[0].stdout.readline() == "started\n"
        assert until(lambda: listens(port))
        return started[0], port

    yield run
    started[0].kill()
    started[0].wait()
    Child("http.server", tmp_path, tmp_path / "server.log").end_stale()


def test_a_child_ends_when_its_parent_is_killed(run_elsewhere):
    parent, port = run_elsewhere("sleep")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert until(lambda: not listens(port))


def test_a_child_that_is_told_to_stay_outlives_its_parent_until_the_next_run_ends_it(run_elsewhere, tmp_path):
    parent, port = run_elsewhere("leave")
    assert parent.wait(30) == 0
    time.sleep(0.5)
    assert listens(port)
    Child("http.server", tmp_path, tmp_path / "server.log").end_stale()
    assert not listens(port)
    assert not (tmp_path / "server.pid").exists()


def test_a_process_of_somebody_else_behind_an_old_pid_is_left_alone(tmp_path):
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    (tmp_path / "server.pid").write_text(str(bystander.pid))
    Child("http.server", tmp_path, tmp_path / "server.log").end_stale()
    assert bystander.poll() is None
    assert not (tmp_path / "server.pid").exists()
    bystander.kill()
    bystander.wait()


def test_a_child_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path):
    child = Child("http.server", tmp_path, tmp_path / "server.log")
    child.spawn(["no-port"], os.environ)
    with pytest.raises(UserError, match=r"The server ended with code 2.*server\.log(.|\n)*no-port"):
        child.wait_until(lambda: False, timeout_s=30, name="The server")
    child.stop()


def test_a_worker_that_crashes_restarts_and_waits_longer_each_time(tmp_path, capsys):
    """Without a robopref.toml every worker exits at once."""
    waits = []
    before = children()

    def sleep(seconds):
        if seconds >= 1:
            waits.append(seconds)
            if len(waits) == 3:
                raise KeyboardInterrupt
            return
        time.sleep(seconds)

    with pytest.raises(KeyboardInterrupt):
        keep_working(tmp_path / "robopref.toml", [], sleep=sleep)
    assert waits == [1.0, 2.0, 4.0]
    assert "exited with code 2; it restarts in 4 s" in capsys.readouterr().err
    assert children() == before
