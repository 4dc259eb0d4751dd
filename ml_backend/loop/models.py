"""The models of a workspace: which one is in use, whether its files are whole, and what it says of the pool.

A new model takes over when it is not worse; a person may promote another or roll back. Two models are compared on the
validation pairs of both, never on test pairs: these only report, and a figure that chose the model would flatter it.
Both learned from those pairs, so neither has an advantage there; one that fails at what it was shown is worse. A pair
keeps its place in the split when later rounds add others.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from importer.studio.order import rescore
from ml_backend.loop.queue_order import publish
from ml_backend.loop.spec import features_for
from ml_backend.ranking import PoolScores, fit_design
from ml_backend.reward.dataset import Pairs, Split, index_pairs, pair_keys, right, split_pairs
from preference.artifacts import confined, read_json, sha256_of
from preference.config import Reward
from preference.errors import DataError, NotReady, UserError
from preference.records import ModelVersion, Trajectory
from preference.work import remark
from preference.workspace import Workspace


def promotion_pairs(ws: Workspace, pairs: Pairs, split: Split) -> Pairs:
    """The validation pairs that a new model shares with the model in use; none where there is no such model, or its
    split is not known.

    Args:
        pairs, split: Of the new one.
    """
    record, known = ws.store.active_model(), set()
    with suppress(DataError, KeyError):
        known = set(read_json(confined(ws.root, record.path) / "split.json")["validation"]) if record else known
    return pairs.take(np.array([i for i in split.validation if pairs.pair_ids[i] in known], dtype=np.int64))


def why_worse(rewards: np.ndarray, before: Mapping[str, float], ids: Sequence[str], held_out: Pairs) -> str:
    """Why the new model must not replace the old one; empty where it may.

    It is worse if it loses more pairs to the old one than it wins from it, by more than a standard error of that
    difference (McNemar): with thirty test pairs, one pair more or less is chance.

    Args:
        rewards: (N,) by the new model, of the trajectories `ids`.
        before: trajectory_id → reward by the old model; pairs of which it lacks one, such as one of a new dataset, do
            not count.
        held_out: `promotion_pairs`.
    """
    old = np.array([before.get(name, np.nan) for name in ids])
    held_out = held_out.take(np.flatnonzero(np.isfinite(old[held_out.a] - old[held_out.b])))
    ours, theirs = (right(r[held_out.a] - r[held_out.b], held_out.label) for r in (rewards, old))
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    if losses - wins <= math.sqrt(wins + losses):
        return ""
    return f"on {len(ours)} validation pairs it loses {losses} that the model in use gets right, and wins {wins}"


def promote(ws: Workspace, version: str) -> ModelVersion:
    """Use this version from now on; open tasks get its order, in Label Studio too where that can be reached.

    Raises:
        UserError: there is no such version.
        NotReady: its file is gone.
    """
    known = {record.version: record for record in ws.store.model_versions()}
    if version not in known:
        raise UserError(f"There is no model {version!r}.", fix=f"Known: {', '.join(known) or 'none yet'}.")
    record = replace(known[version], active=True)
    if not (ws.root / record.path / "model.pt").is_file():
        raise NotReady(f"{record.path}/model.pt is gone.", fix="Run `robopref train`.")
    ws.store.put_model_version(record)
    try:
        rescore(ws, publish(ws), version)
    except UserError as error:
        note = f"Open tasks keep their old order: {error.message} `robopref round` renews it."
        remark(note)
    return record


def roll_back(ws: Workspace) -> ModelVersion:
    """Use the previous version that was once in use.

    Raises:
        NotReady: there is none.
    """
    if (before := before_active(ws.store.model_versions())) is None:
        raise NotReady("There is no model to roll back to.", fix="`robopref models` lists what there is.")
    return promote(ws, before.version)


def before_active(known: Sequence[ModelVersion]) -> ModelVersion | None:
    """The last version before the one in use that was once in use.

    Args:
        known: In the order in which they were made.
    """
    place = next((i for i, record in enumerate(known) if record.active), 0)
    return next((record for record in known[:place][::-1] if "kept_back" not in record.metrics), None)


def retire_damaged(ws: Workspace) -> str:
    """Take a model whose files were truncated or changed out of use; the last intact one before it takes over.

    The folder is kept as VERSION.damaged, so that the next training makes the model again.

    Returns:
        What was found; empty if nothing was.
    """
    found = ""
    while (record := ws.store.active_model()) and (why := damage(ws, record)):
        found = f"{record.version} is damaged: {why}"
        remark(f"{found}. It is out of use and will be trained again.")
        folder, aside = ws.root / record.path, ws.root / f"{record.path}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        if folder.exists():
            folder.rename(aside)
        known = ws.store.model_versions()
        ws.store.put_model_version(replace(record, active=False, metrics={**record.metrics, "kept_back": found}))
        before = [r for r in known if "kept_back" not in r.metrics and r.version != record.version and not r.active]
        if before:
            ws.store.put_model_version(replace(before[-1], active=True))
    return found


def damage(ws: Workspace, record: ModelVersion) -> str:
    """What is wrong with a model's files; empty if they are as they were written."""
    folder = confined(ws.root, record.path)
    for name, digest in record.metrics.get("files", {}).items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sha256_of(folder / name) != digest:
            return f"{name} has changed since it was written ({(folder / name).stat().st_size} bytes)"
    return "" if (folder / "model.pt").is_file() else "model.pt is missing"


