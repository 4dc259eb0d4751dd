"""What a trained model says of the pool, and the pairs to ask next by it: `score_pool`, `newest_rewards`, `rank`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from ml_backend.loop.provenance import features_for
from ml_backend.ranking import Choice, PoolScores, TieProbability, davidson_ties, fitted_ties, rank_pairs
from preference.artifacts import confined
from preference.errors import DataError, NotReady
from preference.records import ModelVersion
from preference.workspace import Workspace
from qc_reports.resolve import read_preferences


def score_pool(ws: Workspace, record: ModelVersion | None = None) -> PoolScores:
    """What the newest (or a given) model says of every trajectory of the pool.

    Raises:
        NotReady: there is no model.
        DataError: it cannot be read, or looks through an encoder that is no longer here.
    """
    from ml_backend.reward.model import RewardModel

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
        model.log_nu.detach().exp().double().numpy() if _reward_of(folder).get("ties") == "davidson" else None,
    )


def _reward_of(folder: Path) -> dict[str, Any]:
    """The reward settings that a model was trained with; empty where its training.json is gone."""
    try:
        return json.loads((folder / "training.json").read_text(encoding="utf-8"))["reward"]
    except (OSError, ValueError, KeyError):
        return {}


def rank(ws: Workspace, count: int, strategy: str | None = None) -> list[Choice]:
    """The `count` pairs most worth asking next, of those that can be shown and have not been asked.

    Raises:
        NotReady: there is no model.
        ConfigError: the strategy does not exist.
    """
    from importer.pairs.batches import shown
    from importer.pairs.sampling import asked

    active = ws.config.active
    scores = score_pool(ws)
    ties = _tie_probability(ws, scores)
    askable = {t.trajectory_id for t in shown(ws)}
    rows = [i for i, name in enumerate(scores.trajectory_ids) if name in askable]
    scores = PoolScores(
        tuple(scores.trajectory_ids[i] for i in rows),
        tuple(scores.task_types[i] for i in rows),
        scores.members[:, rows],
        scores.phi[rows],
        scores.nu,
    )
    return rank_pairs(
        scores,
        count,
        strategy=strategy or active.strategy,
        asked=set(asked(ws.store.pairs())),
        audit=active.audit,
        within_sd=active.within_sd,
        rng=ws.rng(f"rank {len(ws.store.batches())}"),
        ties=ties,
    )


def _tie_probability(ws: Workspace, scores: PoolScores) -> TieProbability | None:
    """By the model where it has learned ties, else from the answers so far; None where these have too few."""
    import numpy as np

    if scores.nu is not None:
        return davidson_ties(scores.nu)
    reward = dict(zip(scores.trajectory_ids, scores.rewards.tolist(), strict=True))
    known = [
        (reward[p.trajectory_a_id] - reward[p.trajectory_b_id], p.preference == 0.5)
        for p in (read_preferences(ws.preferences) if ws.preferences.exists() else [])
        if p.preference is not None and p.trajectory_a_id in reward and p.trajectory_b_id in reward
    ]
    difference, tie = np.array(known, dtype=float).reshape(-1, 2).T
    return fitted_ties(difference, tie == 1.0)


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
