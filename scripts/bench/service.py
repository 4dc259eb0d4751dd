"""Claims: while a training runs on the same two cores, /webhook answers within 50 ms (p95) at 50 requests/s and loses
none, and does so for 10,000 random bodies about random annotations, none of which is an error of ours; /predict ranks
100 tasks within 300 ms (p95); and from the last judgment of a round until newly ranked tasks are planned it takes less
than two minutes, for 1,000 preferences on cached features.

The service and the worker are processes, as in life; the worker trains on 1,000 preferences meanwhile. What webhooks
name, the service asks of a Label Studio of the tests, which answers at once; none is lost if all of it is stored in the
end. Beside the
service, in the same minutes and at the same rate, stands the least that a webhook can do: a bare Flask route, served
by the same waitress, that inserts one row into SQLite. What a real Label Studio takes is measured by
scripts/bench/studio.py and annotators.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

if TYPE_CHECKING:
    from preference.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "makers"))

RATE, SECONDS, QUICK_SECONDS = 50, 60, 10
BODIES, QUICK_BODIES = 10_000, 500
PREFERENCES, TRAJECTORIES, TASKS = 1000, 300, 100
STORED_S = 30.0
"""After the last webhook; what is not in the database by then is lost."""
TARGETS = {"webhook_p95_ms": 50.0, "random_p95_ms": 50.0, "predict_p95_ms": 300.0, "round_s": 120.0}
TRAIN = """
import os, sys, time
from pathlib import Path
from ml_backend.loop import rounds
from ml_backend.loop import train as stages
from preference.workspace import Workspace
os.nice(10)  # as `robopref worker` does
ws = Workspace.open(Path(sys.argv[1]))
if sys.argv[2] == "for ever":
    while True:  # each seed is another training
        ws.config.seed += 1
        stages.train(ws)
from importer.pairs.batches import active_batch
from ml_backend.loop.queue_order import queue_scores
from qc_reports.resolve import resolve
start = time.monotonic()
resolve(ws)
stages.train(ws)
trained = time.monotonic()
chosen = rounds.rank(ws, 50)
active_batch(ws, [c.trajectories for c in chosen], [c.strategy for c in chosen], force=True)
queue_scores(ws)
print(time.monotonic() - start, trained - start)
"""
BARE = """
import sqlite3, sys
from flask import Flask, request
from waitress import serve
app = Flask("bare")
@app.post("/webhook")
def webhook():
    event = request.get_json()
    with sqlite3.connect(sys.argv[1], timeout=30) as database:
        database.execute("INSERT INTO judgments (id, raw) VALUES (?, ?)", (event["annotation"]["id"], request.data))
    return {"status": "ok"}, 201
serve(app, host="127.0.0.1", port=int(sys.argv[2]), threads=8)
"""


def project(folder: Path, port: int, studio_url: str, waiting: int) -> Workspace:
    """Trajectories with features in the cache, 1,000 answered pairs, and `waiting` tasks without an answer."""
    from lerobot_maker import Made, make_dataset

    from importer.pool.build import build_pool
    from preference.workspace import Workspace

    jerks = np.random.default_rng(0).uniform(0.0, 0.3, TRAJECTORIES)
    make_dataset(folder / "data", [Made(rows=40, still=5, jerk=float(jerk)) for jerk in jerks], size=(64, 48))
    (folder / "robopref.toml").write_text(
        f'[[pool.dataset]]\npath = "data"\nname = "made"\n[reward]\nweights = "none"\n[pairs]\noverlap = 1\n'
        f"[active]\nmost_per_point = 0\n[service]\nport = {port}\nwebhook_secret = 'quiet'\npassword = 'pw'\n"
        f"[label_studio]\nurl = '{studio_url}'\ntoken = 'x'\n"
    )
    ws = Workspace.open(folder / "robopref.toml")
    build_pool(ws)
    ws.store.put_trajectories(
        replace(t, clip=f"clips/{t.trajectory_id}.mp4", quartile=t.quartile or 1) for t in ws.store.trajectories()
    )
    cache(ws)
    ask(ws, jerks, waiting)
    return ws


def cache(ws: Workspace) -> None:
    """Features as the encoder would have left them: 512 numbers a frame; encoding itself is another benchmark's."""
    from ml_backend.loop.features import plan
    from ml_backend.reward.encoder_weights import resolve_weights
    from ml_backend.reward.features import Features, write_features

    rng = np.random.default_rng(1)
    reward = ws.config.reward
    encoder = resolve_weights(reward.encoder, reward.weights)
    jobs, _ = plan(ws.store.trajectories(), ws.config.pool, reward, encoder, ws.features)
    for job in jobs:
        steps = int(rng.integers(20, 40))
        frames = rng.normal(size=(steps, 512)).astype(np.float16)
        actions, state = (rng.normal(size=(steps, size)).astype(np.float32) for size in (4, 8))
        write_features(Features(frames, actions, state), job.path)


