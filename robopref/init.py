"""`robopref init`: a robopref.toml with every setting, its default and its description, and the schema beside it.

A dataset's path or Hugging Face id comes in as well; its entry, and what was found and is missing, goes out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretStr

from preference.artifacts import replacing
from preference.config import Config, Dataset
from preference.config_file import ENVIRONMENT
from preference.errors import ConfigError

if TYPE_CHECKING:
    from importer.pool.inspect import Inspection
    from importer.pool.overview import Overview

SCHEMA_NAME = "robopref.schema.json"
SECRETS = ", ".join(name for name in ENVIRONMENT if "TOKEN" in name or "PASSWORD" in name)
HEADER = f"""#:schema ./{SCHEMA_NAME}
# Settings of a Robopref project. Every value below is the default; delete what you do not change. Defaults are the
# protocol's numbers, except where a comment says that a setting differs, and why.
# Keep secrets in the environment: {SECRETS}.
"""

CHANGED = "# Of these, name, seed and [reward] are those of the release that this project continues: keep them.\n"


@dataclass(frozen=True)
class Started:
    """A project that was begun on a dataset."""

    path: Path
    """Its robopref.toml."""
    inspection: Inspection
    overview: Overview


def start(path: Path, dataset: str) -> Started:
    """Write `path` with an entry for the dataset, which is only read.

    Args:
        dataset: A folder, an HDF5 file, or a Hugging Face id, which is downloaded.

    Raises:
        ConfigError: `path` exists already, or cannot be written.
        DataError: the dataset is not there, cannot be read, or has nothing to see.
    """
    from importer.pool.hub import fetch, is_hub_id
    from importer.pool.inspect import dataset_at, inspect
    from importer.pool.overview import overview

    check_new(path)
    inspection = inspect(dataset_at(fetch(dataset) if is_hub_id(dataset) else Path(dataset)))
    found = overview(inspection.dataset)
    return Started(write_config(path, inspection.toml), inspection, found)


def check_new(path: Path) -> None:
    """
    Raises:
        ConfigError: the file exists.
    """
    if path.exists():
        raise ConfigError(f"{path} already exists.", fix="Edit it, or name another file with --config.")


def write_config(path: Path, entry: str = "", config: Config | None = None) -> Path:
    """Write `path` and its schema; an existing robopref.toml is never overwritten.

    Args:
        entry: The dataset's, as `pool inspect` proposes it; default: one to fill in.
        config: Its values; default: the defaults.

    Raises:
        ConfigError: the file exists, or cannot be written.
    """
    check_new(path)
    try:
        write_schema(path.parent)
        with replacing(path) as temporary:
            temporary.write_text(config_text(entry, config), encoding="utf-8")
    except OSError as error:
        fix = "Run `robopref init` in a folder of your own; the dataset may be anywhere."
        raise ConfigError(f"{path} cannot be written: {error.strerror}.", fix=fix) from None
    return path


def write_schema(folder: Path) -> Path:
    """Write the JSON Schema that editors complete robopref.toml from; an older one is replaced."""
    path = folder / SCHEMA_NAME
    with replacing(path) as temporary:
        temporary.write_text(schema_text(), encoding="utf-8")
    return path


def schema_text() -> str:
    """The JSON Schema of robopref.toml."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def config_text(entry: str = "", config: Config | None = None) -> str:
    """The settings as TOML, with the fields' descriptions as comments, and the dataset's `entry`."""
    lines = [HEADER + (CHANGED if config else ""), *_table(config or Config(), "")]
    if entry:
        return "\n".join([*lines, "", entry])
    lines += ["", "[[pool.dataset]]", 'path = "path/to/dataset"']
    lines += [
        f"# {line}".rstrip() for line in _table(Dataset(path=Path()), "pool.dataset") if not line.startswith("path")
    ]
    return "\n".join(lines) + "\n"


def _table(section: BaseModel, prefix: str) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            inner = f"{prefix}.{name}" if prefix else name
            tables += ["", f"[{inner}]", *_table(value, inner)]
        elif name != "dataset":
            comment = f"  # {' '.join(field.description.split())}" if field.description else ""
            lines.append(f"{name} = {_toml(value)}{comment}")
    return lines + tables


def _toml(value: Any) -> str:
    if value is None:
        return "true"  # only fields of a dataset's entry have no default, and those are comments
    if isinstance(value, SecretStr):
        return '""'
    if isinstance(value, BaseModel):
        return "{ " + ", ".join(f"{name} = {_toml(getattr(value, name))}" for name in type(value).model_fields) + " }"
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
