"""The worker: compares the database with the newest model and runs a round when enough is new.

Level-triggered: it looks at what is there, not at what it was told, so nothing is lost when a webhook, the service or
the worker itself dies. A look every few seconds counts rows; what is settled anew, and when:

- a batch has got its last answer, or somebody pressed Start Training: at once;
- otherwise every two minutes, with a pull that brings what webhooks lost, and once an hour with one that reads every
  task and trusts no time stamp.

One worker at a time, on however many machines: a second one stands by. Waits are measured by a clock that is never set.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ml_backend.loop.models import mend
from ml_backend.loop.rounds import RoundResult, bootstrap_labels, check_finished, deliver, run_round, settle
from ml_backend.service.status import TRAINING_REQUEST
from preference.errors import NotReady, UserError
from preference.locks import LEARNING, WORKER, Lock, exclusively
from preference.workspace import Workspace

PULL_EVERY_S = 120.0
WHOLE_EVERY_S = 3600.0
LONGEST_WAIT_S = 300.0
"""Between two looks while something is in trouble."""


class Worker:
    """One look after the other over a workspace; keeps nothing that a new one could not find out.

    Args:
        pull_every_s: Between two pulls while nothing calls for one.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self, ws: Workspace, *, pull_every_s: float = PULL_EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ws = ws
        self._pull_every_s = pull_every_s
        self._clock = clock
        self._pulled = self._whole = -float("inf")
        self._settled: tuple[int, ...] = ()
        self._asked_nothing: tuple[int, ...] = ()

    def look(self) -> RoundResult | None:
        """One look. The first round waits for the bootstrap: about 200 stratified comparisons with a label.

        Returns:
            What the round did; None when there was nothing to do.

        Raises:
            NotReady: a round cannot be run yet, or somebody trains by hand just now.
        """
        answered_out = not self._ws.store.open_by_batch() and self._counts() != self._settled
        if not answered_out and not requested(self._ws) and self._clock() - self._pulled < self._pull_every_s:
            return None
        with exclusively(self._ws, LEARNING):
            return self._settle_and_learn()

    def _settle_and_learn(self) -> RoundResult | None:
        ws = self._ws
        mended = mend(ws)
        now = self._clock()
        whole = now - self._whole >= WHOLE_EVERY_S
        preferences = settle(ws, whole=whole)
        self._pulled, self._whole = now, now if whole else self._whole
        check_finished(ws)
        self._settled = self._counts()
        labelled = sum(p.preference is not None for p in preferences)
        if labelled >= ws.config.reward.min_preferences and (mended or requested(ws)):
            train_as_asked(ws)
        deliver(ws)
        enough = ws.store.active_model() is not None or labelled >= bootstrap_labels(ws)
        if ws.store.open_by_batch() or not enough or self._counts() == self._asked_nothing:
            return None
        # Whether the model is new does not matter: the one who trained it may have been killed before it asked.
        result = run_round(ws)
        self._settled = self._counts()
        self._asked_nothing = () if result.batch else self._settled
        return result

    def _counts(self) -> tuple[int, ...]:
        store = self._ws.store
        return (store.count_assignments(), store.count_judgments(), store.count_rejections())


def requested(ws: Workspace) -> bool:
    """Whether somebody pressed Start Training, and no training has ended that began after it."""
    return any((ws.root / name).exists() for name in (TRAINING_REQUEST, _TAKEN))


_TAKEN = f"{TRAINING_REQUEST}.taken"


def train_as_asked(ws: Workspace) -> None:
    """Train, and take the request away that was there before; one that comes meanwhile is for the next look."""
    from ml_backend.loop.train import train

    if (ws.root / TRAINING_REQUEST).exists():
        (ws.root / TRAINING_REQUEST).replace(ws.root / _TAKEN)
    train(ws)
    (ws.root / _TAKEN).unlink(missing_ok=True)


def work(
    ws: Workspace,
    *,
    every_s: float = 10.0,
    pull_every_s: float = PULL_EVERY_S,
    on_round: Callable[[RoundResult], None],
    on_trouble: Callable[[UserError], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look every `every_s` seconds until interrupted. Trouble is told once and tried again, each time later."""
    told = ""
    failures = 0
    lock: Lock | None = None
    worker: Worker | None = None
    while True:
        try:
            lock = lock or Lock(ws, WORKER)
            if worker is None or not lock.held():
                worker = Worker(ws, pull_every_s=pull_every_s) if _taken(lock) else None
            if worker and (result := worker.look()):
                on_round(result)
            failures, told = 0, ""
        except UserError as error:
            if str(error) != told:
                on_trouble(error)
            told = str(error)
            failures += not isinstance(error, NotReady)  # waiting for people is no trouble
        sleep(min(every_s * 2**failures, max(every_s, LONGEST_WAIT_S)))


def _taken(lock: Lock) -> bool:
    lock.release()
    if lock.take():
        return True
    raise NotReady("Another worker is at work; this one stands by.")
