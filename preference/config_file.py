"""From robopref.toml to a checked `Config`.

In: a TOML file; the environment variables in `ENVIRONMENT`, which win over it, or files that they name; what
`robopref up` wrote of its servers, where the file names no Label Studio. This is the only module that reads environment
variables. What is wrong is said field by field, in words that come from the settings' JSON Schema; and what is
outside the protocol's ranges, where somebody asks.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from preference.config import Config, LabelStudio, Service
from preference.embedded import read_servers
from preference.errors import ConfigError
from preference.secret_files import check_password_in, read_secret, with_password

ENVIRONMENT: dict[str, tuple[str, ...]] = {
    "ROBOPREF_DATABASE_URL": ("database",),
    "ROBOPREF_LABEL_STUDIO_URL": ("label_studio", "url"),
    "ROBOPREF_LABEL_STUDIO_TOKEN": ("label_studio", "token"),
    "ROBOPREF_PUBLIC_URL": ("label_studio", "public_url"),
    "ROBOPREF_S3_ACCESS_KEY": ("label_studio", "s3", "access_key"),
    "ROBOPREF_S3_SECRET_KEY": ("label_studio", "s3", "secret_key"),
    "ROBOPREF_SERVICE_HOST": ("service", "host"),
    "ROBOPREF_SERVICE_URL": ("service", "url"),
    "ROBOPREF_SERVICE_PUBLIC_URL": ("service", "public_url"),
    "ROBOPREF_SERVICE_PASSWORD": ("service", "password"),
    "ROBOPREF_WEBHOOK_SECRET": ("service", "webhook_secret"),
    "ROBOPREF_CONSOLE_SECRET": ("service", "console_secret"),
    "ROBOPREF_LOGS": ("logs",),
    "ROBOPREF_WORK": ("work",),
}
"""Variable → the field it sets; NAME_FILE names a file that holds the value. A test compares compose.yaml's.

pydantic-settings would not shorten this: half of these names do not follow its nesting rule, its TOML source skips a
missing file, and `Config()` in a notebook would silently depend on the environment.
"""
DATABASE, PASSWORD = "ROBOPREF_DATABASE_URL", "ROBOPREF_DATABASE_PASSWORD"
STUDIO_DATABASE, STUDIO_PASSWORD = "ROBOPREF_STUDIO_DATABASE_URL", "ROBOPREF_STUDIO_DATABASE_PASSWORD"
STUDIO_DATA = "ROBOPREF_STUDIO_DATA"
"""Of `robopref backup` and `restore`, in place of --studio-database and --studio-data."""


def load_config(path: Path) -> Config:
    """Read, complete and check `path`; relative paths in it become absolute.

    Raises:
        ConfigError: the file is missing, is not TOML, or has wrong fields; every wrong field is named.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows write the mark
    except FileNotFoundError:
        raise ConfigError(f"File not found: {path}.", fix="Run `robopref init`, or name the file with -c.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", fix="Name a file with -c.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None
    given: dict[tuple[str | int, ...], str] = {}
    for variable, keys in ENVIRONMENT.items():
        if value := read_secret(variable, os.environ):
            _set(raw, keys, value)
            given[keys] = variable
    if isinstance(url := raw.get("database"), str):
        raw["database"] = _completed(url, DATABASE, PASSWORD)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_describe(error, given)}") from None
    config._file = path
    return _with_servers(_with_absolute_paths(config, path.resolve().parent))


def studio_database() -> str:
    """The URL of Label Studio's database as the environment says; empty where it does not.

    Raises:
        ConfigError: a secret cannot be read, or the URL holds a password that cannot be in one.
    """
    url = read_secret(STUDIO_DATABASE, os.environ)
    return _completed(url, STUDIO_DATABASE, STUDIO_PASSWORD) if url else ""


def studio_data() -> Path | None:
    """Label Studio's data folder as the environment says."""
    place = os.environ.get(STUDIO_DATA, "")
    return Path(place) if place else None


def _completed(url: str, name: str, password_name: str) -> str:
    check_password_in(url, name)
    password = read_secret(password_name, os.environ)
    return with_password(url, password, password_name) if password else url


def _set(table: dict[str, Any], keys: Sequence[str], value: str) -> None:
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            return  # the file has a value where a table belongs; validation says so
    table[keys[-1]] = value


def _describe(error: ValidationError, given: Mapping[tuple[str | int, ...], str]) -> str:
    """One clause for each wrong field; the values of secrets are not shown.

    Args:
        given: Field → the variable of the environment that set it.
    """
    lines = []
    for item in error.errors():
        place = item["loc"]
        wanted = _schema_at(place)
        if item["type"] == "extra_forbidden":
            message = _unknown(str(place[-1]), list(_schema_at(place[:-1]).get("properties", {})))
        elif item["type"] == "value_error":
            message = item["msg"].removeprefix("Value error, ")
        elif item["type"] == "missing" or wanted.get("format") == "password":
            message = f"expected {_expected(wanted)}"
        else:
            message = f"found {_found(item['input'])}, expected {_expected(wanted)}"
        where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place).lstrip(".")
        where += f" (from {given[place]})" if place in given else ""
        lines.append(f"{where}: {message}")
    return "; ".join(lines) + ("" if lines[-1].endswith("?") else ".")


