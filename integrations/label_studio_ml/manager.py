"""What label-studio-ml 1.0.9 needs beside model.py; 2.x never imports it.

1.0.9's own manager answers /setup with the version INITIAL, fails at /predict until somebody called /setup, and starts
a process for each event. This one keeps no state: every answer is of the order that is published now.
"""

from __future__ import annotations

from typing import Any

from label_studio_ml.model import (  # pyright: ignore[reportMissingImports]
    LabelStudioMLManager,  # pyright: ignore[reportAttributeAccessIssue]
    ModelWrapper,  # pyright: ignore[reportAttributeAccessIssue]
)
from model import START_TRAINING, published


class Manager(LabelStudioMLManager):
    @classmethod
    def fetch(cls, project: Any = None, label_config: Any = None, force_reload: bool = False, **kwargs: Any) -> Any:
        return ModelWrapper(model=cls.model_class(), model_version=published()[0])

    @classmethod
    def predict(cls, tasks: list[dict[str, Any]], *project: Any, context: Any = None, **kwargs: Any) -> Any:
        current = cls.fetch()
        return current.model.predict(tasks, context=context), current

    @classmethod
    def webhook(cls, event: str, data: dict[str, Any]) -> dict[str, bool]:
        return cls.model_class().fit(event, data)

    @classmethod
    def train(cls, *args: Any, **kwargs: Any) -> None:
        """Label Studio before 1.4.1 asks for a training here."""
        cls.webhook(START_TRAINING, {})

    @classmethod
    def _get_models_from_workdir(cls, project: Any) -> list[str]:
        """What /versions answers."""
        return [published()[0]]
