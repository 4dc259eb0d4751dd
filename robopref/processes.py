"""The ML backend and the worker as processes, and how any part is kept running: restarted after a crash."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from preference.errors import UserError
from preference.work import console, terminal
from robopref.child import Child, answers, claim_port

STABLE_S = 60.0
"""A part that ran this long restarts after a second; one that crashes sooner waits twice as long each time."""
LONGEST_WAIT_S = 60.0


class Part(Protocol):
    """Something that runs as a process of its own."""

    name: str

    def start(self) -> object:
        """Return when it is of use.

        Raises:
            UserError: it ended, or did not answer in time.
        """

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""

    def stop(self) -> None:
        """End it, if it runs."""


class BackendProcess(Child):
    """`robopref serve` as a child process.

    Args:
        url: Where it answers on this machine, as the settings say.
    """

    name = "The ML backend"

    def __init__(self, config_path: Path, url: str, log: Path) -> None:
        super().__init__(("robopref", "serve"), config_path, log)
        self.url = url

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            UserError: its port is taken; or it ended, or did not answer in time, with the end of its log.
        """
        self.end_stale()
        claim_port(urlsplit(self.url).port, self.name, fix="Stop that program, or set another service.port.")
        try:
            self.spawn(["--config", str(self.mark)], os.environ)
            self.wait_until(lambda: answers(self.url), timeout_s=60.0, name=self.name)
        except BaseException:
            self.stop()
            raise


class WorkerProcess(Child):
    """`robopref worker` as a child process.

    Args:
        arguments: Of the command.
        log: None = where our output goes.
    """

    name = "The worker"

    def __init__(self, config_path: Path, log: Path | None, arguments: Sequence[str] = ()) -> None:
        super().__init__(("robopref", "worker"), config_path, log)
        self._arguments = arguments

    def start(self) -> None:
        self.end_stale()
        self.spawn(["--config", str(self.mark), "--no-restart", *self._arguments], os.environ)


def keep_working(config_path: Path, arguments: Sequence[str]) -> None:
    """Run `robopref worker` as a child process and restart it after a crash, until interrupted.

    Args:
        arguments: Of `robopref worker`.
    """
    worker = WorkerProcess(config_path, None, arguments)
    try:
        worker.start()
        keep_running([worker])
    finally:
        worker.stop()


def keep_running(
    parts: Sequence[Part],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Restart each part that has ended, until interrupted.

    Args:
        parts: They were started.
        clock: Monotonic, in seconds.
    """
    kept = [_Kept(part, clock()) for part in parts]
    while True:
        for one in kept:
            one.look(clock())
        sleep(0.5)


class _Kept:
    """A part, how often it crashed in a row, and when it is due to start again."""

    def __init__(self, part: Part, now: float) -> None:
        self._part, self._started = part, now
        self._crashes, self._due = 0, 0.0

    def look(self, now: float) -> None:
        if self._due:
            self._restart(now)
        elif (code := self._part.ended()) is not None:
            self._part.stop()
            self._crashed(f"{self._part.name} exited with code {code}", now)

    def _restart(self, now: float) -> None:
        if now < self._due:
            return
        self._started, self._due = now, 0.0
        try:
            self._part.start()
        except UserError as error:
            self._crashed(str(error).rstrip("."), now)

    def _crashed(self, what: str, now: float) -> None:
        self._crashes = self._crashes + 1 if now - self._started < STABLE_S else 1
        wait = min(2.0 ** (self._crashes - 1), LONGEST_WAIT_S)
        self._due = now + wait
        console.print(terminal(f"{what}; it restarts in {wait:.0f} s."), highlight=False, soft_wrap=True)
