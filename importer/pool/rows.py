"""The arrays of one episode, out of its columns, with shapes and values checked.

A `Mapping` and a way to load a column come in, `Rows` go out. What is missing becomes nan (or False), never 0, except
the action, which every episode has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from importer.pool.episode import BadInput
from importer.pool.mapping import Mapping, Ref
from importer.pool.outside import LARGEST, LONGEST_S

Load = Callable[[str], "np.ndarray | None"]
"""Name of a column → (T, D) float64; None where the episode lacks it."""
SLACK = 0.05
"""Sensors overshoot: a gripper may leave its range by so much of it."""


@dataclass(frozen=True)
class Rows:
    """As `Episode` documents them."""

    time: np.ndarray
    fps: float
    actions: np.ndarray
    state: np.ndarray
    gripper: np.ndarray
    effector: np.ndarray
    force: np.ndarray
    rewards: np.ndarray
    success_rows: np.ndarray
    success: bool | None
    """Done at any row; None where there is no such column."""

    @property
    def length_s(self) -> float:
        return float(self.time[-1]) + 1.0 / self.fps

    def arrays(self) -> dict[str, Any]:
        """The fields that `Episode` has too; `success` is the label's business."""
        return {name: value for name, value in vars(self).items() if name != "success"}


def rows_of(load: Load, mapping: Mapping, file: Path, fps: float) -> Rows:
    """The arrays of one episode.

    Args:
        fps: Rows per second where there is no column of times; nan where that is unknown too.

    Raises:
        BadInput: naming the column, and the row where one value is wrong.
    """
    table = _Columns(load, mapping, file)
    actions = table.required(mapping.action, "action")
    time = table.time(mapping.time, fps)
    success = table.optional([mapping.success] if mapping.success else [], "success")
    known = success.shape[1] > 0
    done = success[:, 0] > 0.5 if known else np.zeros(len(time), dtype=bool)
    return Rows(
        time=time,
        # the rows' own clock, because the metadata's rate is often the template's
        fps=round((len(time) - 1) / float(time[-1]), 3) if len(time) > 1 else fps,
        actions=actions.astype(np.float32),
        state=table.optional(mapping.state, "state").astype(np.float32),
        gripper=table.gripper(),
        effector=table.or_nan(mapping.effector, "effector", 3),
        force=np.linalg.norm(table.or_nan([mapping.force] if mapping.force else [], "force", 1), axis=1).astype("f4"),
        rewards=table.rewards(),
        success_rows=done,
        success=bool(done.any()) if known else None,
    )


