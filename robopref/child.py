"""A server or worker as a child process: it ends when we end, however we end, unless it was told to stay.

`robopref up`, `robopref worker` and the tests start Label Studio, the ML backend and the worker this way. A pid file
lets other runs find the process and end it; pids are reused, so a process is ours only if its command line says so.

The child runs `python -m robopref.child FD MODULE ARGUMENT …`. FD is the reading end of a pipe that the parent holds
open: when the parent dies, even by kill -9, the pipe closes and the child ends too; if the parent wants it to stay, it
writes a byte first. (A parent-death signal would not do: it fires when the *thread* that started the child ends, and
cannot be taken back.)
"""

from __future__ import annotations

import contextlib
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import httpx
import psutil

from preference import garbage
from preference.artifacts import told_when_full
from preference.errors import UserError
from preference.tls import authorities

HOST = "127.0.0.1"
PORTS = range(20_000, 30_000)
"""Where a free port is looked for. Outgoing connections take theirs above, so that one of these is free again later."""
PATIENCE_S = 10.0
"""How long a process may take to end by itself."""
MOST_LOG = 10_000_000
"""Bytes of a log, after which the next start begins a new one."""


class Child:
    """One child process.

    Args:
        module: What it runs, as `python -m` would, and the first argument, such as `("robopref", "serve")`.
        mark: A path on its command line; together with `module` it tells our process from others.
        log: Where its output is added, mode 0600; None = where ours goes.
        keeps_pid: In a file beside the log, if there is one.
    """

    def __init__(self, module: tuple[str, str], mark: Path, log: Path | None, *, keeps_pid: bool = True) -> None:
        self.module = module
        self.mark = mark
        self.log = log
        self.pid_file = log.with_suffix(".pid") if log and keeps_pid else None
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None

    def spawn(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; `ended` says whether it still runs.

        Args:
            arguments: After the first one.

        Raises:
            DiskFull: there is no space for its log.
        """
        output = self._open_log()
        reading, self._lifeline = os.pipe()
        command = [sys.executable, "-m", "robopref.child", str(reading), *self.module, *arguments]
        try:
            self._process = subprocess.Popen(
                command, env=dict(environment), cwd=self.log.parent if self.log else None, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, pass_fds=[reading], start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(reading)
            if output is not None:
                os.close(output)
        if self.pid_file:
            with told_when_full(self.pid_file):
                self.pid_file.write_text(str(self._process.pid))

    def _open_log(self) -> int | None:
        if self.log is None:
            return None
        with told_when_full(self.log):
            long = self.log.exists() and self.log.stat().st_size > MOST_LOG
            flags = os.O_CREAT | os.O_WRONLY | (os.O_TRUNC if long else os.O_APPEND)
            return os.open(self.log, flags, 0o600)

    def wait_until(
        self, ready: Callable[[], bool], *, timeout_s: float, name: str, error: type[UserError] = UserError
    ) -> None:
        """Return when it is ready.

        Args:
            name: What to call it in errors.

        Raises:
            error: It ended, or was not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if (code := self.ended()) is not None:
                raise error(f"{name} ended with code {code}.{self._last_lines()}")
            if ready():
                return
            time.sleep(0.2)
        raise error(f"{name} did not answer within {timeout_s:g} s.{self._last_lines()}")

    @property
    def started(self) -> bool:
        return self._process is not None

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def pid(self) -> int | None:
        """Of the one that we started."""
        return self._process.pid if self._process else None

    def stop(self, patience_s: float = PATIENCE_S) -> None:
        """End it, if there is one.

        Args:
            patience_s: How long it may take to end by itself.
        """
        process, self._process = self._process, None
        if process is not None:
            _end(process.pid, lambda: process.poll() is None, patience_s)
            self._forget_pid()
        self._cut()

    def leave_running(self) -> None:
        """Let it outlive us; `found` and `end_stale` find it."""
        if self._lifeline is not None:
            os.write(self._lifeline, b"s")
        self._process = None
        self._cut()

    def found(self) -> psutil.Process | None:
        """The one that the pid file names, whoever started it, if it runs."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(self.pid_file.read_text()) if self.pid_file else -1)
            command = process.cmdline()
            marked = any(str(self.mark) in argument for argument in command)
            if marked and self.module in pairwise(command):
                return process
        return None

    def end_stale(self) -> None:
        """End the one that an earlier run left."""
        if process := self.found():
            end(process)
        self._forget_pid()

    def _last_lines(self) -> str:
        """Where the log is, and how it ends."""
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-12:] if self.log.exists() else []
        return f" Its log, {self.log}, ends with:\n" + "\n".join(f"  {line}" for line in lines)

    def _forget_pid(self) -> None:
        if self.pid_file:
            self.pid_file.unlink(missing_ok=True)

    def _cut(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def claim_port(port: int | None, who: str, *, fix: str = "Choose another port.") -> int:
    """`port` if it is free, or any free one of `PORTS` if it is None.

    Raises:
        UserError: something listens on it.
    """
    refused = ""
    for candidate in random.sample(PORTS, 100) if port is None else [port]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
                return candidate
            except OSError as error:
                refused = f"{who} cannot listen on {HOST}:{candidate}: {error.strerror}."
    raise UserError(refused, fix=fix)


def answers(url: str) -> bool:
    """Whether a server on this machine says that it is well; a proxy for other addresses is not asked."""
    try:
        return httpx.get(f"{url}/health", timeout=5, trust_env=False, verify=authorities(False)).is_success
    except httpx.HTTPError:
        return False


def _holds_port(process: psutil.Process) -> bool:
    """A zombie's remaining threads still do, and a process that is not our child may stay a zombie for long."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    return False


def end(process: psutil.Process, patience_s: float = PATIENCE_S) -> None:
    """End a process that somebody else started."""
    _end(process.pid, lambda: _holds_port(process), patience_s)


def _end(pid: int, alive: Callable[[], bool], patience_s: float) -> None:
    """Ask it and its process group to end, wait, then kill it."""
    for attempt in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + patience_s
        if not alive():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            _signal(pid, attempt)
        while alive() and time.monotonic() < deadline:
            time.sleep(0.05)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # started by a shell, it leads no group
        os.kill(pid, number)


def _end_with_parent(lifeline: int) -> None:
    if os.read(lifeline, 1) == b"":
        os.kill(os.getpid(), signal.SIGTERM)


def _run() -> None:
    """The child's side."""
    garbage.look_seldom()
    _, lifeline, module, *arguments = sys.argv
    threading.Thread(target=_end_with_parent, args=(int(lifeline),), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run()
