"""robomimic's HDF5: `data/demo_k` with actions, rewards, dones and observations, images as `obs/*_image`.

A file comes in, `Episode`s go out. The environment's description (attribute `env_args`) gives the task and, for
robosuite environments, the rate; where it is missing, robopref.toml has to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from importer.pool import hdf5
from importer.pool.mapping import Schema, map_columns
from preference.config import Columns, Dataset

WRIST = "eye_in_hand"
PROPRIOCEPTION = ("obs/robot0_eef_pos", "obs/robot0_eef_quat", "obs/robot0_gripper_qpos")
NO_IMAGES = "it has no images (obs/*_image): episodes can be measured but not shown."
PANDA_FINGER = [0.04, 0.0]
"""Metres: position of a Panda's first finger when open and when closed."""


class Robomimic(hdf5.Demonstrations):
    """Reader of one file; holds the demonstrations' names and nothing else."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.path = dataset, dataset.path
        with hdf5.opened(self.path) as file:
            self.demos = hdf5.demonstrations(file, self.path)
            data = hdf5.look_up(file, "data", self.path)
            self.env = hdf5.json_attribute(data, "env_args")
            columns, images, labels = hdf5.usual(data, self.demos, self.path)
            self.sparse = self._says_sparse() or hdf5.zeros_and_ones(data, self.demos, "rewards", self.path)
        self.task = str(self.env.get("env_name") or "")
        cameras = sorted(images, key=lambda name: WRIST in name)
        notes = [] if cameras else [NO_IMAGES]
        robot = hdf5.robot_in(self._env_kwargs())
        self.schema = Schema("robomimic HDF5", self.path, self._rate(), columns, cameras, labels, notes, robot)
        self.mapping = map_columns(self.schema, dataset.columns, self._usual())

    @staticmethod
    def recognizes(file: Any, path: Path) -> bool:
        """Any demonstration has observations."""
        demos = hdf5.demonstrations(file, path)
        return any(hdf5.is_group(file, f"data/{name}/obs", path) for name in demos.values())

    def _rate(self) -> float:
        rate = self._env_kwargs().get("control_freq")
        if isinstance(rate, (int, float)) and rate > 0:
            return float(rate)
        return self.dataset.fps or float("nan")

    def _usual(self) -> Columns:
        """What robosuite's environments call things; a sparse reward, 0 or 1, is 1 where the task is done."""
        columns = self.schema.columns
        kwargs = self._env_kwargs()
        panda = "Panda" in hdf5.robot_in(kwargs) and "obs/robot0_gripper_qpos" in columns
        return Columns(
            state=[name for name in PROPRIOCEPTION if name in columns],
            gripper="obs/robot0_gripper_qpos[0]" if panda else "",
            gripper_range=PANDA_FINGER if panda else [],
            success="rewards" if self.sparse and "rewards" in columns else "",
        )

    def _says_sparse(self) -> bool:
        return self._env_kwargs().get("reward_shaping") is False

    def _env_kwargs(self) -> dict[str, Any]:
        kwargs = self.env.get("env_kwargs")
        return kwargs if isinstance(kwargs, dict) else {}
