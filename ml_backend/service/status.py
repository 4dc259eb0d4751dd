"""How the service and the loop are doing: the figures, for Prometheus and as a small page for a browser."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ml_backend.service.openapi import ACTIONS
from preference.locks import LEARNING, WORKER, taken
from preference.records import ModelVersion
from preference.workspace import Workspace

TRAINING_REQUEST = "train.requested"
"""A file in the work folder: somebody pressed Start Training in Label Studio."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
METRICS_TYPE = CONTENT_TYPE_LATEST


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
        "requested": (ws.root / TRAINING_REQUEST).exists(),
        "worker": taken(ws, WORKER),
        "learning": taken(ws, LEARNING),
    }


def seconds_of(model: ModelVersion | None) -> float | None:
    """How long its training took; None where that was not written down."""
    return model.metrics.get("training_s") if model else None


class Metrics:
    """What Prometheus reads: what passed through this process, and what is in the database."""

    def __init__(self) -> None:
        to = self._registry = CollectorRegistry()
        labels = ["endpoint", "status"]
        self._seconds = Histogram("robopref_request_seconds", "Time to answer", labels, buckets=BUCKETS, registry=to)
        self._events = Counter("robopref_webhook_events", "Webhooks by what they told", ["action"], registry=to)
        self._gauges = {
            key: Gauge(f"robopref_{key}", text, registry=to)
            for key, text in (
                ("judgments", "Judgments in the database"),
                ("rejected_annotations", "Annotations that could not be used"),
                ("open_assignments", "Assignments without an answer, calibration aside: the queue"),
                ("training_requested", "1 while Start Training waits for the worker"),
                ("worker_up", "1 while a worker lives, on this machine or another"),
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
            ("training_requested", now["requested"]),
            ("worker_up", now["worker"]),
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


def _moment(stamp: str) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0


PAGE = """<!doctype html><html lang=en><meta charset=utf-8>
<meta name=viewport content="width=device-width,initial-scale=1"><meta http-equiv=refresh content=30>
<title>{{ name }} · Robopref</title>
<style>
:root{color-scheme:light dark;--line:#8883;--soft:#8881;--good:#1a7f4b;--bad:#b3261e;--busy:#4a5fc1}
@media(prefers-color-scheme:dark){:root{--good:#5fd398;--bad:#ff8a80;--busy:#a9b6ff}}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}.note{opacity:.7;margin:.2rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.75rem;margin-top:1.25rem}
.card{background:var(--soft);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem}
.card b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}.card span{opacity:.7;font-size:.9rem}
.good{color:var(--good)}.bad{color:var(--bad)}.busy{color:var(--busy)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{text-align:left;padding:.4rem .8rem .4rem 0;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;opacity:.7;font-size:.85rem}td.number,th.number{text-align:right}
progress{width:6rem;height:.6rem;vertical-align:middle;accent-color:var(--busy)}
@media(max-width:40rem){.less{display:none}progress{width:3.5rem}}
</style>
<h1>{{ name }}</h1><p class=note>Robopref's ML backend. This page renews itself every 30 seconds.</p>
<div class=cards>
<div class=card><span>worker</span><b class="{{ 'busy' if learning else 'good' if worker else 'bad' }}">
{{- 'training' if learning else 'running' if worker else 'not running' }}</b>
<span>{{ 'Start Training waits for it' if requested else 'looks every few seconds' if worker
 else 'start it: robopref worker' }}</span></div>
<div class=card><span>judgments</span><b>{{ judgments }}</b><span>{{ rejected }} could not be used</span></div>
<div class=card><span>wait for an answer</span><b>{{ open }}</b><span>assignments, calibration aside</span></div>
<div class=card><span>model in use</span><b>{{ model or '–' }}</b><span>
{%- if trained_at %}newest of {{ trained_at[:16]|replace('T', ' ') }}{% else %}none trained yet{% endif %}
{%- if training_s %}, took {{ '%.0f'|format(training_s) }} s{% endif %}</span></div>
<div class=card><span>last round</span><b>{{ round.batch_id if round else '–' }}</b><span>
{%- if round %}{{ round.done }} of {{ round.asked }} answered, {{ round.status }}
{%- else %}the first follows the bootstrap{% endif %}</span></div>
</div>
<h2>Batches</h2><p class=note><a href="/reports">Quality reports</a></p>
{% if batches %}<div class=wide><table><tr><th>batch<th class=less>kind<th>answered<th>gate<th class=less>made
{% for b in batches %}<tr><td>{{ b.batch_id }}<td class=less>{{ b.kind }}
<td><progress max="{{ b.asked or 1 }}" value="{{ b.done }}"></progress> {{ b.done }}/{{ b.asked }}
<td class="{{ {'accepted': 'good', 'held': 'bad'}.get(b.status, '') }}">{{ b.status }}
<td class=less>{{ b.created_at[:16]|replace('T', ' ') }}{% endfor %}</table></div>
{% else %}<p class=note>None yet: <code>robopref pairs</code> makes the first.{% endif %}
<h2>Models</h2>
{% if models %}<div class=wide><table>
<tr><th>version<th class=number>pairs<th class=number>accuracy<th class=number>audit (95 %)
<th class="number less">Spearman<th class=less>made
{% for m in models %}<tr><td>{{ m.version }}{% if m.active %} <b class=good>in use</b>
{%- elif m.metrics.kept_back %} <span class=bad>kept back</span>{% endif %}
<td class=number>{{ m.preferences }}<td class=number>{{ '%.3f'|format(m.ranking_accuracy) }}
{% set audit = m.metrics.audit %}<td class=number>{% if audit and audit.pairs -%}
{{ '%.2f (%.2f to %.2f)'|format(audit.value, audit.low, audit.high) }}{% else %}–{% endif %}
<td class="number less">{{ '%.3f'|format(m.spearman) }}
<td class=less>{{ m.created_at[:16]|replace('T', ' ') }}{% endfor %}</table></div>
{% else %}<p class=note>None yet: the worker trains one when the bootstrap batch is answered.{% endif %}
"""
