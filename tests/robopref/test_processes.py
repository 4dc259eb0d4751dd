"""A child process ends with its parent, even by kill -9, unless it was told to stay; a worker that crashes restarts."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from process_maker import PATIENCE_S, until

from preference.errors import UserError
from robopref.child import HOST, PORTS, Child, claim_port
from robopref.processes import WorkerProcess, keep_running

RUN = """
import sys, time, os
from pathlib import Path
from robopref.child import Child
folder, port, ending = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
child = Child(("http.server", port), folder, folder / "server.log")
child.spawn(["--bind", "127.0.0.1", "--directory", str(folder)], os.environ)
print("started", flush=True)
if ending == "leave":
    child.leave_running()
else:
    time.sleep(600)
"""


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


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
    Child(("http.server", str(port)), tmp_path, tmp_path / "server.log").end_stale()


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
    left = Child(("http.server", str(port)), tmp_path, tmp_path / "server.log")
    assert left.found() is not None
    left.end_stale()
    assert not listens(port)
    assert not (tmp_path / "server.pid").exists()


@pytest.mark.parametrize("looks", [[], ["robopref", "up", "--config", "{folder}/robopref.toml"]])
def test_a_process_of_somebody_else_behind_an_old_pid_is_left_alone(tmp_path, looks):
    """Not even the supervisor of the same project is mistaken for the service."""
    arguments = [word.format(folder=tmp_path) for word in looks]
    bystander = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", *arguments], start_new_session=True
    )
    (tmp_path / "server.pid").write_text(str(bystander.pid))
    service = Child(("robopref", "serve"), tmp_path / "robopref.toml", tmp_path / "server.log")
    assert service.found() is None
    service.end_stale()
    assert bystander.poll() is None
    assert not (tmp_path / "server.pid").exists()
    bystander.kill()
    bystander.wait()


def test_a_child_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path):
    child = Child(("http.server", "no-port"), tmp_path, tmp_path / "server.log")
    child.spawn([], os.environ)
    with pytest.raises(UserError, match=r"The server ended with code 2.*server\.log(.|\n)*no-port"):
        child.wait_until(lambda: False, timeout_s=PATIENCE_S, name="The server")
    child.stop()


def test_the_log_of_a_child_that_crashed_is_kept_when_it_restarts(tmp_path):
    for port in ("first", "second"):
        child = Child(("http.server", port), tmp_path, tmp_path / "server.log")
        child.spawn([], os.environ)
        with pytest.raises(UserError, match="ended with code"):
            child.wait_until(lambda: False, timeout_s=PATIENCE_S, name="It")
        child.stop()
    log = (tmp_path / "server.log").read_text()
    assert "first" in log and "second" in log


def test_free_ports_are_not_those_that_outgoing_connections_take():
    assert claim_port(None, "The test") in PORTS
    assert max(PORTS) < 32768


def test_a_worker_that_crashes_restarts_and_waits_longer_each_time(tmp_path, capsys):
    """Without a robopref.toml every worker exits at once."""
    now, before = 0.0, children()

    def sleep(seconds):
        nonlocal now
        if worker.started:  # how long a start takes on a busy machine says nothing
            time.sleep(0.02)
        else:
            now += seconds
        if now > 60 or "restarts in 4 s" in said():
            raise KeyboardInterrupt

    seen = []

    def said():
        seen.append(capsys.readouterr().err)
        return "".join(seen)

    worker = WorkerProcess(tmp_path / "robopref.toml", None)
    worker.start()
    with pytest.raises(KeyboardInterrupt):
        keep_running([worker], clock=lambda: now, sleep=sleep)
    worker.stop()
    waits = re.findall(r"The worker exited with code 2; it restarts in (\d) s", said())
    assert waits == ["1", "2", "4"]
    assert children() == before


class Restless:
    """A part that ends whenever it is looked at, and starts again or not."""

    name = "Restless"

    def __init__(self, trouble=""):
        self.starts, self._trouble = 0, trouble

    def start(self):
        self.starts += 1
        if self._trouble:
            raise UserError(self._trouble)

    def ended(self):
        return 1

    def stop(self):
        pass


def test_a_part_that_cannot_start_again_is_tried_further_and_the_others_are_not_held_up(capsys):
    now = 0.0

    def sleep(seconds):
        nonlocal now
        now += seconds
        if now > 300:
            raise KeyboardInterrupt

    stuck, other = Restless("The port is taken."), Restless()
    with pytest.raises(KeyboardInterrupt):
        keep_running([stuck, other], clock=lambda: now, sleep=sleep)
    assert "The port is taken; it restarts in 2 s." in capsys.readouterr().err
    assert stuck.starts == other.starts == 9  # after 1, 2, 4, … 60, 60 and 60 s
