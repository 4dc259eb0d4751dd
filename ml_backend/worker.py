"""The worker: compares the database with the newest model and runs a round when enough is new.

Level-triggered: it looks at what is there, not at what it was told, so nothing is lost when a webhook, the service or
the worker itself dies. One worker at a time: a second one finds the lock taken and waits for it.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ml_backend.rounds import RoundResult, open_assignments, run_round, settle
from preference.errors import NotReady, UserError
from preference.workspace import Workspace

TRAINING_REQUEST = "train.requested"
"""A file in the work folder: somebody pressed Start Training in Label Studio."""

EXPECTED_YIELD = 0.8
"""Of the pairs asked so many get a label at least: 15-20 % are lost to discards (the protocol)."""


@contextmanager
def only_one(ws: Workspace) -> Iterator[None]:
    """Hold the worker's lock; the kernel lets go of it when the process dies, however it dies."""
    with (ws.root / "worker.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotReady("Another worker is running on this work folder.", fix="Stop it first.") from None
        yield


def step(ws: Workspace) -> RoundResult | None:
    """One look: settle what was answered; when nothing is open and something is new, run a round.

    The first round waits for the bootstrap: about 200 stratified comparisons with a label.

    Returns:
        What the round did; None when there was nothing to do.
    """
    from ml_backend.stages import train

    request = ws.root / TRAINING_REQUEST
    preferences = settle(ws)
    labelled = sum(p.preference is not None for p in preferences)
    if request.exists() and labelled >= ws.config.reward.min_preferences:
        train(ws)
        request.unlink(missing_ok=True)
    newest = ws.store.active_model()
    fresh = labelled - (newest.preferences if newest else 0)
    needed = 1 if newest else round(ws.config.active.bootstrap * EXPECTED_YIELD)
    if open_assignments(ws) or fresh < needed:
        return None
    return run_round(ws)


def work(
    ws: Workspace,
    *,
    every_s: float = 60.0,
    on_round: Callable[[RoundResult], None],
    on_trouble: Callable[[UserError], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Look every `every_s` seconds until interrupted; trouble is told and tried again, never fatal."""
    with only_one(ws):
        while True:
            try:
                if result := step(ws):
                    on_round(result)
            except UserError as error:
                on_trouble(error)
            sleep(every_s)
