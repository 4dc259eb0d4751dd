"""For teams that run their backends with label-studio-ml: a model that passes everything on to `robopref serve`.

This one file is all that the runner's environment needs; Robopref itself stays in its own. It loads under the PyPI
release (1.0.9) and under the 2.x interface. Say where the service is, and how to get in:

    label-studio-ml start DIR --with url=http://127.0.0.1:9090 user=robopref password=... secret=...

where DIR has this file as model.py (1.0.9: `label-studio-ml init DIR --script ml_backend/label_studio_ml/model.py`).
"""

from __future__ import annotations

from typing import Any

import requests
from label_studio_ml.model import LabelStudioMLBase  # pyright: ignore[reportMissingImports]

TIMEOUT = (1.0, 90.0)
SECRET_HEADER = "X-Robopref-Secret"


class Robopref(LabelStudioMLBase):  # pyright: ignore
    """Predictions and events, forwarded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._given = {name: str(kwargs.pop(name, "")) for name in ("url", "user", "password", "secret")}
        super().__init__(*args, **kwargs)  # 2.x calls setup() from there

    def setup(self) -> None:
        """2.x: the version that Label Studio is told."""
        version = self._send("setup", {}).get("model_version", "")
        if hasattr(self, "set"):
            self.set("model_version", version)

    def predict(self, tasks: list[dict[str, Any]], context: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """A score each and an empty result, so that nothing is pre-selected."""
        return self._send("predict", {"tasks": tasks})["results"]

    def fit(self, event: Any, data: Any = None, **kwargs: Any) -> dict[str, Any]:
        """2.x: `fit(event, data)`; 1.0.9: `fit(annotations, workdir, event=..., data=...)`. The worker trains."""
        if isinstance(event, str):
            self._send("webhook", {**(data or {}), "action": event})
        elif kwargs.get("event"):
            self._send("webhook", {**(kwargs.get("data") or {}), "action": kwargs["event"]})
        else:
            self._send("webhook", {"action": "START_TRAINING"})
        return {"model_version": self._send("setup", {}).get("model_version", "")}

    def process_event(self, event: str, data: Any, job_id: str, additional_params: Any) -> dict[str, Any]:
        """1.0.9's own way to an event."""
        return self.fit(event, data)

    def _send(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        extra = getattr(self, "extra_params", None) or {}  # 2.x: of the project
        where = {name: given or str(extra.get(name, "")) for name, given in self._given.items()}
        url, login = where["url"] or "http://127.0.0.1:9090", (where["user"] or "robopref", where["password"])
        headers = {SECRET_HEADER: where["secret"]} if where["secret"] else {}
        answer = requests.post(f"{url.rstrip('/')}/{path}", json=body, auth=login, headers=headers, timeout=TIMEOUT)
        answer.raise_for_status()
        return answer.json()
