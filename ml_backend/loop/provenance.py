"""What a reward model was made from: its fingerprint, its description, and the same inputs again for scoring with it.

A fingerprint is of what was really used. The weights of the encoder count by their content, because `imagenet` means
something else where they cannot be had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from preference.config import Reward
from preference.errors import DataError
from preference.records import Preference, Trajectory
from preference.workspace import Workspace
from qc_reports.answers import Answered, join

if TYPE_CHECKING:
    from ml_backend.loop.features import FeatureStore
    from ml_backend.reward.model import ModelSpec
    from ml_backend.reward.weights import EncoderSettings

PROJECTION = 16
"""Principal components of the frame features that the model looks at: with a few hundred labels, more only memorize."""
ENCODERS = "encoders"
"""Folder of the work folder for encoders that `robopref train --finetune` trained."""
OWN_ENCODER = "encoder.pt"
"""Beside model.pt where the encoder was trained too (`robopref train --finetune`)."""


def fingerprint(ws: Workspace, preferences: Sequence[Preference], encoder_digest: str) -> str:
    """Of everything that the weights depend on: labels, settings, seed, trajectories, the encoder's weights."""
    labels = sorted((p.pair_id, p.preference, round(p.confidence_mean, 6)) for p in preferences)
    spans = [(t.trajectory_id, t.start_s, t.end_s) for t in ws.store.trajectories()]
    settings = ws.config.reward.model_dump(exclude={"weights"})
    answers = [(a.pair_id, a.annotator_id, a.preference, a.confidence) for a in single_answers(ws)]
    text = json.dumps([labels, settings, ws.config.seed, spans, encoder_digest, sorted(answers)], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def single_answers(ws: Workspace) -> list[Answered]:
    """The answers that a training fits instead of the vote; none where it fits the vote."""
    if ws.config.reward.reliability == "vote":
        return []
    answers = join(ws.store.judgments(), ws.store.assignments())
    return [answer for answer in answers if not answer.duplicate]


def settled_encoder(reward: Reward) -> EncoderSettings | None:
    """Which weights are used; None where the model does not look at frames."""
    from ml_backend.reward.weights import settle

    return settle(reward.encoder, reward.weights) if "frames" in reward.inputs else None


def describe(ws: Workspace, store: FeatureStore, trajectories: Sequence[Trajectory]) -> ModelSpec:
    """The description of a model that is to be trained on `store`."""
    from ml_backend.reward.model import ModelSpec

    reward = ws.config.reward
    example = store[trajectories[0].trajectory_id]
    action_names, state_names = _names(ws, trajectories[0], example.actions.shape[1], example.state.shape[1])
    return ModelSpec(
        encoder=reward.encoder,
        weights=store.encoder.shown if store.encoder else "none",
        image_size=store.encoder.image_size if store.encoder else 0,
        sample_fps=reward.sample_fps,
        max_frames=reward.max_frames,
        inputs=tuple(reward.inputs),
        frame_size=example.frames.shape[1],
        action_names=action_names,
        state_names=state_names,
        temporal=reward.temporal,
        hidden=reward.hidden,
        members=reward.members,
        projection=PROJECTION if "frames" in reward.inputs else 0,
        task_types=tuple(sorted({t.task_type for t in trajectories})),
        encoder_digest=store.encoder.digest if store.encoder else "",
    )


def _names(ws: Workspace, trajectory: Trajectory, actions: int, state: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the dataset calls each action and state value; numbered where it has no names."""
    from importer.pool import feature_names_of

    found = feature_names_of(ws.config.pool, trajectory)

    def complete(kind: str, size: int) -> tuple[str, ...]:
        names = found.get(kind, [])
        return tuple(names) if len(names) == size else tuple(f"{kind}_{i}" for i in range(size))

    return complete("action", actions), complete("state", state)


def features_for(ws: Workspace, spec: ModelSpec, folder: Path) -> FeatureStore:
    """The pool as this model sees it, whatever robopref.toml has come to say since it was trained.

    Args:
        folder: Of the model.

    Raises:
        DataError: the encoder's weights are no longer those that the model was trained on, or there are trajectories of
            another robot.
    """
    from ml_backend.loop.features import encode_pool
    from ml_backend.reward.features import check_sizes

    seen = ws.config.reward.model_copy(
        update={
            "encoder": spec.encoder,
            "weights": weights_for(ws.config.reward, spec, folder),
            "inputs": list(spec.inputs),
            "sample_fps": spec.sample_fps,
            "max_frames": spec.max_frames,
        }
    )
    encoder = settled_encoder(seen)
    if encoder and encoder.digest != spec.encoder_digest:
        raise DataError(
            f"{folder / 'model.pt'} is of another configuration: it was trained on {spec.encoder} with weights "
            f"{spec.weights!r} ({spec.encoder_digest}); here they are {encoder.shown!r} ({encoder.digest}). "
            f"{encoder.note}".rstrip(),
            fix="Bring the same weights onto this machine, or run `robopref train` again.",
        )
    then = Workspace(ws.config.model_copy(update={"reward": seen}))
    store = encode_pool(then, ws.store.trajectories(), encoder)
    check_sizes(store.paths, spec.sizes, folder / "model.pt")
    return store


def weights_for(reward: Reward, spec: ModelSpec, folder: Path) -> str:
    """What `reward.weights` has to say for the weights that the model was trained on."""
    if (folder / OWN_ENCODER).is_file():
        return str(folder / OWN_ENCODER)
    return spec.weights if spec.weights in ("imagenet", "none") else reward.weights
