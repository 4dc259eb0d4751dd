"""Trajectory pool: read, validate, measure, tier and rank the episodes of the configured datasets.

- `build_pool(ws)`: the stage; rows of `trajectories`, manifest.csv and pool.png, or failures.csv with the reasons.
- `read_pool(pool, clips)`: one `Trajectory` per good episode and one `Failure` per bad one; nothing is written.
- `read_episode(pool, trajectory)`: the arrays behind a trajectory.

A format is one file with a class like `dataset.Reader`.
"""

from importer.pool.build import PoolResult, build_pool, measure, read_pool
from importer.pool.dataset import (
    feature_names_of,
    files_of,
    files_read,
    find_dataset,
    read_episode,
    shown_camera,
)
from importer.pool.episode import Episode
from importer.pool.manifest import Failure, failure_of

__all__ = [
    "Episode",
    "Failure",
    "PoolResult",
    "build_pool",
    "failure_of",
    "feature_names_of",
    "files_of",
    "files_read",
    "find_dataset",
    "measure",
    "read_episode",
    "read_pool",
    "shown_camera",
]
