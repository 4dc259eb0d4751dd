"""What LeRobot's versions share: meta/info.json, and the columns of an episode's rows.

A table of one episode's rows comes in, arrays with checked shapes and values go out. Columns that are missing become
nan (or False), never 0, except `action`, which every episode has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from importer.pool.columns import GRIPPER_COLUMNS, effector_columns, feature_names, finite, matrix
from importer.pool.episode import BadInput
from preference.config import Dataset

if TYPE_CHECKING:
    import pyarrow as pa

STATE, ACTION, TIME = "observation.state", "action", "timestamp"
REWARD, SUCCESS = "next.reward", "next.success"


@dataclass(frozen=True)
class Rows:
    """The arrays of one episode, as `Episode` documents them."""

    time: np.ndarray
    fps: float
    actions: np.ndarray
    state: np.ndarray
    gripper: np.ndarray
    effector: np.ndarray
    rewards: np.ndarray
    success_rows: np.ndarray
    success: bool | None
    """Done at any row; None where there is no such column."""

    @property
    def length_s(self) -> float:
        return float(self.time[-1]) + 1.0 / self.fps


def read_info(root: Path) -> dict[str, Any]:
    """meta/info.json of a LeRobot dataset.

    Raises:
        BadInput: it is missing, is not JSON, or lacks a field that reading needs.
    """
    file = root / "meta" / "info.json"
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(file, "", "the file is missing; LeRobot datasets have one") from None
    except (OSError, ValueError) as error:
        raise BadInput(file, "", f"cannot be read as JSON: {error}") from None
    if not isinstance(info, dict):
        raise BadInput(file, "", f"expected an object, found {type(info).__name__}")
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise BadInput(file, "features", "expected an object of features")
    if not isinstance(info.get("fps"), (int, float)) or not info["fps"] > 0:
        raise BadInput(file, "fps", f"expected a number above 0, found {info.get('fps')!r}")
    return info


def find_camera(info: dict[str, Any], wanted: str, file: Path) -> str:
    """The video key that is wanted, or else the first; empty where the dataset has no video.

    Raises:
        BadInput: there is no video of that name.
    """
    cameras = [key for key, feature in info["features"].items() if feature.get("dtype") == "video"]
    if wanted and wanted not in cameras:
        raise BadInput(file, "camera", f"{wanted!r} is no video here; found {', '.join(cameras) or 'none'}")
    return wanted or (cameras[0] if cameras else "")


def wanted_columns(dataset: Dataset) -> tuple[str, ...]:
    """The columns that `rows_of` looks for."""
    return (STATE, ACTION, TIME, REWARD, SUCCESS, *GRIPPER_COLUMNS, dataset.gripper)


def names_of(info: dict[str, Any]) -> dict[str, list[str]]:
    """Names of the values of `action` and `state`, as info.json gives them."""
    features = info["features"]
    return {"action": feature_names(features.get(ACTION, {})), "state": feature_names(features.get(STATE, {}))}


def rows_of(table: pa.Table, file: Path, info: dict[str, Any], dataset: Dataset) -> Rows:
    """The arrays in the rows of one episode.

    Raises:
        BadInput: naming the column, and the row where one value is wrong.
    """
    time = _time(table, file, float(info["fps"]))
    state = _state(table, file)
    names = feature_names(info["features"].get(STATE, {}))[: state.shape[1]]
    success_rows = _one(table, SUCCESS, file) > 0.5
    return Rows(
        time=time,
        # the rows' own clock, because info.json's rate is often the template's
        fps=round((len(time) - 1) / float(time[-1]), 3) if len(time) > 1 else float(info["fps"]),
        actions=_actions(table, file),
        state=state.astype(np.float32),
        gripper=_gripper(table, state, names, dataset.gripper, file),
        effector=_effector(state, names, dataset),
        rewards=_one(table, REWARD, file).astype(np.float32),
        success_rows=success_rows,
        success=bool(success_rows.any()) if SUCCESS in table.column_names else None,
    )


def _one(table: pa.Table, column: str, file: Path) -> np.ndarray:
    """(T,) float64 of a column with one number a row; nan where the column is missing."""
    if column not in table.column_names:
        return np.full(table.num_rows, np.nan)
    values = matrix(table, column, file)
    if values.shape[1] != 1:
        raise BadInput(file, column, f"expected one number a row, found {values.shape[1]}")
    return values[:, 0]


def _time(table: pa.Table, file: Path, fps: float) -> np.ndarray:
    if TIME not in table.column_names:
        return np.arange(table.num_rows) / fps
    time = finite(_one(table, TIME, file), TIME, file)
    stuck = np.flatnonzero(np.diff(time) <= 0)
    if len(stuck):
        row = int(stuck[0]) + 1
        raise BadInput(file, TIME, f"time does not go on at row {row}: {time[row - 1]:.6g} then {time[row]:.6g}")
    return time - time[0]


def _actions(table: pa.Table, file: Path) -> np.ndarray:
    if ACTION not in table.column_names:
        raise BadInput(file, ACTION, "the column is missing")
    actions = finite(matrix(table, ACTION, file), ACTION, file)
    if actions.shape[1] == 0:
        raise BadInput(file, ACTION, "it has no dimensions")
    return actions.astype(np.float32)


def _state(table: pa.Table, file: Path) -> np.ndarray:
    if STATE not in table.column_names:
        return np.empty((table.num_rows, 0))
    return finite(matrix(table, STATE, file), STATE, file)


def _effector(state: np.ndarray, names: list[str], dataset: Dataset) -> np.ndarray:
    columns = effector_columns(names, dataset.effector, dataset.path / "meta" / "info.json")
    return state[:, columns] if columns else np.full((len(state), 3), np.nan)


def _gripper(table: pa.Table, state: np.ndarray, names: list[str], wanted: str, file: Path) -> np.ndarray:
    column = wanted or next((name for name in GRIPPER_COLUMNS if name in table.column_names), "none")
    if column == "none":
        return np.full(table.num_rows, np.nan, dtype=np.float32)
    if column in names:
        values = state[:, names.index(column)]
    elif column in table.column_names:
        values = finite(_one(table, column, file), column, file)
    else:
        raise BadInput(file, column, "the gripper's column is missing")
    low, high = float(values.min()), float(values.max())
    if low < -0.05 or high > 1.05:
        fix = 'Set `gripper` of the dataset to a column in [0, 1] with 1 = closed, or to "none".'
        raise BadInput(file, column, f"expected 0 to 1, found {low:.3g} to {high:.3g}", fix=fix)
    return np.clip(values, 0.0, 1.0).astype(np.float32)
