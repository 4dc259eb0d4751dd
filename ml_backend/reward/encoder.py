"""The frame encoder: RGB frames in, one feature vector each out; a timm network, run by torch or ONNX Runtime.

Preprocessing follows the network's own data configuration (size, mean, standard deviation, interpolation) with one
exception: the whole frame is resized and nothing is cropped, because in a robot's frame things happen at the edges.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.reward.checkpoint import reason
from ml_backend.reward.encoder_weights import (
    SEED,
    EncoderSettings,
    by_timms_names,
    own_size,
    pretrained_file,
    takes_any_size,
)
from preference.artifacts import replacing
from preference.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = 32
ONNX_FROM = 1500
"""Frames to encode from which ONNX Runtime pays: the export takes 2 to 6 s."""
OPSET = 20
WEIGHTS_FIX = "Name the weights of reward.encoder in reward.weights; delete a file that was downloaded in part."


class Encoder:
    """A frozen timm network. Make it with `weights.resolve_weights` and `load`."""

    def __init__(self, settings: EncoderSettings, module: Any, size: int, session: Any = None) -> None:
        self.settings = settings
        self.module = module
        """uint8 (N, H, W, 3) → float32 (N, D), preprocessing included; what an export needs. Its parts are `prepare`,
        which gives (N, 3, side, side), and `network`."""
        self.size = size
        """D."""
        self.session = session
        """Of ONNX Runtime, where that runs the network."""
        self.device = "cpu"

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def weights(self) -> str:
        """What is really used: `imagenet`, `none` or a file's name."""
        return self.settings.shown

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """(T, H, W, 3) uint8 → (T, D) float16."""
        import torch

        parts = []
        with torch.inference_mode():
            for start in range(0, len(frames), BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(frames[start : start + BATCH])).to(self.device)
                if self.session is None:
                    parts.append(self.module(batch).cpu().numpy())
                else:
                    pixels = self.module.prepare(batch).contiguous().numpy()
                    parts.append(self.session.run(None, {"pixels": pixels})[0])
        return np.concatenate(parts).astype(np.float16)

    def to(self, device: str) -> Encoder:
        """The same on another device."""
        self.module.to(device)
        self.device = device
        return self


def load(settings: EncoderSettings, onnx: Path | None = None, threads: int = 0) -> Encoder:
    """The network that `weights.resolve_weights` chose.

    Args:
        onnx: The same network for ONNX Runtime, to run that instead (`onnx_file`).
        threads: Of ONNX Runtime; 0 = its own choice.

    Raises:
        ConfigError: the network takes no frames of that size.
        DataError: the weights file is broken or belongs to another network, or the ONNX file is broken.
    """
    import torch

    network = _network(settings)
    if settings.weights != "none":
        file = Path(settings.weights) if settings.weights != "imagenet" else pretrained_file(settings.name)
        _load_weights(network, settings, file)
    module = _with_preprocessing(network.eval().requires_grad_(False), settings)
    try:
        with torch.inference_mode():
            shape = module(torch.zeros(1, 8, 8, 3, dtype=torch.uint8)).shape
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _unfit(settings, reason(error)) from None
    if len(shape) != 2:
        message = f"reward.encoder: {settings.name} gives {tuple(shape[1:])} numbers for a picture."
        raise ConfigError(message, fix="Name a network that gives one vector.")
    try:
        session = _session(str(onnx), threads) if onnx else None
    except Exception as error:  # ONNX Runtime has a class of error for each way of being broken
        raise DataError(f"{onnx} is broken: {str(error).splitlines()[0]}", fix="Delete it and run again.") from None
    return Encoder(settings, module, int(shape[1]), session)


def _network(settings: EncoderSettings) -> Any:
    """With random weights, the same each time.

    Raises:
        ConfigError: it takes no frames of that size.
    """
    import timm
    import torch

    side = settings.image_size
    size_argument = {} if takes_any_size(settings.name) else {"img_size": side}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network: Any = timm.create_model(settings.name, pretrained=False, num_classes=0, **size_argument)  # pyright: ignore[reportArgumentType]
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise _unfit(settings, reason(error)) from None
    if side == own_size(settings.name):  # SigLIP's 384 is no multiple of its 14, and it takes it
        return network
    patch = _patch(network)
    below = side // patch * patch
    if below < 2 * patch:
        raise _unfit(settings, f"its patches have {patch} pixels, and a frame needs two by two", f"{2 * patch} or more")
    if side % patch:
        why = f"its patches have {patch} pixels, and {side} is not a multiple of that"
        raise _unfit(settings, why, f"{below} or {below + patch}")
    return network


def _patch(network: Any) -> int:
    """Pixels of its patches; 1 where it has none, or they overlap."""
    embed = getattr(network, "patch_embed", None)
    size, stride = getattr(embed, "patch_size", 1), getattr(getattr(embed, "proj", None), "stride", None)
    size = size if isinstance(size, tuple) else (int(size),) * 2
    return max(size) if stride == size else 1


