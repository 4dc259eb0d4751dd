"""Simulated annotators answer through Label Studio's HTTP API, each signed in as their own user.

In: the open tasks of the annotators that have a teacher (importer.simulate.teachers). Out: annotations in Label
Studio, which reach the database as everybody's do, by webhook or pull.

They do what the label stream in the browser does: ask for the next task with an empty `next_task` action, which is what
"Label All Tasks" sends, answer it, submit, until there is none. So the order, the locks and the access rules are tested
as well. Each submission carries an id made from its task, and Label Studio refuses a second annotation with the same
id, so one whose answer was lost can be sent again and is never doubled.
"""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from importer.pool import read_episode
from importer.simulate.teachers import SimulatedAnswer, answer_functions
from importer.studio.client import connect
from importer.studio.push import credentials
from importer.studio.queues import Queue, all_queues
from importer.studio.users import annotator_session
from labeling_config.contract import ASSIGNMENT_ID, TEST, is_training, place_of, result_of
from preference.errors import StudioError, UserError
from preference.records import AssignmentView, Trajectory
from preference.work import progress
from preference.workspace import Workspace

ATTEMPTS = 6
"""Tries of one request, 0.5 s to 8 s apart: waits for a server that is busy or restarting."""
SUBMISSIONS = uuid.UUID("c1f3a0f6-5a3e-5a9b-9f0e-0d7c2b1f4e11")

UNSURE = SimulatedAnswer("equal", 1, 10.0)
"""Instead of a skip in training, as the page tells people: a test waits until every pair of it is answered."""

Answerer = Callable[[AssignmentView], SimulatedAnswer | None]
"""From an assignment to what its annotator says; None = skips it."""


@dataclass(frozen=True)
class SimulateResult:
    """What became of the open tasks, and who gave up and why."""

    answered: int
    """Tasks that got an answer."""
    skipped: int = 0
    """Tasks that got a skip."""
    not_asked: int = 0
    """Tasks that were open and were never served: a training closes pairs of a kind once enough were right, and a
    worker may give them to others."""
    errors: list[str] = field(default_factory=list)


def simulate(
    ws: Workspace, batch_id: str | None = None, workers: int = 0, *, answers: Mapping[str, Answerer] | None = None
) -> SimulateResult:
    """Let every simulated annotator answer their open tasks; what is already answered is not asked again.

    Args:
        batch_id: Only until this batch has no open task. Label Studio serves a project's older batches first, so
            these are answered on the way.
        workers: Annotators at work at the same time; 0 = all.
        answers: Annotator → how they answer; default: their teachers.

    Raises:
        StudioError: Label Studio is down or refuses us, or no annotator could answer.
    """
    work = _open_work(ws, batch_id)
    if not work:
        return SimulateResult(0)
    connect(ws)
    answers = answers or _teachers(ws)
    passwords = credentials(ws)
    stop = threading.Event()
    answered = skipped = not_asked = 0
    errors: list[str] = []
    pool = ThreadPoolExecutor(workers or len(work))
    try:
        with progress("Simulated annotators", sum(len(ids) for own in work.values() for _, ids in own)) as advance:
            people = [_Person(ws, own, answers[who], passwords, advance, stop) for who, own in work.items()]
            for job in as_completed([pool.submit(person.work_through) for person in people]):
                errors += job.result()
            answered = sum(person.answered for person in people)
            skipped = sum(person.skipped for person in people)
            not_asked = sum(person.not_asked for person in people)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    if errors and not answered + skipped:
        raise StudioError(errors[0])
    return SimulateResult(answered, skipped, not_asked, sorted(errors))


