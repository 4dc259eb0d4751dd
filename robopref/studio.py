"""A real Label Studio as a child process, for `robopref up` and the tests.

In: a data folder (kept between runs), the folder whose clips it may serve, a port. Out: a server on 127.0.0.1 that
answers, with an administrator's name, password and token. SQLite, local file serving, closed sign-up, no telemetry:
nothing leaves the machine.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Self

import httpx
import psutil

import labeling_config
from labeling_config.plugin.subnets import banned
from preference.artifacts import keep_private, read_json, told_when_full, write_json
from preference.errors import DataError, StudioError, needs
from preference.listeners import check_own
from preference.locks import Lock
from preference.tls import authorities
from robopref.child import HOST, Child, answers, claim_port

SETTINGS = "labeling_config.plugin.settings"
# All that the child inherits. Label Studio also reads its settings from bare names (HOST, PORT, DEBUG, USERNAME), so a
# stray variable of the caller's would change the server.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
DATA_FOLDER = "label_studio"
"""Of `robopref up`, beside robopref.toml."""
CREDENTIALS = "credentials.json"
DATABASE = "label_studio.sqlite3"
PORT_TAKEN = "Stop that program, or choose another port with `robopref up --port`."
QUIET = {
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "FEATURE_FLAGS_OFFLINE": "true",
    "DEBUG": "false",
    "LOG_LEVEL": "WARNING",
}


class LabelStudioServer:
    """Start with `start` or `with`; then `url`, `username`, `password` and `token` are valid.

    Args:
        data_dir: Database, uploads, credentials.json (mode 0600) and label_studio.log; created if missing.
        document_root: Only files under it can be served, and of those only registered storages.
        port: Must be free; None = any free one.
        work: Of the project whose console it shows; None: it shows none.
        plugin: Load `labeling_config.plugin`; False gives Label Studio as it comes from PyPI.
        timeout_s: Longest wait for the server to answer. The first start, which makes the database, takes 40 s of two
            idle cores.
    """

    name = "Label Studio"

    def __init__(
        self,
        data_dir: Path,
        document_root: Path,
        port: int | None = None,
        plugin: bool = True,
        *,
        work: Path | None = None,
        timeout_s: float = 600.0,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.document_root = document_root.resolve()
        self.plugin = plugin
        self.work = work
        self.log = self.data_dir / "label_studio.log"
        self.username = self.password = self.token = ""
        self._port = port
        self._timeout_s = timeout_s
        self._child = Child(("label_studio.server", "start"), self.data_dir, self.log)
        self._lock = Lock(self.data_dir / "lock")
        self._unfinished = self.data_dir / "unfinished"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the server and return when it answers.

        Raises:
            MissingExtra: Label Studio is not installed.
            StudioError: the data folder is in use or lacks its credentials; or the server ended or did not answer in
                time, with the end of its log.
            UserError: the port is taken.
        """
        if self._child.started:
            return self
        needs("label_studio")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        keep_private(self.data_dir)
        self.document_root.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._child.end_stale()
            self._clear_unfinished()
            self._read_credentials()
            self._port = claim_port(self._port, self.name, fix=PORT_TAKEN)
            self._spawn()
            self._child.wait_until(self._answers, timeout_s=self._timeout_s, name=self.name, error=StudioError)
            self._unfinished.unlink(missing_ok=True)
        except BaseException:  # Ctrl-C too: no server is left behind
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server, if there is one."""
        self._child.stop()
        self._lock.release()

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._child.ended()

    def found(self) -> psutil.Process | None:
        """The server on this data folder, whoever started it, if it runs."""
        return self._child.found()

    def end_stale(self) -> None:
        """End the server that an earlier run left on this data folder, if there is one; `start` does so too.

        Raises:
            StudioError: another run of Robopref is using the folder.
        """
        if not self._child.started and self.data_dir.is_dir():
            self._take_lock()
            self._child.end_stale()
            self._lock.release()

    def _take_lock(self) -> None:
        if not self._lock.take():
            raise StudioError(
                f"{self.data_dir} is in use by another run of Robopref.",
                fix="Stop that one (`robopref up --stop`), or use another folder.",
            )

    def _clear_unfinished(self) -> None:
        """A first start that was killed leaves half a database, which nobody has used: it is made anew."""
        with told_when_full(self._unfinished):
            if self._unfinished.exists():
                for path in self.data_dir.glob(f"{DATABASE}*"):
                    path.unlink()
            if not (self.data_dir / DATABASE).exists():
                self._unfinished.touch()

    def _read_credentials(self) -> None:
        path = self.data_dir / CREDENTIALS
        if not path.exists() and not (self.data_dir / DATABASE).exists():
            made = {
                "username": "admin@robopref.local",
                "password": secrets.token_urlsafe(12),
                "token": secrets.token_hex(20),
            }
            write_json(path, made, private=True)
        try:
            kept = read_json(path)
            self.username, self.password, self.token = kept["username"], kept["password"], kept["token"]
        except (DataError, KeyError, TypeError):
            raise StudioError(
                f"{path} is missing or unreadable, but the server's database is there.",
                fix=f"Restore it, or delete {self.data_dir} to start over.",
            ) from None

    def _spawn(self) -> None:
        account = {"USERNAME": self.username, "PASSWORD": self.password, "USER_TOKEN": self.token}
        arguments = ["--no-browser", "--data-dir", str(self.data_dir)]
        arguments += ["--internal-host", HOST, "--port", str(self._port)]
        told = environment(self.data_dir, self.document_root, account, plugin=self.plugin, work=self.work)
        self._child.spawn(arguments, told)

    def _answers(self) -> bool:
        """Whether it answers as ours: if another program takes the port, Label Studio moves to the next one."""
        try:
            if not answers(self.url):
                return False
            check_own(self.url, "this project's Label Studio", error=StudioError, fix=PORT_TAKEN)
            header = {"Authorization": f"Token {self.token}"}
            address, known_by = f"{self.url}/api/current-user/whoami", authorities(False)
            known = httpx.get(address, headers=header, timeout=20, trust_env=False, verify=known_by)
        except httpx.HTTPError:
            return False
        if known.status_code in (401, 403):
            raise StudioError(
                f"The Label Studio at {self.url} does not know the token kept in {self.data_dir}.",
                fix="Its users were edited, or another program took the port; delete the folder to start over.",
            )
        return known.is_success


def environment(
    data_dir: Path, document_root: Path, account: dict[str, str], *, plugin: bool, work: Path | None = None
) -> dict[str, str]:
    """Everything the server is told, including its first user's `account` (USERNAME, PASSWORD, USER_TOKEN)."""
    given = {name: os.environ[name] for name in INHERITED if name in os.environ}
    given |= QUIET | {f"LABEL_STUDIO_{name}": value for name, value in account.items()}
    given |= {
        "PYTHONPATH": str(Path(labeling_config.__file__).resolve().parents[1]),
        "PYTHONUNBUFFERED": "1",
        "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "1",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(document_root),
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        "USER_ADDITIONAL_BANNED_SUBNETS": ",".join(banned()),
    }
    given |= {"ROBOPREF_WORK": str(work.resolve())} if work else {}
    return given | ({"DJANGO_SETTINGS_MODULE": SETTINGS} if plugin else {})