def ask(ws: Workspace, jerks: np.ndarray, waiting: int) -> None:
    """A batch with an answer to each of 1,000 pairs, most of them right, and one that waits for its answers."""
    from preference.records import Annotator, Assignment, Batch, Certification, Judgment, Pair

    rng = np.random.default_rng(2)
    ids = [t.trajectory_id for t in ws.store.trajectories()]
    couples = [(i, j) for i in range(TRAJECTORIES) for j in range(i + 1, TRAJECTORIES)]
    couples = [couples[k] for k in rng.permutation(len(couples))[: PREFERENCES + waiting]]
    ws.store.put_annotators([Annotator("ann", "ann@example.org", studio_user_id=7)])
    ws.store.put_pairs(Batch("calibration-1", "calibration", created_at="2026-01-01"), [], [])
    ws.store.put_certification(Certification("ann", "calibration-1", 1, 0.9, 0.8, 1.0, True, 40))
    for name, part in (("production-001", couples[:PREFERENCES]), ("production-002", couples[PREFERENCES:])):
        pairs = [
            Pair(f"{name}-{n}", ids[i], ids[j], "reach", "same", "production", name) for n, (i, j) in enumerate(part)
        ]
        first = 1 if name == "production-001" else PREFERENCES + 1
        assignments = [
            Assignment(p.pair_id, p.pair_id, "ann", name, n, "A", project_id=1, task_id=first + n)
            for n, p in enumerate(pairs)
        ]
        ws.store.put_pairs(Batch(name, "production", created_at="2026-01-02"), pairs, assignments)
    won = jerks[[i for i, _ in couples[:PREFERENCES]]] < jerks[[j for _, j in couples[:PREFERENCES]]]
    said = np.where(won == (rng.random(PREFERENCES) < 0.9), "A", "B").tolist()
    ws.store.put_judgments(
        Judgment(f"production-001-{n}", "ann", f"production-001-{n}", said[n], 4, 6000,
                 annotation_id=n + 1, task_id=n + 1, created_at="2026-01-03T10:00:00Z")
        for n in range(PREFERENCES)
    )  # fmt: skip


