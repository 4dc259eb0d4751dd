"""The active model's rewards for export: a workspace in, for each trajectory its reward and how that built up, out.

The model gives one reward for a whole trajectory, and it looks at the mean over time of what it sees: there is no
reward of a single frame that people could be said to have given. What can be had honestly for each frame is the reward
of the trajectory up to there. Its last value is the trajectory's reward, so its differences sum to the reward and tell
when it rose and fell; but the model was trained on whole trajectories, and its word on an unfinished one is an
extrapolation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from preference.artifacts import confined
from preference.errors import NotReady
from preference.records import ModelVersion, Trajectory
from preference.work import progress
from preference.workspace import Workspace

if TYPE_CHECKING:
    from ml_backend.reward.features import Features
    from ml_backend.reward.model import RewardModel


@dataclass(frozen=True)
class Rewarded:
    """What the model says of one trajectory."""

    reward: float
    rows: np.ndarray
    """(N,) int64, ascending: the rows of the episode that the model looks at."""
    so_far: np.ndarray
    """(N,) float64: the reward of the trajectory up to each of these rows; the last is `reward`."""

    def per_row(self, total: int) -> np.ndarray:
        """(total,) float32: for each row of the episode the reward up to the latest row that was looked at.

        Rows before the trimmed span have the first value, rows after it the last.
        """
        place = np.searchsorted(self.rows, np.arange(total), side="right") - 1
        return self.so_far[np.clip(place, 0, None)].astype(np.float32)


def active_model(ws: Workspace) -> ModelVersion:
    """
    Raises:
        NotReady: there is none.
    """
    record = ws.store.active_model()
    if record is None:
        raise NotReady("There is no reward model.", fix="Run `robopref train` first.")
    return record


def rewards_of(ws: Workspace, trajectories: list[Trajectory]) -> dict[str, Rewarded]:
    """trajectory_id → rewards by the active model; trajectories that cannot be read are not in it.

    Raises:
        NotReady: there is no model.
        DataError: it cannot be read, or looks through an encoder that is no longer here.
    """
    from importer.pool import read_episode
    from importer.pool.video import sample_rows
    from ml_backend.loop.provenance import features_for
    from ml_backend.reward.model import RewardModel

    folder = confined(ws.root, active_model(ws).path)
    model = RewardModel.load(folder / "model.pt")
    store = features_for(ws, model.spec, folder)
    known = [t for t in trajectories if t.trajectory_id in store]
    found = {}
    with progress("Rewards", len(known)) as advance:
        for t in known:
            time = read_episode(ws.config.pool, t).time
            rows = sample_rows(time, t.start_s, t.end_s, model.spec.sample_fps, model.spec.max_frames)
            found[t.trajectory_id] = _rewarded(model, store[t.trajectory_id], rows)
            advance(1)
    return found


def _rewarded(model: RewardModel, features: Features, rows: np.ndarray) -> Rewarded:
    from ml_backend.reward.features import Features

    parts = [
        Features(features.frames[:end], features.actions[:end], features.state[:end])
        for end in range(1, len(features) + 1)
    ]
    so_far, _ = model.score(parts)
    return Rewarded(float(so_far[-1]), rows, so_far)
