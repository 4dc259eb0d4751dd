"""A model's description (`ModelSpec`), from the pool that it will learn from; the pool as such a model sees it; what is
known of its success.

Where a release was adopted (`robopref adopt`), a robot's columns must be those that the release's model knows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from importer.pool import feature_names_of, find_dataset
from ml_backend.loop.features import OWN_ENCODER, FeatureStore, encode_pool, encoder_settings
from ml_backend.reward.dataset import Known
from ml_backend.reward.layout import UNSEEN, Robot, known_task, robots_among
from preference.artifacts import confined
from preference.config import Config, Reward
from preference.errors import DataError, NotReady
from preference.records import ADOPTED, Trajectory
from preference.work import remark
from preference.workspace import Workspace
from qc_reports.resolve import outcomes_said

if TYPE_CHECKING:
    from ml_backend.reward.model import ModelSpec

PROJECTION = 16
"""Numbers that the model sees of a frame: with a few hundred labels, more only memorize."""
FIX = "A release is continued with the robot that it was made with: pool only that one, or begin a project of your own."


def describe(ws: Workspace, store: FeatureStore, trajectories: Sequence[Trajectory]) -> ModelSpec:
    """The description of a model that will be trained on `store`.

    Raises:
        NotReady: all trajectories came with an adopted release.
        DataError: the project goes on with a release, and a dataset is of another robot.
    """
    from ml_backend.reward.model import ModelSpec

    reward = ws.config.reward
    kinds = [store.robot_of(t) for t in trajectories]
    robots = robots_among(kinds)
    here = [(t, kind) for t, kind in zip(trajectories, kinds, strict=True) if not t.adopted]
    if not here:
        fix = "Name your dataset under [[pool.dataset]], run `robopref pool` and have pairs of it answered."
        raise NotReady("All trajectories came with the adopted release: there is nothing new to learn from.", fix=fix)
    cameras = max((find_dataset(ws.config.pool, t).columns.camera for t, _ in here), key=len)
    if released := adopted_spec(ws):
        cameras = max(cameras, list(released[1].cameras), key=len)  # its features may be of more than are here
        for kind in {kind for _, kind in here}:
            example = next(t for t, one in here if one == kind)
            check_robot(*released, example.trajectory_id, kind, feature_names_of(ws.config.pool, example))
    frames = max(store.sizes_of(t.trajectory_id)["frames"] for t in trajectories)
    tasks = tuple(sorted({t.task_type for t in trajectories}))

    def names(kind: str, own: str) -> tuple[str, ...]:
        """Of all robots' values, one robot after the other."""
        found: list[str] = []
        for robot in robots:
            size = getattr(robot, own)
            example = next((t for t, one in here if getattr(one, own) == size and robot.takes(one)), None)
            if example is not None:
                own_names = feature_names_of(ws.config.pool, example).get(kind, [])
            else:  # only the release has this robot, or this robot's values
                own_names = columns_of(released[1], released[1].layout.robot(robot))[kind] if released else []
            # numbers where the dataset has no names
            own_names = own_names if len(own_names) == size else [f"{kind}_{i}" for i in range(size)]
            found += own_names if len(robots) == 1 else [f"{robot}: {name}" for name in own_names]
        return tuple(found)

    return ModelSpec(
        encoder=reward.encoder,
        weights=store.encoder.shown if store.encoder else "none",
        image_size=store.encoder.image_size if store.encoder else 0,
        sample_fps=reward.sample_fps,
        max_frames=reward.max_frames,
        inputs=tuple(reward.inputs),
        frame_size=frames,
        action_names=names("action", "actions"),
        state_names=names("state", "state"),
        temporal=reward.temporal,
        hidden=reward.hidden,
        members=reward.members,
        projection=PROJECTION * max(1, len(cameras)) if "frames" in reward.inputs else 0,
        task_types=tasks,
        encoder_digest=store.encoder.digest if store.encoder else "",
        cameras=tuple(cameras) if len(cameras) > 1 and "frames" in reward.inputs else (),
        robots=tuple((robot.name, robot.actions, robot.state) for robot in robots),
        task_columns=len(tasks) > 1,
    )


def features_for(ws: Workspace, spec: ModelSpec, folder: Path) -> FeatureStore:
    """The pool as this model sees it, even where robopref.toml has changed since its training.

    Args:
        folder: Of the model.

    Raises:
        DataError: the encoder's weights are not those that the model was trained on, or trajectories are of another
            robot.
    """
    seen = ws.config.reward.model_copy(
        update={
            "encoder": spec.encoder,
            "weights": weights_for(ws.config.reward, spec, folder),
            "image_size": spec.image_size,
            "inputs": list(spec.inputs),
            "sample_fps": spec.sample_fps,
            "max_frames": spec.max_frames,
        }
    )
    encoder = encoder_settings(seen)
    if encoder and encoder.digest != spec.encoder_digest:
        raise DataError(
            f"{folder / 'model.pt'} does not match this configuration: it was trained on {spec.encoder} with weights "
            f"{spec.weights!r} ({spec.encoder_digest}), but here they are {encoder.shown!r} ({encoder.digest}). "
            f"{encoder.note}".rstrip(),
            fix="Bring the same weights onto this machine, or run `robopref train` again.",
        )
    then = Workspace(ws.config.model_copy(update={"reward": seen}))
    trajectories = ws.store.trajectories()
    store = encode_pool(then, trajectories, encoder).placed(spec.layout, trajectories)
    _tell_of_unseen(store, spec, trajectories, folder / "model.pt")
    return store


