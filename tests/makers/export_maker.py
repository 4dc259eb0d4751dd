"""A workspace with a pool and a reward model of random weights: exports care for what it says, not how good it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from preference_maker import put_preferences

from preference.config import Config, Dataset
from preference.records import Batch, ModelVersion, Pair, Preference
from preference.workspace import Workspace


def make_workspace(root: Path, *datasets: Dataset) -> Workspace:
    from importer.pool import read_pool

    config = Config(name="exported", work=root, workers=1)
    config.pool.dataset = list(datasets)
    config.reward = config.reward.model_copy(update={"inputs": ["actions", "state"], "members": 2, "hidden": 8})
    ws = Workspace(config)
    root.mkdir(parents=True)
    ws.store.put_trajectories(read_pool(config.pool, config.clips).trajectories)
    add_model(ws, "rm-0001", seed=1)
    return ws


def add_model(ws: Workspace, version: str, seed: int, split: dict[str, list[str]] | None = None) -> None:
    import csv
    import json

    from ml_backend.loop.features import encode_pool
    from ml_backend.loop.spec import describe
    from ml_backend.reward.features import fit_normalization
    from ml_backend.reward.model import RewardModel

    trajectories = ws.store.trajectories()
    store = encode_pool(ws, trajectories)
    spec = describe(ws, store, trajectories)
    model = RewardModel(spec, torch.Generator().manual_seed(seed)).eval()
    features = store.placed(spec.layout, trajectories).sequence([t.trajectory_id for t in trajectories])
    model.set_normalization(fit_normalization(features, 0, np.random.default_rng(seed)))
    folder = ws.models / version
    folder.mkdir(parents=True)
    model.save(folder / "model.pt")
    (folder / "split.json").write_text(json.dumps(split or {}))
    with (folder / "rewards.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trajectory_id", "reward", "member_sd"])
        rewards, _ = model.score(features)
        writer.writerows([t.trajectory_id, float(r), 0.0] for t, r in zip(trajectories, rewards, strict=True))
    for record in ws.store.model_versions():
        ws.store.put_model_version(ModelVersion.from_dict({**record.to_dict(), "active": False}))
    path = str(folder.relative_to(ws.root))
    ws.store.put_model_version(ModelVersion(version, path, f"2026-01-0{seed}T00:00:00", 20, 0.8, 0.7, "", "none"))


def put_labels(ws: Workspace, labels: list[float | None]) -> list[Preference]:
    """Pair n compares trajectory 2n with 2n + 1."""
    ids = [t.trajectory_id for t in ws.store.trajectories()]
    made = []
    for n, label in enumerate(labels):
        reason = "ambiguous" if label is None else "unanimous"
        pair = (f"p{n}", ids[2 * n % len(ids)], ids[(2 * n + 1) % len(ids)])
        made.append(Preference(*pair, label, 4.5, 2, 1.0, ["al", "bo"], reason))
    batch = Batch("production-001", "production")
    pairs = [
        Pair(p.pair_id, p.trajectory_a_id, p.trajectory_b_id, "pick", "same", "production", batch.batch_id)
        for p in made
    ]
    ws.store.put_pairs(batch, pairs, [])
    put_preferences(ws, made)
    return made
