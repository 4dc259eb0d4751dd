"""A release that another team continues: its unpacked folder and an empty workspace in, a workspace with its labels,
features and model out.

Pairs, answers and trajectories keep their ids, and the seed is the release's: so a test pair of the release stays a
test pair. People keep their released ids behind the release's name (`drawers-1.0.0:annotator_03`) and are asked
nothing. The release itself is put among the workspace's releases, so that the next one is compared with it. The model's
record comes last: its existence means that the rest is there, and a run that was killed is run again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from pydantic import ValidationError

from importer.pool.dataset import open_dataset
from importer.pool.inspect import first_good
from ml_backend.loop.features import ENCODERS, OWN_ENCODER, encoder_settings, features_file
from ml_backend.loop.models import digests, trained_with
from ml_backend.loop.spec import check_robot
from ml_backend.loop.train import headline
from ml_backend.loop.validate import PAGE
from ml_backend.reward import checkpoint
from ml_backend.reward.dataset import SPLITS
from ml_backend.reward.encoder_weights import resolve_weights
from ml_backend.reward.features import Features, write_features
from ml_backend.reward.layout import Robot
from ml_backend.reward.model import ModelSpec, RewardModel
from preference.artifacts import read_json, replacing, sha256_of, write_json, write_text
from preference.config import Config, Dataset, Reward
from preference.errors import ConfigError, DataError, UserError
from preference.formats import now
from preference.records import ADOPTED, ModelVersion
from preference.workspace import Workspace
from release.adopted_answers import note_of, put_answers, read_tables
from release.archive import SUMS, check_folder, write_archive
from release.versions import Version, folder_name, is_complete, parse_version

MODEL = "rm-0001"
SHARED = ("encoder", "image_size", "inputs", "sample_fps", "max_frames")
"""Settings of `reward` that the released features depend on."""


@dataclass(frozen=True)
class Received:
    """A release as it was received: verified, and read as far as settings are concerned."""

    folder: Path
    name: str
    version: Version
    spec: ModelSpec
    config: Config
    """What a project that continues it begins with; `reward.weights` is relative to robopref.toml."""

    @property
    def source(self) -> str:
        """What its people's ids begin with."""
        return folder_name(self.name, self.version).removeprefix("robopref-")


@dataclass(frozen=True)
class Adopted:
    """What `robopref adopt` prints."""

    release: str
    path: str
    """Where it is among the workspace's releases."""
    pairs: int
    judgments: int
    people: int
    trajectories: int
    model: str
    ranking_accuracy: float
    """Of the model, on the release's test pairs."""
    known: bool
    """It had been adopted before; nothing was changed."""


def open_release(folder: Path) -> Received:
    """Verify a release and read the settings that go with it.

    Raises:
        DataError: it is not a release, was changed, or is of a version that does not say enough.
    """
    check_folder(folder)
    found = checkpoint.load(folder / "reward_model.pt", "reward model", fix="Unpack its archive again.")
    told = read_json(folder / "training.json")
    spec = RewardModel.load(folder / "reward_model.pt").spec
    for name in ("rewards.csv", PAGE):
        if not (folder / name).is_file():
            raise DataError(f"{folder}: {name} is missing.", fix="Have it released again with a current version.")
    try:
        learned = {name: value for name, value in told.items() if name in Reward.model_fields}
        learned |= {name: getattr(spec, name) for name in ("sample_fps", "max_frames")} | {"encoder": spec.encoder}
        name, version = str(found["contract"]["name"]), parse_version(found["contract"]["version"])
        figures = read_json(folder / "validation.json")
        saw_labels = figures.get("encoder_saw_labels", False)
        _ = headline(figures), figures["ranking_accuracy"]["value"], figures["spearman"], found["encoder_state"]
        weights = "none"
        if "frames" in spec.inputs and spec.weights != "none":
            weights = f"work/{ENCODERS}/{ADOPTED}.pt" if saw_labels else f"work/models/{MODEL}/{OWN_ENCODER}"
        reward = trained_with(learned | {"weights": weights})
        config = Config(name=name, seed=told["seed"], reward=reward)
    except (AttributeError, KeyError, TypeError, ValidationError, UserError) as error:
        raise DataError(f"{folder}: it does not say how its model was trained: {error}.") from None
    return Received(folder, name, version, spec, config)


