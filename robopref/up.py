"""`robopref up`, `--status` and `--stop`: the supervisor of a project in the background, from any terminal.

    robopref up  ──starts──>  supervisor  ──restarts──>  Label Studio · ML backend · worker

The supervisor is `robopref up --foreground` (`robopref.supervisor`). It is on a lifeline until all three run: if
`robopref up` is killed before that, nothing stays behind.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from preference.embedded import read_servers
from preference.errors import UserError
from preference.work import console
from robopref.child import Child, answers, end
from robopref.processes import BackendProcess, WorkerProcess
from robopref.studio import LabelStudioServer
from robopref.supervisor import Project, State

LONGEST_START_S = 900.0
LONGEST_RESTART_S = 90.0
"""Of a part that crashed a moment ago."""
LONGEST_STOP_S = 45.0


@dataclass(frozen=True)
class PartStatus:
    """Label Studio, the ML backend or the worker."""

    name: str
    running: bool
    """Its process is there and, where it has an address, answers."""
    url: str
    """On this machine; empty for the worker."""
    pid: int | None
    log: Path | None


@dataclass(frozen=True)
class Status:
    """What runs of a project, and where."""

    up: bool
    """Everything runs that should."""
    studio: str
    """Label Studio's address, ours or not."""
    parts: list[PartStatus]
    credentials: Path | None
    """The private file with the manager's login; None where Label Studio is not ours."""
    first: bool
    """This call made Label Studio's database and its manager."""
    notes: list[str]


def start(config: Path, *, port: int | None = None, worker: bool = True) -> Status:
    """Start what does not run yet, and return when everything answers.

    Args:
        port: Label Studio's; None = the one that it had, or a free one.

    Raises:
        UserError: it could not start, or runs on another port.
    """
    project = Project(config)
    project.check()
    if port and not project.ws.config.embedded:
        raise UserError(
            f"--port has no effect on a Label Studio of your own ({project.ws.config.label_studio.url}).",
            fix="Leave it out.",
        )
    first = project.ws.config.embedded and read_servers(project.work) is None
    if not project.lock.taken():
        console.print(f"Starting{' (the first start takes about 40 seconds)' if first else ''} …", highlight=False)
        try:
            launch(project, port=port, worker=worker).leave_running()
        except UserError:
            if not project.lock.taken():  # otherwise another `robopref up` came first
                raise
    _wait_until_ready(project)
    deadline = time.monotonic() + LONGEST_RESTART_S
    while not (found := status(config)).up and time.monotonic() < deadline:
        time.sleep(0.5)
    found = replace(found, first=first)
    if port and urlsplit(found.studio).port != port:
        raise UserError(f"Label Studio is up already, at {found.studio}.", fix="Run `robopref up --stop` first.")
    return found


def launch(project: Project, *, port: int | None = None, worker: bool = True) -> Child:
    """The supervisor, once everything answers. It ends with us, unless we `leave_running`.

    Raises:
        UserError: something could not start.
    """
    child = project.supervisor()
    arguments = ["--foreground", "--config", str(project.config), *(["--port", str(port)] if port else [])]
    child.spawn([*arguments, *([] if worker else ["--no-worker"])], os.environ)
    own = child.pid

    def told() -> State | None:
        state = project.state()
        return state if state and state.pid == own else None

    try:
        child.wait_until(lambda: bool((s := told()) and s.ready), timeout_s=LONGEST_START_S, name="`robopref up`")
    except BaseException as error:
        child.stop(LONGEST_STOP_S)
        if isinstance(error, UserError) and (state := told()) and state.message:
            raise UserError(state.message, fix=state.fix) from None
        raise
    return child


def _wait_until_ready(project: Project) -> None:
    """Another process may be starting everything just now."""
    deadline = time.monotonic() + LONGEST_START_S
    while not ((state := project.running()) and state.ready):
        if not project.lock.taken() or time.monotonic() > deadline:
            raise UserError("Another `robopref up` was under way, and could not start.", fix="Run it again.")
        time.sleep(0.2)


def status(config: Path) -> Status:
    """What runs now, whoever started it."""
    project = Project(config)
    state = project.running()
    settings = project.ws.config
    service, worker = project.service(), project.worker()
    parts = [_part(service, service.url), _part(worker, "")]
    if state and not state.worker:
        parts.pop()
    if settings.embedded:
        parts.insert(0, _part(project.studio(), settings.label_studio.url))
    return Status(
        up=bool(state and state.ready and all(part.running for part in parts)),
        studio=settings.label_studio.url,
        parts=parts,
        credentials=project.credentials if settings.embedded else None,
        first=False,
        notes=state.notes if state else [],
    )


def _part(process: LabelStudioServer | BackendProcess | WorkerProcess, url: str) -> PartStatus:
    found = process.found()
    running = found is not None and (not url or answers(url))
    return PartStatus(
        process.name.removeprefix("The "), running, url if found else "", found.pid if found else None, process.log
    )


def stop(config: Path) -> bool:
    """End everything that runs; whether anything did.

    Raises:
        UserError: something that is no supervisor of ours keeps the project's lock.
    """
    project = Project(config)
    ended = False
    deadline = time.monotonic() + LONGEST_STOP_S
    while project.lock.taken():
        if state := project.running():
            end(psutil.Process(state.pid), LONGEST_STOP_S)
            ended = True
        elif time.monotonic() > deadline:
            raise UserError(
                f"{project.lock.path} has been locked for {LONGEST_STOP_S:g} s, but not by `robopref up`.",
                fix="Find the program that has this file open (`lsof FILE`) and end it; then run this again.",
            )
        time.sleep(0.1)
    for part in (project.studio(), project.service(), project.worker()):  # of a supervisor that was just killed
        ended = ended or part.found() is not None
        part.end_stale()
    return ended
