"""Eight simulated people and an expert take part in a campaign, by the commands that a manager would type."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Protocol

PEOPLE = ("alice", "bo", "chidi", "dana", "eve", "femi", "hasty", "lefty")
TEACHERS = {"hasty": "careless", "lefty": "left_biased"}
CONFIG = """name = "rehearsal"
seed = 7
salt = 7

[annotators]
expert = "expert"
outside = 2
simulated = [
  {{ id = "expert", teacher = "expert" }},
{people}
]

[calibration]
training_pairs = 6

[reward]
encoder = "tf_efficientnet_lite0"
epochs = 20

[active]
pairs = 20

[[pool.dataset]]
path = "/datasets/pool"
name = "sample"
"""
RELEASE = "/data/work/releases/robopref-rehearsal-1.0.0.tar.gz"
STUDIO_ANSWERS = """
import psycopg
from preference.config_file import studio_database
with psycopg.connect(studio_database()) as connection:
    print(*connection.execute("SELECT count(*) FROM task_completion").fetchone())
"""
"""How many answers Label Studio has."""


class Services(Protocol):
    """What runs compose.yaml's services: `Chroots` or `Engine`."""

    def run(self, name: str, command: list[str] | None = None, **more: str) -> Any: ...


class Failed(Exception):
    """A command said no."""


def write_project(folder: Path) -> None:
    """robopref.toml for the sample pool."""
    people = "\n".join(f'  {{ id = "{who}", teacher = "{TEACHERS.get(who, "good")}" }},' for who in PEOPLE)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "robopref.toml").write_text(CONFIG.format(people=people))


def robopref(services: Services, line: str, *, accept: tuple[int, ...] = (0,)) -> str:
    """`docker compose run --rm robopref LINE`; its output.

    Raises:
        Failed: its exit code is not one of `accept`.
    """
    start = time.monotonic()
    done = services.run("robopref", line.split())
    if (seconds := time.monotonic() - start) > 10:
        print(f"    robopref {line:<70} {seconds:>7.1f} s", file=sys.stderr, flush=True)
    if done.returncode not in accept:
        raise Failed(f"robopref {line}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout if "--json" in line else done.stdout + done.stderr


def first_task(services: Services) -> None:
    """From an empty installation to tasks that people can answer."""
    for line in ("pool", "clips", "calibration build", "push"):
        robopref(services, line)


def answer(services: Services) -> None:
    """Everybody who owes answers gives them in Label Studio."""
    if json.loads(robopref(services, "status --json"))["owed"]:
        for line in ("push", "simulate", "pull"):
            robopref(services, line)


def hold(services: Services) -> dict[str, int]:
    """Training, tests, production, an active round, labels, a model, a release that is whole; the counts of it all."""
    for _ in range(2):  # first the expert alone
        robopref(services, "calibration build")
        answer(services)
    for batch in ("calibration-1", "calibration-2"):
        for _ in range(2):
            robopref(services, f"certify --batch {batch} --retest", accept=(0, 1, 3))
            answer(services)
        robopref(services, f"certify --batch {batch}", accept=(0, 1, 3))
    for planning in ("pairs", "round"):  # the worker may have planned them already
        robopref(services, planning, accept=(0, 3))
        for _ in range(2):  # the second time for third answers
            answer(services)
            robopref(services, "resolve", accept=(0, 3))
        robopref(services, "qc", accept=(0, 1, 3))
    for line in ("train --force", "validate", "release --version 1.0.0"):
        robopref(services, line)
    robopref(services, f"release verify {RELEASE}")
    found = counts(services)
    if lacking := [name for name in ("judgments", "labels", "models") if not found[name]]:
        raise Failed(f"the campaign brought no {' and no '.join(lacking)}")
    return found


def counts(services: Services) -> dict[str, int]:
    """How much of everything the database holds."""
    return json.loads(robopref(services, "status --json"))["counts"]


def holdings(services: Services) -> dict[str, Any]:
    """What a backup has to bring back: the counts, the models by name, Label Studio's answers, files that are whole."""
    models = json.loads(robopref(services, "models --json"))
    release = robopref(services, f"release verify {RELEASE}", accept=(0, 1, 2))
    asked = services.run("backup", ["python", "-c", STUDIO_ANSWERS])
    if asked.returncode:
        raise Failed(asked.stdout + asked.stderr)
    return {**counts(services), "models": models, "release": release, "studio_answers": int(asked.stdout)}
