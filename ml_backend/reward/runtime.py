"""Which of torch and ONNX Runtime runs the encoder on this machine's CPU: measured once for each encoder, and kept.

A settled encoder comes in; the path of its ONNX file goes out where ONNX Runtime was faster and gave the same features,
otherwise nothing. Which one is faster differs: on one machine ONNX Runtime had ResNet-18 at 224 pixels 1.3 times as
fast and ViT-Small no faster. Features are the same to a thousandth of their spread, so the cache does not tell them
apart.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from preference.artifacts import replacing, write_json
from preference.errors import DataError

if TYPE_CHECKING:
    from ml_backend.reward.encoder import Encoder, EncoderSettings

MEASURE_FROM = 1500
"""Frames that have to be encoded before measuring pays: it takes some seconds, and saves a quarter of the rest."""
FRAMES = 8
ROUNDS = 5
TOLERANCE = 1e-3
"""Features may differ by so much of their standard deviation."""
OPSET = 20


@dataclass(frozen=True)
class Measured:
    """What was measured, as it is kept beside the ONNX file."""

    torch_fps: float
    onnx_fps: float
    difference: float
    """Largest, in standard deviations of the features."""

    @property
    def onnx(self) -> bool:
        return self.onnx_fps > self.torch_fps and self.difference <= TOLERANCE


def onnx_file(settings: EncoderSettings, folder: Path, frames: int) -> Path | None:
    """Where the encoder lies as ONNX, if that is what should run it.

    Args:
        folder: Where the files and the measurement are kept.
        frames: How many are about to be encoded: for a few nothing is measured that had not been.
    """
    import onnxruntime
    import torch

    versions = f"torch{torch.__version__.split('+')[0]}-onnxruntime{onnxruntime.__version__}-{os.cpu_count()}cpu"
    name = f"{settings.name}.{settings.digest.replace(' ', '')}.{settings.image_size}"
    kept = folder / f"{name}.{versions}.json"
    file = folder / f"{name}.onnx"
    if kept.is_file() and file.is_file():
        try:
            return file if Measured(**json.loads(kept.read_text(encoding="utf-8"))).onnx else None
        except (ValueError, TypeError):
            pass  # cut short by hand or by a disk: measured again
    if frames < MEASURE_FROM:
        return None
    found = measure(settings, file)
    write_json(kept, found)
    return file if found.onnx else None


def measure(settings: EncoderSettings, file: Path) -> Measured:
    """Export the encoder to `file` and time both, each on one thread, as the processes that encode a pool do."""
    import torch

    from ml_backend.reward.encoder import load

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plain = load(settings)
        export(plain, file)
        other = load(settings, onnx=file, threads=1)
        side = settings.image_size
        pictures = np.random.default_rng(0).integers(0, 256, (FRAMES, side, side, 3), dtype=np.uint8)
        expected, found = (encoder.encode(pictures).astype(np.float32) for encoder in (plain, other))
        # in turn, so that what else the machine does meets both alike
        times = [(_seconds(plain.encode, pictures), _seconds(other.encode, pictures)) for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(before)
    torch_fps, onnx_fps = (FRAMES / min(column) for column in zip(*times, strict=True))
    difference = float(np.abs(found - expected).max() / max(1e-9, float(expected.std())))
    return Measured(torch_fps, onnx_fps, difference)


def export(encoder: Encoder, file: Path) -> None:
    """The network behind the preprocessing as ONNX; the batch is dynamic."""
    import torch

    side = encoder.settings.image_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            encoder.module.network,
            (torch.zeros(2, 3, side, side),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["pixels"],
            output_names=["features"],
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    with replacing(file) as temporary:
        temporary.write_bytes(program.model_proto.SerializeToString())


def open_session(file: Path, threads: int) -> Any:
    """
    Args:
        threads: 0 = ONNX Runtime's own choice.

    Raises:
        DataError: the file is broken.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class of error for each way of being broken
        reason = str(error).splitlines()[0]
        raise DataError(f"{file} is broken: {reason}", fix="Delete it; the next run makes it anew.") from None


def _seconds(function: Callable[[np.ndarray], np.ndarray], pictures: np.ndarray) -> float:
    start = time.perf_counter()
    function(pictures)
    return time.perf_counter() - start
