"""features.npz: what the notebook trains on, so that it needs neither videos nor the encoder.

All trajectories one after the other, in the order of `trajectory_ids`; the rows of trajectory i are
`offsets[i]:offsets[i + 1]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ml_backend.reward.features import Features
    from ml_backend.reward.model import ModelSpec


def write_features_file(features: Mapping[str, Features], ids: Sequence[str], spec: ModelSpec, path: Path) -> None:
    """Pack the features of `ids` into one compressed npz; numpy dates its members 1980, so the bytes do not vary."""
    items = [features[name] for name in ids]
    np.savez_compressed(
        path,
        trajectory_ids=np.array(ids),
        offsets=np.cumsum([0, *(len(item) for item in items)]).astype(np.int64),
        frames=np.concatenate([item.frames for item in items]),
        actions=np.concatenate([item.actions for item in items]),
        state=np.concatenate([item.state for item in items]),
        action_names=np.array(spec.action_names, dtype=np.str_),
        state_names=np.array(spec.state_names, dtype=np.str_),
    )
