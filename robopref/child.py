"""A server or worker as a child process: it ends when we end, however we end, unless it was told to stay.

The demo, `robopref worker` and the tests start Label Studio, the ML backend and the worker this way. A pid file lets
the next start find and end what an earlier run left; pids are reused, so a process is ours only if its command line
says so.

The child runs `python -m robopref.child FD MODULE ARGUMENT …`. FD is the reading end of a pipe that the parent holds
open: when the parent dies, even by kill -9, the pipe closes and the child ends too; if the parent wants it to stay, it
writes a byte first. (A parent-death signal would not do: it fires when the *thread* that started the child ends, and
cannot be taken back.)
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from preference.errors import UserError

HOST = "127.0.0.1"


class Child:
    """One child process.

    Args:
        module: What it runs, as `python -m` would.
        mark: A path on its command line; together with `module` it tells our process from others.
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
        """Start it; `ended` says whether it still runs."""
        reading, self._lifeline = os.pipe()
        command = [sys.executable, "-m", "robopref.child", str(reading), self.module, *arguments]
        output = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600) if self.log else None
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
            self.pid_file.write_text(str(self._process.pid))

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

    def stop(self) -> None:
        """End it, if there is one."""
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
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(self.pid_file.read_text()) if self.pid_file else -1)
            command = process.cmdline()
            if self.module in command and any(str(self.mark) in argument for argument in command):
                _end(process.pid, lambda: _holds_port(process))
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


def claim_port(port: int | None, who: str) -> int:
    """`port` if it is free, or any free one if it is None.

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
                fix="Choose another port, or leave it out to get a free one.",
            ) from None
        return int(probe.getsockname()[1])


def _holds_port(process: psutil.Process) -> bool:
    """A zombie's remaining threads still do, and a process that is not our child may stay a zombie for long."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    return False


def _end(pid: int, alive: Callable[[], bool], patience_s: float = 10.0) -> None:
    """Ask the process group to end, wait, then kill it."""
    for attempt in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + patience_s
        if not alive():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, attempt)
        while alive() and time.monotonic() < deadline:
            time.sleep(0.05)


def _end_with_parent(lifeline: int) -> None:
    if os.read(lifeline, 1) == b"":
        os.kill(os.getpid(), signal.SIGTERM)


def _run() -> None:
    """The child's side."""
    _, lifeline, module, *arguments = sys.argv
    threading.Thread(target=_end_with_parent, args=(int(lifeline),), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run()
