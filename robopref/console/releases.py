"""Releases: what the policy team gets; built, verified and downloaded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from preference.artifacts import confined
from preference.errors import MissingExtra, NotReady, installed, needs
from preference.workspace import Workspace
from robopref.console.actions import Action, Page, Pressed, Refused


@dataclass(frozen=True)
class Made:
    """A release that is complete."""

    version: str
    name: str
    """Of its folder; its archive adds `.tar.gz`."""
    size: int
    """Bytes of the archive."""
    at: str
    sha256: str
    card: str
    """What changed, from its CHANGELOG.md."""


def facts(ws: Workspace, asked: Mapping[str, str]) -> dict[str, Any]:
    lacking = "" if installed("semver") else str(MissingExtra("semver"))
    made = [] if lacking else _made(ws)
    active = ws.store.active_model()
    return {
        "releases": made,
        "suggested": "" if lacking else _suggested(ws),
        "lacking": lacking,
        "active": active,
        "labels": len(ws.store.labelled()) if ws.store.resolved() else 0,
    }


def _made(ws: Workspace) -> list[Made]:
    from release.versions import released

    found = []
    for version, folder in reversed(released(ws.releases, ws.config.name).items()):
        archive = folder.with_name(f"{folder.name}.tar.gz")
        about = archive.stat() if archive.is_file() else None
        log = folder / "CHANGELOG.md"
        found.append(
            Made(
                str(version),
                folder.name,
                about.st_size if about else 0,
                datetime.fromtimestamp(about.st_mtime, UTC).isoformat(timespec="minutes") if about else "",
                folder.with_name(f"{archive.name}.sha256").read_text().split(maxsplit=1)[0],
                _newest(log.read_text(encoding="utf-8")) if log.is_file() else "",
            )
        )
    return found


def _newest(log: str) -> str:
    """The sentences under the first version of a changelog."""
    parts = log.split("\n## ")
    lines = parts[1].splitlines()[1:] if len(parts) > 1 else []
    return " ".join(line.removeprefix("- ").strip() for line in lines if line.strip())


def _suggested(ws: Workspace) -> str:
    """A minor version above the newest; a build that calls for another one says so."""
    from release.versions import released

    known = list(released(ws.releases, ws.config.name))
    return str(known[-1].bump_minor()) if known else "1.0.0"


def archive(ws: Workspace, subject: str) -> Path:
    return confined(ws.releases, f"{subject}.tar.gz")


def checksum(ws: Workspace, subject: str) -> Path:
    return confined(ws.releases, f"{subject}.tar.gz.sha256")


def _wanted(pressed: Pressed) -> str:
    return str(pressed.form.get("version_number", "")).strip()


def _build(ws: Workspace, pressed: Pressed) -> str:
    from release import build_release

    made = build_release(ws, _wanted(pressed))
    return " ".join([f"{made.version} was built: {made.pairs} labelled pairs.", *made.changes])


def _can_build(ws: Workspace, pressed: Pressed) -> None:
    needs("torch", "onnx", "onnxruntime", "nbformat", "semver")
    from release.versions import parse_version, released

    version = parse_version(_wanted(pressed))
    if version in released(ws.releases, ws.config.name):
        raise Refused(f"{version} was released; a released version never changes. Nothing was done.", 409)
    if ws.store.active_model() is None:
        raise NotReady("There is no reward model yet, and a release has one.")


def _verify(ws: Workspace, pressed: Pressed) -> str:
    from release import verify_release

    found = verify_release(archive(ws, pressed.subject))
    if found.ok:
        return f"{pressed.subject}: all {found.files} files are as released. sha256 {found.sha256}"
    return f"{pressed.subject} differs from what was released: {'; '.join(found.problems[:5])}"


def _releases(ws: Workspace, subject: str) -> object:
    active = ws.store.active_model()
    return sorted(path.name for path in ws.releases.glob("*.sha256")), active.version if active else ""


PAGE = Page(
    "releases",
    "Releases",
    facts,
    {
        "release": Action(_build, _releases, long=True, check=_can_build),
        "release verify": Action(_verify, _releases),
    },
    {"archive": archive, "checksum": checksum},
)
