"""A real Label Studio as a child process, for the demo and the tests.

In: a data folder (kept between runs), the folder whose clips it may serve, a port. Out: a server on 127.0.0.1 that
answers, with an administrator's name, password and token. SQLite, local file serving, no telemetry: nothing leaves the
machine.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

import requests

from preference.errors import StudioError
from robopref.child import HOST, Child, claim_port
from robopref.studio_environment import environment

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
        self._child = Child("label_studio.server", self.data_dir, self.log)
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
        if self._child.started:
            return self
        if importlib.util.find_spec("label_studio") is None:
            raise StudioError("Label Studio is not installed.", fix="Run: pip install 'robopref[studio]'")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.document_root.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._child.end_stale()
            first = not (self.data_dir / "label_studio.sqlite3").exists()
            self._read_credentials(first)
            self._port = claim_port(self._port, "Label Studio")
            self._spawn()
            self._wait(FIRST_START_S if first else LATER_START_S, on_progress or (lambda *_: None))
        except BaseException:  # Ctrl-C too: no server is left behind
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server; nothing happens when there is none."""
        self._child.stop()
        self._let_go()

    def leave_running(self) -> None:
        """Let the server outlive this process; the next `start` on the same data folder ends it and starts anew."""
        self._child.leave_running()
        self._let_go()

    def stop_stale(self) -> None:
        """End the server that an earlier run left on this data folder, if there is one; `start` does so by itself.

        Raises:
            StudioError: another run of Robopref is using the folder.
        """
        if not self._child.started and self.data_dir.is_dir():
            self._take_lock()
            self._child.end_stale()
            self._let_go()

    def _let_go(self) -> None:
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

    def _spawn(self) -> None:
        account = {"USERNAME": self.username, "PASSWORD": self.password, "USER_TOKEN": self.token}
        arguments = ["start", "--no-browser", "--data-dir", str(self.data_dir)]
        arguments += ["--internal-host", HOST, "--port", str(self._port)]
        self._child.spawn(arguments, environment(self.data_dir, self.document_root, account, plugin=self.plugin))

    def _wait(self, expected_s: float, on_progress: Progress) -> None:
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < self._timeout_s:
            if (code := self._child.ended()) is not None:
                raise StudioError(f"Label Studio ended with code {code}.{self._child.last_lines()}")
            if self._answers():
                on_progress("Label Studio is ready", 1.0)
                return
            on_progress("Starting Label Studio", min(0.95, elapsed / expected_s))
            time.sleep(0.2)
        raise StudioError(f"Label Studio did not answer within {self._timeout_s:.0f} s.{self._child.last_lines()}")

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
