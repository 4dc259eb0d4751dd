"""Long work over many items: processes or Ray, a progress bar, and failures that do not stop the others."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from preference.bucket import carried, receive
from preference.config import Bucket
from preference.errors import ConfigError, DiskFull, UserError
from preference.formats import printable

Item = TypeVar("Item")
Result = TypeVar("Result")
P = ParamSpec("P")

LONGEST_END_S = 5.0
"""That a process which is told to end may take for what it is writing."""
UNGUARDED = 78
"""Exit code of a process that found itself running the whole script that made it."""
console = Console(stderr=True)
"""Progress, warnings and errors go to stderr, so that results on stdout stay clean."""
output = Console()
"""Results for people, on stdout, so that they can be piped and kept."""


def terminal(text: object) -> str:
    """Any text as the console shows it: without control characters, and its brackets are no markup of Rich's.

    Names and reasons come from annotators: they must not move a manager's cursor, hide lines or set colours.
    """
    return escape(printable(str(text)))


def remark(text: object) -> None:
    """A line for a person that is no error, in yellow; brackets such as those of robopref[weights] stay."""
    console.print(f"[yellow]{terminal(text)}[/]", highlight=False, soft_wrap=True)


Listener = Callable[[str, int, int | None], None]
_listeners: list[Listener] = []


@contextmanager
def listening(told: Listener) -> Iterator[None]:
    """Inside, `told(description, done, total)` hears of every step of every progress bar of this process."""
    _listeners.append(told)
    try:
        yield
    finally:
        _listeners.remove(told)


class _Rate(ProgressColumn):
    """Items a second, over the last half minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar with rate and time left; yields `advance(n)`."""
    bar = Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=False,
        disable=not console.is_terminal,
    )
    done = 0

    def advance(n: int = 1) -> None:
        nonlocal done
        done += n
        bar.advance(task, n)
        for told in _listeners:
            told(description, done, total)

    with bar:
        task = bar.add_task(description, total=total)
        advance(0)
        yield advance
    if not console.is_terminal:
        counted = "" if total is None else f" ({total})" if done >= total else f" ({done} of {total})"
        console.print(f"{description}: done{counted}")


@dataclass(frozen=True)
class Workers:
    """Where work on many items runs."""

    count: int = 0
    """Processes on this machine; 0 = one per core. On Ray the cluster decides."""
    executor: Literal["processes", "ray", "here"] = "processes"
    bucket: Bucket | None = None
    """On Ray: by way of which files go to its machines and back; None: they have our folders."""

    @property
    def processes(self) -> int:
        return self.count or _cores()


def _cores() -> int:
    """Those this process may use, where the system says so (macOS does not)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


HERE = Workers(1, "here")
"""No processes: for work that is shorter than starting them."""


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: Workers,
    description: str,
    reads: Iterable[Path] = (),
    writes: Callable[[Item], Path] | None = None,
) -> Iterator[tuple[Item, Result | UserError]]:
    """`function` over `items` in processes, in order of completion; a UserError is a result, not an end, except for a
    full disk, which the other items would meet as well. An item whose process is killed, by a library in C that crashes
    or by the system for lack of memory, is a `Crash`, and the others are done; with `HERE` nothing can be done then.

    `function` and the items must be picklable. Any other exception is a bug and ends the map. On Ctrl-C the work
    not yet begun is dropped and the processes are ended before the interrupt goes on.

    Args:
        reads: Files and folders that `function` reads, and
        writes: the one file that it makes of an item: for machines without our folders.

    Raises:
        ConfigError: Ray is asked for and is not installed, or its cluster cannot be reached.
        DiskFull: there was no space for one of the results.
        UserError: the script that calls this runs again in each process.
    """
    if not items:
        return
    if getattr(current_process(), "_inheriting", False):  # it imports the script that made it
        os._exit(UNGUARDED)
    count = min(workers.processes, len(items))
    if workers.executor == "ray":
        results = _on_ray(function, items, workers.bucket, reads, writes)
    elif workers.executor == "here":
        results = ((item, _attempt(function, item)) for item in items)
    else:
        results = _in_processes(function, items, count)
    with progress(description, len(items)) as advance, closing(results):
        for item, result in results:
            if isinstance(result, DiskFull):
                raise result
            yield item, result
            advance(1)


class Crash(UserError):
    """The process that worked on an item was killed."""

    def __init__(self) -> None:
        super().__init__("Its process crashed, or was killed for lack of memory.")


def _in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Generator[tuple[Item, Result | UserError]]:
    """When a process is killed, the pool is at an end and does not say which item it was. So those in flight are done
    once more, one after the other, and the rest in a new pool."""
    remaining = iter(items)
    while True:
        suspects: list[Item] = []
        yield from _in_pool(function, remaining, count, 4 * count, suspects)
        if not suspects:
            return
        careful, crashed = iter(suspects), [suspects[0]]
        while crashed:
            crashed = []
            yield from _in_pool(function, careful, 1, 1, crashed)
            for item in crashed:
                yield item, Crash()


