"""Which version comes next: released labels and the model's checksum in, what changed and the suggested version out.

Versions follow Semantic Versioning 2.0.0, read for data: major = a label that somebody trained on has changed or is
gone, minor = pairs were added or the model was replaced, patch = only the packaging changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import parquet
from semver import Version

from preference.artifacts import read_csv, read_jsonl
from preference.errors import DataError, UsageError, UserError


def parse_version(text: str) -> Version:
    """
    Raises:
        UsageError: `text` is not a semantic version. Build metadata (`+...`) is refused too: it does not count in the
            order of versions, so two releases could not be told apart by it.
    """
    if not Version.is_valid(text) or "+" in text:
        raise UsageError(
            f"{text!r} is not a version of the form MAJOR.MINOR.PATCH.", fix="Use one such as 1.2.0 or 1.2.0-rc.1."
        )
    return Version.parse(text)


@dataclass(frozen=True)
class Changes:
    """What is different from the release before; `previous` is None for the first one."""

    previous: Version | None
    added: int
    removed: int
    relabelled: int
    model_changed: bool

    @property
    def suggested(self) -> Version:
        """The version that these changes call for."""
        if self.previous is None:
            return Version(1, 0, 0)
        if self.removed or self.relabelled:
            return self.previous.bump_major()
        return self.previous.bump_minor() if self.added or self.model_changed else self.previous.bump_patch()

    def sentences(self) -> list[str]:
        if self.previous is None:
            return [f"First release, with {self.added} labelled pairs."]
        lines = [
            (self.added, f"{self.added} pairs added."),
            (self.relabelled, f"{self.relabelled} pairs relabelled."),
            (self.removed, f"{self.removed} pairs removed."),
            (self.model_changed, "New reward model."),
        ]
        return [line for happened, line in lines if happened] or ["Same pairs, same labels, same reward model."]


def compare(
    before: Mapping[str, float], after: Mapping[str, float], *, previous: Version | None, model_changed: bool
) -> Changes:
    """What changed between two sets of labels, pair_id → preference."""
    both = before.keys() & after.keys()
    return Changes(
        previous=previous,
        added=len(after.keys() - both),
        removed=len(before.keys() - both),
        relabelled=sum(before[pair] != after[pair] for pair in both),
        model_changed=model_changed,
    )


def folder_name(name: str, version: Version) -> str:
    """`robopref-NAME-VERSION`; characters that do not belong in a file name become `-`."""
    return f"robopref-{re.sub(r'[^A-Za-z0-9._]+', '-', name).strip('-.') or 'preferences'}-{version}"


def is_complete(folder: Path) -> bool:
    """The release in `folder` was finished: its archive's checksum, which is written last, is there."""
    return folder.is_dir() and folder.with_name(f"{folder.name}.tar.gz.sha256").is_file()


def released(releases: Path, name: str) -> dict[Version, Path]:
    """The release folders of dataset `name` under `releases`, oldest version first."""
    prefix = folder_name(name, Version(0, 0, 0)).removesuffix("0.0.0")
    found: dict[Version, Path] = {}
    for folder in filter(is_complete, releases.glob(f"{prefix}*")):
        with suppress(UserError):
            found[parse_version(folder.name.removeprefix(prefix))] = folder
    return dict(sorted(found.items()))


def released_before(releases: Path, name: str, version: Version) -> tuple[Version, Path] | None:
    """The newest release that is older than `version`, or None."""
    older = [item for item in released(releases, name).items() if item[0] < version]
    return older[-1] if older else None


def growth(
    before: tuple[Version, Path],
    labels: Sequence[Mapping[str, Any]],
    judged: Iterable[str],
    rewards: Mapping[str, float],
) -> list[str]:
    """Sentences on answers, episodes and accuracy since the release `before`.

    Accuracy is on that release's test pairs, by its labels and its rewards and by the present rewards.

    Args:
        labels: Rows of preferences.parquet.
        judged: The pair of each answer.
        rewards: trajectory_id → reward; empty where the model is the same.

    Raises:
        DataError: a table of that release is missing or broken.
    """
    version, folder = before
    fix = "Restore that release from its archive, or move it away: what changed since cannot be told without it."
    known = {row["pair_id"]: row for row in read_jsonl(folder / "preferences.jsonl", fix=fix)}
    try:
        earlier = parquet.read_table(folder / "judgments.parquet", columns=["pair_id"])["pair_id"].to_pylist()
        table = read_csv(folder / "rewards.csv", fix=fix)
        old = dict(zip(table["trajectory_id"], map(float, table["reward"]), strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"A table of the release {folder} is missing or broken: {error}.", fix=fix) from None
    present = {row["pair_id"]: row for row in labels}
    lines = []
    for what, then, now in (
        ("answers", sum(key in known for key in earlier), sum(key in present for key in judged)),
        ("episodes", len(_compared(known.values())), len(_compared(labels))),
    ):
        if now != then:
            lines.append(f"{abs(now - then)} {what} {'added' if now > then else 'removed'}, {now} in all.")
    clear = [row for row in known.values() if row["split"] == "test" and row["preference"] != 0.5]
    scored = rewards.keys() & old.keys()
    tested = [row for row in clear if _compared([row]) <= scored]
    now_learned = {pair_id for pair_id, row in present.items() if row["split"] != "test"}
    if learned := sum(row["pair_id"] in now_learned for row in tested):
        lines.append(f"{learned} of the {len(tested)} test pairs of {version} are no test pairs now.")
    elif tested:
        after, past = (_right(tested, found) / len(tested) for found in (rewards, old))
        which = f"the {len(tested)} test pairs of {version} that are no ties"
        lines.append(f"Right on {after:.3f} of {which}; before {past:.3f}.")
    return lines


def _compared(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    return {row[f"trajectory_{side}_id"] for row in rows for side in "ab"}


def _right(rows: Iterable[Mapping[str, Any]], rewards: Mapping[str, float]) -> int:
    """Pairs, none of them a tie, that are ranked as they are labelled."""
    return sum(
        (rewards[row["trajectory_a_id"]] > rewards[row["trajectory_b_id"]]) == (row["preference"] == 1.0)
        for row in rows
    )


def labels_of(folder: Path) -> dict[str, float]:
    """pair_id → preference of a release folder.

    Raises:
        DataError: its preferences.jsonl is missing or broken.
    """
    path = folder / "preferences.jsonl"
    fix = "Restore that release from its archive, or move it away: what changed since cannot be told without it."
    try:
        return {row["pair_id"]: float(row["preference"]) for row in read_jsonl(path, fix=fix)}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a release's table of labels: {error!r}.", fix=fix) from None
