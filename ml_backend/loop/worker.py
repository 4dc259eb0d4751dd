"""The worker: compares the database with the newest model and runs a round when enough is new.

Level-triggered: it looks at the data, not at events, so nothing is lost when a webhook, the service or the worker
itself dies. It counts rows every few seconds, and updates the labels

- at once when a batch has its last answer or somebody pressed Start Training;
- after each thing that a manager asked for in the console, which it does first;
- every half minute while answers come in and somebody's queue runs low, or the next round may be planned;
- otherwise every two minutes, with a pull that brings what webhooks lost, and once an hour with one that reads every
  task and trusts no time stamp.

One worker at a time, on any number of machines: a second one stands by. Waits use a monotonic clock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from importer.pairs.pace import loads
from ml_backend.loop.models import retire_damaged
from ml_backend.loop.rounds import (
    RoundResult,
    bootstrap_labels,
    check_finished,
    check_gate,
    deliver,
    run_round,
    unfinished,
    update_labels,
)
from ml_backend.loop.train import train
from preference.activity import telling
from preference.errors import NotReady, UserError
from preference.locks import LEARNING, WORKER, Lock, exclusively
from preference.logs import tell
from preference.records import Preference, Request
from preference.workspace import Workspace

log = logging.getLogger("robopref.worker")
PULL_EVERY_S = 120.0
WHOLE_EVERY_S = 3600.0
LOOKING = "Looking for new answers"
FAULT = "This is a fault in Robopref; the worker's log has the details"
SOONER = 4
"""So many times as often while pairs are wanted."""
LONGEST_WAIT_S = 300.0
"""Between two looks while something fails."""


Handler = Callable[[Workspace, Request], str]
"""Does what a manager asked for, and says in a sentence what became of it; what was done before is not done twice."""


class Worker:
    """One look after the other over a workspace; a new worker can find out everything that it keeps.

    Args:
        handle: Of what managers ask for in the console; None: that waits for another worker.
        pull_every_s: Between two pulls while nothing calls for one.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self,
        ws: Workspace,
        *,
        handle: Handler | None = None,
        pull_every_s: float = PULL_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ws = ws
        self._handle = handle
        self._pull_every_s = pull_every_s
        self._clock = clock
        self._pulled = self._whole = -float("inf")
        self._seen: tuple[int, ...] = ()
        self._asked_nothing: tuple[int, ...] = ()

    def look(self) -> RoundResult | None:
        """One look. The first round waits for the bootstrap: `bootstrap_labels` stratified comparisons with a label.

        Returns:
            What the round did; None if there was nothing to do.

        Raises:
            NotReady: a round cannot be run yet, or a training was started by hand.
        """
        store = self._ws.store
        self._do_requests()
        pause = self._pull_every_s / SOONER if self._pairs_are_wanted() else self._pull_every_s
        due = self._clock() - self._pulled >= pause or store.training_request() is not None
        if not due and (store.open_by_batch() or self._counts() == self._seen):
            return None
        with exclusively(self._ws, LEARNING), telling(self._ws, LOOKING):
            return self._update_and_learn()

    def _do_requests(self) -> None:
        """One after the other; one that fails says why, and holds up nothing."""
        store = self._ws.store
        while self._handle and (request := store.next_request()):
            with exclusively(self._ws, LEARNING), telling(self._ws, named(request)):
                store.set_request(request.request_id, "running")
                try:
                    said = self._handle(self._ws, request)
                except UserError as error:
                    store.set_request(request.request_id, "failed", str(error))
                    tell(log, f"{named(request)} failed: {error}", level=logging.WARNING, asked=request.request_id)
                except Exception as error:
                    store.set_request(request.request_id, "failed", f"{FAULT}: {type(error).__name__}: {error}")
                    raise
                else:
                    store.set_request(request.request_id, "done", said)
                    tell(log, f"{named(request)} is done.", asked=request.request_id)

    def _update_and_learn(self) -> RoundResult | None:
        ws = self._ws
        damaged = retire_damaged(ws)
        now = self._clock()
        whole = now - self._whole >= WHOLE_EVERY_S
        preferences = update_labels(ws, whole=whole)
        self._pulled, self._whole = now, now if whole else self._whole
        check_finished(ws)
        self._seen = self._counts()
        labelled = sum(p.preference is not None for p in preferences)
        trained = labelled >= ws.config.reward.min_preferences and (damaged or ws.store.training_request() is not None)
        if trained:
            train_as_requested(ws)
        deliver(ws)
        enough = ws.store.active_model() is not None or labelled >= bootstrap_labels(ws)
        if unfinished(ws) or not enough or self._counts() == self._asked_nothing or ws.store.stopped_rounds():
            return None
        if ws.store.open_by_batch() and not self._gate_is_open(preferences):
            return None  # people go on with what they have; the gate speaks when the last answer is in
        # Even if the model is not new: whoever trained it may have been killed before it asked.
        result = run_round(ws, labels=None if trained else preferences)  # after a training they are minutes old
        self._seen = self._counts()
        self._asked_nothing = () if result.batch else self._seen
        return result

    def _gate_is_open(self, preferences: list[Preference]) -> bool:
        try:
            check_gate(self._ws, preferences)
        except NotReady:
            return False
        return True

    def _pairs_are_wanted(self) -> bool:
        """Whether answers came since the last look, and people will soon need more pairs."""
        return self._counts() != self._seen and bool(not unfinished(self._ws) or loads(self._ws).low)

    def _counts(self) -> tuple[int, ...]:
        store = self._ws.store
        return (store.count_assignments(), store.count_judgments(), store.count_rejections())


def named(request: Request) -> str:
    """The request as a title: `Release 1.0.0`."""
    return f"{request.kind.capitalize()} {request.subject}".strip()


def train_as_requested(ws: Workspace) -> None:
    """Train, and clear the requests that were there before; one that comes meanwhile is for the next look."""
    request = ws.store.training_request()
    model = train(ws)
    if request is not None:
        ws.store.training_done(request, f"{model.version} was trained." if model else "")


def work(
    ws: Workspace,
    *,
    every_s: float = 10.0,
    pull_every_s: float = PULL_EVERY_S,
    handle: Handler | None = None,
    on_round: Callable[[RoundResult], None],
    on_trouble: Callable[[UserError], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look every `every_s` seconds until interrupted. An error is reported once and retried with growing waits."""
    reported = ""
    failures = 0
    lock: Lock | None = None
    worker: Worker | None = None
    while True:
        try:
            lock = lock or Lock.of(ws, WORKER)
            if worker is None or not lock.held():
                worker = Worker(ws, handle=handle, pull_every_s=pull_every_s) if _take(lock) else None
            if worker and (result := worker.look()):
                on_round(result)
            failures, reported = 0, ""
            _beat(ws)
        except UserError as error:
            if str(error) != reported:
                on_trouble(error)
            reported = str(error)
            if isinstance(error, NotReady):  # waiting for people is not a failure
                _beat(ws)
            else:
                failures += 1
        sleep(min(every_s * 2**failures, max(every_s, LONGEST_WAIT_S)))


def beat_file(ws: Workspace) -> Path:
    """Touched after each look that went well: for `robopref health worker`, and for Prometheus."""
    return ws.root / "worker.beat"


def _beat(ws: Workspace) -> None:
    with suppress(OSError):  # a full disk is reported by what has something to write
        beat_file(ws).touch()


def _take(lock: Lock) -> bool:
    lock.release()
    if lock.take():
        return True
    raise NotReady("Another worker is running; this one stands by.")
