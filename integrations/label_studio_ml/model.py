"""Label Studio's queue in the order of Robopref's newest model, for label-studio-ml 2.x and 1.0.9.

Predicts from `predictions.json`, which Robopref publishes in its work folder after each training and push, and reads it
again when it has changed. Passes events on to `robopref serve` where its address is set. This folder needs requests
and label-studio-ml; neither Robopref nor torch. Settings are environment variables:

    ROBOPREF_WORK            the folder that holds predictions.json; default: work
    ROBOPREF_EVENTS_URL      address of `robopref serve`, such as http://backend:9090; default: none
    ROBOPREF_WEBHOOK_SECRET  the service's webhook secret, which Label Studio's webhooks carry as well
"""

from __future__ import annotations

import json
import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import requests
from label_studio_ml.model import LabelStudioMLBase  # pyright: ignore[reportMissingImports]

ANSWERS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED")
START_TRAINING = "START_TRAINING"
SECRET_HEADER = "X-Robopref-Secret"
UNPUBLISHED = "unpublished"
"""The model version while there is no usable predictions.json."""
LAST = 1.0
"""The score of a task that is not open or not Robopref's: after all others, as Label Studio serves the lowest first."""
TIMEOUT = (1.0, 10.0)
"""Seconds to connect and to wait. Label Studio waits one second for us; we go on when it has stopped waiting."""

log = logging.getLogger("robopref")


class Robopref(LabelStudioMLBase):  # pyright: ignore[reportGeneralTypeIssues]
    """Ranks tasks and passes events on; keeps no state of its own."""

    def setup(self) -> None:
        """Called by 2.x for each request; what `/setup` answers."""
        self.set("model_version", published()[0])

    def predict(self, tasks: list[dict[str, Any]], context: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """One score in [0, 1] for each task, with an empty result, so that nothing is pre-selected.

        An empty list where there is no usable predictions.json: Label Studio then stores no prediction.
        """
        version, scores = published()
        if version == UNPUBLISHED:
            return []
        return [{"result": [], "score": score_of(task, scores), "model_version": version} for task in tasks]

    def fit(self, event: str, data: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, bool]:
        """Pass the event on; `robopref worker` trains. Says whether the service took it."""
        return {"passed_on": event in (*ANSWERS, START_TRAINING) and pass_on(event, data or {})}


def published() -> tuple[str, dict[str, float]]:
    """The model version, and `assignment_id` → score of the open tasks, as predictions.json says now."""
    path = Path(os.environ.get("ROBOPREF_WORK") or "work", "predictions.json").absolute()
    try:
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_ino, stat.st_size)
    except (OSError, KeyError, TypeError, ValueError) as error:
        log.warning(
            "No predictions, as %s cannot be used (%r). Set ROBOPREF_WORK to Robopref's work folder; "
            "`robopref push` and each training publish the file there.", path, error,
        )  # fmt: skip
        return UNPUBLISHED, {}


@lru_cache(maxsize=1)
def _read(path: Path, *_state: int) -> tuple[str, dict[str, float]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return str(content["model_version"]), {name: float(score) for name, score in dict(content["scores"]).items()}


def score_of(task: dict[str, Any], scores: dict[str, float]) -> float:
    data = task.get("data")
    assignment_id = data.get("assignment_id") if isinstance(data, dict) else None
    return scores.get(assignment_id, LAST) if isinstance(assignment_id, str) else LAST


def pass_on(event: str, data: dict[str, Any]) -> bool:
    """Send the event to `robopref serve` as Label Studio would; True once the service has taken it."""
    url = os.environ.get("ROBOPREF_EVENTS_URL", "").rstrip("/")
    meanwhile = (
        "Nothing is lost: robopref worker pulls the answers from Label Studio."
        if event in ANSWERS
        else "robopref worker trains by itself once enough answers are new."
    )
    if not url:
        log.info("%s is not passed on, as ROBOPREF_EVENTS_URL is not set. %s", event, meanwhile)
        return False
    secret = os.environ.get("ROBOPREF_WEBHOOK_SECRET", "")
    headers = {SECRET_HEADER: secret} if secret else {}
    try:
        response = requests.post(f"{url}/webhook", json={**data, "action": event}, headers=headers, timeout=TIMEOUT)
        response.raise_for_status()
    except requests.RequestException as error:
        log.warning("%s was not passed on (%s). %s", event, error, meanwhile)
        return False
    return True
