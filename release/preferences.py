"""The released tables: resolved preferences and answers in, DataFrames without anybody's name out; and DPO's file.

`annotator_ids` are pseudonyms by default: a person has the same one everywhere in a release, and a different one in
the next dataset. E-mail addresses and annotators' ids are removed from free text whether or not pseudonyms are wanted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ml_backend.loop.queue_order import rewards_in_use
from preference.artifacts import confined, read_json, write_jsonl
from preference.errors import DataError, NotReady, UserError
from preference.frames import RESPONSES, judgment_frame, preference_frame
from preference.records import Annotator, AssignmentView, Judgment, Preference, Trajectory
from preference.workspace import Workspace

RETRAIN = "Run `robopref train`, then release again."
COLUMNS = (
    "pair_id",
    "trajectory_a_id",
    "trajectory_b_id",
    "preference",
    "confidence_mean",
    "num_annotators",
    "agreement",
    "annotator_ids",
)
"""The protocol's eight; `split` follows as a ninth."""

SPLITS = ("train", "validation", "test")

_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")


def labelled(preferences: Iterable[Preference]) -> list[Preference]:
    """Those that have a label, by pair_id.

    Raises:
        NotReady: none has.
    """
    kept = sorted((p for p in preferences if p.preference is not None), key=lambda p: p.pair_id)
    if not kept:
        raise NotReady("No pair has a resolved preference.", fix="Run `robopref resolve` after the answers are in.")
    return kept


def read_split(folder: Path) -> dict[str, str]:
    """pair_id → train, validation or test, as the model in `folder` was trained.

    Raises:
        DataError: the file is missing or broken, or lists a pair twice.
    """
    path = folder / "split.json"
    found = read_json(path, fix="Run `robopref train` again.")
    split: dict[str, str] = {}
    for name in SPLITS:
        for pair_id in found.get(name, ()):
            if pair_id in split:
                raise DataError(f"{path}: pair {pair_id!r} is in both {split[pair_id]} and {name}.")
            split[pair_id] = name
    return split


def pseudonyms(annotator_ids: Iterable[str], dataset: str) -> dict[str, str]:
    """Annotator id → `annotator_01`, ...: numbered in the order of a hash, so that the number reveals nothing."""
    ordered = sorted(set(annotator_ids), key=lambda name: hashlib.sha256(f"{dataset}\0{name}".encode()).digest())
    width = max(2, len(str(len(ordered))))
    return {name: f"annotator_{number:0{width}d}" for number, name in enumerate(ordered, start=1)}


def own_names(annotators: Iterable[Annotator]) -> dict[str, str]:
    """Annotator id → the id as it may be released: itself, or the part before the @ of an e-mail address."""
    return {a.annotator_id: a.annotator_id.partition("@")[0] for a in annotators}


def redacted(text: str, names: Mapping[str, str]) -> str:
    """`text` without e-mail addresses and without annotators' ids (as whole words)."""
    text = _EMAIL.sub("[e-mail]", text)
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "[annotator]", text, flags=re.IGNORECASE)
    return text


def preference_table(
    preferences: Sequence[Preference],
    split: Mapping[str, str],
    names: Mapping[str, str],
    *,
    judgments: Iterable[Judgment] = (),
    fix: str = RETRAIN,
) -> pd.DataFrame:
    """One row per labelled pair with `COLUMNS` and `split`.

    Args:
        split: pair_id → train, validation or test, as the released model was trained.
        names: annotator id → the name to release.
        judgments: Where any of them has answers to optional questions, a column `questions` follows.
        fix: What to do where the labels are others.

    Raises:
        UserError: the model was trained on other pairs than these.
    """
    ids = {p.pair_id for p in preferences}
    if ids != split.keys():
        new, gone = sorted(ids - split.keys()), sorted(split.keys() - ids)
        raise UserError(
            "The model was trained on different preferences than those to be released: "
            f"{len(new)} labelled pairs are new{_example(new)}, {len(gone)} are gone{_example(gone)}.",
            fix=fix,
        )
    table = preference_frame(preferences)[list(COLUMNS)]
    table["annotator_ids"] = [sorted(names[a] for a in p.annotator_ids) for p in preferences]
    table = table.assign(split=table["pair_id"].map(split))
    said = _questions(judgments, names)
    return table.assign(questions=[json.dumps(said.get(key, {})) for key in table["pair_id"]]) if said else table


