"""What came with an adopted release (`robopref adopt`): features whose episodes are not here, and the columns that a
robot must have to go with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from importer.clips.index import content_key
from ml_backend.reward.layout import UNSEEN, Robot
from ml_backend.reward.weights import EncoderSettings
from preference.artifacts import confined
from preference.config import Reward
from preference.errors import DataError
from preference.workspace import Workspace

if TYPE_CHECKING:
    from ml_backend.reward.model import ModelSpec

ADOPTED = "adopted"
"""Key of `ModelVersion.metrics`: `release` and `sums` of the release that the model came with."""
FIX = "A release is continued with the robot that it was made with: pool only that one, or begin a project of your own."


def features_file(folder: Path, trajectory_id: str, encoder: EncoderSettings | None, reward: Reward) -> Path:
    """Where features that came with a release are. Their episode is not here, so only settings are in the key."""
    network = (encoder.name, encoder.digest, encoder.image_size) if encoder else None
    return folder / f"{trajectory_id}.{content_key((), ADOPTED, network, reward.sample_fps, reward.max_frames)}.npy"


def adopted_spec(ws: Workspace) -> tuple[str, ModelSpec] | None:
    """The release's name and the description of its model; None where no release was adopted."""
    from ml_backend.reward.model import RewardModel

    record = next((r for r in ws.store.model_versions() if ADOPTED in r.metrics), None)
    if record is None:
        return None
    return record.metrics[ADOPTED]["release"], RewardModel.load(confined(ws.root, record.path) / "model.pt").spec


def columns_of(spec: ModelSpec, robot: int) -> dict[str, list[str]]:
    """`action` and `state` → the names of this robot's values, as its dataset has them."""
    robots = spec.layout.robots
    found = {}
    for kind, size, names in (("action", "actions", spec.action_names), ("state", "state", spec.state_names)):
        begin = sum(getattr(one, size) for one in robots[:robot])
        own = names[begin : begin + getattr(robots[robot], size)]
        found[kind] = [name.removeprefix(f"{robots[robot]}: ") if len(robots) > 1 else name for name in own]
    return found


def check_robot(release: str, spec: ModelSpec, where: str, robot: Robot, names: Mapping[str, Sequence[str]]) -> None:
    """
    Args:
        where: The dataset or trajectory that is of this robot.
        names: `action` and `state` → what its dataset calls the values; none where it has no names.

    Raises:
        DataError: it is none of the robots that the release knows, or its columns are others.
    """
    place = spec.layout.robot(robot)
    if place == UNSEEN:
        known = "; ".join(f"{one.name or 'unnamed'}: {one.actions}, {one.state}" for one in spec.layout.robots)
        raise DataError(
            f"{where}: {robot.name or 'a robot'} with {robot.actions} actions and {robot.state} state values; the "
            f"adopted release {release} knows {known}.",
            fix=FIX,
        )
    for kind, released in columns_of(spec, place).items():
        own, unnamed = list(names.get(kind, ())), [f"{kind}_{i}" for i in range(len(released))]
        if len(own) == len(released) and own != released and released != unnamed:
            raise DataError(
                f"{where}, {kind}: the columns are {', '.join(own)}; in the adopted release {release} they are "
                f"{', '.join(released)}.",
                fix=FIX,
            )
