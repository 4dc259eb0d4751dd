"""Does this Label Studio still have what the plugin relies on? Sentences out, for `robopref doctor`.

`problems` checks the server. `troubles` are the parts of the page that the plugin's script missed in somebody's
browser, kept in a small file in Label Studio's data folder. A browser names one of `PARTS` and nothing else, so nobody
can fill the file or write sentences of their own into it. Nothing here stops anything: the template works without the
plugin.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from labeling_config import STUDIO_VERSION
from preference.artifacts import read_json, write_json
from preference.errors import DataError

FOUND_AT_START: list[str] = []
"""What failed when Label Studio started."""
PARTS = {
    "objects": "Label Studio's objects of the pair (window.Htx)",
    "players": "the players of the two clips",
    "videos": "the <video> elements of the two clips",
    "task": "the task's id",
    "submit": "the Submit button",
    "answers": "the answers' buttons",
    "confidence": "the steps of the confidence",
}
"""What of the page the script needs, by the names in static/studio.js."""

_lock = threading.Lock()


def problems() -> list[str]:
    """What is wrong on the server; empty if everything is as the plugin expects."""
    return [*FOUND_AT_START, *_version(), *_addresses(), *_models(), *_database()]


def note_trouble(part: str, email: str) -> None:
    """Record that somebody's page lacks one of `PARTS`; whose was the first is kept."""
    with _lock:
        if part not in (known := _told()):
            write_json(_kept(), known | {part: email})


def troubles() -> list[str]:
    return [f"The page lacks {PARTS[part]}, says the browser of {email}." for part, email in _told().items()]


def _told() -> dict[str, str]:
    try:
        found = read_json(_kept())
    except DataError:
        return {}
    known = found.items() if isinstance(found, dict) else ()
    return {part: str(email) for part, email in known if part in PARTS}


def _kept() -> Path:
    """One file per version: what a newer Label Studio has fixed is not reported again."""
    return Path(_settings().BASE_DATA_DIR) / f"robopref-trouble-{_installed()}.json"


def _installed() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("label-studio")
    except PackageNotFoundError:
        return "unknown"


def _version() -> list[str]:
    found = _installed()
    return [] if found == STUDIO_VERSION else [f"Label Studio is {found}; the plugin was tested with {STUDIO_VERSION}."]


def _addresses() -> list[str]:
    from labeling_config.plugin.routes import ROUTES

    known = set(_names())
    gone = sorted(route for route in ROUTES if route not in known)
    return [f"The address {name!r}, which the label stream uses, is gone or renamed." for name in gone]


def _names() -> list[str]:
    """Every route's name as Django resolves it, namespaces included."""
    from django.urls import (  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
        ResolverMatch,
        URLPattern,
        get_resolver,
    )

    names: list[str] = []

    def walk(patterns: Any, spaces: tuple[str, ...]) -> None:
        for found in patterns:
            if not isinstance(found, URLPattern):
                walk(found.url_patterns, (*spaces, found.namespace) if found.namespace else spaces)
                continue
            match = ResolverMatch(found.callback, (), {}, found.name, namespaces=list(spaces))
            names.append(match.view_name)

    walk(get_resolver().url_patterns, ())
    return names


def _models() -> list[str]:
    from projects.models import Project  # pyright: ignore[reportMissingImports]
    from tasks.models import Annotation, Task  # pyright: ignore[reportMissingImports]

    from labeling_config.plugin.access import OwnedProjectMixin
    from labeling_config.plugin.kept_meta import KeptMetaMixin
    from labeling_config.plugin.one_answer import OneAnswerMixin

    found = []
    if not issubclass(Project, OwnedProjectMixin):
        found.append("PROJECT_MIXIN has no effect: Label Studio's object check does not know who owns a project.")
    if not issubclass(Annotation, OneAnswerMixin):
        found.append("ANNOTATION_MIXIN has no effect: two answers to a pair that arrive at once are both stored.")
    if not issubclass(Task, KeptMetaMixin):
        found.append("TASK_MIXIN has no effect: an adjudicator may change an answer after seeing the others'.")
    return found


def _database() -> list[str]:
    from django.db import connection  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

    if connection.vendor != "sqlite":
        return []
    with connection.cursor() as cursor:
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    said = f"SQLite is in {mode!r} mode instead of 'wal': concurrent annotators will get 'database is locked'."
    return [] if mode == "wal" else [said]


def _settings() -> Any:
    from django.conf import settings  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

    return settings