def _questions(judgments: Iterable[Judgment], names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Pair → released name → answers to the optional questions, of the first showing that has some."""
    found: dict[str, dict[str, Any]] = {}
    for judgment in judgments:
        if judgment.questions:
            found.setdefault(judgment.pair_id, {}).setdefault(names[judgment.annotator_id], judgment.questions)
    return {pair_id: dict(sorted(said.items())) for pair_id, said in found.items()}


def _example(ids: Sequence[str]) -> str:
    return f" (such as {ids[0]})" if ids else ""


def judgment_table(
    judgments: Iterable[Judgment], views: Iterable[AssignmentView], names: Mapping[str, str]
) -> pd.DataFrame:
    """The single answers, duplicates included, in a fixed order; the first eight columns are the protocol's."""
    table = judgment_frame(judgments, views)
    table["annotator_id"] = table["annotator_id"].map(names)
    table["free_text_reason"] = [redacted(text, names) for text in table["free_text_reason"]]
    order = ["pair_id", "annotator_id", "is_duplicate"]
    columns = [*RESPONSES, "kind", "stratum", "batch_id", "left", "is_duplicate"]
    return table.sort_values(order, kind="stable", ignore_index=True)[columns]


@dataclass(frozen=True)
class DpoExport:
    """What was written."""

    path: Path
    pairs: int
    ties_left_out: int
    model: str
    """Version of the model that the margins come from; empty without one."""


def export_dpo(ws: Workspace, path: Path) -> DpoExport:
    """Chosen and rejected trajectories, one JSON object per line, as trainers for preference optimization read them
    (DPO: Rafailov et al. 2023).

    Each has `prompt` (the task type), `chosen` and `rejected` (trajectory ids), and with them where each episode is,
    the split, the annotators' confidence and the model's margin. These trainers have no notion of ties, which are left
    out and counted.

    Args:
        path: Best named .jsonl; an existing file is replaced when the new one is complete.

    Raises:
        NotReady: there are no resolved preferences.
        UserError: every label is a tie, or `path` is a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder.", fix="Name a file, such as pairs.jsonl.")
    preferences = labelled(ws.store.preferences())
    decided = [p for p in preferences if p.preference != 0.5]
    if not decided:
        raise UserError(f"All {len(preferences)} labels are ties, so no trajectory is preferred over another.")
    record = ws.store.active_model()
    trajectories = {t.trajectory_id: t for t in ws.store.trajectories()}
    split = read_split(confined(ws.root, record.path)) if record else {}
    rewards = rewards_in_use(ws)
    write_jsonl(path, (row(p, trajectories, split, rewards) for p in decided))
    return DpoExport(path, len(decided), len(preferences) - len(decided), record.version if record else "")


def row(
    preference: Preference,
    trajectories: Mapping[str, Trajectory],
    split: Mapping[str, str],
    rewards: Mapping[str, float],
) -> dict[str, Any]:
    """One line.

    Args:
        preference: Not a tie.
        split: pair_id → train, validation or test, of the pairs that the model knows.
        rewards: trajectory_id → reward; `margin` is r(chosen) − r(rejected), below 0 where the model disagrees with
            the annotators, and null where it has not seen one of them.
    """
    chosen, rejected = preference.trajectory_a_id, preference.trajectory_b_id
    if preference.preference == 0.0:
        chosen, rejected = rejected, chosen
    known = chosen in rewards and rejected in rewards
    return {
        "prompt": trajectories[chosen].task_type,
        "chosen": chosen,
        "rejected": rejected,
        "pair_id": preference.pair_id,
        "split": split.get(preference.pair_id),
        "margin": round(rewards[chosen] - rewards[rejected], 6) if known else None,
        "confidence": preference.confidence_mean,
        "agreement": preference.agreement,
        "num_annotators": preference.num_annotators,
        "chosen_episode": _episode(trajectories[chosen]),
        "rejected_episode": _episode(trajectories[rejected]),
    }


def _episode(t: Trajectory) -> dict[str, Any]:
    """Where the trajectory is in its source dataset."""
    return {"dataset": t.dataset, "episode_index": t.episode_index, "start_s": t.start_s, "end_s": t.end_s}
