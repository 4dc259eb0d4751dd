"""Label Studio with the plugin as a server of several processes, as compose.yaml runs it.

    python -m labeling_config.server setup    checks everything, migrates the database, makes the first manager
    python -m labeling_config.server serve    gunicorn, in the place of Label Studio's development server
    python -m labeling_config.server check    exit code 0 where it answers and reaches its database

`setup` runs once and ends; `serve` migrates nothing, so that several may start at once. In: Label Studio's own
variables, secrets also from files. What cannot work is one line that names the setting, and exit code 2.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from labeling_config import STUDIO_VERSION
from preference.artifacts import check_writable
from preference.errors import ConfigError, DiskFull, StoreError, UserError
from preference.secret_files import read_secret

SETTINGS = "labeling_config.plugin.settings"
READY = "/robopref/ready"
PORT = 8080
WORKERS, THREADS = 3, 4
"""Processes, and requests that each handles at a time: a request is mostly Python, and a clip mostly waiting."""
REQUEST_S = 300
"""After so many seconds without a sign of life a process is replaced. The console's longest page takes 20."""
KEPT_S = 75
"""A connection without requests: longer than any client of ours keeps one, or it meets one that was just closed."""
PUBLIC = re.compile(r"https?://[^/?#@\s]+")
"""With a / behind it, the proxy would answer for that one path alone."""
LEAST_SPACE = 200_000_000
"""Bytes free for uploads and exports, below which it does not start."""
NEEDED = ("POSTGRE_PASSWORD", "LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_USER_TOKEN", "ROBOPREF_CONSOLE_SECRET")


def setup(environment: Mapping[str, str] = os.environ) -> None:
    """Make the database ready for `serve`; does nothing where it is.

    Raises:
        UserError: what `serve` needs is missing or wrong, or the database is a newer Label Studio's.
    """
    check_settings(environment)
    check_database()
    done = subprocess.run([sys.executable, "-m", "label_studio.server", "init", "--quiet"], check=False)
    if done.returncode:
        raise StoreError("Label Studio could not make its tables.", fix="Its own message is above this line.")


