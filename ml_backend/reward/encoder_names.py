"""Whether timm knows an encoder's name: a name of robopref.toml in, nothing or one clear error out.

A name may carry a tag, as on the hub: `resnet18.a1_in1k` is `resnet18` with weights of that training.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from preference.errors import ConfigError

NEAR = 3
LIST = """python -c "import timm; print(*timm.list_models('*{part}*'), sep='\\n')\""""
"""Prints the names that contain a part."""


def check_name(name: str) -> None:
    """
    Raises:
        ConfigError: timm has no such network, or none with such a tag; names those closest to it.
    """
    import timm

    known = timm.list_models()
    plain, _, tag = name.partition(".")
    if plain in known and (not tag or name in timm.list_pretrained(f"{plain}.*")):
        return
    if plain in known:
        tagged = timm.list_pretrained(f"{plain}.*")
        message = f"reward.encoder: timm has {plain!r}, but none with the tag {tag!r}."
        raise ConfigError(message, fix=f"Leave the tag away, or use one of: {', '.join(tagged) or 'none'}.")
    near = get_close_matches(plain.lower(), known, NEAR, cutoff=0.5)
    hint = f"Close to it: {', '.join(near)}. " if near else ""
    family = re.match("[a-z]+", near[0] if near else "resnet")
    part = family[0] if family else ""
    raise ConfigError(
        f"reward.encoder: timm has no network {name!r}.", fix=f"{hint}List more: {LIST.format(part=part)}"
    )
