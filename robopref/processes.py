"""The ML backend as a process: served in the foreground, or kept as a child by the demo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

from preference.errors import UserError
from preference.work import console
from preference.workspace import Workspace


def serve(ws: Workspace) -> None:
    """Serve the ML backend with waitress until interrupted.

    Raises:
        UserError: the port is taken, or an address other than loopback is to be served without a password.
    """
    import waitress

    from ml_backend.service import create_app

    host, port = ws.config.service.host, ws.config.service.port
    if host not in ("127.0.0.1", "localhost", "::1") and not ws.config.service.password.get_secret_value():
        raise UserError(
            f"service.host is {host}, which other machines reach, and no password is set.",
            fix="Set ROBOPREF_SERVICE_PASSWORD (and ROBOPREF_WEBHOOK_SECRET), or serve on 127.0.0.1.",
        )
    app = create_app(ws)
    try:
        server = waitress.create_server(app, host=host, port=port, threads=8)
    except OSError as error:
        raise UserError(
            f"The ML backend cannot listen on {host}:{port}: {error.strerror}.",
            fix="Another program may hold the port; choose one with service.port in robopref.toml.",
        ) from None
    console.print(f"ML backend on http://{host}:{port}; Ctrl-C stops it.")
    server.run()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class BackendProcess:
    """`robopref serve` as a child process with a log of its own; ends with `stop`, or stays with `leave_running`."""

    def __init__(self, config_path: Path, url: str, log: Path, environment: dict[str, str]) -> None:
        self.url = url
        self.log = log
        self.pid_file = log.with_suffix(".pid")
        self._config_path = config_path
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it, and return when it answers.

        Raises:
            UserError: it ended, or did not answer in time; with the end of its log.
        """
        self.end_stale()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "robopref", "serve", "--config", str(self._config_path)],
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.pid_file.write_text(str(self._process.pid))
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if requests.get(f"{self.url}/health", timeout=2).ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.2)
        self.stop()
        tail = " / ".join(self.log.read_text(errors="replace").splitlines()[-3:])
        raise UserError(f"The ML backend did not come up: {tail}", fix=f"Its whole log is {self.log}.")

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process = None
        self.pid_file.unlink(missing_ok=True)

    def leave_running(self) -> None:
        """Let it outlive us; the next start ends it by its pid file."""
        self._process = None

    def end_stale(self) -> None:
        """End the one that an earlier run left, after making sure that the pid is still ours."""
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return
        if str(self._config_path).encode() in command and b"serve" in command:
            os.kill(pid, signal.SIGTERM)
            for _ in range(100):
                if not Path(f"/proc/{pid}").exists():
                    break
                time.sleep(0.1)
        self.pid_file.unlink(missing_ok=True)
