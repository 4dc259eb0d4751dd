"""A real Label Studio as a child process, for the demo and the tests.

In: a data folder (kept between runs), the folder whose clips it may serve, a port. Out: a server on 127.0.0.1 that
answers, with an administrator's name, password and token. SQLite, local file serving, no telemetry: nothing leaves the
machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

import requests

from preference.errors import StudioError
from robopref.studio_child import HOST, environment

FIRST_START_S, LATER_START_S = 40.0, 6.0  # on two cores; what a progress bar is drawn against
Progress = Callable[[str, float], None]  # what is happening, and how much of it is done (0 to 1)


class LabelStudioServer:
    """Start with `start` or `with`; afterwards `url`, `username`, `password` and `token` are good.

    Args:
        data_dir: Database, uploads, credentials.json (mode 0600) and label_studio.log; created when missing.
        document_root: Only files under it can be served, and of those only registered storages.
        port: Refused when taken; a free one when None.
        plugin: Load `labeling_config.plugin`; False gives Label Studio as it comes from PyPI.
        timeout_s: Longest wait for the server to answer. The first start makes the database.
    """

    def __init__(
        self,
        data_dir: Path,
        document_root: Path,
        port: int | None = None,
        plugin: bool = True,
        *,
        timeout_s: float = 240.0,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.document_root = document_root.resolve()
        self.plugin = plugin
        self.log = self.data_dir / "label_studio.log"
        self.username = self.password = self.token = ""
        self._port = port
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None  # the writing end of the pipe described in studio_child.py
        self._lock: IO[str] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, on_progress: Progress | None = None) -> Self:
        """Start the server and return when it answers.

        Raises:
            StudioError: the port is taken, the data folder is in use or lacks its credentials, Label Studio is not
                installed, it died, or it did not answer in time; the last two with the end of its log.
        """
        if self._process is not None:
            return self
        if importlib.util.find_spec("label_studio") is None:
            raise StudioError("Label Studio is not installed.", fix="Run: pip install 'robopref[studio]'")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.document_root.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._end_stale()
            first = not (self.data_dir / "label_studio.sqlite3").exists()
            self._read_credentials(first)
            self._port = _claim_port(self._port)
            self._wait(self._spawn(), FIRST_START_S if first else LATER_START_S, on_progress or (lambda *_: None))
        except BaseException:  # Ctrl-C too: no server is left behind
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server; nothing happens when there is none."""
        process, self._process = self._process, None
        if process is not None:
            _end(process.pid, lambda: process.poll() is None)
            self._pid_file.unlink(missing_ok=True)
        self._let_go()

    def leave_running(self) -> None:
        """Let the server outlive this process; the next `start` on the same data folder ends it and starts anew."""
        if self._lifeline is not None:
            os.write(self._lifeline, b"s")
        self._process = None
        self._let_go()

    def stop_stale(self) -> None:
        """End the server that an earlier run left on this data folder, if there is one; `start` does so by itself.

        Raises:
            StudioError: another run of Robopref is using the folder.
        """
        if self._process is None and self.data_dir.is_dir():
            self._take_lock()
            self._end_stale()
            self._let_go()

    @property
    def _pid_file(self) -> Path:
        return self.data_dir / "label_studio.pid"

    def _let_go(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        self._lock = (self.data_dir / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._let_go()
            raise StudioError(
                f"{self.data_dir} is in use by another run of Robopref.", fix="Stop that one, or use another folder."
            ) from None

    def _end_stale(self) -> None:
        """End the server that a killed run, or `leave_running`, left on this data folder."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            if self._is_ours(pid):
                _end(pid, lambda: _running(pid))
        self._pid_file.unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        """Pids are used again: only a process with our module and this data folder on its command line is ours."""
        command = _command_line(pid)
        return "robopref.studio_child" in command and str(self.data_dir) in command

    def _read_credentials(self, first: bool) -> None:
        path = self.data_dir / "credentials.json"
        if first and not path.exists():
            made = {
                "username": "admin@robopref.local",
                "password": secrets.token_urlsafe(12),
                "token": secrets.token_hex(20),
            }
            with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
                json.dump(made, file)
        try:
            kept = json.loads(path.read_text())
            self.username, self.password, self.token = kept["username"], kept["password"], kept["token"]
        except (OSError, ValueError, KeyError, TypeError):
            raise StudioError(
                f"{path} is missing or unreadable, but the server's database is there.",
                fix=f"Put it back, or start over by deleting {self.data_dir}.",
            ) from None

    def _spawn(self) -> subprocess.Popen[bytes]:
        reading, self._lifeline = os.pipe()
        command = [sys.executable, "-m", "robopref.studio_child", str(reading), "start", "--no-browser"]
        command += ["--data-dir", str(self.data_dir), "--internal-host", HOST, "--port", str(self._port)]
        account = {"USERNAME": self.username, "PASSWORD": self.password, "USER_TOKEN": self.token}
        given = environment(self.data_dir, self.document_root, account, plugin=self.plugin)
        descriptor = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as log:
            self._process = subprocess.Popen(
                command, env=given, cwd=self.data_dir, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, pass_fds=[reading], start_new_session=True,
            )  # fmt: skip
        os.close(reading)
        self._pid_file.write_text(str(self._process.pid))
        return self._process

    def _wait(self, process: subprocess.Popen[bytes], expected_s: float, on_progress: Progress) -> None:
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < self._timeout_s:
            if process.poll() is not None:
                raise StudioError(f"Label Studio ended with code {process.returncode}.{self._last_lines()}")
            if self._answers():
                on_progress("Label Studio is ready", 1.0)
                return
            on_progress("Starting Label Studio", min(0.95, elapsed / expected_s))
            time.sleep(0.2)
        raise StudioError(f"Label Studio did not answer within {self._timeout_s:.0f} s.{self._last_lines()}")

    def _answers(self) -> bool:
        """Whether it answers as ours: another program could have taken the port, and Label Studio moves on then."""
        try:
            if not requests.get(f"{self.url}/health", timeout=5).ok:
                return False
            header = {"Authorization": f"Token {self.token}"}
            known = requests.get(f"{self.url}/api/current-user/whoami", headers=header, timeout=20)
        except requests.RequestException:
            return False
        if known.status_code in (401, 403):
            raise StudioError(
                f"The Label Studio at {self.url} does not know the token kept in {self.data_dir}.",
                fix="Its first start was cut short, or its users were edited; delete that folder to start over.",
            )
        return known.ok

    def _last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-12:] if self.log.exists() else []
        return f" Its log is {self.log}, and ends:\n" + "\n".join(f"  {line}" for line in lines)


def _claim_port(port: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except OSError as error:
            raise StudioError(
                f"Label Studio cannot listen on {HOST}:{port}: {error.strerror}.",
                fix="Choose another port, or leave it open and a free one is taken.",
            ) from None
        return int(probe.getsockname()[1])


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # gone, or a system without /proc
        found = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return found.stdout


def _running(pid: int) -> bool:
    """Until it has let go of its port: its last thread does, and a dead child may then wait long to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return bool(_command_line(pid))


def _end(pid: int, alive: Callable[[], bool], patience_s: float = 10.0) -> None:
    """Ask the process group to end, wait, and insist."""
    for attempt in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + patience_s
        if not alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, attempt)
        while alive() and time.monotonic() < deadline:
            time.sleep(0.05)