def check_dataset(received: Received, dataset: Dataset) -> None:
    """
    Raises:
        DataError: it is of another robot than the release, as its first episode says.
    """
    opened = open_dataset(dataset)
    episode, _ = first_good(opened)
    if episode is not None:  # otherwise `pool` says why
        robot = Robot(episode.robot, episode.actions.shape[1], episode.state.shape[1])
        release = folder_name(received.name, received.version)
        check_robot(release, received.spec, str(dataset.path), robot, opened.reader.mapping.names())


def adopt(ws: Workspace, received: Received) -> Adopted:
    """Fill an empty workspace with a release; nothing where that has been done.

    Raises:
        ConfigError: robopref.toml says otherwise than the release.
        UserError: the workspace holds something else.
        DataError: the release's tables do not fit together.
    """
    _check_settings(ws, received)
    tables = read_tables(received.folder, received.config.seed)
    ids = {t.trajectory_id for t in tables.trajectories}
    record = _check_empty(ws, received, ids)
    known = record is not None
    if record is None:
        _put_release(ws, received)
        figures = _put_model(ws, received, tables.labels)
        _put_features(ws, received, ids)
        put_answers(ws, received.source, tables, read_json(received.folder / "training.json").get("simulated", ()))
        record = _recorded(ws, received, figures, len(tables.labels))
        ws.store.put_model_version(record)
    return Adopted(
        release=folder_name(received.name, received.version),
        path=str(_place(ws, received)),
        pairs=len(tables.labels),
        judgments=len(tables.judged),
        people=len({row["annotator_id"] for row in tables.judged}),
        trajectories=len(ids),
        model=record.version,
        ranking_accuracy=record.ranking_accuracy,
        known=known,
    )


def _check_settings(ws: Workspace, received: Received) -> None:
    """
    Raises:
        ConfigError: naming the setting, and what the release has.
    """
    have, want = ws.config, received.config
    values = [("name", have.name, want.name), ("seed", have.seed, want.seed)]
    values += [(f"reward.{name}", getattr(have.reward, name), getattr(want.reward, name)) for name in SHARED]
    expected = want.reward.weights if want.reward.weights == "none" else str(_weights(ws, received))
    values += [("reward.weights", have.reward.weights, expected)]
    for name, found, released in values:
        if found != released:
            raise ConfigError(
                f"{have.file}, {name}: found {found!r}; the release has {released!r}.",
                fix="Set it as the release has it, or adopt the release in a folder of its own.",
            )


def _check_empty(ws: Workspace, received: Received, ids: set[str]) -> ModelVersion | None:
    """The model's record where this release has been adopted.

    Raises:
        UserError: something else is in the workspace.
    """
    sums = sha256_of(received.folder / SUMS)
    models = ws.store.model_versions()
    if models and models[0].metrics.get(ADOPTED, {}).get("sums") == sums:
        return models[0]
    there = [f"the model {m.version}" for m in models]
    there += [f"the batch {b.batch_id}" for b in ws.store.batches() if b.notes != [note_of(received.source)]]
    there += [f"the trajectory {t.trajectory_id}" for t in ws.store.trajectories() if t.trajectory_id not in ids]
    if there:
        raise UserError(f"{ws.root} is not empty: it has {there[0]}.", fix="Adopt the release in a folder of its own.")
    return None


def _place(ws: Workspace, received: Received) -> Path:
    return ws.releases / folder_name(received.name, received.version)


def _put_release(ws: Workspace, received: Received) -> None:
    """Folder, archive and its checksum, as `build_release` leaves them."""
    folder = _place(ws, received)
    if is_complete(folder) and (folder / SUMS).read_bytes() == (received.folder / SUMS).read_bytes():
        return
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with replacing(folder) as copied:
        shutil.copytree(received.folder, copied, ignore=shutil.ignore_patterns("__pycache__"))
    with replacing(archive) as packed:
        write_archive(folder, packed, folder.name)
        digest = sha256_of(packed)
    write_text(archive.with_name(f"{archive.name}.sha256"), f"{digest}  {archive.name}\n")


