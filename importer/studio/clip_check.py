"""Would an annotator see the clips? One clip of a pushed task is fetched on the way that their browser takes.

A workspace goes in; None comes out, or an error that names what answered and the setting to correct. Nothing that push
or Label Studio says before tells it: a server without a document root takes the tasks and answers 404 for every clip.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx

from importer.studio.client import LabelStudio, connect
from importer.studio.push import credentials
from importer.studio.queues import clip_url
from importer.studio.users import annotator_session
from preference.config import Config
from preference.errors import StudioError
from preference.records import Trajectory
from preference.workspace import Workspace

BEGINNING = {"Range": "bytes=0-1023"}
TIMEOUT_S = 30.0


def clip_trouble(ws: Workspace, studio: LabelStudio | None = None) -> StudioError | None:
    """What keeps annotators from seeing the newest task's clip; None if they see it, or if there is no task yet.

    Raises:
        StudioError: Label Studio is down or refuses us.
    """
    studio = studio or connect(ws)
    newest = max((row for row in ws.store.tasks()), key=lambda row: row[3], default=None)
    if newest is None:
        return None
    name, batch_id, _, task_id = newest
    view = next(v for v in ws.store.assignments(batch_id) if v.assignment.task_id == task_id)
    shown = view.pair.trajectory_a_id if view.assignment.left == "A" else view.pair.trajectory_b_id
    clip = next(t for t in ws.store.trajectories() if t.trajectory_id == shown)
    email = next(a.email for a in ws.store.annotators() if a.annotator_id == name)
    where, said = _answer(ws, studio, task_id, clip, email)
    if not said:
        return None
    return StudioError(f"Annotators cannot see the clips: {where} answers {said}.", fix=_fix(ws.config))


def _answer(ws: Workspace, studio: LabelStudio, task_id: int, clip: Trajectory, email: str) -> tuple[str, str]:
    """The address of the clip and what is wrong with the answer, in words; empty if it is a clip."""
    address = clip_url(clip, ws.config)
    try:
        if address.startswith(("http://", "https://")):
            options: Any = {"headers": BEGINNING, "timeout": TIMEOUT_S, "follow_redirects": True}
            return address, _wrong(httpx.stream("GET", address, **options))
        if ws.config.label_studio.clips != "url" and studio.plugin_health() is not None:
            path = f"/robopref/clips/{task_id}/left"
            return f"{studio.url}{path}", _wrong(studio.stream(path, BEGINNING))
        password = credentials(ws).get(email.lower())
        if password is None:
            return "", ""  # an account that push did not make: nobody here can look with its eyes
        if address.startswith("s3://"):
            address = f"/tasks/{task_id}/resolve/?fileuri={b64encode(address.encode()).decode()}"
        with annotator_session(studio.url, email, password) as session:
            return f"{studio.url}{address}", _wrong(session.stream("GET", address, headers=BEGINNING))
    except httpx.HTTPError as error:
        return address, type(error).__name__


def _wrong(asked: AbstractContextManager[httpx.Response]) -> str:
    """What is wrong with the answer. A server that ignores Range sends the whole clip: only its beginning is read."""
    with asked as answer:
        if answer.status_code not in (200, 206):
            return f"HTTP {answer.status_code}"
        kind = answer.headers.get("content-type", "")
        if kind.startswith(("text/", "application/json")):
            return f"with {kind.partition(';')[0]} instead of a video"
        return "" if next(answer.iter_raw(), b"") else "with an empty file"


def _fix(config: Config) -> str:
    settings = config.label_studio
    if settings.clips == "url":
        return f"Correct label_studio.clips_url ({settings.clips_url}), or put the files of work/clips there."
    if settings.clips == "s3":
        return (
            "Correct label_studio.s3 (bucket, endpoint, keys), run `robopref push` again, and see Label Studio's log."
        )
    root = Path(settings.document_root or config.work).resolve()
    return (
        "Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root} (label_studio.document_root names the same folder)."
    )
