"""A server as a child process: it ends when we end, however we end, unless it was told to stay.

The demo and the tests keep Label Studio and the ML backend this way. A pid file lets the next start find and end what
an earlier run left; pids are used again, so a process is ours only when its command line says so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from preference.errors import UserError

HOST = "127.0.0.1"


class Child:
    """One server process.

    Args:
        module: What it runs, as `python -m` would.
        mark: A path that its command line names; with `module` it tells our process from others.
        log: Where its output goes, mode 0600; None = where ours goes. Without a log there is no pid file either.
    """

    def __init__(self, module: str, mark: Path, log: Path | None) -> None:
        self.module = module
        self.mark = mark
        self.log = log
        self.pid_file = log.with_suffix(".pid") if log else None
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None

    def spawn(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; `ended` tells whether it still runs."""
        reading, self._lifeline = os.pipe()
        command = [sys.executable, "-m", "robopref.lifeline", str(reading), self.module, *arguments]
        with self._output() as output:
            self._process = subprocess.Popen(
                command, env=dict(environment), cwd=self.log.parent if self.log else None, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT if output else None, pass_fds=[reading],
                start_new_session=True,
            )  # fmt: skip
        os.close(reading)
        if self.pid_file:
            self.pid_file.write_text(str(self._process.pid))

    @contextlib.contextmanager
    def _output(self) -> Iterator[IO[bytes] | None]:
        if self.log is None:
            yield None
            return
        descriptor = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as log:
            yield log

    @property
    def started(self) -> bool:
        return self._process is not None

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """End it; nothing happens when there is none."""
        process, self._process = self._process, None
        if process is not None:
            _end(process.pid, lambda: process.poll() is None)
            self._forget_pid()
        self._cut()

    def leave_running(self) -> None:
        """Let it outlive us; `end_stale` finds it."""
        if self._lifeline is not None:
            os.write(self._lifeline, b"s")
        self._process = None
        self._cut()

    def end_stale(self) -> None:
        """End the one that an earlier run left."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.pid_file.read_text()) if self.pid_file else 0
            command = _command_line(pid)
            if self.module in command and str(self.mark) in command:
                _end(pid, lambda: _running(pid))
        self._forget_pid()

    def last_lines(self, count: int = 12) -> str:
        """Where the log is, and how it ends."""
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-count:] if self.log.exists() else []
        return f" Its log is {self.log}, and ends:\n" + "\n".join(f"  {line}" for line in lines)

    def _forget_pid(self) -> None:
        if self.pid_file:
            self.pid_file.unlink(missing_ok=True)

    def _cut(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def claim_port(port: int | None, who: str) -> int:
    """`port` where it is free, or any free one where it is None.

    Raises:
        UserError: something listens on it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except OSError as error:
            raise UserError(
                f"{who} cannot listen on {HOST}:{port}: {error.strerror}.",
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
