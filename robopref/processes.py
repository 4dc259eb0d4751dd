"""The ML backend and the worker as processes: in the foreground, kept as a child by the demo, begun anew when dead."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from preference.errors import UserError
from preference.work import console
from preference.workspace import Workspace
from robopref.child import Child

SOON_S, LONGEST_S = 60.0, 60.0
"""A child that lived for less died soon; the longest wait before the next."""
NICE = 10
AUTOGROUP = Path("/proc/self/autogroup")
PATIENCE_S = 5.0
"""How long the service waits for the database's other writers: Label Studio has given up by then, and a pull brings
what it could not store."""


def stand_back() -> None:
    """Let whoever answers people come first.

    Linux weighs niceness within a session alone where it groups processes by session (autogroup), so the whole group
    steps back as well, if it is ours; a person's terminal is not.
    """
    os.nice(NICE)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no Linux, no autogroup, or a read-only /proc
            AUTOGROUP.write_text(str(NICE))


def serve(ws: Workspace) -> None:
    """Serve the ML backend with waitress until interrupted.

    Raises:
        UserError: the port is taken, or an address other than loopback is to be served without a password.
    """
    from waitress.server import create_server

    from ml_backend.service.app import MAX_BODY, create_app

    host, port = ws.config.service.host, ws.config.service.port
    if host not in ("127.0.0.1", "localhost", "::1") and not ws.config.service.password.get_secret_value():
        raise UserError(
            f"service.host is {host}, which other machines reach, and no password is set.",
            fix="Set ROBOPREF_SERVICE_PASSWORD (and ROBOPREF_WEBHOOK_SECRET), or serve on 127.0.0.1.",
        )
    app = create_app(ws)
    try:
        server = create_server(app, host=host, port=port, threads=8, ident=None, max_request_body_size=2 * MAX_BODY)
    except OSError as error:
        raise UserError(
            f"The ML backend cannot listen on {host}:{port}: {error.strerror}.",
            fix="Another program may hold the port; choose one with service.port in robopref.toml.",
        ) from None
    console.print(f"ML backend on http://{host}:{port}; Ctrl-C stops it.")
    server.run()
    raise KeyboardInterrupt  # waitress takes Ctrl-C for itself and returns; nothing else ends its loop


def keep_working(config_path: Path, arguments: Sequence[str], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """`robopref worker` as a child process, begun anew whenever it dies, until interrupted.

    A child that crashes takes nothing with it: memory that ran out, a library's fault, a kill. It is begun anew after
    a second, after a minute at most where it dies again and again, and ends when we do, however we end.

    Args:
        arguments: Of `robopref worker`.
    """
    child = Child("robopref", config_path, None)
    deaths = 0
    try:
        while True:
            began = time.monotonic()
            child.spawn(["worker", "--config", str(config_path), "--no-restart", *arguments], os.environ)
            while (code := child.ended()) is None:
                sleep(0.2)
            child.stop()
            deaths = deaths + 1 if time.monotonic() - began < SOON_S else 1
            wait = min(2.0 ** (deaths - 1), LONGEST_S)
            console.print(f"The worker ended with code {code}; a new one begins in {wait:.0f} s.", highlight=False)
            sleep(wait)
    finally:
        child.stop()


class BackendProcess:
    """`robopref serve` as a child process with a log of its own."""

    def __init__(self, config_path: Path, url: str, log: Path) -> None:
        self.url = url
        self._config_path = config_path
        self._child = Child("robopref", config_path, log)

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it, and return when it answers.

        Raises:
            UserError: it ended, or did not answer in time; with the end of its log.
        """
        self._child.end_stale()
        self._child.spawn(["serve", "--config", str(self._config_path)], os.environ)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._child.ended() is None:
            try:
                if requests.get(f"{self.url}/health", timeout=2).ok:
                    return
            except requests.RequestException:
                time.sleep(0.2)
        self.stop()
        raise UserError(f"The ML backend did not come up.{self._child.last_lines(3)}")

    def stop(self) -> None:
        self._child.stop()

    def leave_running(self) -> None:
        self._child.leave_running()

    def end_stale(self) -> None:
        self._child.end_stale()