def _schema_at(place: Sequence[str | int]) -> dict[str, Any]:
    """The part of the JSON Schema that describes the setting at `place`, such as ("pool", "dataset", 0)."""
    schema = Config.model_json_schema()
    known, found = schema["$defs"], schema
    for key in place:
        if isinstance(key, int):
            found = found.get("items", {})
        else:
            found = found.get("properties", {}).get(key, found.get("additionalProperties") or {})
        found = found["anyOf"][0] if "anyOf" in found else found  # the other one is null, which TOML does not have
        found = known[found["$ref"].rpartition("/")[2]] if "$ref" in found else found
    return found


_TYPES = {
    "integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text in quotes",
    "array": "a list", "object": "a table",
}  # fmt: skip


def _expected(schema: dict[str, Any]) -> str:
    """In words what a setting may be."""
    if options := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return f"one of {', '.join(options)}"
    words = _TYPES.get(schema.get("type", ""), "another value")
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    limits = [f"of at least {low}"] if low is not None else [f"above {above}"] if above is not None else []
    limits += [f"of at most {high}"] if high is not None else [f"below {below}"] if below is not None else []
    if low is not None and high is not None:
        limits = [f"from {low} to {high}"]
    if "multipleOf" in schema:
        limits.append(f"divisible by {schema['multipleOf']}")
    if schema.get("minItems"):
        limits.append("that is not empty")
    return " ".join([words, " and ".join(limits)]).strip()


def _found(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"no such setting, did you mean {near[0]}?" if near else f"no such setting; known here: {', '.join(known)}"


def _with_absolute_paths(config: Config, base: Path) -> Config:
    config.work = (base / config.work.expanduser()).resolve()
    if config.reward.weights not in ("imagenet", "none"):
        config.reward.weights = str((base / Path(config.reward.weights).expanduser()).resolve())
    if config.pool.measures:
        config.pool.measures = str((base / Path(config.pool.measures).expanduser()).resolve())
    for dataset in config.pool.dataset:
        dataset.path = located(base / dataset.path.expanduser())
        dataset.name = dataset.name or default_name(dataset.path)
        if dataset.sidecar:
            dataset.sidecar = str((base / Path(dataset.sidecar).expanduser()).resolve())
    names = [dataset.name for dataset in config.pool.dataset]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"{config.file}: pool.dataset: the name {repeated[0]!r} is used twice.",
            fix="Give each dataset its own `name`.",
        )
    return config


def located(path: Path) -> Path:
    """`path` in full, its folder's links followed and its own not: the Hugging Face cache has a link `demo.hdf5` to a
    file whose name is a hash."""
    path = path.expanduser()
    return path.parent.resolve() / path.name if path.is_file() else path.resolve()


def _with_servers(config: Config) -> Config:
    """Where the settings name no Label Studio: address, token, port and secrets of what `robopref up` runs."""
    studio, service = config.label_studio, config.service
    config._embedded = not studio.token.get_secret_value() and studio.url == LabelStudio().url
    if not config.embedded or (servers := read_servers(config.work)) is None:
        return config
    studio.url, studio.token = servers.studio_url, SecretStr(servers.token)
    if service.port == Service().port:
        service.port = servers.service_port
    service.url = service.url or f"http://127.0.0.1:{service.port}"
    if not service.login:
        service.password = SecretStr(servers.password)
    if not service.webhook_secret.get_secret_value():
        service.webhook_secret = SecretStr(servers.webhook_secret)
    if not service.console_secret.get_secret_value():
        service.console_secret = SecretStr(servers.console_secret)
    return config


def default_name(path: Path) -> str:
    """The name of the folder or file; in the Hugging Face cache, whose folders are named by a hash, the repository."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.rpartition("--")[2]
    return path.stem if path.suffix in (".hdf5", ".h5") else path.name


PROTOCOL: dict[str, tuple[float, float, str]] = {
    "pairs.batch": (200, 500, "pairs in a batch"),
    "pairs.duplicates": (0.05, 0.10, "share of repeated pairs"),
    "pairs.overlap": (2, 3, "annotators per pair"),
    "calibration.pairs": (30, 50, "pairs of a calibration set"),
    "active.pairs": (50, 100, "pairs in a round"),
}
"""Setting → smallest and largest value, and what it is."""


def outside_protocol(config: Config, *sections: str) -> list[str]:
    """A sentence for each setting that is outside its range; only of these `sections`, if any are given."""
    said = []
    for name, (low, high, what) in PROTOCOL.items():
        if sections and name.partition(".")[0] not in sections:
            continue
        value = attrgetter(name)(config)
        if not low <= value <= high:
            said.append(f"{name} = {value:g} ({what}) is outside the protocol's {low:g} to {high:g}.")
    return said
