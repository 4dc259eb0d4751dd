"""What people and Prometheus read: the status page, the metrics, and the quality reports for managers.

A report is made when somebody asks: a name comes in, a page comes out. The name is a batch's, `live` for all answers so
far, or empty for the list. A batch's page is made by a process of its own, at low priority: for 100,000 answers that
takes 20 s, and webhooks are answered meanwhile. One page is made at a time; who asks is told that it is being made, and
the browser asks again. A page is kept until the database says something else, and a little longer where it took long.
The routes are the service's, and so is the password.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from importer.studio.hints import Hints
from ml_backend.loop.worker import beat_file
from preference.config import Config
from preference.errors import NotReady, UserError
from preference.locks import LEARNING, WORKER, taken
from preference.pages import render
from preference.records import ModelVersion
from preference.work import in_a_process
from preference.workspace import Workspace

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
METRICS_TYPE = CONTENT_TYPE_LATEST
ACTIONS = (
    "ANNOTATION_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "START_TRAINING",
    "PROJECT_UPDATED",
    "TASKS_CREATED",
    "TASKS_DELETED",
)
"""Of Label Studio's webhooks, those that are counted by name."""
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


def status(ws: Workspace) -> dict[str, Any]:
    """Everything that the page shows; counted by the database."""
    progress = ws.store.progress_by_batch()
    batches = []
    for batch in reversed(ws.store.batches()):
        done, asked = progress.get(batch.batch_id, (0, 0))
        batches.append({**batch.to_dict(), "done": done, "asked": asked})
    models = ws.store.model_versions()
    newest = models[-1] if models else None
    return {
        "name": ws.config.name,
        "judgments": ws.store.count_judgments(),
        "rejected": ws.store.count_rejections(),
        "open": sum(ws.store.open_by_batch().values()),
        "batches": batches,
        "round": next((batch for batch in batches if batch["kind"] == "active"), None),
        "models": [model.to_dict() for model in reversed(models)],
        "model": next((model.version for model in models if model.active), ""),
        "trained_at": newest.created_at if newest else "",
        "training_s": seconds_of(newest),
        "requested": ws.store.training_request() is not None,
        "worker": taken(ws, WORKER),
        "learning": taken(ws, LEARNING),
    }


def seconds_of(model: ModelVersion | None) -> float | None:
    """How long its training took; None where that was not written down."""
    return model.metrics.get("training_s") if model else None


class Metrics:
    """What Prometheus reads: what passed through this process, and what is in the database."""

    def __init__(self, hints: Hints) -> None:
        to = self._registry = CollectorRegistry()
        to.register(_HintsCollector(hints))
        labels = ["endpoint", "status"]
        self._seconds = Histogram("robopref_request_seconds", "Time to answer", labels, buckets=BUCKETS, registry=to)
        self._events = Counter("robopref_webhook_events", "Webhooks by what they told", ["action"], registry=to)
        self._gauges = {
            key: Gauge(f"robopref_{key}", text, registry=to)
            for key, text in (
                ("judgments", "Judgments in the database"),
                ("rejected_annotations", "Annotations that could not be used"),
                ("open_assignments", "Assignments without an answer, calibration aside: the queue"),
                ("held_batches", "Batches that wait for a manager's decision"),
                ("work_free_bytes", "Space left on the disk of the work folder"),
                ("memory_bytes", "Resident memory of the service"),
                ("training_requested", "1 while Start Training waits for the worker"),
                ("worker_up", "1 while a worker lives, on this machine or another"),
                ("worker_looked_timestamp_seconds", "When the worker last looked for answers, and nothing failed"),
                ("training_running", "1 while a model is trained or a round is under way"),
                ("last_training_timestamp_seconds", "When the newest model was made"),
                ("last_training_duration_seconds", "How long its training took"),
            )
        }
        self._pairs = Gauge("robopref_model_preferences", "Labelled pairs of a model", ["version"], registry=to)
        self._accuracy = Gauge("robopref_model_ranking_accuracy", "On its test pairs", ["version"], registry=to)
        self._active = Gauge("robopref_model_active", "1 for the model in use", ["version"], registry=to)

    def answered(self, endpoint: str, code: int, seconds: float) -> None:
        self._seconds.labels(endpoint, str(code)).observe(seconds)

    def heard(self, action: object) -> None:
        self._events.labels(action if action in ACTIONS else "other").inc()

    def text(self, ws: Workspace) -> bytes:
        """Prometheus's text format, of now."""
        now = status(ws)
        for key, value in (
            ("judgments", now["judgments"]),
            ("rejected_annotations", now["rejected"]),
            ("open_assignments", now["open"]),
            ("held_batches", sum(batch["status"] == "held" for batch in now["batches"])),
            ("work_free_bytes", psutil.disk_usage(str(ws.root)).free),
            ("memory_bytes", psutil.Process().memory_info().rss),
            ("training_requested", now["requested"]),
            ("worker_up", now["worker"]),
            ("worker_looked_timestamp_seconds", _touched(beat_file(ws))),
            ("training_running", now["learning"]),
            ("last_training_timestamp_seconds", _moment(now["trained_at"])),
            ("last_training_duration_seconds", now["training_s"] or 0.0),
        ):
            self._gauges[key].set(value)
        for model in now["models"]:
            self._pairs.labels(model["version"]).set(model["preferences"])
            self._accuracy.labels(model["version"]).set(model["ranking_accuracy"])
            self._active.labels(model["version"]).set(model["active"])
        return generate_latest(self._registry)


class _HintsCollector(Collector):
    """What became of the tasks that webhooks named."""

    def __init__(self, hints: Hints) -> None:
        self._hints = hints

    def collect(self) -> Iterator[Metric]:
        text = "Tasks that webhooks named and Label Studio was not asked for yet"
        yield GaugeMetricFamily("robopref_webhook_tasks_waiting", text, value=self._hints.waiting)
        text = "Tasks that webhooks named and that were left to the next pull"
        yield CounterMetricFamily("robopref_webhook_tasks_left", text, value=self._hints.left)


def _touched(path: Path) -> float:
    """Seconds since 1970; 0 where there is no such file."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _moment(stamp: str) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0


def status_page(ws: Workspace) -> str:
    """`status` for a browser."""
    return render("ml_backend.service", "status.html.jinja", **status(ws))


def report_page(config: Config, name: str) -> str:
    """The page of a batch, or of all answers so far for `live`; the list with a note where nobody has answered.

    It runs in a process of its own, so it takes the settings and opens the workspace for itself.
    """
    from qc_reports.qc import check_all, check_batch

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
        "ml_backend.service",
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