def _unfit(settings: EncoderSettings, why: str, instead: str = "another size") -> ConfigError:
    own = f"0 for the network's own {own_size(settings.name)}"
    message = f"reward.image_size = {settings.image_size} does not fit {settings.name}: {why.rstrip('.')}."
    return ConfigError(message, fix=f"Set {instead}, or {own}." if instead else f"Set {own}.")


def onnx_file(settings: EncoderSettings, folder: Path, frames: int) -> Path | None:
    """The encoder for ONNX Runtime, exported once and kept in `folder`; None where torch is to run it.

    On a CPU, convolutional networks run in ONNX Runtime, those with a fixed grid of patches in torch. Frames per second
    on one core, torch 2.14 → ONNX Runtime 1.32, at 224 pixels: ResNet-18 44 → 54 (at 112 pixels 132 → 165), ResNet-50
    14 → 23, EfficientNet-Lite0 59 → 140, MobileNetV3-Small 207 → 413, but ViT-Small 17 → 14. Features are the same to
    half precision, so the cache does not tell the two apart; a network whose export differs by more runs in torch.

    Args:
        frames: How many are about to be encoded: for a few, no export is worth its time.
    """
    if not takes_any_size(settings.name):
        return None
    file = folder / f"{settings.name}.{settings.digest.replace(' ', '')}.{settings.image_size}.onnx"
    if file.is_file():
        return file
    if frames < ONNX_FROM:
        return None
    plain, side = load(settings), settings.image_size
    graph = export(plain)
    exported = Encoder(settings, plain.module, plain.size, _session(graph, threads=0))
    pictures = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    expected, found = plain.encode(pictures).astype(float), exported.encode(pictures).astype(float)
    if not np.allclose(found, expected, rtol=2e-3, atol=1e-3 * float(expected.std())):
        return None
    with replacing(file) as temporary:
        temporary.write_bytes(graph)
    return file


def export(encoder: Encoder) -> bytes:
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
    return program.model_proto.SerializeToString()


def _session(graph: str | bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _with_preprocessing(network: nn.Module, settings: EncoderSettings) -> nn.Module:
    import timm.data
    import torch
    from torch import nn

    config = timm.data.resolve_model_data_config(network)
    side, mode = settings.image_size, config["interpolation"]
    mode = mode if mode in ("bicubic", "bilinear") else "bicubic"
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    class Pixels(nn.Module):
        """Frames as they were recorded → features."""

        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1) * 255.0)
            self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1) * 255.0)

        def prepare(self, frames: torch.Tensor) -> torch.Tensor:
            pixels = frames.permute(0, 3, 1, 2).float()
            pixels = nn.functional.interpolate(pixels, size=(side, side), mode=mode, antialias=True)
            return (pixels.clamp(0.0, 255.0) - self.mean) / self.std

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return self.network(self.prepare(frames).contiguous(memory_format=torch.channels_last))

    return Pixels().eval()


def _load_weights(network: nn.Module, settings: EncoderSettings, file: Path) -> None:
    """Copy the file's weights into the network; those of a classifier head, which it lacks, are ignored."""
    import timm.models

    name, own = settings.name, network.state_dict()
    try:
        state = timm.models.load_state_dict(str(file), use_ema=True, weights_only=True)
        state = by_timms_names(state, own)
        if not _fits(state, own) and (resize := _resize_of(name)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = resize(dict(state), network)
        misfit = not _fits(state, own) and _fits_alone(state, settings)
        state = {k: v for k, v in state.items() if k in own}
        missing = [] if misfit else network.load_state_dict(state, strict=False).missing_keys
    except Exception as error:  # a broken or foreign file shows itself in many ways
        raise DataError(f"{file}: not weights of {name}, or truncated: {reason(error)}.", fix=WEIGHTS_FIX) from None
    if misfit:
        raise _unfit(settings, f"the weights in {file} are for its own size alone", instead="")
    if missing:
        first = f"{len(missing)} are missing, the first is {missing[0]!r}"
        raise DataError(f"{file}: not weights of {name}: {first}.", fix=WEIGHTS_FIX)


def _fits(state: Mapping[str, Any], own: Mapping[str, torch.Tensor]) -> bool:
    return all(value.shape == own[key].shape for key, value in state.items() if key in own)


def _fits_alone(state: Mapping[str, Any], settings: EncoderSettings) -> bool:
    """Whether they fit the network at its own size."""
    return _fits(state, _network(replace(settings, image_size=own_size(settings.name))).state_dict())


def _resize_of(name: str) -> Any:
    """What timm, where it loads weights itself, interpolates position embeddings to another number of patches with."""
    import timm.models

    family = sys.modules[timm.models.model_entrypoint(name.partition(".")[0]).__module__]
    return getattr(family, "checkpoint_filter_fn", None)
