"""Which column of a dataset means what: the user's word first, then the names that are usual.

A `Schema` and the `columns` of robopref.toml come in, a `Mapping` goes out. Only roles that the user named are
required; one that was guessed and is missing in an episode is unknown there, never 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from importer.pool.episode import BadInput
from preference.config import Columns

T = TypeVar("T")
NONE = "none"
ACTIONS = ("action", "actions")
STATES = ("observation.state", "state", "states", "observation.states", "qpos")
TIMES = ("timestamp", "time", "time_s", "t")
REWARDS = ("next.reward", "next.reward_source", "reward", "rewards")
ROW_SUCCESS = ("next.success", "success", "is_success", "successes")
LABEL_SUCCESS = ("success", "is_success", "successful")
EFFECTORS = (
    "observation.eef_pos", "observation.ee_pos", "observation.state.ee_pos", "observation.cartesian_position",
    "obs/robot0_eef_pos", "eef_pos", "ee_pos", "ee_position", "effector", "cartesian_position",
)  # fmt: skip
EFFECTOR_PREFIXES = ("hand", "ee", "eef", "ee_pos", "eef_pos", "end_effector", "tcp", "gripper_pos")
GRIPPERS = (
    "observation.gripper", "observation.gripper_position", "observation.state.gripper_position", "gripper",
    "gripper_position", "gripper_closed",
)  # fmt: skip
"""Only columns whose values grow from 0 to 1 as the gripper closes by convention; others must be named."""
FORCES = (
    "observation.force", "observation.wrench", "observation.ft_sensor", "observation.state.force", "force", "forces",
    "wrench", "obs/robot0_ee_force", "obs/robot0_eef_force",
)  # fmt: skip
LOOKED_AT = 10
"""Episodes of a format without a list of columns that are asked for theirs."""


class NoAction(BadInput):
    """No column is called as actions usually are; `schema` has those that there are."""

    def __init__(self, schema: Schema, reason: str) -> None:
        super().__init__(schema.file, "action", reason, fix="Name it in pool.dataset.columns.action; it may be a list.")
        self.schema = schema

    def __reduce__(self) -> tuple[type[NoAction], tuple[Schema, str]]:
        return NoAction, (self.schema, self.reason)


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
    robot: str = ""
    """What the metadata call the robot; empty where they do not."""


def usual_columns(episodes: Iterable[dict[str, Column]]) -> dict[str, Column]:
    """Each column as most of the episodes have it: a broken one must not speak for the others."""
    seen: dict[str, Counter[Column]] = {}
    for columns in episodes:
        for name, column in columns.items():
            seen.setdefault(name, Counter())[column] += 1
    return {name: counts.most_common(1)[0][0] for name, counts in seen.items()}


class Seen(NamedTuple):
    """What an episode has, or several."""

    columns: dict[str, Column]
    cameras: list[str]
    labels: list[str]


def seen_in(episodes: Iterable[T], look: Callable[[T], Seen]) -> Seen:
    """What the first episodes that can be read have: each column as most of them do, cameras and labels of any.

    Raises:
        BadInput: not one can be read; says how many there are, and why the first cannot.
    """
    found: list[Seen] = []
    troubles: list[BadInput] = []
    for episode in episodes:
        try:
            found.append(look(episode))
        except BadInput as error:
            troubles.append(error)
        if len(found) == LOOKED_AT:
            break
    if troubles and not found:
        first, count = troubles[0], len(troubles)
        reason = first.reason if count == 1 else f"none of {count} episodes could be read; this one: {first.reason}"
        raise BadInput(first.file, first.field, reason, fix=first.fix)
    cameras = dict.fromkeys(name for one in found for name in one.cameras)
    labels = dict.fromkeys(name for one in found for name in one.labels)
    return Seen(usual_columns(one.columns for one in found), list(cameras), list(labels))


@dataclass(frozen=True)
class Ref:
    """Some numbers of one column."""

    column: str
    dims: tuple[int, ...]
    names: tuple[str, ...] = ()
    whole: bool = False
    """All numbers of the column."""

    def __str__(self) -> str:
        """As robopref.toml writes it."""
        if self.whole or len(self.dims) != 1:
            return self.column
        return self.names[0] if self.names else f"{self.column}[{self.dims[0]}]"


@dataclass(frozen=True)
class Mapping:
    """Where an episode's arrays come from. An empty tuple or string: there is none."""

    action: tuple[Ref, ...]
    state: tuple[Ref, ...] = ()
    time: str = ""
    reward: str = ""
    effector: tuple[Ref, ...] = ()
    gripper: Ref | None = None
    gripper_range: tuple[float, float] = (0.0, 1.0)
    force: Ref | None = None
    success: Ref | None = None
    """Per row."""
    success_label: str = ""
    source_label: str = ""
    quality_label: str = ""
    robot_label: str = ""
    cameras: tuple[str, ...] = ()
    """The primary one first; empty for datasets without images."""
    guessed: frozenset[str] = field(default_factory=frozenset)
    """The roles that robopref.toml does not name."""

    @property
    def camera(self) -> str:
        """The primary one; empty for datasets without images."""
        return self.cameras[0] if self.cameras else ""

    def columns(self) -> set[str]:
        """Every column that an episode is read from."""
        refs = [*self.action, *self.state, *self.effector, self.gripper, self.force, self.success]
        return {ref.column for ref in refs if ref} | {self.time, self.reward} - {""}

    def names(self) -> dict[str, list[str]]:
        """What the dataset calls the values of `action` and `state`; empty lists where it has no names."""
        return {"action": _names(self.action), "state": _names(self.state)}