def serve(environment: Mapping[str, str] = os.environ) -> NoReturn:
    """Become gunicorn.

    Raises:
        UserError: what it needs is missing or wrong, or the port is taken.
    """
    check_settings(environment)
    port = _number(environment, "LABEL_STUDIO_PORT", PORT)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            fix = "Set LABEL_STUDIO_PORT to another one, or stop the program that has it."
            raise UserError(f"Label Studio cannot listen on port {port}: {error.strerror}.", fix=fix) from None
    workers = _number(environment, "LABEL_STUDIO_WORKERS", WORKERS)
    threads = _number(environment, "LABEL_STUDIO_THREADS", THREADS)
    options = {
        "bind": f"0.0.0.0:{port}", "worker-class": "gthread", "workers": workers, "threads": threads,
        "timeout": REQUEST_S, "graceful-timeout": 30, "keep-alive": KEPT_S, "worker-tmp-dir": "/dev/shm",
        "log-level": "warning", "forwarded-allow-ips": "*",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    program = [sys.executable, "-m", "gunicorn", "--preload", "--no-control-socket", *words]
    os.execv(sys.executable, [*program, "labeling_config.server:application()"])


def application() -> Any:
    """What gunicorn loads once, before it makes its processes: they share its memory."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)
    from django.core.wsgi import get_wsgi_application  # pyright: ignore[reportMissingModuleSource]
    from django.db import connections  # pyright: ignore[reportMissingModuleSource]

    made = get_wsgi_application()
    connections.close_all()  # a connection belongs to one process
    return made


def check(port: int) -> None:
    """
    Raises:
        UserError: nothing answers, or it does not reach its database.
    """
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{READY}", timeout=8) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        raise UserError(f"Label Studio is not ready: {error.read(500).decode(errors='replace')}") from None
    except OSError as error:
        raise UserError(f"Label Studio does not answer: {error}.") from None


def check_settings(environment: Mapping[str, str]) -> None:
    """What can be known before anything is started.

    Raises:
        UserError: a secret is missing, the data folder cannot be used, or this is another Label Studio.
    """
    secrets = {name: read_secret(name, environment) for name in NEEDED}
    for name, value in secrets.items():
        if not value:
            raise ConfigError(f"{name} is not set.", fix=f"Set it, or {name}_FILE to a file that holds it.")
    token = secrets["LABEL_STUDIO_USER_TOKEN"]
    if len(token) != 40 or set(token) - set("0123456789abcdef"):
        said = f"expected 40 of 0-9 and a-f, found {len(token)} characters"
        raise ConfigError(f"LABEL_STUDIO_USER_TOKEN: {said}.", fix="`openssl rand -hex 20` makes one.")
    public = environment.get("ROBOPREF_PUBLIC_URL", "")
    if public and not PUBLIC.fullmatch(public):
        fix = "Write it without anything behind the host and port, such as https://label.example.org."
        raise ConfigError(
            f"ROBOPREF_PUBLIC_URL: expected http(s)://HOST or http(s)://HOST:PORT, found {public!r}.", fix=fix
        )
    check_version(importlib.metadata.version("label-studio"), environment.get("ROBOPREF_TRY_LABEL_STUDIO", ""))
    folder = Path(environment.get("LABEL_STUDIO_BASE_DATA_DIR", "."))
    if not os.access(folder, os.F_OK, effective_ids=True):
        raise ConfigError(f"LABEL_STUDIO_BASE_DATA_DIR: {folder} is not a folder.", fix="Mount a volume there.")
    check_writable(folder, "LABEL_STUDIO_BASE_DATA_DIR: the folder")
    if (free := shutil.disk_usage(folder).free) < LEAST_SPACE:
        found = f"{free / 1e6:.0f} MB are free for {folder}, expected {LEAST_SPACE / 1e6:.0f} at least"
        raise DiskFull(f"LABEL_STUDIO_BASE_DATA_DIR: {found}.", fix="Free some space and start again.")


def check_version(found: str, tried: str) -> None:
    """
    Raises:
        UserError: this is no Label Studio that the plugin was tested with, and nobody said to try it.
    """
    if found not in (STUDIO_VERSION, tried):
        raise UserError(
            f"This is Label Studio {found}, and the plugin was tested with {STUDIO_VERSION}.",
            fix=f"Build the image as the repository has it; or, in a copy, set ROBOPREF_TRY_LABEL_STUDIO={found}.",
        )


def check_database() -> None:
    """
    Raises:
        StoreError: it cannot be reached, or a newer Label Studio made its tables.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS)
    import django  # pyright: ignore[reportMissingModuleSource]
    from django.db import OperationalError, connection  # pyright: ignore[reportMissingModuleSource]
    from django.db.migrations.loader import MigrationLoader  # pyright: ignore[reportMissingModuleSource]

    django.setup()
    names = {name: connection.settings_dict[name] for name in ("USER", "NAME", "HOST", "PORT")}
    place = f"{names['NAME']} at {names['HOST']}:{names['PORT']}" if names["HOST"] else str(names["NAME"])
    try:
        loader = MigrationLoader(connection, ignore_no_migrations=True)
    except OperationalError as error:
        said = str(error).strip().splitlines()[-1]
        raise StoreError(
            f"Label Studio's database {place} refuses {names['USER']}: {said}.",
            fix="Check POSTGRE_HOST, POSTGRE_USER and POSTGRE_PASSWORD (or POSTGRE_PASSWORD_FILE).",
        ) from None
    known = set(loader.disk_migrations or ()) | set(loader.replacements)
    known |= {one for migration in loader.replacements.values() for one in migration.replaces}
    ours = {app for app, _ in loader.disk_migrations or ()}
    newer = sorted(f"{app}.{name}" for app, name in set(loader.applied_migrations or ()) - known if app in ours)
    if newer:
        raise StoreError(
            f"A newer Label Studio than {STUDIO_VERSION} made the tables of {place}: {newer[-1]} is not known here.",
            fix="Restore the backup from before that upgrade (docs/upgrade.md), or name another POSTGRE_NAME.",
        )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ConfigError(f"{name}: expected a whole number above 0, found {text!r}.")
    return int(text)


def main(arguments: list[str]) -> int:
    commands = {"setup": setup, "serve": serve, "check": lambda: check(_number(os.environ, "LABEL_STUDIO_PORT", PORT))}
    if len(arguments) != 1 or arguments[0] not in commands:
        sys.stderr.write(f"usage: python -m labeling_config.server {'|'.join(commands)}\n")
        return 2
    try:
        commands[arguments[0]]()
    except UserError as error:
        sys.stderr.write(f"label-studio: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
