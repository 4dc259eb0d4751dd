"""The ML backend that Label Studio talks to, as a Flask application factory.

    GET  /health    is it up, and with which model
    POST /setup     Label Studio introduces a project; answered with the model version
    POST /predict   tasks → one score each and an empty result: ranks, pre-selects nothing
    POST /webhook   stores the judgment and returns; never trains (the worker does)
    GET  /versions  the model versions
    GET  /metrics   for Prometheus
    GET  /          the same for a person

A task's score is a place in the annotator's queue: the lowest is served first. /setup hands us a token of the user's:
it is neither kept nor logged. Label Studio waits at most 3 s for /setup and 1 s for /webhook, and its webhooks carry
no Basic auth, so they carry a secret header instead.
"""

from __future__ import annotations

import hmac
import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

from importer.queues import SECRET_HEADER
from ml_backend.queue_scores import QueueScores
from ml_backend.worker import TRAINING_REQUEST
from preference.errors import UserError
from preference.workspace import Workspace

if TYPE_CHECKING:
    from flask import Flask

T = TypeVar("T")
MAX_BODY = 32 * 1024 * 1024
"""Label Studio posts a whole batch of tasks at once; 32 MiB is some ten thousand of ours."""
log = logging.getLogger("robopref.service")


def create_app(ws: Workspace) -> Flask:
    """The service over one workspace; each call makes an app of its own."""
    from flask import Flask

    app = Flask("robopref")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    _guard(app, ws)
    _answer_label_studio(app, ws, QueueScores(ws))
    _answer_people(app, ws)
    _answer_mistakes(app)
    return app


def _guard(app: Flask, ws: Workspace) -> None:
    """Nobody past /health without the password; for webhooks, which carry none, the secret header will do."""
    from flask import Response, request

    @app.before_request
    def check() -> Response | None:
        if request.path == "/health" or _password_fits(request.authorization, ws):
            return None
        if request.path == "/webhook" and _secret_fits(request.headers.get(SECRET_HEADER), ws):
            return None
        return Response('{"error": "credentials are missing or wrong"}', 401, {"WWW-Authenticate": "Basic"})


def _answer_label_studio(app: Flask, ws: Workspace, scores: QueueScores) -> None:
    from flask import jsonify, request

    @app.get("/health")
    def health():
        return jsonify(status="UP", model_class="Robopref", model_version=scores.version())

    @app.post("/setup")
    def setup():
        return jsonify(model_version=scores.version())

    @app.post("/predict")
    def predict():
        tasks = [_object(task) for task in _list(_object(request.get_json()).get("tasks"))]
        version = scores.version()
        results = [{"result": [], "score": score, "model_version": version} for score in scores.of(tasks)]
        return jsonify(results=results, model_version=version)

    @app.post("/webhook")
    def webhook():
        _take_event(ws, _object(request.get_json()))
        return jsonify(status="ok"), 201

    @app.get("/versions")
    def versions():
        return jsonify(versions=[record.version for record in ws.store.model_versions()])


def _take_event(ws: Workspace, event: dict[str, Any]) -> None:
    """Store what one webhook says; events that do not concern us pass."""
    from importer.annotations import delete_annotations, record_annotations

    action = event.get("action")
    if action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED"):
        annotation = dict(_object(event.get("annotation")))
        if "task" not in annotation and isinstance(event.get("task"), dict):
            annotation["task"] = event["task"].get("id")
        record_annotations(ws.store, [annotation])
    elif action == "ANNOTATIONS_DELETED":
        ids = [_object(item).get("id") for item in _list(event.get("annotations"))]
        delete_annotations(ws.store, [identifier for identifier in ids if isinstance(identifier, int)])
    elif action == "START_TRAINING":
        (ws.root / TRAINING_REQUEST).touch()


