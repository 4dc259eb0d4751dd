"""Whether a weights file was trained on pictures prepared as the encoder's are: its settings in, a sentence out.

Mean, standard deviation and interpolation are timm's for the encoder's name, tag included. A file of weights may come
from a training of its own. timm's layout on the Hugging Face hub has a config.json beside the weights that says it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_backend.reward.encoder_weights import EncoderSettings, own_size
from preference.errors import ConfigError

BESIDE = "config.json"
PARTS = ("mean", "std", "interpolation")


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
