"""The model files of a release, without its pool: enough for LeRobot's plugin, with rewards to compare with."""

import json
from dataclasses import asdict

import numpy as np
import torch
from ml_maker import features, spec

from ml_backend.reward.encoder import load
from ml_backend.reward.encoder_weights import resolve_weights
from ml_backend.reward.model import RewardModel
from preference.config import Clips
from release.onnx import Example, WholePath, contract_of
from release.safetensors import write_safetensors

CAMERA = "observation.images.front"
COLUMNS = {
    "camera": CAMERA,
    "actions": [("action", [0, 1])],
    "state": [("observation.state", [2, 0]), ("observation.effort", [])],
}
"""The state is two numbers of one column, in another order, and all of another one."""


def write_model(folder, seed=0):
    """reward_model.safetensors and config.json, and `expected.npz`: five windows of four steps and their rewards."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    encoder = load(resolve_weights("test_resnet", "none"))
    described = spec(
        encoder="test_resnet", inputs=("frames", "actions", "state"), frame_size=encoder.size, projection=4,
        image_size=encoder.settings.image_size,
    )  # fmt: skip
    model = RewardModel(described, generator).eval()
    with torch.no_grad():
        model.frame_projection.copy_(torch.randn(encoder.size, 4, generator=generator))
        for name in ("action_scale", "state_scale"):
            getattr(model, name).fill_(1.0)
    pool, _ = features(6, frame_size=encoder.size)
    frames = rng.integers(0, 256, (5, 4, 48, 64, 3), dtype=np.uint8)
    actions = rng.normal(size=(5, 4, 2)).astype(np.float32)
    state = rng.normal(size=(5, 4, 3)).astype(np.float32)
    example = Example("t0", frames[0], actions[0], state[0])
    contract = contract_of(described, pool, Clips(), [example], COLUMNS, {}, name="tiny", version="1.0.0")
    saved = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(described).items()}
    write_safetensors(folder, saved, contract, model, encoder)
    whole, mask = WholePath(model, encoder), torch.ones(5, 4, dtype=torch.bool)
    with torch.inference_mode():
        window = whole(*map(torch.from_numpy, (frames, actions, state)), mask)[0]
        present = whole(*(torch.from_numpy(part[:, :1]) for part in (frames, actions, state)), mask[:, :1])[0]
    np.savez(folder / "expected.npz", frames=frames, actions=actions, state=state, window=window, present=present)
    return json.loads((folder / "config.json").read_text())
