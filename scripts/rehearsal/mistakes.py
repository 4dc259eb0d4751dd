"""What an administrator can get wrong: each is one line in the log of the service that fails, and names the setting."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from campaign import Failed

NEWER = """
import subprocess, sys
from pathlib import Path
import psycopg
from preference.config_file import load_config
url = load_config(Path("robopref.toml")).database.get_secret_value()
with psycopg.connect(url, autocommit=True) as connection:
    (before,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    try:
        sys.exit(subprocess.run(["robopref", "migrate"]).returncode)
    finally:
        connection.execute("UPDATE alembic_version SET version_num = %s", [before])
"""
NEWER_STUDIO = """
import os, subprocess, sys
from pathlib import Path
import psycopg
told = {name: os.environ[f"POSTGRE_{name.upper()}"] for name in ("user", "host", "port")}
password = Path(os.environ["POSTGRE_PASSWORD_FILE"]).read_text().rstrip()
with psycopg.connect(dbname=os.environ["POSTGRE_NAME"], password=password, autocommit=True, **told) as connection:
    connection.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('tasks', '9999_new', now())")
    try:
        sys.exit(subprocess.run([sys.executable, "-m", "labeling_config.server", "setup"]).returncode)
    finally:
        connection.execute("DELETE FROM django_migrations WHERE name = '9999_new'")
"""
OTHER_STUDIO = """
import importlib.metadata
real = importlib.metadata.version
importlib.metadata.version = lambda name: "1.24.0" if name == "label-studio" else real(name)
from labeling_config.server import main
raise SystemExit(main(["setup"]))
"""
OTHER_PASSWORD = """
mkdir /tmp/secrets && cp /run/secrets/* /tmp/secrets/ && echo another > /tmp/secrets/postgres_password
SECRETS=/tmp/secrets exec sh /roles.sh
"""
BACKUP = ["robopref", "backup", "/backups/mistake.tar"]


@dataclass(frozen=True)
class Mistake:
    """A service, started wrongly, and what it has to say."""

    service: str
    said: str
    """A pattern."""
    command: list[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    volume: str = ""
    """One that another file system takes the place of, made with `options`; where services share this machine's."""
    options: str = ""
    again: bool = False
    """Started a second time beside itself, where both then have one network."""


NONE = "/run/secrets/none"
MISTAKES = {
    "a secret's file is missing": Mistake(
        "label-studio-setup", "LABEL_STUDIO_USER_TOKEN_FILE names /run/secrets/none",
        environment={"LABEL_STUDIO_USER_TOKEN_FILE": NONE}),
    "a / behind the public address": Mistake(
        "label-studio-setup", "ROBOPREF_PUBLIC_URL: expected http",
        environment={"ROBOPREF_PUBLIC_URL": "https://label.example.org/"}),
    "the service's secret is missing": Mistake(
        "backend", "ROBOPREF_SERVICE_PASSWORD_FILE names /run/secrets/none",
        environment={"ROBOPREF_SERVICE_PASSWORD_FILE": NONE}),
    "the secrets are empty": Mistake(
        "roles", "secrets/postgres_password is missing or empty", environment={"SECRETS": "/tmp"}),
    "another postgres_password than at the first start": Mistake(
        "roles", "refuses secrets/postgres_password", ["sh", "-c", OTHER_PASSWORD]),
    "Label Studio's database refuses it": Mistake(
        "label-studio-setup", "refuses nobody: .*POSTGRE_PASSWORD", environment={"POSTGRE_USER": "nobody"}),
    "Robopref's database refuses it": Mistake(
        "migrate", "ROBOPREF_DATABASE_URL", environment={"ROBOPREF_DATABASE_URL": "postgresql://nobody@db/robopref"}),
    "a password with @ in a URL": Mistake(
        "migrate", "ROBOPREF_DATABASE_URL: the password has an @",
        environment={"ROBOPREF_DATABASE_URL": "postgresql://robopref:a@b@db/robopref"}),
    "Label Studio's port is taken": Mistake(
        "label-studio", "cannot listen on port 8080: Address already in use.*LABEL_STUDIO_PORT", again=True),
    "the ML backend's port is taken": Mistake(
        "backend", "cannot listen on 0.0.0.0:9090: Address already in use", again=True),
    "the work folder is root's": Mistake(
        "migrate", "belongs to user 0, and this runs as user 1000", volume="work", options="uid=0,mode=755"),
    "Label Studio's folder is root's": Mistake(
        "label-studio-setup", "LABEL_STUDIO_BASE_DATA_DIR.* belongs to user 0, and this runs as user 1000",
        volume="label-studio", options="uid=0,mode=755"),
    "the backups' folder is root's": Mistake(
        "backup", "/backups belongs to user 0, and this runs as user 1000", BACKUP, volume="backups",
        options="uid=0,mode=755"),
    "no space for the work folder": Mistake(
        "migrate", "MB are free for the work folder /data/work.*ROBOPREF_WORK", volume="work",
        options="uid=1000,size=10m"),
    "no space for Label Studio": Mistake(
        "label-studio-setup", "LABEL_STUDIO_BASE_DATA_DIR: 1. MB are free", volume="label-studio",
        options="uid=1000,size=10m"),
    "no space for a backup": Mistake(
        "backup", "No space left on the disk for /backups/", BACKUP, volume="backups", options="uid=1000,size=100k"),
    "tables of a newer Robopref": Mistake(
        "migrate", "has tables of version 9999, which this Robopref does not know", ["python", "-c", NEWER]),
    "tables of a newer Label Studio": Mistake(
        "label-studio-setup", "A newer Label Studio than .* POSTGRE_NAME", ["python", "-c", NEWER_STUDIO]),
    "another Label Studio": Mistake(
        "label-studio-setup", "This is Label Studio 1.24.0, and the plugin was tested with",
        ["python", "-c", OTHER_STUDIO]),
}  # fmt: skip


def make_each(services: Any) -> str:
    """
    Raises:
        Failed: one was not refused, or with other words than these, or with a traceback.
    """
    possible = {
        name: one for name, one in MISTAKES.items() if services.name == "chroots" or not (one.volume or one.again)
    }
    wrong = [said for name, one in possible.items() if (said := _make(services, name, one))]
    if wrong:
        raise Failed("\n".join(wrong))
    return f"{len(possible)} of {len(MISTAKES)}"


def _make(services: Any, name: str, one: Mistake) -> str:
    """What is wrong with what it said."""
    place: AbstractContextManager[None] = services.laid_over(one.volume, one.options) if one.volume else nullcontext()
    with place:
        done = services.run(one.service, one.command, **one.environment)
    lines = (done.stdout + done.stderr).strip().splitlines() or [""]
    told = " ".join(lines[-2:])  # what is wrong, and what to do about it
    if done.returncode in (1, 2) and re.search(one.said, told) and not any("Traceback" in line for line in lines):
        return ""
    return f"{name}: {one.service} ended with {done.returncode}: " + "\n".join(lines[-4:])[-800:]
