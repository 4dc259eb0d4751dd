"""The learning stages over a workspace: `train`, `score_pool`, `rank`."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_backend.ranking import Choice, PoolScores, rank_pairs
from preference.errors import DataError, NotReady
from preference.records import ModelVersion, Preference, Trajectory
from preference.work import console, progress
from preference.workspace import Workspace, confined, replacing
from qc_reports.stages import read_preferences

if TYPE_CHECKING:
    from ml_backend.features import FeatureStore
    from ml_backend.reward_model import ModelSpec

PROJECTION = 16
"""Principal components of the frame features that the model looks at: with a few hundred labels, more only memorize."""


def train(ws: Workspace) -> ModelVersion:
    """Train, validate and register a reward model on the resolved preferences; nothing where that has been done.

    Writes models/VERSION/{model.pt, split.json, validation.json, training.json, rewards.csv}, all or nothing.

    Raises:
        NotReady: nothing is resolved, or too little.
    """
    preferences = [p for p in read_preferences(ws.preferences) if p.preference is not None]
    reward = ws.config.reward
    key = fingerprint(ws, preferences)
    for known in ws.store.model_versions():
        if known.metrics.get("fingerprint") == key and (ws.root / known.path / "model.pt").exists():
            if not known.active:
                ws.store.put_model_version(_activated(known))
            return known
    if len(preferences) < reward.min_preferences:
        raise NotReady(
            f"{len(preferences)} pairs have a label; training needs at least {reward.min_preferences}.",
            fix="Ask more pairs, or lower reward.min_preferences.",
        )
    return _train(ws, preferences, key)


def _train(ws: Workspace, preferences: Sequence[Preference], key: str) -> ModelVersion:
    from ml_backend.dataset import index_pairs
    from ml_backend.features import encode_pool
    from ml_backend.train import check_labels, split_pairs, train_model
    from ml_backend.validate import FOLDS, TRAJECTORY_FOLDS, validate

    reward, seed = ws.config.reward, ws.config.seed
    store = encode_pool(ws, ws.store.trajectories())
    if store.encoder is not None and store.encoder.note:
        console.print(f"[yellow]{store.encoder.note}.[/]", highlight=False, soft_wrap=True)
    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    features = [store[t.trajectory_id] for t in trajectories]
    pairs = index_pairs(preferences, {t.trajectory_id: i for i, t in enumerate(trajectories)})
    check_labels(pairs, reward.min_preferences)
    split = split_pairs(pairs.pair_ids, seed)
    spec = _spec(ws, store, trajectories)
    with progress("Training", reward.epochs) as advance:
        trained = train_model(features, pairs, split, spec, reward, seed=seed, on_epoch=advance)
        advance(reward.epochs - trained.epochs)
    strata = {pair.pair_id: pair.stratum for pair in ws.store.pairs()}
    with progress("Validating", FOLDS + TRAJECTORY_FOLDS) as advance:
        figures = validate(
            trained, features, trajectories, pairs, split, reward, preferences, strata, seed=seed, on_training=advance
        )
    figures |= {"encoder": spec.encoder, "weights": spec.weights}
    rewards, members = trained.model.score(features)
    version = f"rm-{len(ws.store.model_versions()) + 1:04d}"
    with replacing(ws.models / version) as folder:
        folder.mkdir()
        trained.model.save(folder / "model.pt")
        rows = {name: [pairs.pair_ids[i] for i in getattr(split, name)] for name in ("train", "validation", "test")}
        _write_json(folder / "split.json", rows)
        _write_json(folder / "training.json", {"reward": reward.model_dump(), "seed": seed, "curves": trained.curves})
        _write_json(folder / "validation.json", figures)
        _write_rewards(folder / "rewards.csv", [t.trajectory_id for t in trajectories], rewards, members.std(axis=0))
    record = ModelVersion(
        version=version,
        path=str((ws.models / version).relative_to(ws.root)),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        preferences=len(preferences),
        ranking_accuracy=figures["ranking_accuracy"]["value"],
        spearman=figures["spearman"],
        encoder=spec.encoder,
        weights=spec.weights,
        metrics={"fingerprint": key, **_headline(figures)},
    )
    ws.store.put_model_version(record)
    return record


def score_pool(ws: Workspace, record: ModelVersion | None = None) -> PoolScores:
    """What the newest (or a given) model says of every trajectory of the pool.

    Raises:
        NotReady: there is no model.
    """
    from ml_backend.features import encode_pool
    from ml_backend.reward_model import RewardModel

    record = record or ws.store.active_model()
    if record is None:
        raise NotReady("There is no reward model yet.", fix="Run `robopref train` first.")
    model = RewardModel.load(confined(ws.root, record.path) / "model.pt")
    store = encode_pool(ws, ws.store.trajectories())
    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    features = [store[t.trajectory_id] for t in trajectories]
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


def _spec(ws: Workspace, store: FeatureStore, trajectories: Sequence[Trajectory]) -> ModelSpec:
    from ml_backend.reward_model import ModelSpec

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
    )


def _names(ws: Workspace, trajectory: Trajectory, actions: int, state: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the dataset calls each action and state value; numbered where it has no names."""
    from importer.pool import feature_names_of

    found = feature_names_of(ws.config.pool, trajectory)

    def complete(kind: str, size: int) -> tuple[str, ...]:
        names = found.get(kind, [])
        return tuple(names) if len(names) == size else tuple(f"{kind}_{i}" for i in range(size))

    return complete("action", actions), complete("state", state)


def fingerprint(ws: Workspace, preferences: Sequence[Preference]) -> str:
    """Of everything that the weights depend on: labels, settings, seed, trajectories."""
    labels = sorted((p.pair_id, p.preference, round(p.confidence_mean, 6)) for p in preferences)
    spans = [(t.trajectory_id, t.start_s, t.end_s) for t in ws.store.trajectories()]
    text = json.dumps([labels, ws.config.reward.model_dump(), ws.config.seed, spans], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(_plain(content), indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """nan is null in JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
