"""`robopref init`: a robopref.toml with every setting, its default and its description, and the schema beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from preference.artifacts import replacing
from preference.config import ENVIRONMENT, Config, Dataset
from preference.errors import ConfigError

SCHEMA_NAME = "robopref.schema.json"
SECRETS = ", ".join(name for name in ENVIRONMENT if "TOKEN" in name or "PASSWORD" in name)
HEADER = f"""#:schema ./{SCHEMA_NAME}
# Settings of a Robopref project. Every value below is the default; delete what you do not change. Defaults are the
# protocol's numbers, except where a comment says that a setting differs, and why.
# Keep secrets in the environment: {SECRETS}.
"""


def write_config(path: Path, dataset: Path | None = None) -> Path:
    """Write `path` and its schema; an existing robopref.toml is never overwritten.

    Raises:
        ConfigError: the file exists, or `dataset` does not.
    """
    if path.exists():
        raise ConfigError(f"{path} already exists.", fix="Edit it, or name another file with --config.")
    if dataset is not None and not dataset.exists():
        raise ConfigError(f"Dataset not found: {dataset}.")
    write_schema(path.parent)
    with replacing(path) as temporary:
        temporary.write_text(config_text(dataset), encoding="utf-8")
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


def config_text(dataset: Path | None = None) -> str:
    """The default settings as TOML, with the fields' descriptions as comments."""
    lines = [HEADER, *_table(Config(), "")]
    lines += ["", "[[pool.dataset]]", f"path = {json.dumps(str(dataset or 'path/to/dataset'))}"]
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
        elif not (isinstance(value, list) and name in ("dataset", "simulated")):
            comment = f"  # {' '.join(field.description.split())}" if field.description else ""
            lines.append(f"{name} = {_toml(value)}{comment}")
    return lines + tables


def _toml(value: Any) -> str:
    if value is None:
        return "true"  # only fields of a dataset's entry have no default, and those are comments
    if isinstance(value, SecretStr):
        return '""'
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
