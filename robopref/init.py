"""`robopref init`: a robopref.toml with every setting, its default and what it means."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from preference import config as config_module
from preference.config import Config, Dataset
from preference.errors import ConfigError
from preference.workspace import replacing

HEADER = """# Settings of a Robopref project. Every value below is the default, which follows the protocol;
# delete what you do not change. Secrets are better in the environment: {variables}.
"""


def write_config(path: Path, dataset: Path | None = None) -> Path:
    """Write `path`; an existing file is never overwritten.

    Raises:
        ConfigError: the file exists, or `dataset` does not.
    """
    if path.exists():
        raise ConfigError(f"{path} exists already.", fix="Edit it, or name another file with --config.")
    if dataset is not None and not dataset.exists():
        raise ConfigError(f"The dataset {dataset} does not exist.")
    with replacing(path) as temporary:
        temporary.write_text(config_text(dataset), encoding="utf-8")
    return path


def config_text(dataset: Path | None = None) -> str:
    """The default configuration as TOML, with the docstrings of `preference.config` as comments."""
    variables = ", ".join(name for name in config_module.ENVIRONMENT if "TOKEN" in name or "PASSWORD" in name)
    lines = [HEADER.format(variables=variables)]
    config = Config()
    lines += _table(config, "")
    lines += ["", "[[pool.dataset]]", f"path = {json.dumps(str(dataset or 'path/to/dataset'))}"]
    lines += [f"# {line}" for line in _table(Dataset(path=Path()), "pool.dataset") if not line.startswith("path")]
    return "\n".join(lines) + "\n"


def _table(section: BaseModel, prefix: str) -> list[str]:
    comments = _field_docs(type(section))
    lines: list[str] = []
    tables: list[str] = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            inner = f"{prefix}.{name}" if prefix else name
            tables += ["", f"[{inner}]", *_table(value, inner)]
        elif not (isinstance(value, list) and name in ("dataset", "simulated")):
            comment = f"  # {comments[name]}" if name in comments else ""
            lines.append(f"{name} = {_toml(value)}{comment}")
    return lines + tables


def _toml(value: Any) -> str:
    if value is None:
        return "true"  # only fields of a dataset's entry have no default, and those are comments
    if isinstance(value, SecretStr):
        return '""'
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _field_docs(section: type[BaseModel]) -> dict[str, str]:
    """The string literal under each field, which Python itself throws away."""
    body = ast.parse(inspect.getsource(section)).body[0]
    docs: dict[str, str] = {}
    field = ""
    for node in getattr(body, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            field = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and field:
            docs[field] = " ".join(str(node.value.value).split())
            field = ""
    return docs
