"""The released tables: resolved preferences and single answers in, rows without anybody's name out.

`annotator_ids` are pseudonyms by default: the same person has the same one everywhere in a release, and another one
in the next dataset. Free text loses e-mail addresses and annotators' ids whether or not pseudonyms are wanted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from preference.errors import NotReady, UserError
from preference.records import Annotator, Judgment, Preference
from preference.store.store import AssignmentView

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


def pseudonyms(annotator_ids: Iterable[str], dataset: str) -> dict[str, str]:
    """Annotator id → `annotator_01`, ...: numbered in the order of a hash, so that the number tells nothing."""
    ordered = sorted(set(annotator_ids), key=lambda name: hashlib.sha256(f"{dataset}\0{name}".encode()).digest())
    width = max(2, len(str(len(ordered))))
    return {name: f"annotator_{number:0{width}d}" for number, name in enumerate(ordered, start=1)}


def own_names(annotators: Iterable[Annotator]) -> dict[str, str]:
    """Annotator id → the id as it may be released: itself, or what stands before the @ where it is an address."""
    return {a.annotator_id: a.annotator_id.partition("@")[0] for a in annotators}


def redacted(text: str, names: Mapping[str, str]) -> str:
    """`text` without e-mail addresses and without annotators' ids (as whole words)."""
    text = _EMAIL.sub("[e-mail]", text)
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "[annotator]", text, flags=re.IGNORECASE)
    return text


def preference_rows(
    preferences: Sequence[Preference], split: Mapping[str, str], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One row per labelled pair with `COLUMNS` and `split`.

    Args:
        split: pair_id → train, validation or test, as the released model was trained.
        names: annotator id → the name to release.

    Raises:
        UserError: the model was trained on other pairs than these.
    """
    ids = {p.pair_id for p in preferences}
    if ids != split.keys():
        missing, extra = sorted(ids - split.keys()), sorted(split.keys() - ids)
        raise UserError(
            f"The model was trained on other preferences than those released: {len(missing)} labelled pairs are new"
            f"{_first(missing)}, {len(extra)} are gone{_first(extra)}.",
            fix="Run `robopref train`, then release again.",
        )
    return [
        {name: getattr(p, name) for name in COLUMNS}
        | {"annotator_ids": sorted(names[a] for a in p.annotator_ids), "split": split[p.pair_id]}
        for p in preferences
    ]


def _first(ids: Sequence[str]) -> str:
    return f" (such as {ids[0]})" if ids else ""


def judgment_rows(
    judgments: Iterable[Judgment], views: Iterable[AssignmentView], pair_ids: set[str], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The single answers on `pair_ids`, duplicates included, in a fixed order.

    The first eight columns are those of the `responses` view.
    """
    by_id = {view.assignment.assignment_id: view for view in views}
    rows = []
    for judgment in judgments:
        view = by_id[judgment.assignment_id]
        if judgment.pair_id not in pair_ids:
            continue
        rows.append(
            {
                "pair_id": judgment.pair_id,
                "trajectory_a_id": view.pair.trajectory_a_id,
                "trajectory_b_id": view.pair.trajectory_b_id,
                "annotator_id": names[judgment.annotator_id],
                "preference": judgment.preference,
                "confidence": judgment.confidence,
                "response_time_ms": judgment.response_time_ms,
                "free_text_reason": redacted(judgment.free_text_reason, names),
                "kind": view.pair.kind,
                "stratum": view.pair.stratum,
                "batch_id": view.pair.batch_id,
                "left": view.assignment.left,
                "is_duplicate": view.assignment.duplicate_of is not None,
            }
        )
    return sorted(rows, key=lambda r: (r["pair_id"], r["annotator_id"], r["is_duplicate"]))


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Path, columns: Sequence[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    special = {
        "preference": pa.float64() if rows and isinstance(rows[0]["preference"], float) else pa.string(),
        "annotator_ids": pa.list_(pa.string()),
    }
    arrays = {name: pa.array([row[name] for row in rows], type=special.get(name)) for name in columns}
    parquet.write_table(pa.table(arrays), path, compression="zstd")