def _in_pool(
    function: Callable[[Item], Result], remaining: Iterator[Item], count: int, limit: int, suspects: list[Item]
) -> Generator[tuple[Item, Result | UserError]]:
    """
    Args:
        limit: Items in flight at a time.
        suspects: Filled with the items that have no result because a process was killed.
    """
    pool = ProcessPoolExecutor(count, mp_context=_processes(function.__module__), initializer=_end_tidily)
    started = pool._processes  # the pool lets go of it when it breaks
    try:
        yield from _as_completed(pool, function, remaining, limit, suspects)
        if suspects:
            pool.shutdown()  # then every process has ended
            _check_guarded(process.exitcode for process in (started or {}).values())
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_guarded(exit_codes: Iterable[int | None]) -> None:
    """
    Raises:
        UserError: a process ended because it found itself running the script that made it.
    """
    if UNGUARDED in exit_codes:
        fix = 'Put what the script does under `if __name__ == "__main__":`.'
        raise UserError("Each process imports the script that started it, and the script starts them again.", fix=fix)


def _processes(module: str) -> BaseContext:
    """How processes are made. On Linux as forks of a small server that has loaded `module` and runs no thread: only the
    first process of a run pays for imports, not each process of each stage (1.1 s of CPU → 0.3 s on eight episodes).
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([module])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:  # Ctrl-C reaches the server too, which ignores it once it has loaded the module
        ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def in_a_process(function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Future[Result]:
    """One call in a process of its own, at low priority, that ends with it and with its parent; what a process holds
    for itself here (the interpreter's lock, memory) is free meanwhile and afterwards.

    `function`, arguments and result must be picklable. A process that was ended from outside is a BrokenProcessPool.
    """
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_behind_others)
    try:
        return pool.submit(function, *args, **kwargs)
    finally:
        pool.shutdown(wait=False)


def _behind_others() -> None:
    os.nice(10)
    _end_with_parent()


def _on_ray(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    bucket: Bucket | None,
    reads: Iterable[Path],
    writes: Callable[[Item], Path] | None,
) -> Generator[tuple[Item, Result | UserError]]:
    """One Ray task for each item; a few for each core of the cluster are in flight. A task whose machine dies is done
    by another one."""
    function = carried(function, bucket, reads, writes) if bucket else function
    ray, ours = _connected_ray()
    attempt = ray.remote(_attempt)
    shared = ray.put(function)
    waiting: dict[Any, Item] = {}
    remaining = iter(items)
    try:
        limit = 4 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        for item in islice(remaining, limit):
            waiting[attempt.remote(shared, item)] = item
        while waiting:
            (done, *_), _ = ray.wait(list(waiting))
            item = waiting.pop(done)
            result = _of_ray(ray, done)
            if bucket and writes and not isinstance(result, UserError):
                receive(bucket, writes(item))
            yield item, result
            for item in islice(remaining, 1):
                waiting[attempt.remote(shared, item)] = item
    finally:
        for task in waiting:
            ray.cancel(task, force=True)
        if ours:
            ray.shutdown()


def _of_ray(ray: Any, task: Any) -> Any:
    """Its result; Ray itself tries a task whose process was killed three more times."""
    try:
        return ray.get(task)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        return Crash()


def _connected_ray() -> tuple[Any, bool]:
    """The module, and whether the connection is ours to end. Without RAY_ADDRESS a cluster of this machine starts."""
    try:
        import ray
    except ImportError:
        fix = 'Install it with `pip install "robopref[scale]"`, or set executor = "processes".'
        raise ConfigError('executor = "ray", but Ray is not installed.', fix=fix) from None
    if ray.is_initialized():
        return ray, False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports home unless told not to
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        fix = "Check RAY_ADDRESS, or unset it to run Ray on this machine."
        raise ConfigError(f"Ray's cluster cannot be reached: {error}", fix=fix) from None
    return ray, True


def _end_tidily() -> None:
    """In a worker process: Ctrl-C in a terminal and the parent's `terminate` end it once, and what it is writing is
    cleared away undisturbed by the second of them. It has `LONGEST_END_S` for that: a process may wait for a lock that
    a process which was killed took with it."""
    _end_with_parent()
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        if not ending:  # Python complains of a handler that is taken away while a signal waits for it
            ending = True
            at_last = threading.Timer(LONGEST_END_S, os._exit, (1,))
            at_last.daemon = True
            at_last.start()
            raise SystemExit(1)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the server that made us started without it


def _attempt_or_end(function: Callable[[Item], Result], item: Item) -> Result | UserError:
    """`_attempt`, and a process that is to end ends: the pool would take that for the item's result and go on."""
    try:
        return _attempt(function, item)
    except SystemExit:
        os._exit(1)


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
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    remaining: Iterator[Item],
    limit: int,
    suspects: list[Item],
) -> Iterator[tuple[Item, Result | UserError]]:
    """At most `limit` items are in flight, so that a million of them do not become a million futures."""
    waiting: dict[Future[Result | UserError], Item] = {}
    while not suspects:
        for item in islice(remaining, limit - len(waiting)):
            try:
                waiting[pool.submit(_attempt_or_end, function, item)] = item
            except BrokenProcessPool:
                suspects.append(item)
                break
        if not waiting:
            return
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            item = waiting.pop(future)
            try:
                result = future.result()
            except BrokenProcessPool:
                suspects.append(item)
            else:
                yield item, result
    for future, item in waiting.items():  # of a pool that is at an end, so each has ended, some of them well
        try:
            yield item, future.result()
        except BrokenProcessPool:
            suspects.append(item)


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | UserError:
    try:
        return function(item)
    except UserError as error:
        return error
