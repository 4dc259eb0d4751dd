"""The frame encoder: RGB frames in, one feature vector each out; a timm network that is never trained here.

Weights are `imagenet`, `none` (a fixed random network, the same on every machine) or a local file. Where ImageNet
weights cannot be had the encoder goes on with `none` and says so: `Encoder.weights` is what is really used.

Preprocessing follows the network's own data configuration (size, mean, standard deviation, interpolation) with one
exception: the whole frame is resized and nothing cropped away, because in a robot's frame things happen at the edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_backend.reward.checkpoint import reason
from ml_backend.reward.encoder_names import check_name
from ml_backend.reward.packaged_weights import WITHOUT_A_HUB, by_timms_names, packaged_file
from ml_backend.reward.runtime import open_session
from preference.artifacts import sha256_of
from preference.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

SEED = 20_240_229
"""Of the random network behind `weights = "none"`."""
RANDOM_SIZE = 112
"""Pixels that a random network is given: it knows nothing of a usual size, and a quarter of the pixels is a quarter
of the time."""
REACH_TIMEOUT_S = 3.0
"""For the look whether the weights' host answers; the hub's own client would try for most of a minute."""
BATCH = 32
WEIGHTS_FIX = "Name the weights of reward.encoder in reward.weights; delete a file that was downloaded in part."


@dataclass(frozen=True)
class EncoderSettings:
    """What an encoder is, picklable, settled: `weights` are there."""

    name: str
    weights: str
    """`imagenet`, `none`, or a file's path."""
    digest: str
    """Changes when the network's output would."""
    image_size: int
    note: str = ""
    """Why the weights are not those that were asked for; empty when they are."""

    @property
    def shown(self) -> str:
        """`weights` as outputs name them: never a machine's path."""
        return self.weights if self.weights in ("imagenet", "none") else Path(self.weights).name


class Unreachable(UserError):
    """Pretrained weights are neither on this machine nor to be had from here."""


class Encoder:
    """A frozen timm network. Make it with `settle` and `load`."""

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
        """The same on another device: `cuda` takes whole batches there and back."""
        self.module.to(device)
        self.device = device
        return self


def settle(name: str, weights: str) -> EncoderSettings:
    """Decide which weights are used, before any frame is read; pretrained ones are brought onto this machine.

    Args:
        name: timm's name of the network.
        weights: `imagenet`, `none`, or the path of a safetensors or torch file.

    Raises:
        ConfigError: timm knows no such network, or the weights file is missing.
    """
    check_name(name)
    if weights == "none":
        return _random(name)
    if weights == "imagenet":
        try:
            file = _pretrained_file(name)
        except Unreachable as error:
            note = f"ImageNet weights of {name} cannot be had ({error.message}); a fixed random network is used instead"
            return _random(name, f"{note}. {WITHOUT_A_HUB}")
        return EncoderSettings(name, "imagenet", f"imagenet {sha256_of(file)[:16]}", _config_size(name))
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ConfigError(f"reward.weights: {weights!r} is no file.", fix='Name one, or use "imagenet" or "none".')
    return EncoderSettings(name, str(path), f"file {sha256_of(path)[:16]}", _config_size(name))


def load(settings: EncoderSettings, onnx: Path | None = None, threads: int = 0) -> Encoder:
    """The network that `settle` chose.

    Args:
        onnx: The same network for ONNX Runtime, to run that instead (`runtime.onnx_file`), on so many threads.

    Raises:
        DataError: the weights file is broken or belongs to another network.
    """
    import timm
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network: Any = timm.create_model(settings.name, pretrained=False, num_classes=0, **_size_argument(settings))
    if settings.weights != "none":
        file = Path(settings.weights) if settings.weights != "imagenet" else _pretrained_file(settings.name)
        _load_weights(network, settings.name, file)
    module = _with_preprocessing(network.eval().requires_grad_(False), settings)
    with torch.inference_mode():
        size = module(torch.zeros(1, 8, 8, 3, dtype=torch.uint8)).shape[1]
    return Encoder(settings, module, int(size), open_session(onnx, threads) if onnx else None)


def _random(name: str, note: str = "") -> EncoderSettings:
    size = min(RANDOM_SIZE, _config_size(name)) if _any_size(name) else _config_size(name)
    return EncoderSettings(name, "none", f"none {SEED}", size, note)


def _any_size(name: str) -> bool:
    """Convolutional networks take any size; those with a fixed grid of patches do not."""
    import timm

    cfg = timm.get_pretrained_cfg(name)
    return cfg is not None and not cfg.fixed_input_size


def _config_size(name: str) -> int:
    import timm

    cfg = timm.get_pretrained_cfg(name)
    return int(cfg.input_size[-1]) if cfg is not None else 224


def _size_argument(settings: EncoderSettings) -> dict[str, Any]:
    return {} if _any_size(settings.name) else {"img_size": settings.image_size}


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


def _load_weights(network: nn.Module, name: str, file: Path) -> None:
    """Copy the file's weights into the network; those of a classifier head, which it has not, are left aside."""
    import timm.models

    try:
        state = timm.models.load_state_dict(str(file), use_ema=True, weights_only=True)
        state = by_timms_names(state, network.state_dict())
        state = {k: v for k, v in state.items() if k in network.state_dict()}
        missing = network.load_state_dict(state, strict=False).missing_keys
    except Exception as error:  # a broken or foreign file shows itself in many ways
        raise DataError(f"{file}: no weights of {name}, or cut short: {reason(error)}.", fix=WEIGHTS_FIX) from None
    if missing:
        first = f"{len(missing)} are missing, the first is {missing[0]!r}"
        raise DataError(f"{file}: no weights of {name}: {first}.", fix=WEIGHTS_FIX)


def _pretrained_file(name: str) -> Path:
    """The pretrained weights on this machine, from an installed package or the hub's cache; downloaded where need be.

    Raises:
        Unreachable: they are not here, and their host does not answer, refuses, or breaks off.
    """
    import timm
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    if packaged := packaged_file(name):
        return packaged
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.hf_hub_id:
        raise Unreachable("timm lists none on the hub")
    repo = cfg.hf_hub_id.split("@")[0]
    for filename in ("model.safetensors", "pytorch_model.bin"):
        if isinstance(found := try_to_load_from_cache(repo, filename), str):
            return Path(found)
    if constants.HF_HUB_OFFLINE:
        raise Unreachable("HF_HUB_OFFLINE is set")
    _check_reachable(constants.ENDPOINT)
    try:
        return Path(hf_hub_download(repo, "model.safetensors"))
    except Exception as error:  # whatever breaks on the way, the run can go on without
        raise Unreachable(f"the download failed: {type(error).__name__}") from None


def _check_reachable(endpoint: str) -> None:
    import requests

    try:
        requests.head(endpoint, timeout=REACH_TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        reason = "timed out" if isinstance(error, requests.Timeout) else "no network reaches their host"
        raise Unreachable(reason) from None
