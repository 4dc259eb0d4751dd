"""What a training writes after each epoch, so that a killed one goes on where it was and ends with the same weights.

One file, written whole or not at all and read with `weights_only=True`. It carries a key of everything that the
weights depend on: the checkpoint of another configuration is refused, not continued.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from preference.artifacts import replacing
from preference.errors import DataError


def save(state: dict[str, Any], path: Path) -> None:
    """Write tensors, numbers, texts, lists and dictionaries of them; nothing in the file is code.

    Raises:
        DiskFull: there is no space for it.
    """
    import torch

    # In memory first: on a full disk torch's own writer fails with an error that does not say so
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load(path: Path, kind: str, fix: str) -> dict[str, Any]:
    """What `save` wrote.

    Args:
        kind: What it should be, for the message: `reward model`, `checkpoint`.

    Raises:
        DataError: the file is missing, cut short, or something else.
    """
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"The {kind} {path} is missing.", fix=fix) from None
    except Exception as error:  # torch answers a broken file with a dozen kinds of error
        raise DataError(f"{path} is no {kind}, or was cut short: {reason(error)}.", fix=fix) from None
    if not isinstance(found, dict):
        raise DataError(f"{path} is no {kind}: it holds a {type(found).__name__}.", fix=fix)
    return found


def reason(error: Exception) -> str:
    """What torch says of a broken file, without its advice to load it in the way that runs the code in it."""
    if isinstance(error, pickle.UnpicklingError) or isinstance(error.__cause__, pickle.UnpicklingError):
        return "it holds other things than weights"
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def resume(path: Path, key: str) -> dict[str, Any]:
    """The checkpoint at `path`.

    Raises:
        DataError: it is broken, or belongs to another training.
    """
    fix = f"Delete {path} and train anew."
    found = load(path, "checkpoint", fix)
    if found.get("key") != key:
        raise DataError(
            f"{path} is the checkpoint of another configuration: expected {key!r}, found {found.get('key')!r}; labels, "
            "features, settings or the seed are not those that it was begun with.",
            fix=fix,
        )
    return found
