"""Does this Label Studio still have what the plugin holds on to? Sentences out, for `robopref doctor`.

`problems` looks at the server. `troubles` are what the page's script missed in somebody's browser, kept in a small
file of Label Studio's data folder. Nothing here stops anything: the template works without the plugin.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from labeling_config import STUDIO_VERSION

FOUND_AT_START: list[str] = []
"""What could not be arranged when Label Studio started."""
MOST = 50
"""Different sentences that are kept."""
LONGEST = 200

_lock = threading.Lock()


def problems() -> list[str]:
    """What is off on the server; empty where everything is as the plugin expects it."""
    return [*FOUND_AT_START, *_version(), *_addresses(), *_projects(), *_database()]


def note_trouble(sentence: str) -> None:
    """Keep what a page's script reported, once however often it comes."""
    with _lock:
        known = troubles()
        if sentence[:LONGEST] in known or len(known) >= MOST:
            return
        temporary = _kept().with_suffix(".part")
        temporary.write_text(json.dumps([*known, sentence[:LONGEST]]), encoding="utf-8")
        os.replace(temporary, _kept())


def troubles() -> list[str]:
    try:
        return list(json.loads(_kept().read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []


def _kept() -> Path:
    """One file per version: what a newer plugin or Label Studio mended is not told again."""
    return Path(_settings().BASE_DATA_DIR) / f"robopref-trouble-{_installed()}.json"


def _installed() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("label-studio")
    except PackageNotFoundError:
        return "unknown"


def _version() -> list[str]:
    found = _installed()
    return [] if found == STUDIO_VERSION else [f"Label Studio is {found}; the plugin was made for {STUDIO_VERSION}."]


def _addresses() -> list[str]:
    from labeling_config.plugin.routes import ROUTES

    known = set(_names())
    gone = sorted(route for route in ROUTES if route not in known)
    return [f"The address {name!r} that the label stream used is gone or has another name." for name in gone]


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


def _projects() -> list[str]:
    from projects.models import Project  # pyright: ignore[reportMissingImports]

    from labeling_config.plugin.access import OwnedProjectMixin

    if issubclass(Project, OwnedProjectMixin):
        return []
    return ["PROJECT_MIXIN has no effect any more: Label Studio's own object check does not know whose a project is."]


def _database() -> list[str]:
    from django.db import connection  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

    if connection.vendor != "sqlite":
        return []
    with connection.cursor() as cursor:
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    said = f"SQLite is in {mode!r} mode, not 'wal': several annotators at once will meet locked databases."
    return [] if mode == "wal" else [said]


def _settings() -> Any:
    from django.conf import settings  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

    return settings
