"""Long work over many items: a process pool, a progress bar, and failures that do not stop the others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from preference.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

console = Console(stderr=True)
"""Progress and messages go to stderr, so that `--json` on stdout stays clean."""


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar with rate and time left; yields `advance(n)`."""
    bar = Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=False,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda n=1: bar.advance(task, n)
    if not console.is_terminal:
        console.print(f"{description}: done" + (f" ({total})" if total is not None else ""))


def worker_count(workers: int) -> int:
    """`workers`, or where that is 0 the number of cores this process may use."""
    return workers or len(os.sched_getaffinity(0))


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int,
    description: str,
) -> Iterator[tuple[Item, Result | UserError]]:
    """`function` over `items` in processes, in order of completion; a UserError is a result, not an end.

    `function` and the items must be picklable. Any other exception is a bug and ends the map. On Ctrl-C the work
    not yet begun is dropped and the processes are ended before the interrupt goes on.
    """
    if not items:
        return
    count = min(worker_count(workers), len(items))
    with progress(description, len(items)) as advance:
        if count == 1:
            for item in items:
                yield item, _attempt(function, item)
                advance(1)
            return
        pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_end_with_parent)
        try:
            for item, result in _as_completed(pool, function, items, limit=4 * count):
                yield item, result
                advance(1)
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """In a worker process: end when the parent does, even by kill -9, instead of waiting for work for ever."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _as_completed(
    pool: ProcessPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], limit: int
) -> Iterator[tuple[Item, Result | UserError]]:
    """At most `limit` items are in flight, so that a million of them do not become a million futures."""
    waiting: dict[Future[Result | UserError], Item] = {}
    remaining = iter(items)
    exhausted = False
    while waiting or not exhausted:
        while not exhausted and len(waiting) < limit:
            try:
                item = next(remaining)
            except StopIteration:
                exhausted = True
            else:
                waiting[pool.submit(_attempt, function, item)] = item
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield waiting.pop(future), future.result()


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | UserError:
    try:
        return function(item)
    except UserError as error:
        return error
