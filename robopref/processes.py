"""The ML backend as a process: served in the foreground, or kept as a child by the demo."""

from __future__ import annotations

import os
import time
from pathlib import Path

import requests

from preference.errors import UserError
from preference.work import console
from preference.workspace import Workspace
from robopref.child import Child


def serve(ws: Workspace) -> None:
    """Serve the ML backend with waitress until interrupted.

    Raises:
        UserError: the port is taken, or an address other than loopback is to be served without a password.
    """
    from waitress.server import create_server

    from ml_backend.service import create_app

    host, port = ws.config.service.host, ws.config.service.port
    if host not in ("127.0.0.1", "localhost", "::1") and not ws.config.service.password.get_secret_value():
        raise UserError(
            f"service.host is {host}, which other machines reach, and no password is set.",
            fix="Set ROBOPREF_SERVICE_PASSWORD (and ROBOPREF_WEBHOOK_SECRET), or serve on 127.0.0.1.",
        )
    app = create_app(ws)
    try:
        server = create_server(app, host=host, port=port, threads=8)
    except OSError as error:
        raise UserError(
            f"The ML backend cannot listen on {host}:{port}: {error.strerror}.",
            fix="Another program may hold the port; choose one with service.port in robopref.toml.",
        ) from None
    console.print(f"ML backend on http://{host}:{port}; Ctrl-C stops it.")
    server.run()
    raise KeyboardInterrupt  # waitress takes Ctrl-C for itself and returns; nothing else ends its loop


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
