"""What `robopref serve` runs: the ML backend that Label Studio talks to, and beside it what people open in a browser.

    GET  /reports       quality reports: the list, /reports/BATCH, /reports/live for all answers so far
    GET  /join          where `annotators.outside` is set: makes the account of whoever has a signed invitation
    /robopref/console   the manager's console (`robopref.console`)

All other addresses are those of `ml_backend.service.app`, which also keeps out whoever has no password.
"""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

from importer.studio.hints import Hints
from labeling_config.contract import CONSOLE_HEADER
from ml_backend.service import app as ml_backend
from preference.errors import UserError
from preference.work import console
from preference.workspace import Workspace
from robopref.console import routes
from robopref.console.reports import AGAIN_S, LiveReports
from robopref.join import invitations

PATIENCE_S = 5.0
"""How long the service waits for other writers of the database. Label Studio gives up after that, and the next pull
brings what could not be stored."""


def create_app(ws: Workspace, hints: Hints | None = None) -> Flask:
    """The whole service over one workspace; each call makes an app of its own.

    Args:
        hints: As the ML backend takes them.
    """
    app, reports = ml_backend.create_app(ws, hints), LiveReports(ws)

    @app.get("/reports")
    @app.get("/reports/<name>")
    def report(name: str = ""):
        page = reports.page(name)
        if page is None:
            raise NotFound("there is no such batch")
        headers = {"Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer"}
        if not page.ready:
            return Response(page.html, 202, headers={**headers, "Retry-After": str(AGAIN_S)})
        response = Response(page.html, headers=headers)
        response.set_etag(page.etag)
        return response.make_conditional(request)

    def trusted() -> bool:
        return ml_backend.fits(request.headers.get(CONSOLE_HEADER), ws.config.service.console_secret)

    app.register_blueprint(routes.console(ws, trusted, report))
    if ws.config.annotators.outside:
        app.register_blueprint(invitations(ws))
    return app


def serve(ws: Workspace) -> None:
    """Serve it with waitress until interrupted.

    Raises:
        UserError: the port is taken, or other machines could reach the service and no password is set.
    """
    from waitress.server import create_server

    host, port = ws.config.service.host, ws.config.service.port
    if host not in ("127.0.0.1", "localhost", "::1") and not ws.config.service.login:
        raise UserError(
            f"Other machines can reach service.host = {host}, and neither a password nor a webhook secret is set.",
            fix="Set ROBOPREF_SERVICE_PASSWORD (and ROBOPREF_WEBHOOK_SECRET), or serve on 127.0.0.1.",
        )
    app, most = create_app(ws), ml_backend.MAX_BODY + 1
    try:
        server = create_server(app, host=host, port=port, threads=8, ident=None, max_request_body_size=most)
    except OSError as error:
        raise UserError(
            f"The ML backend cannot listen on {host}:{port}: {error.strerror}.",
            fix="Another program may be using the port; choose a different service.port in robopref.toml.",
        ) from None
    console.print(f"ML backend on http://{host}:{port}; press Ctrl-C to stop.")
    server.run()
    raise KeyboardInterrupt  # waitress handles Ctrl-C itself and returns; nothing else ends its loop
