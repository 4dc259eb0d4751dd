"""What `robopref up` leaves in the background: it starts Label Studio, the ML backend and the worker of one project,
and restarts whatever ends.

It holds work/up.lock for as long as it lives, so there is one at a time. Killed, it takes the three with it
(`robopref.child`); the next one starts them on the same ports.

label_studio/       Label Studio's database and credentials.json, its first user
work/servers.json   addresses and secrets, which every command finds there (`preference.embedded`)
work/.up.json       who is running, or why it could not start
work/*.log          of the supervisor, the ML backend and the worker
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from labeling_config import STUDIO_VERSION
from preference.artifacts import read_json, write_json
from preference.config import Service
from preference.embedded import Servers, read_servers, write_servers
from preference.errors import ConfigError, DataError, DiskFull, NotReady, UserError, installed, needs
from preference.locks import Lock
from preference.workspace import Workspace
from robopref.child import Child, claim_port
from robopref.processes import BackendProcess, Part, WorkerProcess, keep_running
from robopref.studio import CREDENTIALS, DATA_FOLDER, LabelStudioServer

NEEDED_BYTES = 300_000_000
"""Free at the start. Label Studio's first start writes some MB; clips and answers need room as well."""
MOVED = "Another program has the ML backend's port; it has a new one. Run `robopref push`, which tells Label Studio."
NO_WORKER = 'Without the worker, which needs PyTorch: pip install "robopref[ml]", then `robopref up --stop` and `up`.'


@dataclass(frozen=True)
class State:
    """What the supervisor tells other processes; of use only while the lock is taken."""

    pid: int
    ready: bool = False
    """Everything was started."""
    worker: bool = True
    """It is one of the parts."""
    message: str = ""
    fix: str = ""
    """Why it could not start."""
    notes: list[str] = field(default_factory=list)


class Project:
    """The parts of the project of `config`, whoever runs them, and where they keep their files."""

    def __init__(self, config: Path) -> None:
        self.config = config.resolve()
        self.ws = Workspace.open(self.config)
        self.work = self.ws.root
        self.data = self.config.parent / DATA_FOLDER
        self.lock = Lock(self.work / "up.lock")
        self.credentials = self.data / CREDENTIALS
        self._state = self.work / ".up.json"

    def check(self) -> None:
        """What would make the start fail.

        Raises:
            MissingExtra: Label Studio is not installed, and the settings name none that runs elsewhere.
            UserError: they name one without a token; or the disk is full.
        """
        if self.ws.config.embedded:
            needs("label_studio")
        elif not self.ws.config.label_studio.token.get_secret_value():
            raise ConfigError(
                f"label_studio.url names {self.ws.config.label_studio.url}, and there is no token for it.",
                fix="Set ROBOPREF_LABEL_STUDIO_TOKEN, or delete label_studio.url from robopref.toml: then `robopref "
                "up` runs a Label Studio for this project.",
            )
        if (free := shutil.disk_usage(self.work).free) < NEEDED_BYTES:
            raise DiskFull(
                f"Only {free // 10**6} MB are free on the disk of {self.work}; {NEEDED_BYTES // 10**6} MB are needed.",
                fix="Free some space, and run it again.",
            )

    def state(self) -> State | None:
        """What the last supervisor told."""
        try:
            return State(**read_json(self._state))
        except (DataError, TypeError):
            return None

    def running(self) -> State | None:
        """What the supervisor told, if there is one."""
        state = self.state()
        if state is None or not self.lock.taken():
            return None
        with suppress(psutil.Error):  # a pid that is another's now was told by an earlier one
            return state if "up" in psutil.Process(state.pid).cmdline() else None
        return None

    def tell(self, state: State) -> None:
        write_json(self._state, state)

    def supervisor(self) -> Child:
        return Child(("robopref", "up"), self.config, self.work / "up.log", keeps_pid=False)

    def studio(self, port: int | None = None) -> LabelStudioServer:
        root = self.ws.config.label_studio.document_root
        return LabelStudioServer(self.data, Path(root) if root else self.work, port, work=self.work)

    def service(self) -> BackendProcess:
        url = f"http://127.0.0.1:{self.ws.config.service.port}"
        return BackendProcess(self.config, url, self.work / "service.log")

    def worker(self) -> WorkerProcess:
        return WorkerProcess(self.config, self.work / "worker.log")


def supervise(config: Path, *, port: int | None = None, worker: bool = True) -> None:
    """Start everything and keep it running until interrupted or told to end.

    Args:
        port: Label Studio's; None = the one that it had, or a free one.

    Raises:
        NotReady: another one runs.
        UserError: a port is taken, or a part did not start. What was started is stopped.
    """
    project = Project(config)
    project.check()
    if not project.lock.take(patience_s=1.0):
        raise NotReady(f"`robopref up` runs already for {project.work}.", fix="`robopref up --status` says where.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as ends:
        ends.callback(project.lock.release)
        try:
            project.tell(State(os.getpid()))
            parts, notes = _start(project, port, worker, ends)
        except UserError as error:
            project.tell(State(os.getpid(), message=error.message, fix=error.fix))
            raise
        with_worker = any(isinstance(part, WorkerProcess) for part in parts)
        project.tell(State(os.getpid(), ready=True, worker=with_worker, notes=notes))
        keep_running(parts)


def _start(project: Project, port: int | None, worker: bool, ends: ExitStack) -> tuple[list[Part], list[str]]:
    parts: list[Part] = []
    notes: list[str] = []

    def begin(part: Part) -> None:
        ends.callback(part.stop)
        part.start()
        parts.append(part)

    if project.ws.config.embedded:
        kept = read_servers(project.work)
        studio = project.studio(port or (urlsplit(kept.studio_url).port if kept else None))
        begin(studio)
        at = service_port(project, kept)
        if kept and kept.service_port != at:
            notes.append(MOVED)
            kept = None  # who took the old port is sent the old secrets until the next push
        write_servers(
            project.work,
            Servers(
                studio_url=studio.url,
                token=studio.token,
                service_port=at,
                password=kept.password if kept else secrets.token_urlsafe(24),
                webhook_secret=kept.webhook_secret if kept else secrets.token_urlsafe(24),
                console_secret=(kept.console_secret if kept else "") or secrets.token_urlsafe(24),
            ),
        )
        project = Project(project.config)  # which finds them
        notes += other_version()
    begin(project.service())
    if worker and installed("torch") and installed("timm"):
        begin(project.worker())
    elif worker:
        notes.append(NO_WORKER)
    return parts, notes


def service_port(project: Project, kept: Servers | None) -> int:
    """The one that the settings name, or that it had if that is free, or a free one."""
    service = project.service()
    service.end_stale()
    wanted = project.ws.config.service.port
    if wanted not in (Service().port, kept.service_port if kept else None):
        return wanted
    try:
        return claim_port(kept.service_port if kept else None, service.name)
    except UserError:
        return claim_port(None, service.name)


def other_version() -> list[str]:
    """A sentence where Label Studio is not the one that the plugin was tested with."""
    if (found := version("label-studio")) == STUDIO_VERSION:
        return []
    return [
        f"Label Studio {found} is installed, and the plugin was tested with {STUDIO_VERSION}. Install that one (pip "
        f"install label-studio=={STUDIO_VERSION}), or see what differs with `robopref doctor`."
    ]