@contextlib.contextmanager
def process(
    log: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python of its own; ended with everything that it began."""
    environment = environment or {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with log.open("ab") as out:
        running = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env=environment,
        )  # fmt: skip
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait(30)


def round_seconds(config: Path, log: Path) -> tuple[float, float]:
    """From the last judgment to the next pairs, and how much of that is training and validation."""
    with process(log, "-c", TRAIN, str(config), "once") as running:
        if running.wait(1200):
            raise SystemExit(log.read_text()[-3000:])
    whole, training = map(float, log.read_text().split()[-2:])
    return whole, training


def wait_for(url: str, path: str, log: Path, *, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(url + path, timeout=2)
            return
        time.sleep(0.2)
    raise SystemExit(f"{url} did not come up: {log.read_text()[-2000:]}")


def at_rate(count: int, rate: float, send: Callable[[httpx.Client, int], bool]) -> tuple[np.ndarray, int]:
    """Send number 0, 1, ... at a steady rate, whether or not those before were answered; ms each, how many failed."""
    own = threading.local()
    took, failed = np.zeros(count), []

    def one(number: int) -> None:
        if not hasattr(own, "session"):
            own.session = httpx.Client(follow_redirects=True)
        start = time.perf_counter()
        if not send(own.session, number):
            failed.append(number)
        took[number] = 1000 * (time.perf_counter() - start)

    begin = time.monotonic()
    with ThreadPoolExecutor(16) as senders:
        for number in range(count):
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            senders.submit(one, number)
    return took, len(failed)


def event(number: int) -> dict[str, Any]:
    """A webhook as Label Studio sends it, the project's template in it."""
    from labeling_config.contract import load_template, result_of

    stamp = "2026-01-04T10:00:00.000000Z"
    annotation = {"id": 100_000 + number, "task": PREFERENCES + 1 + number, "completed_by": 7, "lead_time": 6.0,
                  "was_cancelled": False, "result": result_of("left", 4, "steadier"), "created_at": stamp,
                  "updated_at": stamp}  # fmt: skip
    project = {"id": 1, "title": "Production", "label_config": load_template("pair_compare")}
    return {"action": "ANNOTATION_CREATED", "annotation": annotation, "project": project, "task": {"id": 1, "data": {}}}


def poster(url: str, path: str, bodies: list[dict[str, Any]], good: int) -> Callable[[httpx.Client, int], bool]:
    headers = {"X-Robopref-Secret": "quiet", "Content-Type": "application/json"}
    texts = [json.dumps(body) for body in bodies]  # httpx itself refuses half a character

    def send(session: httpx.Client, number: int) -> bool:
        try:
            sent = {"content": texts[number % len(texts)], "headers": headers}
            return session.post(url + path, **sent, auth=("robopref", "pw"), timeout=30).status_code == good
        except httpx.HTTPError:
            return False

    return send


def strange(count: int, tasks: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Annotations of any JSON at the `tasks` tasks of the second batch, and as many webhooks: every second names one of
    them, the others anything."""
    from random_json_maker import odd

    rng = random.Random(17)
    made = [odd(rng, 200_000 + number, PREFERENCES + 1 + rng.randrange(tasks)) for number in range(count)]
    told = [
        {"action": "ANNOTATION_CREATED", "annotation": {"id": one["id"], "task": one["task"]}} if number % 2 else said
        for number, (one, said) in enumerate(made)
    ]
    return [one for one, _ in made], told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    quick = f"{QUICK_SECONDS} s of each in place of {SECONDS}, {QUICK_BODIES} random bodies in place of {BODIES}"
    parser.add_argument("--quick", action="store_true", help=quick)
    seconds, bodies = (QUICK_SECONDS, QUICK_BODIES) if parser.parse_args().quick else (SECONDS, BODIES)
    from told_maker import Told

    from robopref.child import claim_port

    count = RATE * seconds
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        port, bare_port = claim_port(None, "The service"), claim_port(None, "The bare route")
        studio = Told()
        running.callback(studio.end)
        ws = project(folder, port, studio.url, count)
        config = folder / "robopref.toml"
        whole, training = round_seconds(config, folder / "round.log")
        bare_db = folder / "bare.db"
        with sqlite3.connect(bare_db) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE judgments (id INTEGER PRIMARY KEY, raw TEXT)")
        url, bare_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{bare_port}"
        running.enter_context(process(folder / "service.log", "-m", "robopref", "serve", "--config", str(config)))
        running.enter_context(process(folder / "bare.log", "-c", BARE, str(bare_db), str(bare_port)))
        trainer = running.enter_context(process(folder / "train.log", "-c", TRAIN, str(config), "for ever"))
        wait_for(url, "/health", folder / "service.log")
        wait_for(bare_url, "/", folder / "bare.log")
        before = ws.store.count_judgments()
        events = [event(number) for number in range(count)]
        studio.say(*(one["annotation"] for one in events))
        tasks = [{"id": PREFERENCES + 1 + n, "data": {"assignment_id": f"production-002-{n}"}} for n in range(TASKS)]
        asked = [{"tasks": tasks, "project": "1.1"}]
        poster(url, "/predict", asked, 200)(httpx.Client(follow_redirects=True), 0)
        webhook, failed = at_rate(count, RATE, poster(url, "/webhook", events, 201))
        sent, stored = time.monotonic(), 0
        while (stored := ws.store.count_judgments() - before) < count and time.monotonic() < sent + STORED_S:
            time.sleep(0.05)
        behind = time.monotonic() - sent
        annotations, said = strange(bodies, count)
        studio.say(*annotations)
        odd, broken = at_rate(bodies, RATE, poster(url, "/webhook", said, 201))
        bare, _ = at_rate(count, RATE, poster(bare_url, "/webhook", events, 201))
        predict, unanswered = at_rate(10 * seconds // 2, 5.0, poster(url, "/predict", asked, 200))
        if trainer.poll() is not None:
            raise SystemExit("the training ended: " + (folder / "train.log").read_text()[-2000:])
        ws.store.close()
    tell(webhook, failed, count - stored, behind, odd, broken, bare, predict, unanswered, whole, training)


def tell(
    webhook: np.ndarray, failed: int, lost: int, behind: float, odd: np.ndarray, broken: int, bare: np.ndarray,
    predict: np.ndarray, unanswered: int, whole: float, training: float,
) -> None:  # fmt: skip
    print(f"{'while a training runs':<44} {'p50 ms':>8} {'p95 ms':>8} {'worst':>8} {'failed':>7}")
    figures: dict[str, float] = {"webhooks": len(webhook), "failed": failed, "lost": lost, "unanswered": unanswered}
    figures |= {"random_bodies": len(odd), "random_failed": broken}
    for name, label, took, bad in (
        ("webhook", f"/webhook, {RATE}/s", webhook, failed),
        ("random", f"/webhook, {len(odd)} random bodies, {RATE}/s", odd, broken),
        ("bare", "bare route that inserts the row, same rate", bare, 0),
        ("predict", f"/predict, {TASKS} tasks, 5/s", predict, unanswered),
    ):
        p50, p95 = (float(np.percentile(took, q)) for q in (50, 95))
        print(f"{label:<44} {p50:>8.1f} {p95:>8.1f} {took.max():>8.1f} {bad:>7}")
        figures |= {f"{name}_p50_ms": p50, f"{name}_p95_ms": p95, f"{name}_worst_ms": float(took.max())}
    print(f"webhooks lost: {lost} of {len(webhook)}; all stored {behind:.2f} s after the last")
    print(f"last judgment → next pairs, {PREFERENCES} preferences: {whole:.1f} s, of which training {training:.1f} s")
    figures |= {"stored_s": behind, "round_s": whole, "training_s": training}
    met = not (failed or broken or lost or unanswered) and all(figures[key] < limit for key, limit in TARGETS.items())
    target = "webhook p95 < 50 ms at 50/s, none lost, random bodies too; predict p95 < 300 ms; round < 120 s"
    print(json.dumps({"name": "service", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