def map_columns(schema: Schema, wanted: Columns, usual: Columns | None = None) -> Mapping:
    """Find each role: what `wanted` names, then what is `usual` in the format, then names that are usual anywhere.

    Raises:
        BadInput: `wanted` names what the dataset does not have, or there is no action.
    """
    given = {role for role in type(wanted).model_fields if getattr(wanted, role)}
    hints = {role: value for role in Columns.model_fields if usual and (value := getattr(usual, role))}
    merged = wanted.model_copy(update={role: value for role, value in hints.items() if role not in given})
    finder = _Finder(schema, merged)
    span = merged.gripper_range if merged.gripper_range else (0.0, 1.0)
    return Mapping(
        action=finder.action(),
        state=finder.state(),
        time=finder.first(TIMES),
        reward=finder.first(REWARDS),
        effector=finder.effector(),
        gripper=None if merged.gripper == NONE else finder.number("gripper", GRIPPERS),
        gripper_range=(span[0], span[1]),
        force=finder.force(),
        success=None if merged.success in schema.labels else finder.number("success", ROW_SUCCESS),
        success_label=finder.label("success", LABEL_SUCCESS, also_rows=True),
        source_label=finder.label("source", ("source",)),
        quality_label=finder.label("quality", ()),
        robot_label=finder.label("robot", ("robot_type",)),
        cameras=finder.cameras(),
        guessed=frozenset(set(Columns.model_fields) - given),
    )


