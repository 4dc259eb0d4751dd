"""Builds the wheel with the reward model's own code inside: what it needs of Robopref is copied, with its imports.

Robopref and LeRobot cannot be installed together (they need different versions of PyAV), and a second implementation
of the model would drift from the first. So the modules that `ml_backend.reward.model` and `.encoder` import, and they
need numpy, torch and timm alone, are part of this package under `robopref_model`.
"""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WANTED = ("ml_backend.reward.model", "ml_backend.reward.encoder")
ROOMS = ("ml_backend", "preference", "qc_reports")
PLACE = "lerobot_reward_robopref.robopref_model"
IMPORT = re.compile(rf"^(\s*from )({'|'.join(ROOMS)})(?=[. ])", re.MULTILINE)


class CopyModel(BuildHookInterface):
    """Hatchling calls `initialize` before it writes the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        copies = Path(tempfile.mkdtemp(prefix="robopref_model"))
        root = Path(self.root).parents[1]
        for file in modules(root).values():
            target = copies / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            # a room's __init__ may import what the model does not need
            text = "" if file.name == "__init__.py" else file.read_text(encoding="utf-8")
            target.write_text(IMPORT.sub(rf"\1{PLACE}.\2", text), encoding="utf-8")
            build_data["force_include"][str(target)] = f"{PLACE.replace('.', '/')}/{target.relative_to(copies)}"


def modules(root: Path) -> dict[str, Path]:
    """Module → file of everything that `WANTED` imports from Robopref."""
    found: dict[str, Path] = {}
    waiting = list(WANTED)
    while waiting:
        name = waiting.pop()
        file = _file(root, name)
        if name in found or file is None:
            continue
        found[name] = file
        parts = name.split(".")
        waiting += [".".join(parts[:count]) for count in range(1, len(parts))]
        if file.name != "__init__.py":
            waiting += [other for other in _imports(file) if other.split(".")[0] in ROOMS]
    if missing := [name for name in WANTED if name not in found]:
        raise FileNotFoundError(f"{root}: {missing[0]} is not here. Build from a checkout of Robopref.")
    return found


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _file(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)
