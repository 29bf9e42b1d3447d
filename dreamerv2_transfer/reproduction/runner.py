"""Runs the jobs of a study on an engine, several at a time.

Each job is a command that resumes from its last checkpoint. So whatever ended this
process, the same call resumes the study: `reproduce.json` has what is done, and what
was under way is started again.
"""

from __future__ import annotations

import pathlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from dreamerv2_transfer.common import cli, interrupt
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import locks, remote
from dreamerv2_transfer.common.progress import Progress
from dreamerv2_transfer.reproduction import processes
from dreamerv2_transfer.reproduction.engines import Engine
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.ledger import Ledger
from dreamerv2_transfer.reproduction.processes import Ended, last_line, tell


class StudyError(UserError):
    """Jobs failed, or another process runs them."""


class Runner:
    """Runs the jobs of a study.

    Args:
        logdir: The study's folder; gets `reproduce.json`, and a log per job in `logs/`.
        engine: What runs them.
        retries: How often a job that dies is started again.

    Attributes:
        ledger: What is done.
    """

    def __init__(self, logdir: pathlib.Path, engine: Engine, retries: int = 0):
        self.ledger = Ledger(logdir)
        self._logdir = logdir
        self._engine = engine
        self._retries = retries
        self._deaths: Counter[Job] = Counter()
        self._failed: list[str] = []

    def run(self, jobs: Sequence[Job]) -> bool:
        """Runs what is not done yet; returns whether all of it is.

        A job that fails holds up only those that need it. Ctrl-C stops the jobs at
        their next checkpoint.

        Raises:
            StudyError: Jobs failed, or another process runs this study.
        """
        left = [job for job in jobs if not self.ledger.is_done(job)]
        used = StudyError(f"Another process runs the study in {self._logdir}.")
        with locks.locked(self._logdir, used), interrupt.caught() as stopped:
            done = len(jobs) - len(left)
            with Progress(len(jobs), done, "Jobs", "job") as bar:
                while not stopped():
                    self._collect(self._engine.ended(), bar, left)
                    waits = self._start(left, jobs)
                    if not (self._engine.running or waits):
                        break
                    time.sleep(processes.POLL)
                self._collect(self._engine.stop_all(), bar, left, is_stopping=True)
        if self._failed:
            raise StudyError("\n".join(self._failed))
        return all(self.ledger.is_done(job) for job in jobs)

    def log(self, job: Job) -> pathlib.Path:
        """Returns the file that gets a job's output."""
        return processes.log_of(self._logdir, job)

    def _start(self, left: list[Job], jobs: Sequence[Job]) -> bool:
        """Starts the jobs that can run now, and removes them from those left.

        Returns:
            Whether a job waits for a process that still uses its folder: that of a
            study that was killed may take seconds to save.
        """
        unfinished = {job.name for job in jobs if not self.ledger.is_done(job)}
        waits = False
        for job in list(left):
            if not self._engine.has_place:
                break
            if unfinished.intersection(job.needs):
                continue
            if self._is_in_use(job):
                waits = True
                continue
            left.remove(job)
            self._engine.start(job, self.log(job))
            tell(f"Started  {job.name}")
        return waits

    def _is_in_use(self, job: Job) -> bool:
        """Returns whether another process of this machine writes where a job does."""
        if job.store:
            return remote.is_written(job.store)
        return job.logdir != self._logdir and locks.is_locked(job.logdir)

    def _collect(
        self,
        all_ended: Iterable[Ended],
        bar: Progress,
        left: list[Job],
        is_stopping: bool = False,
    ) -> None:
        """Takes note of the jobs that have ended, and puts back those that died.

        Args:
            all_ended: These jobs.
            bar: Counts those that are done.
            left: Jobs to start.
            is_stopping: Whether they were asked to stop. Some may be done, or have
                failed, before they heard of it.
        """
        for ended in all_ended:
            job, seconds, status = ended
            if not status:
                self.ledger.finish(job, seconds)
                bar.update()
                tell(f"Finished {job.name} in {seconds / 60:.1f} minutes")
                continue
            self.ledger.stop(job, seconds)
            if is_stopping and (ended.has_died or status == cli.INTERRUPTED):
                tell(f"Stopped  {job.name}; the same command resumes it")
                continue
            if ended.has_died and self._deaths[job] < self._retries:
                self._deaths[job] += 1
                left.insert(0, job)
                tell(f"Died     {job.name}; it starts again from its last checkpoint")
                continue
            self._failed.append(
                f"{job.name} failed with status {status}: "
                f"{last_line(self.log(job))} (see {self.log(job)})"
            )
            tell(f"Failed   {job.name}")
