"""Runs jobs in processes that report their progress and can be asked to stop.

joblib's loky executor starts the processes, limits their threads, notices when one of
them dies, ends the others then, and returns results and exceptions. (The executor of
`concurrent.futures` misses the death of the process that it started last, and waits for
processes that ignore signals. `joblib.Parallel` blocks until a result arrives.) What
such an executor lacks is added here:

- Progress: a call returns nothing before it ends, so reports take a queue of their own.
- The interrupt: a call that has begun cannot be cancelled, so an event asks it to
  return; the processes themselves ignore the signals.
- The death of the parent: a process that computes does not notice it, so a thread in
  each process watches the parent.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import memory
from dreamerv2_transfer.common.interrupt import left_to_the_parent

Report = Callable[[int, int], None]
Stopped = Callable[[], bool]
Job = Callable[[Report, Stopped], Any]

# With as many processes as cores, more threads only get in each other's way: two in
# each process made the networks of players 20 times slower.
ONE_THREAD = {f"{x}_NUM_THREADS": "1" for x in ("OPENBLAS", "OMP", "MKL")}
PATIENCE = 0.1  # Seconds between two looks at the jobs.
KILLED = (
    "A process ended without a message, often because the memory was full. The files "
    "on disk are intact; run the same command to resume."
)
GRACE = 5.0  # Seconds in which a job may stop by itself when its parent was killed.


class WorkerError(UserError):
    """A process that ended without a message."""


def run(
    jobs: Mapping[str, Job],
    processes: int,
    on_progress: Callable[[str, int, int], None],
    on_result: Callable[[str, Any], None],
    stopped: Stopped,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Runs all jobs in the order in which they are given, several at a time.

    Args:
        jobs: The jobs by name, each called as `job(report, stopped)`. A job can be
            pickled, calls `report(done, total)` now and then, and returns soon after
            `stopped()` becomes true.
        processes: Most jobs at a time; 1 runs them in this process.
        on_progress: Called as `on_progress(name, done, total)`.
        on_result: Called as `on_result(name, result)`; the result is None if the job
            did not begin before the stop.
        stopped: Tells whether to stop.
        meanwhile: Called before the first job, while the processes start; if it raises,
            no job begins.

    Raises:
        WorkerError: A process was killed.
        Exception: The first exception that a job raised, once the others have stopped.
    """
    processes = min(processes, len(jobs))
    if processes < 2:
        meanwhile()
        for name, job in jobs.items():
            if stopped():
                return
            on_result(name, job(functools.partial(on_progress, name), stopped))
        return
    from joblib.externals import loky

    pool, reports, stop = _pool(processes)
    try:
        for job in itertools.islice(jobs.values(), processes):
            pool.submit(_receive, job)
        meanwhile()
        pending = {pool.submit(_run, name, job): name for name, job in jobs.items()}
        while pending:
            done, _ = futures.wait(pending, PATIENCE, futures.FIRST_COMPLETED)
            # A job's reports are in the queue before its result arrives.
            while not reports.empty():
                on_progress(*reports.get())
            for future in done:
                on_result(pending.pop(future), future.result())
            if stopped():
                stop.set()
    except loky.BrokenProcessPool as error:
        raise WorkerError(KILLED) from error
    finally:
        stop.set()
        pool.shutdown()


def _pool(processes: int) -> tuple[Any, Any, Any]:
    """Returns an executor, its queue of reports, and the event that stops its jobs."""
    from joblib.externals import loky
    from joblib.externals.loky.backend import get_context

    context = get_context("loky")
    reports, stop = context.SimpleQueue(), context.Event()
    pool = loky.ProcessPoolExecutor(
        processes,
        context=context,
        initializer=_begin,
        initargs=(reports, stop, os.getpid()),
        env=ONE_THREAD,
    )
    return pool, reports, stop


# In the processes:

_channel: tuple[Any, Stopped] | None = None


def _begin(reports, stop, parent: int) -> None:
    global _channel

    def is_orphan() -> bool:
        return os.getppid() != parent

    def end_with_the_parent() -> None:
        while not is_orphan():
            time.sleep(PATIENCE)
        time.sleep(GRACE)
        os._exit(1)

    left_to_the_parent()
    memory.keep_freed()
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    # A parent that was killed cannot set the event.
    _channel = reports, lambda: stop.is_set() or is_orphan()


def _receive(job: Job) -> None:
    """Imports what a job needs, by receiving it."""


def _run(name: str, job: Job) -> Any:
    reports, stopped = _channel
    if stopped():
        return None
    return job(lambda *report: reports.put((name, *report)), stopped)
