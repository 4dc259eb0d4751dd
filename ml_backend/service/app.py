"""The ML backend that Label Studio talks to, as a Flask application factory.

    GET  /health        is it up, and with which model
    POST /setup         Label Studio introduces a project; answered with the model version
    POST /predict       tasks → one score each and an empty result: ranks, pre-selects nothing
    POST /webhook       notes which task changed and returns: `hints` asks Label Studio about it; never trains
    GET  /versions      the model versions
    GET  /metrics       for Prometheus
    GET  /              the same for a person
    GET  /openapi.json  all of this for programs

`robopref.service` adds what managers read and do in a browser.

A task's score is a place in the annotator's queue: the lowest is served first. /setup hands us a token of the user's:
it is neither kept nor logged. Label Studio waits at most 3 s for /setup and 1 s for /webhook, and its webhooks carry
no Basic auth, so they carry a secret header instead.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from importlib.resources import files
from typing import Any, NoReturn, TypeVar

from flask import Flask, Response, jsonify, request
from pydantic import SecretStr
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from importer.studio.hints import Hints
from importer.studio.participants import PATH
from labeling_config.contract import CONSOLE, CONSOLE_HEADER, SECRET_HEADER
from ml_backend.loop.queue_order import QueueScores, version_in_use
from ml_backend.service.metrics import METRICS_TYPE, Metrics, status_page
from preference.errors import DataError, UserError
from preference.logs import HEADER, new_request_id, request_id, tell
from preference.logs import request as logged_request
from preference.workspace import Workspace

T = TypeVar("T")
MAX_BODY = 8 * 1024 * 1024
"""Bytes. Label Studio posts a whole batch of tasks at once; this is some three thousand of ours."""
QUIET = ("health", "prometheus")
"""Asked every few seconds by whoever watches: a line for each would bury the others."""
MACHINES = ("/setup", "/predict", "/webhook", "/versions", "/openapi.json")
"""What Label Studio and programs call; where there is no password, the webhook secret stands for it here alone."""
log = logging.getLogger("robopref.service")


def create_app(ws: Workspace, hints: Hints | None = None) -> Flask:
    """The service over one workspace; each call makes an app of its own.

    Args:
        hints: Where webhooks leave what they name; default: one that asks the workspace's Label Studio.
    """

    app = Flask("robopref", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    hints = hints or Hints(ws)
    metrics = Metrics(hints)
    _measure(app, metrics)
    _guard(app, ws)
    _answer_label_studio(app, ws, QueueScores(ws), hints, metrics)
    _answer_people(app, ws, metrics)
    _answer_mistakes(app)
    return app


def _measure(app: Flask, metrics: Metrics) -> None:
    """Each request has an id, is counted, and is one line of the log. Addresses are not logged: /join's is a secret."""

    inner = app.wsgi_app

    def identified(environ: dict[str, Any], start_response: Any) -> Any:
        with logged_request(new_request_id(environ.get("HTTP_X_REQUEST_ID"))):
            return inner(environ, start_response)

    app.wsgi_app = identified  # pyright: ignore[reportAttributeAccessIssue]

    @app.before_request
    def start() -> None:
        request.environ["robopref.start"] = time.perf_counter()

    @app.after_request
    def measure(response: Response) -> Response:
        elapsed = time.perf_counter() - request.environ.get("robopref.start", time.perf_counter())
        endpoint, code = request.endpoint or "unknown", response.status_code
        metrics.answered(endpoint, code, elapsed)
        if endpoint not in QUIET or code >= 400:
            tell(log, "request", method=request.method, endpoint=endpoint, status=code, ms=round(1000 * elapsed, 1))
        response.headers[HEADER] = request_id()
        return response


