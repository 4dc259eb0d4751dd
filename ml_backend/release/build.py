"""Make a release: a workspace and a version in, `robopref-NAME-VERSION/`, its archive and its checksum out.

The folder and the archive are made under temporary names; the checksum beside the archive is written last, so that
its existence means that the release is complete. The same inputs give the same bytes, and a complete release is
never replaced by another one of the same version.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ml_backend.release.archive import write_archive, write_sums
from ml_backend.release.contents import write_contents
from ml_backend.release.gather import Source, gather
from ml_backend.release.reports import validated
from ml_backend.release.versions import (
    Changes,
    Version,
    compare,
    folder_name,
    is_complete,
    labels_of,
    released_before,
)
from preference.artifacts import replacing, sha256_of
from preference.errors import UserError
from preference.workspace import Workspace


@dataclass(frozen=True)
class ReleaseResult:
    """A complete release."""

    version: str
    path: Path
    """Its folder."""
    archive: Path
    sha256: str
    """Of the archive."""
    pairs: int
    parity: float
    """Largest difference between ONNX Runtime's rewards and torch's, on real trajectories."""
    changes: list[str]
    """Sentences on what changed since the last release."""
    suggested: str
    """The version that these changes call for."""


class VersionTaken(UserError):
    """The version was released already, with other contents; `suggested` is the one that the changes call for."""

    def __init__(self, message: str, suggested: str) -> None:
        super().__init__(message, fix=f"Release this as {suggested}; a released version never changes.")
        self.suggested = suggested


def build_release(ws: Workspace, version: str) -> ReleaseResult:
    """Make release `version`; an identical one that is there already is left as it is.

    Raises:
        UserError: `version` is no semantic version.
        VersionTaken: it was released before with other contents.
        NotReady: preferences or a model are missing.
    """
    parsed = Version.parse(version)
    source = validated(gather(ws))
    name = folder_name(ws.config.name, parsed)
    folder, archive = ws.releases / name, ws.releases / f"{name}.tar.gz"
    before = released_before(ws.releases, ws.config.name, parsed)
    changes = _changes(source, before)
    with replacing(archive) as packed, replacing(folder) as building:
        building.mkdir()
        parity = write_contents(source, str(parsed), _changelog(before, f"{parsed}, {source.date}", changes), building)
        write_sums(building)
        write_archive(building, packed, name)
        digest = sha256_of(packed)
        _refuse_other(source, folder, digest, parsed)
    with replacing(archive.with_name(archive.name + ".sha256")) as beside:
        beside.write_text(f"{digest}  {archive.name}\n", encoding="utf-8")
    return ReleaseResult(
        version=str(parsed),
        path=folder,
        archive=archive,
        sha256=digest,
        pairs=len(source.rows),
        parity=parity,
        changes=changes.sentences(),
        suggested=str(changes.suggested),
    )


def _changes(source: Source, before: tuple[Version, Path] | None) -> Changes:
    """What is different from the release `before`."""
    labels = {row["pair_id"]: row["preference"] for row in source.rows}
    if before is None:
        return compare({}, labels, previous=None, model_changed=True)
    training = json.loads((before[1] / "training.json").read_text(encoding="utf-8"))
    changed = training.get("model_sha256") != sha256_of(source.model_file)
    return compare(labels_of(before[1]), labels, previous=before[0], model_changed=changed)


def _changelog(before: tuple[Version, Path] | None, heading: str, changes: Changes) -> str:
    """This version's entry above those of the releases before it."""
    older = (before[1] / "CHANGELOG.md").read_text(encoding="utf-8") if before else "# Changes\n"
    title, _, entries = older.partition("\n")
    lines = "".join(f"- {line}\n" for line in changes.sentences())
    return f"{title}\n\n## {heading}\n\n{lines}{entries}"


def _refuse_other(source: Source, folder: Path, digest: str, version: Version) -> None:
    """A complete release of this version may only be made again with the same bytes."""
    beside = folder.with_name(f"{folder.name}.tar.gz.sha256")
    if not is_complete(folder) or beside.read_text(encoding="utf-8")[:64] == digest:
        return
    changes = _changes(source, (version, folder))
    raise VersionTaken(
        f"Version {version} was released already, with other contents: {folder}. {' '.join(changes.sentences())}",
        str(changes.suggested),
    )