@dataclass(frozen=True)
class _Finder:
    schema: Schema
    wanted: Columns

    def first(self, names: Sequence[str]) -> str:
        """The first of `names` that is a column of single numbers."""
        return next((name for name in names if (c := self.schema.columns.get(name)) and c.width == 1), "")

    def action(self) -> tuple[Ref, ...]:
        names = self.wanted.action or [name for name in ACTIONS if name in self.schema.columns][:1]
        if not names:
            raise NoAction(self.schema, f"the column is missing; there are {self._there()}")
        return tuple(self.ref("action", name) for name in names)

    def state(self) -> tuple[Ref, ...]:
        if self.wanted.state:
            return tuple(self.ref("state", name) for name in self.wanted.state)
        return tuple(self.ref("state", name) for name in STATES if name in self.schema.columns)[:1]

    def effector(self) -> tuple[Ref, ...]:
        names = self.wanted.effector
        if not names:
            return self._usual_effector()
        refs = [self.ref("effector", name) for name in names]
        if len(refs) == 1 and len(refs[0].dims) >= 3:
            return (_part(refs[0], 3),)
        if sum(len(ref.dims) for ref in refs) != 3:
            reason = f"expected three names of numbers, or a column of at least three, found {names}"
            raise BadInput(self.schema.file, "effector", reason)
        return tuple(refs)

    def _usual_effector(self) -> tuple[Ref, ...]:
        for name in EFFECTORS:
            if (column := self.schema.columns.get(name)) and column.width >= 3:
                return (_part(_whole(column), 3),)
        known = {_plain(name): ref for name, ref in self._numbers().items()}
        for prefix in EFFECTOR_PREFIXES:
            axes = [f"{prefix}_{axis}" for axis in "xyz"]
            if all(axis in known for axis in axes):
                return tuple(known[axis] for axis in axes)
        return ()

    def number(self, role: str, usual: Sequence[str]) -> Ref | None:
        """A role that is one number a row."""
        name = getattr(self.wanted, role) or self.first(usual)
        if not name:
            return None
        ref = self.ref(role, name)
        if len(ref.dims) != 1:
            reason = f"expected one number a row, found {len(ref.dims)}"
            raise BadInput(self.schema.file, f"{role} ({name})", reason, fix=f"Name one of them: {name}[0] …")
        return ref

    def force(self) -> Ref | None:
        name = self.wanted.force or next((name for name in FORCES if name in self.schema.columns), "")
        return _part(self.ref("force", name), 3) if name else None

    def label(self, role: str, usual: Sequence[str], *, also_rows: bool = False) -> str:
        """Name of what is said once per episode."""
        name = getattr(self.wanted, role)
        if name and name not in self.schema.labels:
            if also_rows:
                return ""
            there = ", ".join(self.schema.labels) or "nothing"
            fix = "Put it into a CSV file and name that in pool.dataset.sidecar."
            raise BadInput(self.schema.file, name, f"`{role}` names it, but episodes have {there}", fix=fix)
        return name or next((name for name in usual if name in self.schema.labels), "")

    def cameras(self) -> tuple[str, ...]:
        cameras = self.schema.cameras
        if unknown := [name for name in self.wanted.camera if name not in cameras]:
            reason = f"there is no video {unknown[0]!r}; found {', '.join(cameras) or 'none'}"
            raise BadInput(self.schema.file, "camera", reason)
        return tuple(self.wanted.camera or cameras[:1])

    def ref(self, role: str, name: str) -> Ref:
        """`column`, `column[3]`, or the own name of one number."""
        if column := self.schema.columns.get(name):
            return _whole(column)
        indexed = re.fullmatch(r"(.+)\[(\d+)\]", name)
        column = self.schema.columns.get(indexed[1]) if indexed else None
        if indexed and column and int(indexed[2]) < column.width:
            return _part_at(column, int(indexed[2]))
        if name in (numbers := self._numbers()):
            return numbers[name]
        raise BadInput(self.schema.file, name, f"`{role}` names it, but there are {self._there()}")

    def _numbers(self) -> dict[str, Ref]:
        """Every number that has a name of its own; those of the state come first."""
        order = sorted(self.schema.columns.values(), key=lambda c: c.name not in STATES)
        found: dict[str, Ref] = {}
        for column in order:
            names = column.names or ([column.name] if column.width == 1 else [])
            for index, name in enumerate(names[: column.width]):
                found.setdefault(name, _part_at(column, index))
        return found

    def _there(self) -> str:
        return ", ".join(str(column) for column in self.schema.columns.values()) or "no columns"


def _whole(column: Column) -> Ref:
    names = tuple(column.names) if len(column.names) == column.width else ()
    return Ref(column.name, tuple(range(column.width)), names, whole=True)


def _part(ref: Ref, count: int) -> Ref:
    return Ref(ref.column, ref.dims[:count], ref.names[:count])


def _part_at(column: Column, index: int) -> Ref:
    name = column.names[index] if index < len(column.names) else f"{column.name}[{index}]"
    return Ref(column.name, (index,), (name,))


def _names(refs: Sequence[Ref]) -> list[str]:
    if len(refs) == 1:
        return list(refs[0].names)
    short = [(ref, ref.column.rpartition("/")[2]) for ref in refs]
    return [name for ref, head in short for name in (ref.names or [f"{head}[{i}]" for i in ref.dims])]


def _plain(name: str) -> str:
    return name.lower().replace(".", "_").replace("-", "_")
