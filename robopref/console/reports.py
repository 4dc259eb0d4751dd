"""The quality reports for managers, each made when somebody asks: a name comes in, a page comes out.

The name is a batch's, `live` for all answers so far, or empty for the list. A batch's page is made by a process of its
own, at low priority: for 100,000 answers that takes 20 s, and webhooks are answered meanwhile. One page is made at a
time; who asks is told that it is being made, and the browser asks again. A page is kept until the database says
something else, and a little longer where it took long.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime

from preference.config import Config
from preference.errors import NotReady, UserError
from preference.pages import render
from preference.work import in_a_process
from preference.workspace import Workspace
from qc_reports.qc import check_all, check_batch

HOME = "../reports"
"""The list, from a report's page: the console shows both at an address of its own."""
LIVE = "live"
AGAIN_S = 2
"""After so long the browser asks again for a page that is being made."""
KEPT = 8
"""Pages; some 3 MB each with its filmstrips."""
PATIENCE_S = 1.5
"""How long who asks is kept waiting before a page says that there is something to wait for."""
LINGERS = 3
"""A page is shown until it is so many times as old as it took to make: while people answer, a page for 100,000 answers
is old as soon as it is made."""


def report_page(config: Config, name: str) -> str:
    """The page of a batch, or of all answers so far for `live`; the list with a note where nobody has answered.

    It runs in a process of its own, so it takes the settings and opens the workspace for itself.
    """
    ws = Workspace(config)
    try:
        if name != LIVE:
            return check_batch(ws, name).page(ws, home=HOME, as_of=_now())
        seen = check_all(ws)
        if not seen.answers:
            return list_page(ws, "Nobody has answered yet.")
        steps = [("Open the report of a batch: each is decided by itself.", "")]
        return seen.page(ws, home=HOME, as_of=_now(), subject="Everything so far", steps=steps)
    except NotReady as error:
        return list_page(ws, error.message)
    finally:
        ws.store.close()


def being_made(ws: Workspace, name: str) -> str:
    """The list, saying that the page is being made; the browser asks again by itself."""
    what = "of everything so far" if name == LIVE else f"of {name}"
    return list_page(ws, f"The page {what} is being made; it opens by itself when it is there.", again_s=AGAIN_S)


def list_page(ws: Workspace, note: str = "", *, again_s: int = 0) -> str:
    """The list of all batches with how far each is.

    Args:
        again_s: The browser asks every so many seconds whether the page is there, and then opens it; 0 = never.
    """
    return render(
        "robopref.console",
        "reports.html.jinja",
        name=ws.config.name,
        note=note,
        again_s=again_s,
        nonce=secrets.token_urlsafe(12),
        batches=ws.store.batches(calibration=False)[::-1],
        progress=ws.store.progress_by_batch(),
    )


def _now() -> str:
    return f"as of {datetime.now(UTC):%H:%M} UTC"


@dataclass(frozen=True)
class Page:
    html: str
    etag: str
    """Changes with the database only."""
    ready: bool = True
    """False for the page that says that the one asked for is being made."""


@dataclass(frozen=True)
class _Made:
    page: Page
    begun: float
    ended: float


@dataclass
class _Making:
    name: str
    etag: str
    begun: float
    html: Future[str]
    ended: float | None = None
    """When it was there, which may be long before anybody asks again."""


def _start(config: Config, name: str) -> Future[str]:
    return in_a_process(report_page, config, name)


class LiveReports:
    """The pages of one workspace; safe to share between threads.

    Args:
        start: Begins to make a page.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self,
        ws: Workspace,
        *,
        start: Callable[[Config, str], Future[str]] = _start,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ws = ws
        self._start = start
        self._clock = clock
        self._kept: dict[str, _Made] = {}
        self._making: _Making | None = None
        self._lock = threading.Lock()

    def page(self, name: str) -> Page | None:
        """The page of that name; None where there is no such batch.

        Raises:
            UserError: it could not be made.
        """
        etag = hashlib.sha256(f"{name} {self._ws.store.pulse()}".encode()).hexdigest()[:32]
        if not name:
            return Page(list_page(self._ws), etag)
        if name != LIVE and name not in {b.batch_id for b in self._ws.store.batches(calibration=False)}:
            return None
        with self._lock:
            self._collect(name)
            if found := self._fresh(name, etag):
                return found
            if self._making is None:
                self._making = self._begin(name, etag)
            making = self._making
        wait([making.html], timeout=PATIENCE_S)
        with self._lock:
            self._collect(name)
            return self._fresh(name, making.etag) or Page(being_made(self._ws, name), "", ready=False)

    def _begin(self, name: str, etag: str) -> _Making:
        making = _Making(name, etag, self._clock(), self._start(self._ws.config, name))

        def ended(_: Future[str]) -> None:
            making.ended = self._clock()

        making.html.add_done_callback(ended)
        return making

    def _fresh(self, name: str, etag: str) -> Page | None:
        made = self._kept.get(name)
        if made is None:
            return None
        lingers = self._clock() - made.begun < LINGERS * (made.ended - made.begun)
        return made.page if made.page.etag == etag or lingers else None

    def _collect(self, name: str) -> None:
        """Keep what has been made since; a failure is told to who asks for that page, and the next one may be made."""
        making = self._making
        if making is None or not making.html.done():
            return
        self._making = None
        try:
            html = making.html.result()
        except BrokenProcessPool:
            if making.name == name:
                raise UserError(
                    f"The page of {name} could not be made: its process was killed, possibly for lack of memory.",
                    fix=f"`robopref qc --batch {name}` makes it on another machine." if name != LIVE else "",
                ) from None
            return
        except Exception:
            if making.name == name:
                raise
            return
        self._kept.pop(making.name, None)
        ended = self._clock() if making.ended is None else making.ended
        self._kept[making.name] = _Made(Page(html, making.etag), making.begun, ended)
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
