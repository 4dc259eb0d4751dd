"""What a dataset has: its columns with their widths and names, its cameras, and what it says of each episode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOOKED_AT = 10
"""Episodes of a format without a list of columns that are asked for theirs."""


@dataclass(frozen=True)
class Column:
    """An array of T rows. One row is `width` numbers."""

    name: str
    dtype: str
    width: int
    names: tuple[str, ...] = ()
    """What the dataset calls the numbers; empty where it has no names."""

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.names) if self.names else self.width})"


@dataclass(frozen=True)
class Schema:
    """A dataset as its metadata describe it."""

    format: str
    file: Path
    """What errors about columns name."""
    fps: float
    """Rows per second as the metadata have them; nan where they do not."""
    columns: dict[str, Column]
    cameras: list[str]
    """The first is the primary one unless robopref.toml says otherwise."""
    labels: list[str] = field(default_factory=list)
    """Names of what is said once per episode: source, success, task …"""
    notes: list[str] = field(default_factory=list)
    """What a person should know before they use it."""


def usual_columns(episodes: Iterable[dict[str, Column]]) -> dict[str, Column]:
    """Each column as most of the episodes have it: a broken one must not speak for the others."""
    seen: dict[str, Counter[Column]] = {}
    for columns in episodes:
        for name, column in columns.items():
            seen.setdefault(name, Counter())[column] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in seen.items()}


def members(names: Sequence[str]) -> dict[str, list[str]]:
    """Which columns of a flat table belong together: `action_0, action_1` or `action.x, action.y` are one `action`."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_stem(name), []).append(name)
    return groups


def _stem(name: str) -> str:
    """`action_3`, `action[3]` and `action.gripper` → `action`; other names are their own."""
    head, dot, tail = name.rpartition(".")
    if dot and tail and head not in ("", "observation", "next"):
        return head
    bare = name.rstrip("]0123456789")
    return bare[:-1] if bare != name and len(bare) > 1 and bare[-1] in "_[" else name