def _guard(app: Flask, ws: Workspace) -> None:
    """Nobody past /health without the password; webhooks and the console carry a secret of their own instead."""

    @app.before_request
    def check() -> Response | None:
        if (request.content_length or 0) > MAX_BODY:
            raise RequestEntityTooLarge(f"a body may have {MAX_BODY} bytes")
        invited = request.path == PATH and ws.config.annotators.outside
        if request.path == "/health" or invited or _password_fits(request, ws):
            return None
        service = ws.config.service
        if request.path == "/webhook" and fits(request.headers.get(SECRET_HEADER), service.webhook_secret):
            return None
        if request.path.startswith(CONSOLE) and fits(request.headers.get(CONSOLE_HEADER), service.console_secret):
            return None
        said = '{"error": "credentials are missing or wrong"}\n'
        return Response(said, 401, {"WWW-Authenticate": 'Basic realm="robopref"'}, mimetype="application/json")


def _answer_label_studio(app: Flask, ws: Workspace, scores: QueueScores, hints: Hints, metrics: Metrics) -> None:
    @app.get("/health")
    def health():
        return jsonify(status="UP", model_class="Robopref", model_version=version_in_use(ws))

    @app.post("/setup")
    def setup():
        _body()
        return jsonify(model_version=version_in_use(ws))

    @app.post("/predict")
    def predict():
        tasks = [_object(task) for task in _list(_body().get("tasks"))]
        version, places = scores.of(tasks)
        results = [{"result": [], "score": score, "model_version": version} for score in places]
        return jsonify(results=results, model_version=version)

    @app.post("/webhook")
    def webhook():
        event = _body()
        if event.get("action") == "START_TRAINING":
            ws.store.request_training()
            tell(log, "training requested")
        else:
            hints.note(event)
        metrics.heard(event.get("action"))
        return jsonify(status="ok"), 201

    @app.get("/versions")
    def versions():
        return jsonify(versions=[record.version for record in ws.store.model_versions()])


def _answer_people(app: Flask, ws: Workspace, metrics: Metrics) -> None:
    document = files("ml_backend.service").joinpath("openapi.json").read_bytes()

    @app.get("/metrics")
    def prometheus():
        return Response(metrics.text(ws), content_type=METRICS_TYPE)

    @app.get("/")
    def index():
        return Response(status_page(ws))

    @app.get("/openapi.json")
    def openapi():
        return Response(document, mimetype="application/json")


def _answer_mistakes(app: Flask) -> None:
    """Every error is JSON, and none shows a traceback to a client."""

    @app.errorhandler(Exception)
    def failed(error: Exception):
        if isinstance(error, HTTPException):
            kept = {name: value for name, value in error.get_headers() if name.lower() == "allow"}
            return jsonify(error=error.description or error.name), error.code or 500, kept
        if isinstance(error, DataError):
            return jsonify(error=error.message), 400
        if isinstance(error, (UserError, OSError)):
            log.warning("%s", error)
            return jsonify(error=str(getattr(error, "message", "the disk or the network is in trouble"))), 503
        log.exception("request failed")
        return jsonify(error="internal error; see the service's log"), 500


def _body() -> dict[str, Any]:
    """The request's JSON object; NaN, and nesting without end, are no JSON."""

    if not request.is_json:
        raise UnsupportedMediaType("expected Content-Type: application/json")
    try:
        return _object(json.loads(request.get_data(cache=False), parse_constant=_refuse))
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _object(value: Any) -> dict[str, Any]:
    return _expect(dict, value)


def _list(value: Any) -> list[Any]:
    return _expect(list, value)


def _expect(kind: type[T], value: Any) -> T:
    """`value` where it is of the kind; anything else is the client's mistake."""

    if not isinstance(value, kind):
        raise BadRequest(f"expected a JSON {'object' if kind is dict else 'array'}, found {type(value).__name__}")
    return value


def fits(found: str | None, secret: SecretStr) -> bool:
    expected = secret.get_secret_value()
    return bool(expected) and hmac.compare_digest((found or "").encode(), expected.encode())


def _password_fits(request: Any, ws: Workspace) -> bool:
    """Both halves are compared, so that the time taken tells neither; nothing configured = nothing to check."""
    service = ws.config.service
    if not service.login:
        return True
    password = service.login if request.path in MACHINES else service.password.get_secret_value()
    given = request.authorization
    user = hmac.compare_digest(str(getattr(given, "username", "")).encode(), service.user.encode())
    secret = hmac.compare_digest(str(getattr(given, "password", "")).encode(), password.encode())
    return user and secret and bool(password)
