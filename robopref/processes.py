"""The ML backend and the worker as processes: in the foreground, as a child of the demo, restarted after a crash."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from preference.errors import UserError
from preference.work import console
from preference.workspace import Workspace
from robopref.child import Child

STABLE_S = 60.0
"""A worker that ran this long restarts after a second; one that crashes sooner waits twice as long each time."""
LONGEST_WAIT_S = 60.0
PATIENCE_S = 5.0
"""How long the service waits for other writers of the database. Label Studio gives up after that, and the next pull
brings what could not be stored."""


def serve(ws: Workspace) -> None:
    """Serve the ML backend with waitress until interrupted.

    Raises:
        UserError: the port is taken, or other machines could reach the service and no password is set.
    """
    from waitress.server import create_server

    from ml_backend.service.app import MAX_BODY, create_app

    host, port = ws.config.service.host, ws.config.service.port
    if host not in ("127.0.0.1", "localhost", "::1") and not ws.config.service.login:
        raise UserError(
            f"Other machines can reach service.host = {host}, and no password is set.",
            fix="Set ROBOPREF_SERVICE_PASSWORD (and ROBOPREF_WEBHOOK_SECRET), or serve on 127.0.0.1.",
        )
    app = create_app(ws)
    try:
        server = create_server(app, host=host, port=port, threads=8, ident=None, max_request_body_size=MAX_BODY + 1)
    except OSError as error:
        raise UserError(
            f"The ML backend cannot listen on {host}:{port}: {error.strerror}.",
            fix="Another program may be using the port; choose a different service.port in robopref.toml.",
        ) from None
    console.print(f"ML backend on http://{host}:{port}; press Ctrl-C to stop.")
    server.run()
    raise KeyboardInterrupt  # waitress handles Ctrl-C itself and returns; nothing else ends its loop


def keep_working(config_path: Path, arguments: Sequence[str], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Run `robopref worker` as a child process and restart it after a crash, until interrupted.

    Args:
        arguments: Of `robopref worker`.
    """
    child = Child("robopref", config_path, None)
    crashes = 0
    try:
        while True:
            started = time.monotonic()
            child.spawn(["worker", "--config", str(config_path), "--no-restart", *arguments], os.environ)
            while (code := child.ended()) is None:
                sleep(0.2)
            child.stop()
            crashes = crashes + 1 if time.monotonic() - started < STABLE_S else 1
            wait = min(2.0 ** (crashes - 1), LONGEST_WAIT_S)
            console.print(f"The worker exited with code {code}; it restarts in {wait:.0f} s.", highlight=False)
            sleep(wait)
    finally:
        child.stop()


class BackendProcess(Child):
    """`robopref serve` as a child process."""

    def __init__(self, config_path: Path, url: str, log: Path) -> None:
        super().__init__("robopref", config_path, log)
        self.url = url

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            UserError: it ended, or did not answer in time; with the end of its log.
        """
        self.end_stale()
        try:
            self.spawn(["serve", "--config", str(self.mark)], os.environ)
            self.wait_until(self._answers, timeout_s=60.0, name="The ML backend")
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).is_success
        except httpx.HTTPError:
            return False
