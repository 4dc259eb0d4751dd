"""The console's addresses: who is signed in, the token of a form, pages, actions, files.

    GET  /robopref/console[/PAGE]             a page
    POST /robopref/console/do                 an action: `what`, `subject`, `why`, `version`, `press`, `token`
    GET  /robopref/console/PAGE/KIND/SUBJECT  a file of a page: a clip, a release
    GET  /robopref/console/reports[/BATCH]    the live reports

Label Studio sends managers here (`labeling_config.plugin.console`) with the console's secret and their name. Where
there is no such secret, whoever has the service's password comes here directly, and is called by its user name.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

from flask import Blueprint, Response, g, redirect, request, send_file
from werkzeug.exceptions import HTTPException, NotFound

from labeling_config.contract import CONSOLE, MANAGER_HEADER, SESSION_HEADER
from preference.errors import NotReady, UserError
from preference.pages import render
from preference.workspace import Workspace
from robopref.console import ACTIONS, PAGES
from robopref.console.actions import Forms, Manager, Page, Pressed, Refused, act, token_of

log = logging.getLogger("robopref.service")
COOKIE = "robopref_console"
HEADERS = {"Cache-Control": "private, no-store", "Referrer-Policy": "same-origin", "X-Frame-Options": "SAMEORIGIN"}
NO_SCRIPT = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
"""Of a validation page, which may have come with somebody else's release."""
OWN = ("what", "subject", "why", "version", "press", "token", "page")
"""Fields that every form has."""
CLOSED = (
    "The console opens from Label Studio's menu, for managers. To open it here, set ROBOPREF_SERVICE_PASSWORD and sign "
    "in with it."
)
FAULT = "This is a fault in Robopref; the ML backend's log has the details. Look at the first page for what was done."
FORGED = "This form was not made for your session, so nothing was done. Open the page again and press once more."


def console(ws: Workspace, trusted: Callable[[], bool], report: Callable[[str], Any]) -> Blueprint:
    """All of it, over one workspace.

    Args:
        trusted: Whether the request at hand carries the webhook secret.
        report: A live report's page.
    """
    made = Blueprint("console", __name__, url_prefix=CONSOLE)
    script = files("robopref.console").joinpath("console.js").read_bytes()
    pages: Mapping[str, Page] = {page.name: page for page in PAGES}

    @made.before_request
    def signed_in() -> Response | None:
        g.manager = _manager(ws, trusted())
        return None if g.manager else Response(CLOSED, 403, mimetype="text/plain")

    @made.after_request
    def private(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if g.get("cookie"):
            response.set_cookie(COOKIE, g.cookie, httponly=True, samesite="Strict", path=CONSOLE)
        return response

    @made.get("", defaults={"name": ""})
    @made.get("/<name>")
    def page(name: str):
        return _page(ws, _known(pages, name))

    @made.get("/console.js")
    def javascript():
        return Response(script, mimetype="text/javascript")

    @made.get("/reports")
    @made.get("/reports/<name>")
    def reports(name: str = ""):
        return report(name)

    @made.get("/<name>/<kind>/<path:subject>")
    def file(name: str, kind: str, subject: str):
        found = _known(pages, name).files.get(kind)
        path = found(ws, subject) if found else None
        if path is None or not path.is_file():
            raise NotFound("There is no such file.")
        sent = send_file(path, conditional=True, as_attachment=path.suffix == ".gz", max_age=0)
        if path.suffix == ".html":
            sent.headers.extend(NO_SCRIPT)
        return sent

    @made.post("/do")
    def do():
        form = request.form
        shown = pages.get(form.get("page", ""), PAGES[0])
        try:
            _check_origin(ws)
            action = ACTIONS.get(form.get("what", ""))
            if action is None:
                raise Refused("There is no such action in this version. Nothing was done.")
            more = {name: value for name, value in form.items() if name not in OWN}
            pressed = Pressed(form["what"], form.get("subject", ""), g.manager.name, form.get("why", ""), more)
            number = act(ws, action, pressed, version=form.get("version", ""), press=form.get("press", ""))
        except UserError as error:
            status = error.status if isinstance(error, Refused) else 409 if isinstance(error, NotReady) else 400
            return _page(ws, shown, refused=str(error), status=status)
        place = f"/{shown.name}" if shown.name else ""
        return redirect(f"{CONSOLE}{place}?said={number}", 303)

    @made.errorhandler(HTTPException)
    def failed(error: HTTPException):
        return _page(ws, PAGES[0], refused=error.description or error.name, status=error.code or 500)

    @made.errorhandler(UserError)
    def troubled(error: UserError):
        return Response(render("robopref.console", "trouble.html.jinja", trouble=str(error)), 503)

    @made.errorhandler(Exception)
    def broken(error: Exception):
        log.exception("the console failed")
        return Response(render("robopref.console", "trouble.html.jinja", trouble=FAULT), 500)

    return made


def _known(pages: Mapping[str, Page], name: str) -> Page:
    if name not in pages:
        raise NotFound("There is no such page.")
    return pages[name]


def _manager(ws: Workspace, trusted: bool) -> Manager | None:
    """Whom Label Studio names; where it has no secret to do so with, who has the service's password.

    Label Studio sends that password with each request for predictions, so where there is another way it is not enough.
    """
    if trusted:
        name = unquote(request.headers.get(MANAGER_HEADER, "")).strip()
        return Manager(name, request.headers.get(SESSION_HEADER, "")) if name else None
    service = ws.config.service
    if service.console_secret.get_secret_value() or not service.password.get_secret_value():
        return None
    session = request.cookies.get(COOKIE, "")
    if not session:
        g.cookie = session = secrets.token_urlsafe(18)
    return Manager(ws.config.service.user, session)


def _check_origin(ws: Workspace) -> None:
    """
    Raises:
        Refused: another site sent the form, or it carries another session's token.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Refused(FORGED, 403)
    if not hmac.compare_digest(request.form.get("token", "").encode(), token_of(ws, g.manager).encode()):
        raise Refused(FORGED, 403)


def _page(ws: Workspace, page: Page, *, refused: str = "", status: int = 200) -> Response:
    asked = dict(request.args.items()) if request.method == "GET" else {}
    try:
        facts: dict[str, Any] = page.facts(ws, asked)
    except UserError as error:
        if page is PAGES[0]:
            raise
        return _page(ws, PAGES[0], refused=str(error), status=409)
    html = render(
        "robopref.console",
        page.template,
        forms=Forms(ws, ACTIONS, g.manager),
        page=page,
        pages=PAGES,
        base=CONSOLE,
        clock=f"{datetime.now(UTC):%H:%M}",
        name=ws.config.name,
        refused=refused,
        said=_said(ws, asked.get("said", "")),
        **facts,
    )
    return Response(html, status)


def _said(ws: Workspace, number: str) -> Any:
    """The request that the address names; what it tells comes from the database, never from the address."""
    if not (number.isdecimal() and len(number) < 10):
        return None
    return next((r for r in ws.store.requests(newest=50) if r.request_id == int(number)), None)
