"""robosuite's own HDF5 (its teleoperation scripts): `data/demo_k` with simulator states and actions, and no images.

A file comes in, `Episode`s without video go out: they can be measured, and shown once robomimic has rendered them.
"""

from __future__ import annotations

from importer.pool import hdf5
from importer.pool.labels import text
from importer.pool.mapping import Schema, map_columns
from preference.config import Columns, Dataset

RATE = 20.0
"""robosuite's default control frequency, where env_info does not say another."""
NO_IMAGES = (
    "robosuite files have no images: episodes can be measured but not shown. "
    "Render them with robomimic's convert_robosuite.py and dataset_states_to_obs.py, and use that file."
)


class Robosuite(hdf5.Demonstrations):
    """Reader of one file; holds the demonstrations' names and nothing else."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.path = dataset, dataset.path
        with hdf5.opened(self.path) as file:
            self.demos = hdf5.demonstrations(file, self.path)
            data = hdf5.look_up(file, "data", self.path)
            self.task = text(data.attrs.get("env"))
            about = hdf5.json_attribute(data, "env_info")
            rate = about.get("control_freq")
            fps = float(rate) if isinstance(rate, (int, float)) and rate > 0 else dataset.fps or RATE
            columns, _, labels = hdf5.usual(data, self.demos, self.path)
        self.schema = Schema("robosuite HDF5", self.path, fps, columns, [], labels, [NO_IMAGES], hdf5.robot_in(about))
        # a state begins with the simulator's clock, which is not motion
        width = self.schema.columns["states"].width if "states" in self.schema.columns else 0
        usual = Columns(state=[f"states[{i}]" for i in range(1, width)])
        self.mapping = map_columns(self.schema, dataset.columns, usual)
