"""The page behind an invitation: GET shows a button, POST makes the account, and later both show how far it is.

Only there where `annotators.outside` is set. It asks for no password, as the link is signed; how often one link, and
all together, may be tried is limited. A look at the link (by a mail program, say) makes nothing.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from flask import Blueprint, Response, request

from importer.studio.participants import PATH, join, key_of, participant_of
from preference.errors import UserError
from preference.pages import render
from preference.workspace import Workspace

PER_LINK, TOGETHER, WINDOW_S = 20, 120, 3600.0
"""Requests with one participant's link, and with all, in an hour."""


class Limit:
    """Counts requests of the last hour; safe to share by threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seen: dict[str, deque[float]] = defaultdict(deque)

    def takes(self, participant: str) -> bool:
        """Whether one more request with this participant's link is taken; then it counts."""
        with self._lock:
            now = self._clock()
            for times in self._seen.values():
                while times and now - times[0] > WINDOW_S:
                    times.popleft()
            self._seen = defaultdict(deque, {key: times for key, times in self._seen.items() if times})
            together = sum(len(times) for times in self._seen.values())
            if len(self._seen[participant]) >= PER_LINK or together >= TOGETHER:
                return False
            self._seen[participant].append(now)
            return True


def invitations(ws: Workspace) -> Blueprint:
    pages, limit = Blueprint("join", __name__), Limit()

    @pages.route(PATH, methods=["GET", "POST"])
    def enter() -> Response:
        values = request.values
        participant, key = values.get("participant", "")[:80], values.get("key", "")[:80]
        if not _is_ours(ws, participant, key):  # and so uses up nobody's tries
            return _page(403, trouble=NOT_OURS)
        if not limit.takes(participant.lower()):  # not the address, which behind a proxy is everybody's
            return _page(429, trouble="Too many tries. Come back in an hour.")
        if request.method == "GET":
            return _page(200, participant=participant, key=key)
        try:
            account = join(ws, participant, key)
        except UserError as error:
            return _page(503, trouble=error.message)
        return _page(200, account=account) if account else _page(403, trouble=NOT_OURS)

    return pages


NOT_OURS = "This link is not valid. Copy it whole, or ask whoever invited you."


def _is_ours(ws: Workspace, participant: str, key: str) -> bool:
    try:
        return hmac.compare_digest(key.encode(), key_of(ws, participant_of(participant)).encode())
    except UserError:
        return False


def _page(status: int, **values: object) -> Response:
    known = {"account": None, "trouble": "", "participant": "", "key": ""}
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
               "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
               "frame-ancestors 'none'"}  # fmt: skip
    return Response(render("robopref", "join.html.jinja", **(known | values)), status, headers)
