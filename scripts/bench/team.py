"""Claim: 50 people answer 10,000 tasks on PostgreSQL, a training in between, and p95 of next and of submit is under one
second, of a webhook under 50 ms, without one error.

As an installation runs it: PostgreSQL with fsync, Label Studio with the plugin behind gunicorn, `robopref serve` and
`robopref worker`. Each person does by HTTP what the screen does: ask for the next task, load both clips, think, save a
draft, submit. Thinking times are log-normal with a median of 45 s, which is some 60 pairs an hour; `--compress` divides
them. Start Training is pressed after a third of the answers. Next and submit are measured by the person, webhooks by
the service (its log), memory every other second (shared pages counted once where the system tells).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import psutil

if TYPE_CHECKING:
    from preference.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "makers")]

from annotators import timed  # noqa: E402
from service import cache, process, wait_for  # noqa: E402

from preference.errors import installed  # noqa: E402

PEOPLE, TASKS, BATCH, TRAJECTORIES = 50, 10_000, 500, 160
MEDIAN_S, SPREAD = 45.0, 0.5
"""Of thinking about a pair: seconds, and the standard deviation of their logarithm."""
PROCESSES, THREADS = 3, 4
"""Of gunicorn."""
START_S = 900.0
TOKEN, PASSWORD = "5eed" * 10, "a-password-of-the-bench"
TARGETS = {"next_p95_s": 1.0, "submit_p95_s": 1.0, "webhook_p95_ms": 50.0}


@dataclass
class Seen:
    """What all people met; lists grow from many threads."""

    next_s: list[float] = field(default_factory=list)
    submit_s: list[float] = field(default_factory=list)
    draft_s: list[float] = field(default_factory=list)
    clip_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass
class Server:
    """As much of a Label Studio as `studio_maker` asks for."""

    url: str
    document_root: Path
    token: str = TOKEN


@contextlib.contextmanager
def label_studio(folder: Path, postgres: str) -> Iterator[tuple[Server, psutil.Process]]:
    """Label Studio behind gunicorn on a database of its own; the process that owns all others."""
    from robopref.child import claim_port
    from robopref.studio import environment

    user, _, place = postgres.partition("@")
    host, _, db_port = place.partition(":")
    account = {"USERNAME": "admin@robopref.local", "PASSWORD": PASSWORD, "USER_TOKEN": TOKEN}
    told = environment(folder / "data", folder / "documents", account, plugin=True) | {
        "DJANGO_DB": "default", "POSTGRE_NAME": "studio", "POSTGRE_USER": user, "POSTGRE_PASSWORD": "trusted",
        "POSTGRE_HOST": host, "POSTGRE_PORT": db_port,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    (folder / "data").mkdir()
    log = folder / "label_studio.log"
    with log.open("wb") as out:
        made = subprocess.run(
            [sys.executable, "-m", "label_studio.server", "init", "--quiet"], env=told, stdout=out, stderr=out,
            stdin=subprocess.DEVNULL, timeout=START_S, check=False,
        )  # fmt: skip
    if made.returncode:
        raise SystemExit(f"Label Studio made no tables: {log.read_text()[-2000:]}")
    port = claim_port(None, "Label Studio")
    words = ["--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--workers", str(PROCESSES), "--threads",
             str(THREADS), "--timeout", "300", "--keep-alive", "75", "--preload", "--log-level", "warning"]  # fmt: skip
    with process(log, "-m", "gunicorn", *words, "label_studio.core.wsgi:application", environment=told) as running:
        server = Server(f"http://127.0.0.1:{port}", folder / "documents")
        wait_for(server.url, "/health", log, timeout_s=START_S)
        yield server, psutil.Process(running.pid)


def project(folder: Path, server: Server, database: str, people: int, tasks: int) -> Workspace:
    """A pool with features and clips, and `tasks` assignments: each pair for two people, all certified."""
    from lerobot_maker import Made, make_dataset

    from importer.pool.build import build_pool
    from preference.records import Annotator, Assignment, Batch, Certification, Pair
    from preference.workspace import Workspace
    from robopref.child import claim_port

    rng = np.random.default_rng(0)
    make_dataset(
        folder / "data", [Made(rows=40, still=5, jerk=float(j)) for j in rng.uniform(0, 0.3, TRAJECTORIES)],
        size=(64, 48),
    )  # fmt: skip
    port = claim_port(None, "The service")
    (folder / "robopref.toml").write_text(
        f'work = "{server.document_root / "work"}"\ndatabase = "{database}"\nlogs = "json"\n'
        '[[pool.dataset]]\npath = "data"\nname = "made"\n[reward]\nweights = "none"\nmin_preferences = 20\n'
        f'[service]\nport = {port}\nurl = "http://127.0.0.1:{port}"\nwebhook_secret = "quiet"\npassword = "pw"\n'
        f'[label_studio]\nurl = "{server.url}"\ntoken = "{server.token}"\n'
        f'document_root = "{server.document_root}"\nwatch_to_end = false\n'
    )
    ws = Workspace.open(folder / "robopref.toml")
    build_pool(ws)
    (ws.root / "clips").mkdir()
    for one in ws.store.trajectories():
        shutil.copy(server.document_root / "clips" / "a.mp4", ws.root / "clips" / f"{one.trajectory_id}.mp4")
    ws.store.put_trajectories(
        replace(t, clip=f"clips/{t.trajectory_id}.mp4", quartile=t.quartile or 1) for t in ws.store.trajectories()
    )
    cache(ws)
    ids = [t.trajectory_id for t in ws.store.trajectories()]
    couples = [(i, j) for i in range(len(ids)) for j in range(i)]
    couples = [couples[k] for k in rng.permutation(len(couples))[: tasks // 2]]
    names = [f"p{n:02d}" for n in range(people)]
    ws.store.put_annotators(Annotator(name, f"{name}@annotators.example", teacher="oracle") for name in names)
    ws.store.put_pairs(Batch("calibration-1", "calibration", created_at="2026-01-01"), [], [])
    for name in names:
        ws.store.put_certification(Certification(name, "calibration-1", 1, 0.9, 0.8, 1.0, True, 40))
    for start in range(0, len(couples), BATCH):
        batch, pairs, assignments = f"production-{start:05d}", [], []
        for n, (i, j) in enumerate(couples[start : start + BATCH], start):
            pairs.append(Pair(f"pair-{n}", ids[i], ids[j], "reach", "same", "production", batch))
            for k in (n % people, (n + people // 2) % people):
                assignments.append(
                    Assignment(f"pair-{n}-{names[k]}", f"pair-{n}", names[k], batch, n, "A" if n % 2 else "B")
                )
        ws.store.put_pairs(Batch(batch, "production", created_at=f"2026-01-02T{start:05d}"), pairs, assignments)
    return ws


def answer(
    session: httpx.Client, url: str, project: int, pauses: Iterable[float], sides: Mapping[int, str], seen: Seen,
    enough: threading.Event,
) -> None:  # fmt: skip
    """One person at the screen, until everybody together has done enough.

    Args:
        sides: Task → the side that this person finds better.
    """
    from labeling_config.contract import result_of

    for pause in pauses:
        if enough.wait(pause / 20):  # from one answer to the next click
            return
        task = timed(session, f"{url}/api/dm/actions/?id=next_task&project={project}", {}, seen.next_s, seen.errors)
        if task is None:
            continue
        for side in ("video_left", "video_right"):
            load(session, url + task["data"][side], seen)
        if enough.wait(pause):
            return
        body = {"result": result_of("left" if task["id"] % 3 else "right", 4), "lead_time": pause}
        draft = timed(
            session, f"{url}/api/tasks/{task['id']}/drafts?project={project}", body, seen.draft_s, seen.errors
        )
        body |= {"draft_id": draft["id"]} if draft else {}
        timed(session, f"{url}/api/tasks/{task['id']}/annotations/?project={project}", body, seen.submit_s, seen.errors)


def load(session: httpx.Client, address: str, seen: Seen) -> None:
    start = time.perf_counter()
    try:
        reply = session.get(address, headers={"Range": "bytes=0-"}, follow_redirects=True, timeout=60)
    except httpx.HTTPError as error:
        seen.errors.append(f"clip: {type(error).__name__}")
        return
    seen.clip_s.append(time.perf_counter() - start)
    if reply.status_code not in (200, 206):
        seen.errors.append(f"clip: HTTP {reply.status_code}")


class Memory(threading.Thread):
    """The most that each service had, its child processes with it, in MB."""

    def __init__(self, roots: dict[str, psutil.Process]) -> None:
        super().__init__(daemon=True)
        self.most = dict.fromkeys(roots, 0.0)
        self._roots, self._end = roots, threading.Event()

    def run(self) -> None:
        while not self._end.wait(2):
            for name, root in self._roots.items():
                self.most[name] = max(self.most[name], sum(_megabytes(one) for one in _family(root)))

    def end(self) -> dict[str, float]:
        self._end.set()
        self.join()
        return self.most


def _family(root: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [root, *root.children(recursive=True)]
    return []


def _megabytes(one: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        try:
            used = one.memory_full_info()
        except psutil.AccessDenied:
            used = one.memory_info()
        return getattr(used, "pss", getattr(used, "uss", used.rss)) / 1e6
    return 0.0


def webhooks(log: Path) -> tuple[list[float], list[int]]:
    """Milliseconds of each, and the statuses of all requests that were answered with an error."""
    said = []
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            said.append(json.loads(line))
    requests = [one for one in said if one.get("message") == "request"]
    took = [one["ms"] for one in requests if one["endpoint"] == "webhook"]
    return took, [one["status"] for one in requests if one["status"] >= 400]


def measure(asked: argparse.Namespace) -> dict[str, float]:
    import psycopg
    from conftest import _clips, _start_postgres
    from studio_maker import sign_in

    from importer.studio.push import push
    from importer.studio.queues import all_queues

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _clips(folder / "documents" / "clips")
        address = stack.enter_context(_start_postgres(fsync=True))
        with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
            for name in ("studio", "robopref"):
                connection.execute(f"CREATE DATABASE {name}")
            (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        database_pid = int((Path(data) / "postmaster.pid").read_text().split()[0])
        start = time.monotonic()
        server, studio = stack.enter_context(label_studio(folder, address))
        print(f"Label Studio answers after {time.monotonic() - start:.0f} s", flush=True)
        start = time.monotonic()
        ws = project(folder, server, f"postgresql://{address}/robopref", asked.people, asked.tasks)
        stack.callback(ws.store.close)
        config, log = ["--config", str(folder / "robopref.toml")], folder / "service.log"
        service = stack.enter_context(process(log, "-m", "robopref", "serve", *config))
        wait_for(ws.config.service.url, "/health", log)
        made = push(ws)
        if made.tasks != asked.tasks:
            raise SystemExit(f"expected {asked.tasks} tasks, found {made.tasks}")
        print(f"{made.tasks} tasks of {made.users} people pushed after {time.monotonic() - start:.0f} s", flush=True)
        queues = {queue.annotator.annotator_id: queue.project_id for queue in all_queues(ws)}
        sessions = {who: sign_in(ws, who) for who in queues}
        worker = stack.enter_context(
            process(folder / "worker.log", "-m", "robopref", "worker", "--no-restart", *config)
        )
        memory = Memory(
            {"PostgreSQL": psutil.Process(database_pid), "Label Studio": studio,
             "service": psutil.Process(service.pid), "worker": psutil.Process(worker.pid)}
        )  # fmt: skip
        memory.start()
        seen, enough, rng = Seen(), threading.Event(), np.random.default_rng(3)
        sides = better_sides(ws)
        people = [
            threading.Thread(
                target=answer,
                args=(sessions[who], server.url, queues[who], pauses(rng, asked), sides, seen, enough),
            )
            for who in queues
        ]
        load_before, start = os.getloadavg()[0], time.monotonic()
        for person in people:
            person.start()
        trained = busy = 0.0
        while len(seen.submit_s) < asked.answers and any(person.is_alive() for person in people):
            time.sleep(1)
            if not trained and len(seen.submit_s) >= asked.answers / 3:
                ws.store.request_training()
                trained = time.monotonic()
            busy = max(busy, os.getloadavg()[0])
        enough.set()
        for person in people:
            person.join()
        seconds = time.monotonic() - start
        stored = await_stored(ws, len(seen.submit_s))
        took, bad = webhooks(log)
        waits = {"next": seen.next_s, "submit": seen.submit_s, "clip": seen.clip_s}
        models = len(ws.store.model_versions())
        while not models and time.monotonic() - trained < asked.training_s and worker.poll() is None:
            time.sleep(2)
            models = len(ws.store.model_versions())
        figures = {
            "people": asked.people, "tasks": asked.tasks, "compress": asked.compress, "answers": len(seen.submit_s),
            "minutes": seconds / 60, "answers_per_s": len(seen.submit_s) / seconds,
            **{f"{key}_p{q}_s": quantile(took_s, q) for key, took_s in waits.items() for q in (50, 95)},
            "webhook_p50_ms": quantile(took, 50), "webhook_p95_ms": quantile(took, 95), "webhooks": len(took),
            "errors": len(seen.errors) + len(bad), "lost": len(seen.submit_s) - stored, "models": models,
            "load_before": load_before, "load_most": busy,
            **{f"{name}_mb": most for name, most in memory.end().items()},
        }  # fmt: skip
        for error in sorted({*seen.errors, *(f"service: HTTP {status}" for status in bad)}):
            print(f"error: {error}, {(seen.errors + [f'service: HTTP {s}' for s in bad]).count(error)} times")
        if not models:
            print("no model was trained: " + (folder / "worker.log").read_text()[-1500:])
        return figures


def better_sides(ws: Workspace) -> dict[int, str]:
    """Everybody agrees on a pair, so that there are labels to train on: A is better in two of three."""
    better = {
        view.assignment.task_id: "A" if int(view.pair.pair_id.rpartition("-")[2]) % 3 else "B"
        for view in ws.store.assignments()
        if view.assignment.task_id is not None
    }
    left = {view.assignment.task_id: view.assignment.left for view in ws.store.assignments()}
    return {task: "left" if left[task] == side else "right" for task, side in better.items()}


def pauses(rng: np.random.Generator, asked: argparse.Namespace) -> list[float]:
    share = -(-asked.tasks // asked.people)
    thought = rng.lognormal(np.log(MEDIAN_S), SPREAD, share) / asked.compress
    return [float(rng.uniform(0, thought[0] * 20)), *thought[1:].tolist()]  # nobody starts at the same moment


def await_stored(ws: Workspace, answers: int) -> int:
    """Judgments in the database, once webhooks have had ten seconds."""
    deadline = time.monotonic() + 10
    while (stored := ws.store.count_judgments()) < answers and time.monotonic() < deadline:
        time.sleep(0.5)
    return stored


def quantile(values: list[float], percent: int) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--tasks", type=int, default=TASKS, help="in Label Studio")
    parser.add_argument("--answers", type=int, default=TASKS, help="after so many it ends")
    parser.add_argument("--compress", type=float, default=4.0, help="thinking times are divided by this")
    parser.add_argument("--training-s", type=float, default=600.0, help="how long to wait for the model at the end")
    parser.add_argument("--quick", action="store_true", help="10 people, 400 tasks, 120 answers")
    asked = parser.parse_args()
    if asked.quick:
        asked.people, asked.tasks, asked.answers = 10, 400, 120
    if not installed("gunicorn"):
        parser.error("gunicorn is missing, which serves Label Studio here: pip install -c constraints.txt '.[server]'")
    found = measure(asked)
    for name, value in found.items():
        print(f"{name:<24} {value:>10.2f}")
    met = found["errors"] == found["lost"] == 0 and found["models"] > 0
    met = met and all(found[name] < most for name, most in TARGETS.items())
    target = "p95 of next and submit < 1 s, of webhooks < 50 ms, no error, nothing lost, a model trained"
    figures = {name: round(value, 3) for name, value in found.items()}
    print(json.dumps({"name": "team", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
