"""Formats that no reader here reads: known by their files, with what makes a LeRobot dataset of them."""

from __future__ import annotations

from pathlib import Path

FORMATS = {
    "RLDS": (
        ("*.tfrecord*", "*.array_record*"),
        "Make a LeRobot dataset of it: LeRobot's examples/port_datasets/port_droid.py does so for DROID, and others "
        "differ in the names of their features. It reads with TensorFlow, which Robopref does not need otherwise.",
    ),
    "a ROS bag": (
        ("*.bag", "*.db3"),
        "Convert it to MCAP (`mcap convert in.bag out.mcap`, `ros2 bag convert`), one file for each episode, and name "
        "their folder.",
    ),
    "Zarr": (
        (".zgroup", "zarr.json", "*.zarr"),
        "Make a LeRobot dataset of it: read the arrays with the package zarr, and write rows with "
        "LeRobotDataset.create and add_frame.",
    ),
}
"""Name → patterns of its files, and what to do."""
DEEPEST = 3
"""Folders below the one that was named, where TensorFlow Datasets keeps NAME/CONFIG/VERSION."""


def foreign_format(path: Path) -> tuple[str, str] | None:
    """The name of the format at `path`, a file or a folder, and what to do; None where it is none of these."""
    for name, (patterns, fix) in FORMATS.items():
        for pattern in patterns:
            if path.match(pattern):
                return name, fix
            if path.is_dir() and any(next(path.glob("*/" * depth + pattern), None) for depth in range(DEEPEST + 1)):
                return name, fix
    return None