def _weights(ws: Workspace, received: Received) -> Path:
    """The file that `reward.weights` names."""
    return ws.root / Path(received.config.reward.weights).relative_to("work")


def _put_model(ws: Workspace, received: Received, labels: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """models/rm-0001 as a training would have left it; returns validation.json."""
    source, spec = received.folder, received.spec
    figures = read_json(source / "validation.json")
    found = checkpoint.load(source / "reward_model.pt", "reward model", fix="Unpack its archive again.")
    state, _ = found.pop("encoder_state"), found.pop("contract")
    with replacing(ws.models / MODEL) as folder:
        folder.mkdir(parents=True)
        if received.config.reward.weights != "none":
            network = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
            checkpoint.save(network, folder / OWN_ENCODER)
            if (kept := _weights(ws, received)).parent.name == ENCODERS:
                kept.parent.mkdir(exist_ok=True)
                shutil.copyfile(folder / OWN_ENCODER, kept)
            settings = resolve_weights(spec.encoder, str(folder / OWN_ENCODER))
            found["spec"] |= {"weights": OWN_ENCODER, "encoder_digest": settings.digest}
        checkpoint.save(found, folder / "model.pt")
        parts = {name: [key for key, row in labels.items() if row["split"] == name] for name in SPLITS}
        write_json(folder / "split.json", parts)
        told = {"reward": received.config.reward.model_dump(), "seed": received.config.seed}
        write_json(folder / "training.json", told | {"encoder_digest": found["spec"].get("encoder_digest", "")})
        for name in ("validation.json", "rewards.csv", PAGE):
            shutil.copyfile(source / name, folder / name)
    return figures


def _put_features(ws: Workspace, received: Received, ids: set[str]) -> None:
    """A file for each compared trajectory; in the release they are as the model sees them, here as recorded."""
    path = received.folder / "features.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in ("trajectory_ids", "offsets", "frames", "actions", "state")}
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise DataError(f"{path} holds no features: {error}.") from None
    encoder, layout = encoder_settings(ws.config.reward), received.spec.layout
    names = [str(name) for name in data["trajectory_ids"]]
    if lost := ids - set(names):
        raise DataError(f"{path}: {min(lost)} is missing.")
    if len(data["offsets"]) != len(names) + 1:
        raise DataError(f"{path}: expected {len(names) + 1} offsets, found {len(data['offsets'])}.")
    for name, begin, end in zip(names, data["offsets"][:-1], data["offsets"][1:], strict=True):
        if name not in ids:  # these are checked, and become names of files
            continue
        frames, actions, state = (data[kind][begin:end] for kind in ("frames", "actions", "state"))
        columns = [(actions[:, :0], state[:, :0])]
        for number in range(len(layout.robots)):
            one, before = layout.robots[number], layout.robots[:number]
            a, s = sum(r.actions for r in before), sum(r.state for r in before)
            columns.append((actions[:, a : a + one.actions], state[:, s : s + one.state]))
        kept = features_file(ws.features, name, encoder, ws.config.reward)
        # another robot's columns are nan throughout
        own = max(columns, key=lambda both: sum(int(np.isfinite(part).any()) for part in both))
        write_features(Features(frames, *(part[:, np.isfinite(part).any(axis=0)] for part in own)), kept)


def _recorded(ws: Workspace, received: Received, figures: Mapping[str, Any], labels: int) -> ModelVersion:
    folder = ws.models / MODEL
    adopted = {"release": folder_name(received.name, received.version), "sums": sha256_of(received.folder / SUMS)}
    return ModelVersion(
        version=MODEL,
        path=str(folder.relative_to(ws.root)),
        created_at=now(),
        preferences=labels,
        ranking_accuracy=figures["ranking_accuracy"]["value"],
        spearman=figures["spearman"],
        encoder=received.spec.encoder,
        weights=received.spec.weights,
        metrics={ADOPTED: adopted, "files": digests(folder), **headline(dict(figures))},
    )