def _tell_of_unseen(store: FeatureStore, spec: ModelSpec, trajectories: Sequence[Trajectory], model: Path) -> None:
    """Say which robots and tasks the model does not know, and what it then goes by.

    Raises:
        DataError: a robot is not known, and the model looks at nothing but actions and state.
    """
    own = [t for t in trajectories if t.trajectory_id in store.paths]
    strange = [t for t in own if store.places[t.trajectory_id][0] == UNSEEN]
    known = ", ".join(map(str, spec.layout.robots))
    if strange:
        first = store.robot_of(strange[0])
        robot = f"{first.name or 'a robot'} with {first.actions} actions and {first.state} state values"
        if "frames" not in spec.inputs:
            raise DataError(
                f"{strange[0].trajectory_id} is of {robot}; {model} was trained on {known}.",
                fix="Pool only robots of the kinds that it was trained on, or train with frames among reward.inputs.",
            )
        remark(
            f"{len(strange)} trajectories are of robots that {model} does not know, the first of {robot}; it knows "
            f"{known}. Their rewards go by the pictures alone."
        )
    new = sorted({t.task_type for t in own if known_task(t.task_type, spec.task_types) == UNSEEN})
    if new and spec.task_types:
        count = sum(t.task_type in new for t in own)
        remark(
            f"{count} trajectories are of task types that {model} does not know ({', '.join(new[:3])}). Their rewards "
            "are what its tasks share, which nobody's answers have tested there."
        )


def weights_for(reward: Reward, spec: ModelSpec, folder: Path) -> str:
    """The value of `reward.weights` that gives the weights which the model was trained on."""
    if (folder / OWN_ENCODER).is_file():
        return str(folder / OWN_ENCODER)
    return spec.weights if spec.weights in ("imagenet", "none") else reward.weights


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


@dataclass(frozen=True)
class Outcomes:
    """What is known of a pool."""

    known: list[Known]
    """In the order of the trajectories."""
    by_people: int
    """How many are known from the annotators alone."""
    contradictory: list[str]
    """trajectory_ids of which the dataset and most annotators say the opposite; neither is learned from."""

    @property
    def words(self) -> str:
        """About contradictions; empty without."""
        if not self.contradictory:
            return ""
        first, more = self.contradictory[0], len(self.contradictory)
        return (
            f"Of {more} trajectories the dataset and most annotators say the opposite about success, the first is "
            f"{first}: nothing is learned from their success. Correct the dataset's success, or the answers."
        )


def known_outcomes(
    ws: Workspace,
    trajectories: Sequence[Trajectory],
    steps: Sequence[int],
    sample_fps: float,
    without: Collection[str] = (),
) -> Outcomes:
    """
    Args:
        steps: How many steps the model sees of each trajectory.
        sample_fps: Of the model.
        without: pair_ids whose answers do not count: the test pairs, for a reward learns from what is known here.
    """
    told = outcomes_said(ws, without)
    known, contradictory, by_people = [], [], 0
    for t, count in zip(trajectories, steps, strict=True):
        people, several = told.get(t.trajectory_id, (None, False))
        success = people if t.success is None else t.success
        by_people += t.success is None and people is not None
        if several and success != people:
            contradictory.append(t.trajectory_id)
            success = None
        done = done_step(t, count, sample_fps, ws.config) if success and t.success else None
        known.append(Known(success, done, t.task_type))
    return Outcomes(known, by_people, contradictory)


def done_step(t: Trajectory, steps: int, sample_fps: float, config: Config) -> int | None:
    """The first step at or after the completion of a trajectory that succeeded; None where the time is not known.

    It is told from the trimmed span, which ends `clips.after_s` after completion, or with the episode; in the latter
    case from the duration, which begins `clips.before_s` after the span does.
    """
    clips, length_s = config.clips, t.start_s + t.seen_s
    if t.end_s < length_s - 1e-6:
        completion = t.end_s - clips.after_s
    elif t.start_s > 0 and math.isfinite(t.duration_s):
        completion = t.start_s + clips.before_s + t.duration_s
    else:
        return None
    if completion >= length_s - 1e-6:
        return None
    # a long trajectory is sampled more thinly than at the model's rate
    thin = steps >= config.reward.max_frames
    rate = min(sample_fps, max(steps - 1, 1) / max(t.seen_s, 1e-6)) if thin else sample_fps
    return min(max(math.ceil((completion - t.start_s) * rate - 1e-6), 0), steps - 1)
