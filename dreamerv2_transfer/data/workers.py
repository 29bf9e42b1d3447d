"""Jobs in processes of their own that tell how far they are and can be stopped."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from multiprocessing import connection
from typing import Any

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.interrupt import left_to_the_parent

Report = Callable[[int, int], None]
Stopped = Callable[[], bool]
Job = Callable[[Report, Stopped], Any]

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
PATIENCE = 0.1  # Seconds between two looks at the jobs.
GRACE = 5.0  # Seconds that a job may go on without its parent.


class WorkerError(UserError):
    """A process that ended without a message."""


def run(
    jobs: Mapping[str, Job],
    processes: int,
    on_progress: Callable[[str, int, int], None],
    on_result: Callable[[str, Any], None],
    stopped: Stopped,
) -> None:
    """Runs all jobs, so many at a time, in the order in which they are given.

    Args:
        jobs: by name, each called as `job(report, stopped)`; it can be pickled, calls
            `report(done, total)` now and then, and returns soon once `stopped()`.
        processes: at most; 1 runs the jobs in this process.
        on_progress: called as `on_progress(name, done, total)`.
        on_result: called as `on_result(name, result)`.
        stopped: tells whether to stop; jobs that have not begun then do not begin.

    Raises:
        WorkerError: a process was killed.
        Exception: what a job raised first, once the others have stopped.
    """
    if min(processes, len(jobs)) < 2:
        for name, job in jobs.items():
            if stopped():
                return
            result = job(lambda *report, name=name: on_progress(name, *report), stopped)
            on_result(name, result)
        return
    # Spawned, since a fork of a process with threads (TensorFlow's) may hang.
    context = multiprocessing.get_context("spawn")
    reports, stop = context.Queue(), context.Event()
    processes = min(processes, len(jobs))  # Else the last job below starts another.
    others = set(multiprocessing.active_children())
    pool = futures.ProcessPoolExecutor(
        processes, context, _begin, (reports, stop, os.getpid())
    )
    with _one_thread_each(), pool:
        pending = {pool.submit(_run, name, job): name for name, job in jobs.items()}
        # The pool learns of a process only when the next job comes: without one, the
        # death of the last process would go unnoticed.
        pool.submit(int)
        try:
            _watch(pending, reports, on_progress, on_result, stop, stopped)
        except futures.process.BrokenProcessPool as error:
            # From Python 3.12 on the pool waits for those that it has asked to end, and
            # ours leave such signals to the parent.
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise WorkerError(
                "A process ended without a message, often for want of memory. What is "
                "on disk is intact; the same command goes on."
            ) from error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            reports.close()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Lets numpy use one thread in the processes that start meanwhile.

    Where there are as many processes as cores, more threads only get in their way: two
    each made the networks of agents 20 times slower.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _watch(pending, reports, on_progress, on_result, stop, stopped) -> None:
    ended: set[str] = set()
    while pending:
        done, _ = futures.wait(pending, PATIENCE, futures.FIRST_COMPLETED)
        ended |= _drain(reports, on_progress)
        for future in done:
            name, result = pending.pop(future), future.result()
            while name not in ended:  # Its last reports may still be on their way.
                ended |= _drain(reports, on_progress, PATIENCE)
            on_result(name, result)
        if stopped():
            stop.set()


def _drain(reports, on_progress, patience: float = 0.0) -> set[str]:
    """Hands on what there is; returns the jobs that have said their last."""
    ended = set()
    with contextlib.suppress(queue.Empty):
        while True:
            name, *report = reports.get(timeout=patience)
            if report:
                on_progress(name, *report)
            else:
                ended.add(name)
    return ended


# In the processes.

_channel: tuple[Any, Any, int] | None = None


def _begin(reports, stop, parent: int) -> None:
    global _channel
    left_to_the_parent()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _channel = reports, stop, parent


def _end_with_the_parent() -> None:
    """Ends the process soon after a parent that was killed, whatever it waits for."""
    connection.wait([multiprocessing.parent_process().sentinel])
    time.sleep(GRACE)  # For a job to see it, and to stop by itself.
    os._exit(1)


def _run(name: str, job: Job) -> Any:
    reports, stop, parent = _channel

    def stopped() -> bool:
        # A parent that was killed cannot tell.
        return stop.is_set() or os.getppid() != parent

    try:
        if stopped():
            return None
        return job(lambda *report: reports.put((name, *report)), stopped)
    finally:
        reports.put((name,))
