"""Where the service stands, counted by the database: the status page for people, and the metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from importer.studio.hints import Hints
from ml_backend.loop.worker import beat_file
from preference.locks import LEARNING, WORKER, taken
from preference.pages import render
from preference.records import ModelVersion
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
        "rejected": ws.store.count_rejections(closed=False),
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
