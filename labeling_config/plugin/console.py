"""The manager's console under Label Studio's own address: one login, and the browser talks to Label Studio alone.

A manager's request goes on to the ML backend with a secret that no webhook carries and with the manager's name;
nobody else's does. Where the backend is, Label Studio's environment says: ROBOPREF_SERVICE_URL and
ROBOPREF_CONSOLE_SECRET, or ROBOPREF_WORK, the work folder in which `robopref up` notes both.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from django.http import (  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import render  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
from django.views.decorators.csrf import (  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
    csrf_exempt,
)

from labeling_config.contract import CONSOLE, CONSOLE_HEADER, MANAGER_HEADER, SESSION_HEADER
from labeling_config.plugin.access import is_manager
from preference.embedded import read_servers
from preference.errors import UserError
from preference.listeners import check_own
from preference.tls import authorities

PASSED_ON = ("Content-Type", "Accept", "If-None-Match", "If-Modified-Since", "Range", "Origin", "Sec-Fetch-Site")
HANDED_BACK = (
    "Content-Type", "ETag", "Last-Modified", "Cache-Control", "Retry-After", "Location", "Content-Disposition",
    "Content-Security-Policy", "X-Frame-Options", "Referrer-Policy", "Content-Length", "Content-Range", "Accept-Ranges",
)  # fmt: skip
TIMEOUT = httpx.Timeout(300.0, connect=5.0)
"""Seconds. QC of 100,000 answers takes 20; long work is the worker's."""
NOWHERE = (
    "This Label Studio does not know where the ML backend is. Start both with `robopref up`, or set "
    "ROBOPREF_SERVICE_URL and ROBOPREF_CONSOLE_SECRET in Label Studio's environment."
)
AWAY = "The ML backend does not answer. `robopref up --status` says what runs. Nothing was done."
ENDED = "Your session has ended, so nothing was done. Sign in again, and press once more."


@dataclass(frozen=True)
class Backend:
    """Where the ML backend is, and the secret that it believes."""

    url: str
    secret: str


@csrf_exempt  # every form of the console carries a token of the console's own
def console(request: Any, rest: str = "") -> Any:
    """One page, file or action of the console."""
    if not request.user.is_authenticated:
        if request.method == "POST":
            return _said(request, ENDED, 401)
        return HttpResponseRedirect(f"/user/login/?next={quote(request.get_full_path())}")
    if not is_manager(request.user):
        return _said(request, "This is for managers only.", 403)
    try:
        found = backend()
    except UserError as error:
        return _said(request, str(error), 503)
    if found is None:
        return _said(request, NOWHERE, 503)
    if any(part in ("", ".", "..") for part in rest.rstrip("/").split("/") if rest):
        return _said(request, "There is no such page.", 404)
    return _passed_on(request, found, rest.rstrip("/"))


def backend() -> Backend | None:
    """As the environment says; None where it says nothing.

    Raises:
        UserError: what `robopref up` noted cannot be read, or a program of another user has the ML backend's port.
    """
    url, secret = os.environ.get("ROBOPREF_SERVICE_URL", ""), os.environ.get("ROBOPREF_CONSOLE_SECRET", "")
    if url and secret:
        return Backend(url.rstrip("/"), secret)
    work = os.environ.get("ROBOPREF_WORK", "")
    servers = read_servers(Path(work)) if work else None
    if servers is None:
        return None
    url = f"http://127.0.0.1:{servers.service_port}"
    check_own(url, "the ML backend")
    return Backend(url, servers.console_secret) if servers.console_secret else None


def _passed_on(request: Any, found: Backend, rest: str) -> Any:
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    # Label Studio's sessions are signed cookies, whose key changes with their contents
    session = "\n".join(str(request.session.get(name, "")) for name in ("uid", "_auth_user_id", "_auth_user_hash"))
    headers |= {
        CONSOLE_HEADER: found.secret,
        MANAGER_HEADER: quote(request.user.email),
        SESSION_HEADER: hashlib.sha256(session.encode()).hexdigest(),
        "Accept-Encoding": "identity",
    }
    query = request.META.get("QUERY_STRING", "")
    url = f"{found.url}{CONSOLE}{'/' if rest else ''}{quote(rest)}{'?' if query else ''}{query}"
    client = httpx.Client(timeout=TIMEOUT, trust_env=False, verify=authorities(False))
    try:
        sent = client.build_request(request.method, url, headers=headers, content=request.body)
        reply = client.send(sent, stream=True)
    except httpx.HTTPError:
        client.close()
        return _said(request, AWAY, 502)
    made = StreamingHttpResponse(_body(client, reply), status=reply.status_code)
    for name in HANDED_BACK:
        if name in reply.headers:
            made[name] = reply.headers[name]
    return made


def _body(client: httpx.Client, reply: httpx.Response) -> Iterator[bytes]:
    """A release has hundreds of megabytes, so it goes through piece by piece."""
    try:
        yield from reply.iter_raw()
    finally:
        reply.close()
        client.close()


def _said(request: Any, sentence: str, status: int) -> HttpResponse:
    return render(request, "robopref/console.html", {"sentence": sentence, "sign_in": status == 401}, status=status)
