"""Learning curves for TensorBoard: figures of each epoch in, event files under work/curves out.

`tensorboard --logdir work/curves` shows them while a training runs. They are written here and now: TensorBoard's own
writer does so from a thread, where a full disk ends in a traceback.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from preference.artifacts import told_when_full


@contextmanager
def curves(folder: Path) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Yields `add(epoch, figures)`; after a training that was killed, epochs seen twice count once.

    Raises:
        DiskFull: there is no space for an event.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = folder / f"events.out.tfevents.{time.time_ns():019d}.{os.getpid()}"
    writers: list[RecordWriter] = []

    def write(event: Event) -> None:
        event.wall_time = time.time()
        writers[0].write(event.SerializeToString())

    def add(epoch: int, figures: dict[str, float]) -> None:
        with told_when_full(file):
            if not writers:
                folder.mkdir(parents=True, exist_ok=True)
                writers.append(RecordWriter(opened.enter_context(file.open("wb", buffering=0))))
                write(Event(file_version="brain.Event:2"))
                # what an earlier run said of this epoch and of later ones no longer counts
                write(Event(step=epoch, session_log=SessionLog(status=SessionLog.START)))
            values = [Summary.Value(tag=k, simple_value=v) for k, v in figures.items() if math.isfinite(v)]
            write(Event(step=epoch, summary=Summary(value=values)))

    with ExitStack() as opened:
        yield add
