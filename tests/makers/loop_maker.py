"""The whole loop as processes, small: a Label Studio, the service, the worker, and people who answer as tasks come.

Twenty short trajectories with cached features, a batch of eight pairs and then rounds of four; each pair goes to two
people, to a third where they differ, and some come twice. Of the four people one is too quick, so that every batch is
held for a flag until a manager has reviewed it, and one sends malformed answers throughout, before and after each
proper one. What is killed is restarted by whoever does that in real life; here the test stands in for systemd.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import uuid
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
from lerobot_maker import Made, make_dataset
from process_maker import PATIENCE_S, until

from importer.pairs.assignments import assign
from importer.pool.build import build_pool
from importer.studio.client import connect
from importer.studio.pull import pull
from importer.studio.push import credentials, push
from importer.studio.queues import all_queues
from importer.studio.users import annotator_session
from labeling_config.contract import result_of
from ml_backend.loop.features import encode_pool
from preference.errors import UserError
from preference.locks import WORKER, taken
from preference.records import Annotator, Batch, Certification, Pair
from preference.tls import authorities
from preference.workspace import Workspace
from qc_reports.decisions import review
from qc_reports.qc import check_batch
from robopref.child import claim_port

TRAJECTORIES, BOOTSTRAP = 20, 8
PEOPLE = ("ann", "bob", "cleo", "mallory")
QUICK, MALFORMED = "bob", "mallory"
JSON = {"Content-Type": "application/json"}
IDLE_S = 1.0
"""Between two looks of people who have nothing to answer: four of them, looking three times a second, kept Label Studio
busy for a third of the time."""
CONFIG = """
work = "{work}"
workers = 1
database = "{database}"
[[pool.dataset]]
path = "{data}"
name = "tiny"
[pairs]
overlap = 2
duplicates = 0.25
duplicate_distance = 2
[active]
bootstrap = 8
pairs = 4
most_per_point = 0
plan_next_at = 1.0
[quality]
min_answers = 2
flags = "protocol"
min_alpha = -1.0
max_gold_disagreement = 1.0
min_self_consistency = 0.0
min_majority_agreement = 0.0
bootstrap = 10
[reward]
inputs = ["actions", "state"]
sample_fps = 2.0
epochs = 2
hidden = 4
members = 2
min_preferences = 6
[label_studio]
url = "{url}"
token = "{token}"
document_root = "{documents}"
request_timeout_s = 10.0
[service]
port = {port}
url = "http://127.0.0.1:{port}"
password = "pw"
webhook_secret = "quiet-otters"
"""


class Process:
    """`python -m robopref ...` in a session of its own, its output in a file; `end` leaves nothing of it.

    It is on a lifeline: when the tests are killed themselves, it ends with them.
    """

    def __init__(self, log, *arguments, environment=()):
        self._log, self._arguments = log, ["robopref", *map(str, arguments)]
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **dict(environment)}
        self._running = self._lifeline = None

    def start(self):
        self._let_go()
        reading, self._lifeline = os.pipe()
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                [sys.executable, "-m", "robopref.child", str(reading), *self._arguments], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, env=self._environment, cwd=self._log.parent,
                pass_fds=[reading],
            )  # fmt: skip
        os.close(reading)
        return self

    def _let_go(self):
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def alive(self):
        return self._running is not None and self._running.poll() is None

    def pids(self):
        """Its own, and those of its children."""
        try:
            family = psutil.Process(self._running.pid)
            return [family.pid, *(child.pid for child in family.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def kill(self):
        """kill -9, as out of the blue."""
        self._running.kill()
        self._running.wait(30)

    def end(self):
        if self._running is None:
            return
        family = self.pids()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._running.wait(30)
        self._let_go()


def malformed():
    """Bodies that are no answer, each of which once broke something."""
    good = result_of("left", 4, "steadier")
    kept = {region["from_name"]: region for region in good}

    def instead(name, **value):
        return [*(r for key, r in kept.items() if key != name), {**kept[name], **value}]

    return [
        {"result": instead("reason", value={"text": 5}), "lead_time": 6.0},
        {"result": instead("reason", value={"text": ["\ud800"]}), "was_cancelled": True},
        {"result": instead("confidence", type="number", value={"number": {}}), "lead_time": 6.0},
        {"result": instead("preference", value={"choices": [["left"]]}), "lead_time": 6.0},
        {"result": ["x"], "lead_time": 6.0},
        {"result": [], "lead_time": 6.0},
    ]


class People(threading.Thread):
    """The annotators answer whatever Label Studio serves them, each task once, and a manager reviews who is flagged,
    until they are told to stop."""

    def __init__(self, loop):
        super().__init__(daemon=True)
        self._loop, self._done, self._sessions = loop, threading.Event(), {}
        self._rng = random.Random(7)
        self.refused = 0
        """Malformed answers that were not taken."""
        self.trouble = ""
        """The traceback of what ended them before they were told to stop."""

    def run(self):
        try:
            self._answer_and_review()
        except Exception:
            self.trouble = traceback.format_exc()
            raise

    def _answer_and_review(self):
        while not self._done.is_set():
            answered = sum(self._answer_next(who) for who in PEOPLE)
            if not answered:
                self._review()
                self._done.wait(IDLE_S)

    def _review(self):
        """A manager reads the report of each batch that is held, and keeps whoever was flagged."""
        ws = self._loop.ws
        with contextlib.suppress(UserError):
            for batch in ws.store.batches(calibration=False):
                if batch.status == "held":
                    report = check_batch(ws, batch.batch_id).report
                    for who in report.left_out["pending"]:
                        review(ws, batch.batch_id, who, "keep", by="maria", why="looked at them")

    def stop(self):
        self._done.set()
        if self.is_alive():
            self.join(60)

    def _answer_next(self, who):
        """Whether there was something to answer; a server in trouble is asked again later."""
        try:
            session, project = self._session(who), self._loop.project(who)
            if project is None:
                return False
            address = f"{self._loop.studio_url}/api/dm/actions/?id=next_task&project={project}"
            served = session.post(address, json={}, timeout=10)
            if served.status_code in (401, 403):
                self._sessions.pop(who)
            if served.status_code != 200:
                return False
            task = served.json()
            seconds = 1.0 if who == QUICK else 6.0
            body = {"result": result_of(self._rng.choice(["left", "right"]), 4), "lead_time": seconds}
            body["unique_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._loop.name} {task['id']}"))
            address = f"{self._loop.studio_url}/api/tasks/{task['id']}/annotations/"
            if who == MALFORMED:
                self._misbehave(session, address)
            done = session.post(address, json=body, timeout=10).status_code in (201, 409)
            if who == MALFORMED:
                self._misbehave(session, address)
            return done
        except Exception:
            self._sessions.pop(who, None)
            return False

    def _misbehave(self, session, address):
        for body in self._rng.sample(malformed(), 2):
            self.refused += session.post(address, content=json.dumps(body), headers=JSON, timeout=10).status_code >= 400

    def _session(self, who):
        if who not in self._sessions:
            email = self._loop.email(who)
            password = credentials(self._loop.ws)[email]
            self._sessions[who] = annotator_session(self._loop.studio_url, email, password)
        return self._sessions[who]


class Loop:
    """Everything that runs, and what must hold of it.

    Args:
        studio_url: Where people find Label Studio; `server.url` may be a proxy in front of it.
    """

    def __init__(self, server, folder, name, *, url=None, database=""):
        self.name, self.studio_url = name, server.url
        self.config = folder / "robopref.toml"
        self._folder = folder
        root = Path(server.document_root) / name
        make_dataset(folder / "data", [Made(rows=30 + 2 * i, still=5, jerk=0.01 * i) for i in range(TRAJECTORIES)])
        port = claim_port(None, "The service")
        self.config.write_text(
            CONFIG.format(work=root, data=folder / "data", url=url or server.url, token=server.token, port=port,
                          documents=server.document_root, database=database)
        )  # fmt: skip
        self.ws = Workspace.open(self.config)
        self.service_url = f"http://127.0.0.1:{port}"
        self._plan(server)
        self.service = Process(folder / "service.log", "serve", "--config", self.config)
        self.worker = self.new_worker("worker")
        self.people = People(self)

    def _plan(self, server):
        build_pool(self.ws)
        (self.ws.root / "clips").mkdir()
        for t in self.ws.store.trajectories():
            shutil.copy(Path(server.document_root) / "clips" / "c.mp4", self.ws.clips / f"{t.trajectory_id}.mp4")
        self.ws.store.put_trajectories(
            replace(t, clip=f"clips/{t.trajectory_id}.mp4") for t in self.ws.store.trajectories()
        )
        encode_pool(self.ws, self.ws.store.trajectories())
        # their times are made up: as people's, the server's clock would call them impossible
        self.ws.store.put_annotators([Annotator(who, self.email(who), teacher="oracle") for who in PEOPLE])
        ids = [t.trajectory_id for t in self.ws.store.trajectories()]
        name = "production-001"
        pairs = [Pair(f"p{i}", ids[i], ids[i + 1], "reach", "same", "production", name) for i in range(BOOTSTRAP)]
        assignments = assign(
            pairs, PEOPLE, overlap=2, duplicates=0.25, duplicate_distance=2, batch_id=name, rng=self.ws.rng("loop")
        )
        self.ws.store.put_pairs(Batch(name, "production", created_at=f"2026-01-01 {self.name}"), pairs, assignments)
        self.ws.store.put_pairs(Batch("calibration-1", "calibration", created_at="2026-01-02"), [], [])
        for who in PEOPLE:
            self.ws.store.put_certification(Certification(who, "calibration-1", 1, 0.9, 0.8, 1.0, True, 40))

    def new_worker(self, log, **options):
        every = ("--every", "0.3", "--pull", "2", "--config", self.config)
        return Process(self._folder / f"{log}.log", "worker", *every, **options)

    def start(self):
        self.service.start()
        until(self.answers)
        push(self.ws)
        self.worker.start()
        return self

    def people_answer(self):
        """From now on, until the next check."""
        self.people = People(self)
        self.people.start()

    def end(self):
        """Everything, whatever state it is in."""
        with contextlib.ExitStack() as ends:  # all of them, whatever one says
            for end in (self.ws.store.close, self.service.end, self.worker.end, self.people.stop):
                ends.callback(end)

    def answers(self):
        try:
            address = f"{self.service_url}/health"
            return httpx.get(address, timeout=5, trust_env=False, verify=authorities(False)).is_success
        except httpx.HTTPError:
            return False

    def email(self, who):
        return f"{who}.{self.name}@annotators.example"

    def project(self, who):
        ids = (v.assignment.project_id for v in self.ws.store.assignments() if v.assignment.annotator_id == who)
        return next((found for found in ids if found is not None), None)

    def rounds(self):
        return sum(batch.kind == "active" for batch in self.ws.store.batches())

    def goes_on(self, rounds=1):
        """That many rounds more are made, by themselves."""
        wanted = self.rounds() + rounds
        return until(lambda: self.rounds() >= wanted, PATIENCE_S * rounds)

    def working(self):
        return taken(self.ws, WORKER)

    def _at_rest(self):
        """Nobody answers any more, so no round can begin (with `plan_next_at` = 1); what was planned is in Label
        Studio."""
        return self.ws.store.open_by_batch() and not self.ws.store.count_without_task()

    def logs(self):
        files = [f"\n--- {p.name}\n{p.read_text(errors='replace')[-3000:]}" for p in self._folder.glob("*.log")]
        batches = {batch.batch_id: batch.status for batch in self.ws.store.batches()}
        return f"\n{batches}\n{self.people.trouble}{''.join(files)}"

    def check(self):
        """No judgment lost or doubled, no task doubled: Label Studio and the database say the same."""
        self.people.stop()
        assert until(self.working), "no worker lives" + self.logs()
        assert until(self._at_rest), "the worker does not come to rest" + self.logs()
        pull(self.ws, whole=True)
        tasks, answers = {}, {}
        studio = connect(self.ws)
        for queue in all_queues(self.ws):
            for key, ids in studio.tasks(queue.project_id).items():
                tasks.setdefault(key, []).extend(ids)
            for page in studio.annotations(queue.project_id):
                for task in page:
                    answers[task.task_id] = [annotation["id"] for annotation in task.annotations]
        kept = {v.assignment.assignment_id: [v.assignment.task_id] for v in self.ws.store.assignments()}
        assert {key: ids for key, ids in tasks.items() if key in kept} == {
            key: ids for key, ids in kept.items() if ids != [None]
        }
        assert set(tasks) <= set(kept), "a task that belongs to no assignment"
        judged = {j.task_id: [j.annotation_id] for j in self.ws.store.judgments()}
        assert judged == {task: ids for task, ids in answers.items() if ids}, "an answer was lost or doubled"
        assert self.ws.store.rejections() == []
        pairs = [frozenset((p.trajectory_a_id, p.trajectory_b_id)) for p in self.ws.store.pairs()]
        assert len(set(pairs)) == len(pairs), "a pair was asked twice"
        assert sum(model.active for model in self.ws.store.model_versions()) == 1
        return len(judged)
