"""What a released model costs: rows a second and milliseconds a row, beside its encoder alone.

A model of random weights over a timm encoder at its product sizes is exported as a release is, and scores noise:
episodes of 64 rows one after the other, in batches, and row by row in a stream of three rows. Encoder alone is the same
network behind the same preprocessing in ONNX Runtime. One thread; the best of three passes.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import torch

from ml_backend.loop.spec import PROJECTION
from ml_backend.reward.encoder import export, load
from ml_backend.reward.encoder_weights import resolve_weights
from ml_backend.reward.features import Features
from ml_backend.reward.model import ModelSpec, RewardModel
from preference.config import Clips, Reward
from release import onnx

ROWS, SIDE, ACTIONS, STATE = 64, 240, 4, 8
TEMPLATE = Path(onnx.__file__).parent / "templates" / "inference.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", nargs="?", default="resnet18", help="timm's name; default: resnet18.")
    parser.add_argument("episodes", type=int, nargs="?", default=4, help="How many are scored; default: 4.")
    asked = parser.parse_args()
    name, count = asked.encoder, asked.episodes
    torch.set_num_threads(1)
    reward, rng = Reward(), np.random.default_rng(0)
    encoder = load(resolve_weights(name, "none"))
    names = tuple(f"a{i}" for i in range(ACTIONS)), tuple(f"s{i}" for i in range(STATE))
    spec = ModelSpec(
        name, "none", encoder.settings.image_size, reward.sample_fps, reward.max_frames, ("frames", "actions", "state"),
        encoder.size, *names, reward.temporal, reward.hidden, reward.members, PROJECTION,
    )  # fmt: skip
    model = RewardModel(spec, torch.Generator().manual_seed(0)).eval()
    actions, state = rng.normal(size=(ROWS, ACTIONS)), rng.normal(size=(ROWS, STATE))
    frames = rng.integers(0, 256, (ROWS, SIDE, SIDE, 3), dtype=np.uint8)
    pool = [Features(np.zeros((ROWS, encoder.size), np.float16), actions.astype("f4"), state.astype("f4"))]
    example = onnx.Example("t", frames, pool[0].actions, pool[0].state)
    columns = {"camera": "", "actions": [], "state": []}
    contract = onnx.contract_of(spec, pool, Clips(), [example], columns, {}, name="bench", version="1.0.0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reward_model.onnx"
        onnx.export_onnx(onnx.WholePath(model, encoder), spec, contract, path, Path(folder) / "kept")
        released = _inference().RewardModel.load(path, threads=1, providers=["CPUExecutionProvider"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    alone = onnxruntime.InferenceSession(export(encoder), options, providers=["CPUExecutionProvider"])
    episodes = [{"images": frames, "actions": actions, "state": state}] * count

    def encode() -> None:
        for _ in episodes:
            pixels = encoder.module.prepare(torch.from_numpy(frames)).contiguous().numpy()
            alone.run(None, {"pixels": pixels})

    def stream() -> None:
        following = released.stream()
        for i in range(ROWS):
            following.add(frames[i], actions[i], state[i])

    total, figures = ROWS * len(episodes), {}
    print(f"{name}, {spec.image_size} pixels, frames of {SIDE} x {SIDE}, one thread, {torch.__version__=!s}")
    for words, rows, function in (
        ("encoder alone", total, encode),
        ("episode by episode", total, lambda: released.score_many(episodes, progress=False)),
        ("four episodes a batch", total, lambda: released.score_many(episodes, progress=False, batch=4)),
        ("every row's figures", total, lambda: [released.dense(**one) for one in episodes]),
        ("stream, three rows", ROWS, stream),
    ):
        seconds = _best(function)
        figures[words] = {"rows_per_s": round(rows / seconds, 1), "ms_per_row": round(1000 * seconds / rows, 2)}
        print(f"{words:22} {rows / seconds:8.0f} rows/s {1000 * seconds / rows:8.1f} ms a row")
    print(json.dumps({"name": "inference", "figures": figures, "target": "none: a cost", "met": True}))


def _best(function: Callable[[], object]) -> float:
    def once() -> float:
        begun = time.perf_counter()
        function()
        return time.perf_counter() - begun

    with torch.inference_mode():
        return min(once() for _ in range(3))


def _inference() -> ModuleType:
    """The release's own script."""
    spec = importlib.util.spec_from_file_location("released_inference", TEMPLATE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(TEMPLATE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