def digests(folder: Path) -> dict[str, str]:
    """File name → SHA-256, of what a model in use is read from."""
    return {name: sha256_of(folder / name) for name in ("model.pt", "rewards.csv")}


def score_pool(ws: Workspace, *, plan: bool = False) -> PoolScores:
    """What the model in use says of every trajectory of the pool.

    Args:
        plan: With what a Bayesian model of the present labels knows of it, for `v_optimal`.

    Raises:
        NotReady: there is no model.
        DataError: it cannot be read, or its encoder's weights are not here.
    """
    from ml_backend.reward.model import RewardModel

    record = ws.store.active_model()
    if record is None:
        raise NotReady("There is no reward model yet.", fix="Run `robopref train` first.")
    folder = confined(ws.root, record.path)
    model = RewardModel.load(folder / "model.pt")
    store = features_for(ws, model.spec, folder)
    trajectories = [t for t in ws.store.trajectories() if t.trajectory_id in store]
    features = store.sequence([t.trajectory_id for t in trajectories])
    found = fit_design(model, features, *_learned(ws, trajectories), ws.config.seed) if plan else None
    return PoolScores(
        tuple(t.trajectory_id for t in trajectories),
        tuple(t.task_type for t in trajectories),
        model.score(features)[1],
        model.last_layer(features) if found is None else found.phi,
        model.log_nu.detach().exp().double().numpy() if _settings_of(folder).get("ties") == "davidson" else None,
        found,
    )


def _learned(ws: Workspace, trajectories: Sequence[Trajectory]) -> tuple[Pairs, float]:
    """The labels without test pairs, on which nothing that is asked may depend, and how often an answer slips."""
    place = {t.trajectory_id: i for i, t in enumerate(trajectories)}
    labelled = ws.store.labelled() if ws.store.resolved() else []
    kept = [p for p in labelled if p.trajectory_a_id in place and p.trajectory_b_id in place]
    split = split_pairs(pair_keys(kept), ws.config.seed)
    rows = np.sort(np.concatenate([split.train, split.validation]))
    return index_pairs(kept, place).take(rows), ws.config.reward.slip


def trained_with(stored: Mapping[str, Any]) -> Reward:
    """The settings as a training.json has them; where it does not name the quality or the linear part, there was none.

    Raises:
        ValidationError: they are no settings of this version.
    """
    return Reward.model_validate({"quality_prior": False, "progress_prior": False, "linear_until": 0} | dict(stored))


def _settings_of(folder: Path) -> Mapping[str, object]:
    """The reward settings that a model was trained with; empty where its training.json is gone."""
    try:
        return read_json(folder / "training.json")["reward"]
    except (DataError, KeyError):
        return {}
