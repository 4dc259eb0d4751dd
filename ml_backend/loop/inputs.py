"""What a reward model is made from: labels and features of the workspace, as a training and later scoring read them.

A fingerprint covers what was really used. The encoder's weights count by their content, because `imagenet` means
something else where they cannot be downloaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from importer.pool import feature_names_of
from ml_backend.loop.features import FeatureStore, encode_pool
from ml_backend.reward.dataset import Pairs, index_pairs
from ml_backend.reward.features import check_sizes
from ml_backend.reward.judgments import index_judgments
from ml_backend.reward.weights import EncoderSettings, settle
from preference.config import Reward
from preference.errors import DataError
from preference.records import Preference, Trajectory
from preference.workspace import Workspace
from qc_reports.answers import Answered, join

if TYPE_CHECKING:
    from ml_backend.reward.model import ModelSpec
    from ml_backend.reward.weights import EncoderSettings

PROJECTION = 16
"""Principal components of the frame features that the model sees: with a few hundred labels, more only memorize."""
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
    """Each annotator's own answers, where a training fits these instead of the vote; otherwise none."""
    if ws.config.reward.reliability == "vote":
        return []
    answers = join(ws.store.judgments(), ws.store.assignments())
    return [answer for answer in answers if not answer.duplicate]


def labelled_pairs(ws: Workspace, preferences: Sequence[Preference], trajectories: Sequence[Trajectory]) -> Pairs:
    """The labels as arrays that index `trajectories`, with the single answers where a training fits these."""
    pairs = index_pairs(preferences, {t.trajectory_id: i for i, t in enumerate(trajectories)})
    answers = single_answers(ws)
    return replace(pairs, judgments=index_judgments(pairs.pair_ids, answers)) if answers else pairs


def encoder_settings(reward: Reward) -> EncoderSettings | None:
    """The encoder and the weights that it gets; None where the model does not look at frames."""
    return settle(reward.encoder, reward.weights) if "frames" in reward.inputs else None


def describe(ws: Workspace, store: FeatureStore, trajectories: Sequence[Trajectory]) -> ModelSpec:
    """The description of a model that will be trained on `store`."""
    from ml_backend.reward.model import ModelSpec

    reward = ws.config.reward
    example = store[trajectories[0].trajectory_id]
    names = feature_names_of(ws.config.pool, trajectories[0])

    def complete(kind: str, size: int) -> tuple[str, ...]:
        """The dataset's names of the values, or numbers where it has none."""
        found = names.get(kind, [])
        return tuple(found) if len(found) == size else tuple(f"{kind}_{i}" for i in range(size))

    return ModelSpec(
        encoder=reward.encoder,
        weights=store.encoder.shown if store.encoder else "none",
        image_size=store.encoder.image_size if store.encoder else 0,
        sample_fps=reward.sample_fps,
        max_frames=reward.max_frames,
        inputs=tuple(reward.inputs),
        frame_size=example.frames.shape[1],
        action_names=complete("action", example.actions.shape[1]),
        state_names=complete("state", example.state.shape[1]),
        temporal=reward.temporal,
        hidden=reward.hidden,
        members=reward.members,
        projection=PROJECTION if "frames" in reward.inputs else 0,
        task_types=tuple(sorted({t.task_type for t in trajectories})),
        encoder_digest=store.encoder.digest if store.encoder else "",
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
    store = encode_pool(then, ws.store.trajectories(), encoder)
    check_sizes(store.paths, spec.sizes, folder / "model.pt")
    return store


def weights_for(reward: Reward, spec: ModelSpec, folder: Path) -> str:
    """The value of `reward.weights` that gives the weights which the model was trained on."""
    if (folder / OWN_ENCODER).is_file():
        return str(folder / OWN_ENCODER)
    return spec.weights if spec.weights in ("imagenet", "none") else reward.weights