def _answer_people(app: Flask, ws: Workspace) -> None:
    from flask import Response, render_template_string, request
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, Histogram, generate_latest

    registry = CollectorRegistry()
    seconds = Histogram("robopref_request_seconds", "Time to answer", ["endpoint", "status"], registry=registry)
    judgments = Gauge("robopref_judgments", "Judgments in the database", registry=registry)
    waiting = Gauge("robopref_open_assignments", "Assignments without an answer", registry=registry)
    pairs = Gauge("robopref_model_preferences", "Labelled pairs of a model", ["version"], registry=registry)

    @app.before_request
    def start() -> None:
        request.environ["robopref.start"] = time.perf_counter()

    @app.after_request
    def measure(response: Response) -> Response:
        elapsed = time.perf_counter() - request.environ.get("robopref.start", time.perf_counter())
        seconds.labels(request.endpoint or "unknown", str(response.status_code)).observe(elapsed)
        return response

    @app.get("/metrics")
    def metrics():
        status = _status(ws)
        judgments.set(status["judgments"])
        waiting.set(status["open"])
        for model in status["models"]:
            pairs.labels(model["version"]).set(model["preferences"])
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    @app.get("/")
    def index():
        return render_template_string(STATUS_PAGE, **_status(ws))


def _answer_mistakes(app: Flask) -> None:
    """Every error is JSON, and none shows a traceback to a client."""
    from flask import jsonify
    from werkzeug.exceptions import HTTPException

    @app.errorhandler(Exception)
    def failed(error: Exception):
        if isinstance(error, HTTPException):
            return jsonify(error=error.description), error.code or 500
        if isinstance(error, UserError):
            log.warning("%s", error)
            return jsonify(error=error.message), 503
        log.exception("request failed")
        return jsonify(error="internal error; see the service's log"), 500


def _object(value: Any) -> dict[str, Any]:
    return _expect(dict, value)


def _list(value: Any) -> list[Any]:
    return _expect(list, value)


def _expect(kind: type[T], value: Any) -> T:
    """`value` where it is of the kind; anything else is the client's mistake."""
    from werkzeug.exceptions import BadRequest

    if not isinstance(value, kind):
        raise BadRequest(f"expected a JSON {'object' if kind is dict else 'array'}, found {type(value).__name__}")
    return value


def _secret_fits(found: str | None, ws: Workspace) -> bool:
    expected = ws.config.service.webhook_secret.get_secret_value()
    return bool(expected) and hmac.compare_digest((found or "").encode(), expected.encode())


def _password_fits(authorization: Any, ws: Workspace) -> bool:
    """Both halves are compared, so that the time taken tells neither; no password set = nothing to check."""
    password = ws.config.service.password.get_secret_value()
    if not password:
        return True
    user = hmac.compare_digest(str(getattr(authorization, "username", "")).encode(), ws.config.service.user.encode())
    secret = hmac.compare_digest(str(getattr(authorization, "password", "")).encode(), password.encode())
    return user and secret


def _status(ws: Workspace) -> dict[str, Any]:
    from ml_backend.rounds import open_assignments

    return {
        "name": ws.config.name,
        "judgments": len(ws.store.judgments()),
        "open": sum(open_assignments(ws).values()),
        "batches": [batch.to_dict() for batch in ws.store.batches()],
        "models": [model.to_dict() for model in ws.store.model_versions()],
    }


STATUS_PAGE = """<!doctype html><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>Robopref · {{ name }}</title>
<style>body{font:16px/1.5 system-ui;max-width:46rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}
</style>
<h1>{{ name }}</h1><p>{{ judgments }} judgments; {{ open }} assignments wait for an answer.
<h2>Batches</h2><table><tr><th>batch<th>kind<th>status{% for b in batches %}
<tr><td>{{ b.batch_id }}<td>{{ b.kind }}<td>{{ b.status }}{% endfor %}</table>
<h2>Models</h2><table><tr><th>version<th>pairs<th>ranking accuracy<th>Spearman<th>made{% for m in models %}
<tr><td>{{ m.version }}{{ " (in use)" if m.active }}<td>{{ m.preferences }}<td>{{ "%.3f"|format(m.ranking_accuracy) }}
<td>{{ "%.3f"|format(m.spearman) }}<td>{{ m.created_at[:16] }}{% endfor %}</table>"""
