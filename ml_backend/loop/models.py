"""Which reward model is in use: a new one takes over when it is not worse; a person may promote another, or go back.

Two models are compared on the new one's test pairs, on which neither was trained: a pair keeps its place in the split
when later rounds add others.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ml_backend.reward.dataset import Pairs
from preference.artifacts import confined, sha256_of
from preference.errors import NotReady, UserError
from preference.records import ModelVersion
from preference.work import console
from preference.workspace import Workspace


def why_worse(rewards: np.ndarray, before: Mapping[str, float], ids: Sequence[str], test: Pairs) -> str:
    """Why the new model is not to replace the old one; empty where it may.

    It is worse where it loses more pairs to the old one than it wins from it, by more than a standard error of that
    difference (McNemar): with thirty test pairs, one pair more or less is chance.

    Args:
        rewards: (N,) by the new model, of the trajectories `ids`.
        before: trajectory_id → reward by the old model.
    """
    if not all(name in before for name in ids):
        return ""
    from ml_backend.validation.accuracy import right

    old = np.array([before[name] for name in ids])
    ours, theirs = (right(r[test.a] - r[test.b], test.label) for r in (rewards, old))
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    if losses - wins <= math.sqrt(wins + losses):
        return ""
    return f"on {len(ours)} test pairs it loses {losses} that the model in use gets right, and wins {wins}"


def promote(ws: Workspace, version: str) -> ModelVersion:
    """Use this version from now on; open tasks get its order where Label Studio can be reached.

    Raises:
        NotReady: there is no such version, or its file is gone.
    """
    known = {record.version: record for record in ws.store.model_versions()}
    if version not in known:
        raise NotReady(f"There is no model {version!r}.", fix=f"Known: {', '.join(known) or 'none yet'}.")
    record = replace(known[version], active=True)
    if not (ws.root / record.path / "model.pt").is_file():
        raise NotReady(f"{record.path}/model.pt is not there any more.", fix="Run `robopref train`.")
    ws.store.put_model_version(record)
    _reorder(ws, record)
    return record


def roll_back(ws: Workspace) -> ModelVersion:
    """Use the version before the one in use, of those that once were in use.

    Raises:
        NotReady: there is none before it.
    """
    active = ws.store.active_model()
    known = ws.store.model_versions()  # in the order in which they were made
    place = next((i for i, record in enumerate(known) if active and record.version == active.version), 0)
    before = [record for record in known[:place] if "kept_back" not in record.metrics]
    if not before:
        raise NotReady("There is no model to go back to.", fix="`robopref models` lists what there is.")
    return promote(ws, before[-1].version)


def mend(ws: Workspace) -> str:
    """Take a model in use whose files were cut short or changed out of use; the whole one before it takes its place.

    The folder is kept as VERSION.damaged, so that the next training finds no model and makes one anew.

    Returns:
        What was found; empty where nothing was.
    """
    found = ""
    while (record := ws.store.active_model()) and (why := damage(ws, record)):
        found = f"{record.version} is damaged: {why}"
        console.print(f"[yellow]{found}. It is out of use, and will be trained anew.[/]", highlight=False)
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
    """What is wrong with a model's files; empty where they are as they were written."""
    folder = confined(ws.root, record.path)
    for name, digest in record.metrics.get("files", {}).items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sha256_of(folder / name) != digest:
            return f"{name} is not as it was written ({(folder / name).stat().st_size} bytes)"
    return "" if (folder / "model.pt").is_file() else "model.pt is missing"


def digests(folder: Path) -> dict[str, str]:
    """File name → SHA-256, of what a model in use is read from."""
    return {name: sha256_of(folder / name) for name in ("model.pt", "rewards.csv")}


def _reorder(ws: Workspace, record: ModelVersion) -> None:
    from importer.studio.order import rescore
    from ml_backend.loop.queue_order import queue_scores

    try:
        rescore(ws, queue_scores(ws), record.version)
    except UserError as error:
        note = f"The order of open tasks is still the old one: {error.message} `robopref round` renews it."
        console.print(f"[yellow]{note}[/]", highlight=False, soft_wrap=True)
