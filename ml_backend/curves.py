"""Learning curves for TensorBoard: figures of each epoch in, event files under work/curves out.

`tensorboard --logdir work/curves` shows them while a training runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def curves(folder: Path) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Yields `add(epoch, figures)`; after a training that was killed, epochs seen twice count once."""
    from torch.utils.tensorboard import SummaryWriter

    writers: list[SummaryWriter] = []

    def add(epoch: int, figures: dict[str, float]) -> None:
        if not writers:
            writers.append(SummaryWriter(str(folder), purge_step=epoch))
        for name, value in figures.items():
            if math.isfinite(value):
                writers[0].add_scalar(name, value, epoch)
        writers[0].flush()

    try:
        yield add
    finally:
        for writer in writers:
            writer.close()
