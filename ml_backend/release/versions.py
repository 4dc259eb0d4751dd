"""Which version comes next: the released preferences and the model's checksum in, what changed and the bump out.

Versions follow Semantic Versioning 2.0.0, read for data: major = labels that somebody trained on are different or
gone, minor = pairs were added or the model is another one, patch = only the wrapping changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import total_ordering
from pathlib import Path

from preference.artifacts import read_jsonl
from preference.errors import DataError, UserError

# https://semver.org, "Is there a suggested regular expression?", written with the same groups
_SEMVER = re.compile(
    r"(?P<major>0|[1-9]\d*)\.(?P<minor>0|[1-9]\d*)\.(?P<patch>0|[1-9]\d*)"
    r"(?:-(?P<pre>(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
)


@total_ordering
@dataclass(frozen=True)
class Version:
    """`major.minor.patch[-pre]`; a pre-release comes before its release."""

    major: int
    minor: int
    patch: int
    pre: str = ""

    @classmethod
    def parse(cls, text: str) -> Version:
        """The version that `text` spells.

        Raises:
            UserError: it is not a semantic version. Build metadata (`+...`) is refused too: it takes no part in
                the order of versions, so two releases could not be told apart by it.
        """
        match = _SEMVER.fullmatch(text)
        if match is None:
            raise UserError(
                f"{text!r} is not a version of the form MAJOR.MINOR.PATCH.", fix="Name one such as 1.2.0 or 1.2.0-rc.1."
            )
        return cls(int(match["major"]), int(match["minor"]), int(match["patch"]), match["pre"] or "")

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}" + (f"-{self.pre}" if self.pre else "")

    def __lt__(self, other: Version) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[int, int, int, bool, list[tuple[int, int, str]]]:
        parts = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre.split(".") if p]
        return self.major, self.minor, self.patch, not self.pre, parts

    def bumped(self, part: str) -> Version:
        if part == "major":
            return Version(self.major + 1, 0, 0)
        if part == "minor":
            return Version(self.major, self.minor + 1, 0)
        return Version(self.major, self.minor, self.patch + 1)


@dataclass(frozen=True)
class Changes:
    """What is different from the release before; `previous` is None for the first one."""

    previous: Version | None
    added: int
    removed: int
    relabelled: int
    model_changed: bool

    @property
    def part(self) -> str:
        """`major`, `minor` or `patch`."""
        if self.removed or self.relabelled:
            return "major"
        return "minor" if self.added or self.model_changed else "patch"

    @property
    def suggested(self) -> Version:
        return Version(1, 0, 0) if self.previous is None else self.previous.bumped(self.part)

    def sentences(self) -> list[str]:
        if self.previous is None:
            return [f"First release, with {self.added} labelled pairs."]
        lines = [
            (self.added, f"{self.added} pairs added."),
            (self.relabelled, f"{self.relabelled} pairs have another label."),
            (self.removed, f"{self.removed} pairs are gone."),
            (self.model_changed, "The reward model is another one."),
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
    for folder in releases.glob(f"{prefix}*") if releases.is_dir() else []:
        match = _SEMVER.fullmatch(folder.name.removeprefix(prefix))
        if match is not None and is_complete(folder):
            found[Version.parse(match.group())] = folder
    return dict(sorted(found.items()))


def released_before(releases: Path, name: str, version: Version) -> tuple[Version, Path] | None:
    """The newest release that is older than `version`, or None."""
    older = [item for item in released(releases, name).items() if item[0] < version]
    return older[-1] if older else None


def labels_of(folder: Path) -> dict[str, float]:
    """pair_id → preference of a release folder.

    Raises:
        DataError: its preferences.jsonl is missing or broken.
    """
    path = folder / "preferences.jsonl"
    try:
        return {row["pair_id"]: float(row["preference"]) for row in read_jsonl(path)}
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}), so what changed since that release is unknown.",
            fix="Restore that release from its archive, or move it away.",
        ) from None