class _Person:
    """One annotator at one browser."""

    def __init__(
        self,
        ws: Workspace,
        work: Sequence[tuple[Queue, set[str]]],
        answer: Answerer,
        passwords: dict[str, str],
        advance: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        self.answered = self.skipped = self.not_asked = 0
        self._store = ws.store
        self._url = ws.config.label_studio.url.rstrip("/")
        self._email = work[0][0].annotator.email.lower()
        self._work, self._answer, self._passwords = work, answer, passwords
        self._advance, self._stop = advance, stop

    def work_through(self) -> list[str]:
        """All queues, one after the other; returns why it gave up, or nothing."""
        try:
            with self._sign_in() as session:
                for queue, open_ids in self._work:
                    self._answer_queue(session, queue, set(open_ids))
        except UserError as error:
            return [f"{self._email}: {error}"]
        return []

    def _sign_in(self) -> httpx.Client:
        if self._email not in self._passwords:
            raise StudioError(
                f"The password of {self._email} is not in credentials.json: the account existed before.",
                fix="Choose another annotators.email_domain, or remove the account in Label Studio.",
            )
        return annotator_session(self._url, self._email, self._passwords[self._email])

    def _answer_queue(self, session: httpx.Client, queue: Queue, open_ids: set[str]) -> None:
        views = {view.assignment.assignment_id: view for view in queue.views}
        skipped: set[str] = set()
        while open_ids and not self._stop.is_set():
            task = self._next(session, queue)
            if task is None:
                self.not_asked += len(open_ids)
                return
            key = str(task["data"].get(ASSIGNMENT_ID))
            if key not in views:  # a worker has given it to this annotator meanwhile
                every = self._store.assignments()
                own = [v for v in every if v.assignment.annotator_id == queue.annotator.annotator_id]
                views = {view.assignment.assignment_id: view for view in own}
            if key not in views:
                raise StudioError(f"{queue.title!r} has the task {task['id']}, which does not belong to this database.")
            if key in skipped:  # it comes back at the end, forever
                return
            said = self._answer(views[key])
            if said is None and is_training(queue.phase):
                said = UNSURE
            if said is None:
                skipped.add(key)
            self._submit(session, int(task["id"]), said)
            self.answered += said is not None
            self.skipped += said is None
            if key in open_ids:
                open_ids.remove(key)
                self._advance(1)

    def _next(self, session: httpx.Client, queue: Queue) -> dict[str, Any] | None:
        """The task that Label Studio serves, or None where there is no more."""
        # With the slash at the end of the path: without it Django looks for a second address first, on every request
        response = self._post(session, f"/api/dm/actions/?id=next_task&project={queue.project_id}", {})
        if response.status_code == 404 and "no tasks" in response.text:
            return None
        return _accepted(response, f"next task of {queue.title!r}")

    def _submit(self, session: httpx.Client, task_id: int, said: SimulatedAnswer | None) -> None:
        body: dict[str, Any] = {"result": [], "was_cancelled": True}
        if said is not None:
            body = {"result": result_of(said.side, said.confidence, said.reason), "lead_time": said.response_s}
        kind = "answer" if said is not None else "skip"
        body["unique_id"] = str(uuid.uuid5(SUBMISSIONS, f"{task_id} {kind}"))
        response = self._post(session, f"/api/tasks/{task_id}/annotations/", body)
        # 409: an earlier attempt succeeded, but its answer was lost; 404: a worker has given it to somebody else
        if response.status_code not in (404, 409):
            _accepted(response, f"submission of task {task_id}")

    def _post(self, session: httpx.Client, address: str, body: dict[str, Any]) -> httpx.Response:
        """Safe to send again: asking twice gives the same task, submitting twice is refused."""
        trouble = ""
        for attempt in range(ATTEMPTS):
            try:
                response = session.post(address, json=body)
                if response.status_code < 500:
                    return response
                trouble = f"HTTP {response.status_code}"
            except httpx.HTTPError as error:
                trouble = type(error).__name__
            if self._stop.is_set():
                break
            self._stop.wait(0.25 * 2**attempt)
        raise StudioError(f"Label Studio at {self._url} does not answer {self._email}: {trouble}.")


def _open_work(ws: Workspace, batch_id: str | None) -> dict[str, list[tuple[Queue, set[str]]]]:
    """Simulated annotator → their queues, the training first, each with the assignments that wait for an answer as far
    as we know. The plugin takes no answer to a test while the training is open, so that is answered on the way."""
    answered = ws.store.answered() | ws.store.settled()
    test = (batch_id or "").startswith(TEST)
    work: dict[str, list[tuple[Queue, set[str]]]] = defaultdict(list)
    for queue in sorted(all_queues(ws), key=lambda queue: place_of(queue.phase)):
        asked = [
            v.assignment
            for v in queue.views
            if v.assignment.task_id
            and (batch_id in (None, v.assignment.batch_id) or (test and is_training(v.assignment.batch_id)))
        ]
        open_ids = {assignment.assignment_id for assignment in asked} - answered
        if queue.annotator.teacher and queue.annotator.active and open_ids:
            work[queue.annotator.annotator_id].append((queue, open_ids))
    return dict(work)


def _accepted(response: httpx.Response, what: str) -> dict[str, Any]:
    if response.status_code >= 400:
        raise StudioError(f"Label Studio refused the {what}: HTTP {response.status_code}, {response.text[:200]}")
    return response.json()


def _teachers(ws: Workspace) -> Mapping[str, Answerer]:
    """Annotator id → how their teacher answers."""

    def rewards(trajectory: Trajectory) -> np.ndarray:
        return read_episode(ws.config.pool, trajectory).rewards

    # the simulated ones of an adopted release have no teacher here, and answer nothing
    active = [annotator for annotator in ws.store.annotators() if annotator.active]
    return answer_functions(ws.store.trajectories(), active, ws.config.seed, rewards)
