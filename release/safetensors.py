"""reward_model.safetensors and config.json: weights that any framework reads without running code, and what LeRobot
needs beside them.

Tensors are named `head.…` and `encoder.…`. The file's metadata and config.json hold the same description: `spec`, the
sizes of the model, and `contract`, what it was trained on (`onnx.contract_of`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from ml_backend.reward.encoder import Encoder
from ml_backend.reward.model import RewardModel
from preference.artifacts import write_json

WEIGHTS, CONFIG = "reward_model.safetensors", "config.json"
KIND = "robopref"
"""Of LeRobot's reward models, and the key of the file's metadata."""


def write_safetensors(
    folder: Path, spec: Mapping[str, Any], contract: Mapping[str, Any], model: RewardModel, encoder: Encoder | None
) -> None:
    """Both files; the same model gives the same bytes."""
    tensors = {f"head.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"encoder.{name}": value for name, value in (encoder.module.state_dict() if encoder else {}).items()}
    described = {"spec": dict(spec), "contract": dict(contract)}
    save_file(
        {name: value.detach().contiguous() for name, value in tensors.items()},
        folder / WEIGHTS,
        # one entry: safetensors writes several in an order of its own
        metadata={KIND: json.dumps(described, sort_keys=True)},
    )
    texts = {name: json.dumps(value, sort_keys=True) for name, value in described.items()}
    write_json(folder / CONFIG, {"type": KIND, "device": "cpu", **texts})
