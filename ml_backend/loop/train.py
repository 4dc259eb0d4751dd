"""The stage `train`: labels and the pool's features in, a validated and registered reward model out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_backend.loop.provenance import (
    ENCODERS,
    OWN_ENCODER,
    describe,
    fingerprint,
    settled_encoder,
    single_answers,
)
from ml_backend.loop.scoring import newest_rewards
from preference.artifacts import plain, replacing, write_csv, write_json
from preference.errors import DataError
from preference.records import ModelVersion, Preference, Trajectory
from preference.work import console, progress
from preference.workspace import Workspace
from qc_reports.resolve import read_preferences

if TYPE_CHECKING:
    from ml_backend.reward.dataset import Pairs
    from ml_backend.reward.weights import EncoderSettings


def train(ws: Workspace) -> ModelVersion:
    """Train, validate and register a reward model on the resolved preferences; nothing where that has been done.

    Writes models/VERSION/{model.pt, split.json, validation.json, training.json, rewards.csv}, all or nothing.

    Raises:
        NotReady: nothing is resolved, or too little.
    """
    from ml_backend.reward.train import check_labels

    preferences = [p for p in read_preferences(ws.preferences) if p.preference is not None]
    reward = ws.config.reward
    check_labels([p.preference for p in preferences], reward.min_preferences)
    encoder = settled_encoder(reward)
    key = fingerprint(ws, preferences, encoder.digest if encoder else "")
    for known in ws.store.model_versions():
        if known.metrics.get("fingerprint") == key and (ws.root / known.path / "model.pt").exists():
            if not known.active and "kept_back" not in known.metrics:
                ws.store.put_model_version(_activated(known))
            return known
    return _train(ws, preferences, encoder, key)


def _train(ws: Workspace, preferences: Sequence[Preference], encoder: EncoderSettings | None, key: str) -> ModelVersion:
    from ml_backend.loop.curves import curves
    from ml_backend.loop.features import encode_pool
    from ml_backend.loop.models import digests, why_worse
    from ml_backend.reward.train import pair_keys, split_pairs, train_model
    from ml_backend.validation.accuracy import validate

    started = time.monotonic()
    reward, seed = ws.config.reward, ws.config.seed
    store = encode_pool(ws, ws.store.trajectories(), encoder)
    if encoder is not None and encoder.note:
        console.print(f"[yellow]{encoder.note}.[/]", highlight=False, soft_wrap=True)
    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    features = store.sequence([t.trajectory_id for t in trajectories])
    store.require(name for p in preferences for name in (p.trajectory_a_id, p.trajectory_b_id))
    pairs = labelled_pairs(ws, preferences, trajectories)
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
    strategies = {pair.pair_id: pair.strategy for pair in ws.store.pairs()}
    figures = validate(
        trained,
        features,
        trajectories,
        pairs,
        split,
        reward,
        preferences,
        strata,
        seed=seed,
        strategies=strategies,
        workers=ws.workers,
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
        files = digests(folder)
    took = {"files": files, "training_s": round(time.monotonic() - started, 1)}
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
        metrics={"fingerprint": key, **_headline(figures), **took} | ({"kept_back": kept_back} if kept_back else {}),
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
    from ml_backend.reward.dataset import index_pairs
    from ml_backend.reward.judgments import index_judgments

    pairs = index_pairs(preferences, {t.trajectory_id: i for i, t in enumerate(trajectories)})
    answers = single_answers(ws)
    return replace(pairs, judgments=index_judgments(pairs.pair_ids, answers)) if answers else pairs


def _activated(record: ModelVersion) -> ModelVersion:
    return ModelVersion.from_dict({**record.to_dict(), "active": True})


def _headline(figures: dict[str, Any]) -> dict[str, Any]:
    """What the store keeps of validation.json: figures that a table shows."""
    names = ("ranking_accuracy", "cross_validated", "audit", "not_chosen", "unseen_trajectories")
    return {name: plain(figures[name]) for name in names} | {"noise_ceiling": plain(figures["noise_ceiling"])}


def _write_rewards(path: Path, ids: Sequence[str], rewards: Any, spread: Any) -> None:
    write_csv(path, ["trajectory_id", "reward", "member_sd"], zip(ids, rewards.tolist(), spread.tolist(), strict=True))