@dataclass
class _Columns:
    """The episode's columns, checked as they are taken."""

    load: Load
    mapping: Mapping
    file: Path
    count: int = -1
    loaded: dict[str, np.ndarray | None] = field(default_factory=dict)

    def column(self, name: str) -> np.ndarray | None:
        """Several roles may be numbers of one column: it is loaded once."""
        if name not in self.loaded:
            self.loaded[name] = self.load(name)
        return self.loaded[name]

    def take(self, ref: Ref, role: str) -> np.ndarray | None:
        """(T, D) finite; None where the episode lacks a column that was only guessed."""
        values = self.column(ref.column)
        if values is None:
            if role in self.mapping.guessed and role != "action":
                return None
            raise BadInput(self.file, ref.column, "the column is missing")
        if not values.size:
            reason = "it has no dimensions" if len(values) else "the episode has no rows"
            raise BadInput(self.file, ref.column, reason)
        self._as_long(values, ref.column)
        if ref.dims and max(ref.dims) >= values.shape[1]:
            raise BadInput(self.file, ref.column, f"expected {max(ref.dims) + 1} numbers a row or more, found "
                           f"{values.shape[1]}")  # fmt: skip
        if len(ref.dims) < values.shape[1]:
            values = values[:, list(ref.dims)]
        return finite(values, ref.column, self.file)

    def _as_long(self, values: np.ndarray, column: str) -> None:
        if self.count >= 0 and len(values) != self.count:
            raise BadInput(self.file, column, f"it has {len(values)} rows, the action has {self.count}")

    def required(self, refs: Sequence[Ref], role: str) -> np.ndarray:
        """(T, D) of all refs side by side; the first says how many rows there are."""
        parts: list[np.ndarray] = []
        for ref in refs:
            values = self.take(ref, role)
            if values is None:
                raise BadInput(self.file, ref.column, "the column is missing")
            self.count = len(values)
            parts.append(values)
        return np.hstack(parts)

    def optional(self, refs: Sequence[Ref], role: str) -> np.ndarray:
        """(T, D) of all refs side by side; D = 0 where one is missing."""
        parts = [self.take(ref, role) for ref in refs]
        found = [part for part in parts if part is not None]
        return np.hstack(found) if found and len(found) == len(parts) else np.empty((self.count, 0))

    def or_nan(self, refs: Sequence[Ref], role: str, width: int) -> np.ndarray:
        values = self.optional(refs, role)
        return values if values.shape[1] else np.full((self.count, width), np.nan)

    def time(self, column: str, fps: float) -> np.ndarray:
        """(T,) seconds from the first row."""
        values = self.column(column) if column else None
        if values is None:
            if not fps > 0:
                fix = "Set `fps` of the dataset in robopref.toml."
                raise BadInput(self.file, "fps", "the data do not give the number of rows per second", fix=fix)
            return self._not_too_long(np.arange(self.count) / fps, "fps")
        self._as_long(values, column)
        time = finite(values, column, self.file)[:, 0]
        stuck = np.flatnonzero(np.diff(time) <= 0)
        if len(stuck):
            row = int(stuck[0]) + 1
            reason = f"time does not increase at row {row}: {time[row - 1]:.6g} then {time[row]:.6g}"
            raise BadInput(self.file, column, reason)
        return self._not_too_long(time - time[0], column)

    def _not_too_long(self, time: np.ndarray, column: str) -> np.ndarray:
        if time[-1] > LONGEST_S:
            raise BadInput(self.file, column, f"expected at most {LONGEST_S:g} s, found {time[-1]:.6g} s")
        return time

    def rewards(self) -> np.ndarray:
        """(T,), all nan where there are none; a reward that is not a number is unknown, not an error."""
        values = self.column(self.mapping.reward) if self.mapping.reward else None
        if values is None:
            return np.full(self.count, np.nan, dtype=np.float32)
        self._as_long(values, self.mapping.reward)
        known = np.abs(values[:, 0]) <= LARGEST
        return np.where(known, values[:, 0], np.nan).astype(np.float32)

    def gripper(self) -> np.ndarray:
        """(T,) in [0, 1], 1 = closed."""
        ref = self.mapping.gripper
        values = self.take(ref, "gripper") if ref else None
        if ref is None or values is None:
            return np.full(self.count, np.nan, dtype=np.float32)
        opened, closed = self.mapping.gripper_range
        low, high = float(values.min()), float(values.max())
        slack = SLACK * abs(closed - opened)
        if low < min(opened, closed) - slack or high > max(opened, closed) + slack:
            fix = (
                "Set pool.dataset.columns.gripper_range to its values when open and closed, "
                'or columns.gripper to another column or "none".'
            )
            reason = f"expected {opened:.3g} (open) to {closed:.3g} (closed), found {low:.3g} to {high:.3g}"
            raise BadInput(self.file, ref.column, reason, fix=fix)
        return np.clip((values[:, 0] - opened) / (closed - opened), 0.0, 1.0).astype(np.float32)


def finite(array: np.ndarray, column: str, file: Path) -> np.ndarray:
    """(T, D) `array` as it is.

    Raises:
        BadInput: naming the first row that holds nan or an infinity; or a number is beyond `LARGEST`.
    """
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise BadInput(file, column, f"row {bad[0]} of the episode is not finite ({len(bad)} such rows)")
    if (largest := float(np.abs(array).max(initial=0.0))) > LARGEST:
        raise BadInput(file, column, f"expected numbers up to {LARGEST:g}, found {largest:g}")
    return array
