"""The learning stages over a workspace: `train`, `score_pool`, `rank`."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_backend.provenance import (
    ENCODERS,
    OWN_ENCODER,
    describe,
    features_for,
    fingerprint,
    settled_encoder,
    single_answers,
)
from ml_backend.ranking import Choice, PoolScores, rank_pairs
from preference.errors import DataError, NotReady
from preference.records import ModelVersion, Preference, Trajectory
from preference.work import console, progress
from preference.workspace import Workspace, confined, replacing
from qc_reports.stages import read_preferences

if TYPE_CHECKING:
    from ml_backend.dataset import Pairs
    from ml_backend.encoder import EncoderSettings


def train(ws: Workspace) -> ModelVersion:
    """Train, validate and register a reward model on the resolved preferences; nothing where that has been done.

    Writes models/VERSION/{model.pt, split.json, validation.json, training.json, rewards.csv}, all or nothing.

    Raises:
        NotReady: nothing is resolved, or too little.
    """
    preferences = [p for p in read_preferences(ws.preferences) if p.preference is not None]
    reward = ws.config.reward
    if len(preferences) < reward.min_preferences:
        raise NotReady(
            f"{len(preferences)} pairs have a label; training needs at least {reward.min_preferences}.",
            fix="Ask more pairs, or lower reward.min_preferences.",
        )
    encoder = settled_encoder(reward)
    key = fingerprint(ws, preferences, encoder.digest if encoder else "")
    for known in ws.store.model_versions():
        if known.metrics.get("fingerprint") == key and (ws.root / known.path / "model.pt").exists():
            if not known.active and "kept_back" not in known.metrics:
                ws.store.put_model_version(_activated(known))
            return known
    return _train(ws, preferences, encoder, key)


def _train(ws: Workspace, preferences: Sequence[Preference], encoder: EncoderSettings | None, key: str) -> ModelVersion:
    from ml_backend.curves import curves
    from ml_backend.features import encode_pool
    from ml_backend.models import why_worse
    from ml_backend.train import check_labels, pair_keys, split_pairs, train_model
    from ml_backend.validate import FOLDS, TRAJECTORY_FOLDS, validate

    reward, seed = ws.config.reward, ws.config.seed
    store = encode_pool(ws, ws.store.trajectories(), encoder)
    if encoder is not None and encoder.note:
        console.print(f"[yellow]{encoder.note}.[/]", highlight=False, soft_wrap=True)
    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    features = store.sequence([t.trajectory_id for t in trajectories])
    pairs = labelled_pairs(ws, preferences, trajectories)
    check_labels(pairs, reward.min_preferences)
    split = split_pairs(pair_keys(preferences), seed)
    spec = describe(ws, store, trajectories)
    version = f"rm-{len(ws.store.model_versions()) + 1:04d}"
    checkpoint = ws.checkpoints / f"{key}.pt"
    with progress("Training", reward.epochs) as advance, curves(ws.curves / version) as add:
        trained = train_model(
            features,
            pairs,
            split,
            spec,
            reward,
            seed=seed,
            names=[t.trajectory_id for t in trajectories],
            checkpoint=checkpoint,
            on_epoch=advance,
            on_curves=add,
        )
        advance(reward.epochs - trained.epochs)
    strata = {pair.pair_id: pair.stratum for pair in ws.store.pairs()}
    with progress("Validating", FOLDS + TRAJECTORY_FOLDS) as advance:
        figures = validate(
            trained, features, trajectories, pairs, split, reward, preferences, strata, seed=seed, on_training=advance
        )
    tuned = _tuned(ws, encoder)
    figures |= {"encoder": spec.encoder, "weights": spec.weights, "encoder_saw_labels": tuned is not None}
    rewards, members = trained.model.score(features)
    ids = [t.trajectory_id for t in trajectories]
    kept_back = why_worse(rewards, _rewards_in_use(ws), ids, pairs.take(split.test))
    if kept_back:
        console.print(f"[yellow]{version} does not take over: {kept_back}.[/]", highlight=False, soft_wrap=True)
    with replacing(ws.models / version) as folder:
        folder.mkdir()
        trained.model.save(folder / "model.pt")
        if tuned:
            shutil.copyfile(tuned, folder / OWN_ENCODER)
        rows = {name: [pairs.pair_ids[i] for i in getattr(split, name)] for name in ("train", "validation", "test")}
        write_json(folder / "split.json", rows)
        told = {"reward": reward.model_dump(), "seed": seed, "encoder_digest": spec.encoder_digest}
        told |= {"curves": trained.curves, "reliability": trained.reliability}
        write_json(folder / "training.json", told)
        write_json(folder / "validation.json", figures)
        _write_rewards(folder / "rewards.csv", ids, rewards, members.std(axis=0))
    record = ModelVersion(
        version=version,
        path=str((ws.models / version).relative_to(ws.root)),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        preferences=len(preferences),
        ranking_accuracy=figures["ranking_accuracy"]["value"],
        spearman=figures["spearman"],
        encoder=spec.encoder,
        weights=spec.weights,
        active=not kept_back,
        metrics={"fingerprint": key, **_headline(figures)} | ({"kept_back": kept_back} if kept_back else {}),
    )
    ws.store.put_model_version(record)
    checkpoint.unlink(missing_ok=True)
    return record


def _rewards_in_use(ws: Workspace) -> dict[str, float]:
    """By the model in use; empty where there is none, or its file is gone: then nothing is compared."""
    try:
        return newest_rewards(ws)
    except DataError:
        return {}


def _tuned(ws: Workspace, encoder: EncoderSettings | None) -> Path | None:
    """The weights file, where it is one that `--finetune` made: it is kept beside the model."""
    path = Path(encoder.weights) if encoder and encoder.weights not in ("imagenet", "none") else None
    return path if path and path.parent == ws.root / ENCODERS else None


def labelled_pairs(ws: Workspace, preferences: Sequence[Preference], trajectories: Sequence[Trajectory]) -> Pairs:
    """The labels as arrays that index `trajectories`; with the single answers where a training is to fit these."""
    from ml_backend.dataset import index_pairs
    from ml_backend.judged import index_judgments

    pairs = index_pairs(preferences, {t.trajectory_id: i for i, t in enumerate(trajectories)})
    answers = single_answers(ws)
    return replace(pairs, judgments=index_judgments(pairs.pair_ids, answers)) if answers else pairs


def score_pool(ws: Workspace, record: ModelVersion | None = None) -> PoolScores:
    """What the newest (or a given) model says of every trajectory of the pool.

    Raises:
        NotReady: there is no model.
        DataError: it cannot be read, or looks through an encoder that is no longer here.
    """
    from ml_backend.reward_model import RewardModel

    record = record or ws.store.active_model()
    if record is None:
        raise NotReady("There is no reward model yet.", fix="Run `robopref train` first.")
    folder = confined(ws.root, record.path)
    model = RewardModel.load(folder / "model.pt")
    store = features_for(ws, model.spec, folder)
    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    features = store.sequence([t.trajectory_id for t in trajectories])
    return PoolScores(
        tuple(t.trajectory_id for t in trajectories),
        tuple(t.task_type for t in trajectories),
        model.score(features)[1],
        model.last_layer(features),
    )


def rank(ws: Workspace, count: int, strategy: str | None = None) -> list[Choice]:
    """The `count` pairs most worth asking next, of those that can be shown and have not been asked.

    Raises:
        NotReady: there is no model.
        ConfigError: the strategy does not exist.
    """
    from importer.pairs import asked
    from importer.ready import shown

    active = ws.config.active
    scores = score_pool(ws)
    askable = {t.trajectory_id for t in shown(ws)}
    rows = [i for i, name in enumerate(scores.trajectory_ids) if name in askable]
    scores = PoolScores(
        tuple(scores.trajectory_ids[i] for i in rows),
        tuple(scores.task_types[i] for i in rows),
        scores.members[:, rows],
        scores.phi[rows],
    )
    return rank_pairs(
        scores,
        count,
        strategy=strategy or active.strategy,
        asked=set(asked(ws.store.pairs())),
        audit=active.audit,
        within_sd=active.within_sd,
        rng=ws.rng(f"rank {len(ws.store.batches())}"),
    )


def newest_rewards(ws: Workspace) -> dict[str, float]:
    """trajectory_id → reward by the newest model, as it was written when that was trained; empty without a model.

    Raises:
        DataError: the file is missing or broken.
    """
    record = ws.store.active_model()
    if record is None:
        return {}
    path = confined(ws.root, record.path) / "rewards.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["trajectory_id"]: float(row["reward"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is missing or broken: {error}.", fix="Run `robopref train` again.") from None


def _activated(record: ModelVersion) -> ModelVersion:
    return ModelVersion.from_dict({**record.to_dict(), "active": True})


def _headline(figures: dict[str, Any]) -> dict[str, Any]:
    """What the store keeps of validation.json: figures that a table shows."""
    names = ("ranking_accuracy", "cross_validated", "unseen_trajectories")
    return {name: _plain(figures[name]) for name in names} | {"noise_ceiling": _plain(figures["noise_ceiling"])}


def _write_rewards(path: Path, ids: Sequence[str], rewards: Any, spread: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trajectory_id", "reward", "member_sd"])
        writer.writerows(zip(ids, rewards.tolist(), spread.tolist(), strict=True))


def write_json(path: Path, content: Any) -> None:
    """Figures for people and programs; nan becomes null."""
    path.write_text(json.dumps(_plain(content), indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """nan is null in JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
