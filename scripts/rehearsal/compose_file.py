"""compose.yaml as Docker reads it: variables filled in, services in the order in which they may start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@dataclass(frozen=True)
class Mount:
    """`source` is a volume's name or a path that begins with a dot or a slash; `below` a folder in the volume."""

    source: str
    target: str
    read_only: bool = False
    below: str = ""

    @property
    def is_volume(self) -> bool:
        return not self.source.startswith((".", "/"))


@dataclass(frozen=True)
class Service:
    """One service, with what the rehearsal needs of it."""

    name: str
    image: str
    command: list[str]
    entrypoint: list[str] | None
    environment: dict[str, str]
    mounts: list[Mount]
    secrets: list[str]
    user: str
    tmpfs: list[str]
    waits_for: dict[str, str]
    check: list[str]
    stop_signal: str
    profiles: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    """Other names in the network."""

    @property
    def ends(self) -> bool:
        return not self.check


def load(path: Path, variables: Mapping[str, str]) -> tuple[dict[str, Service], dict[str, Any]]:
    """The services, each after those that it waits for; and the whole file."""
    raw = _filled(yaml.safe_load(path.read_text(encoding="utf-8")), variables)
    order = TopologicalSorter({name: set(one.get("depends_on", {})) for name, one in raw["services"].items()})
    return {name: _service(name, raw["services"][name]) for name in order.static_order()}, raw


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, variables) for one in value]
    return VARIABLE.sub(lambda found: _one(found, variables), value) if isinstance(value, str) else value


def _one(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, kind, rest = found.groups()
    value = variables.get(name, "")
    if not value and kind == "?":
        raise SystemExit(f"compose.yaml: {name}: {rest}")
    return value or (rest if kind == "-" else "")


def _service(name: str, raw: dict[str, Any]) -> Service:
    test = raw.get("healthcheck", {}).get("test", [])
    networks = raw["networks"] if isinstance(raw["networks"], dict) else {}
    return Service(
        name=name,
        image=raw["image"],
        command=raw.get("command", []),
        entrypoint=raw.get("entrypoint"),
        environment={key: str(value) for key, value in raw.get("environment", {}).items()},
        mounts=[_mount(one) for one in raw.get("volumes", [])],
        secrets=raw.get("secrets", []),
        user=raw.get("user", ""),
        tmpfs=raw.get("tmpfs", []),
        waits_for={key: one["condition"] for key, one in raw.get("depends_on", {}).items()},
        check=test[1:],
        stop_signal=raw.get("stop_signal", "SIGTERM"),
        profiles=raw.get("profiles", []),
        aliases=[one for network in networks.values() for one in (network or {}).get("aliases", [])],
    )


def _mount(raw: str | dict[str, Any]) -> Mount:
    if isinstance(raw, dict):
        below = raw.get("volume", {}).get("subpath", "")
        return Mount(raw["source"], raw["target"], raw.get("read_only", False), below)
    source, target, *options = raw.split(":")
    return Mount(source, target, "ro" in options)
