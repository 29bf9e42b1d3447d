"""Runs a sweep: starts the jobs of its trials, watches them, prunes and judges.

Each job is a command that resumes from its last checkpoint, and each trial's parameters
are written down before its jobs start. So whatever ended this process, the same call
resumes the sweep: trials that were under way go on from their own checkpoints.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from dreamerv2_transfer.common import cli, interrupt
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import atomic, locks
from dreamerv2_transfer.common.progress import Progress
from dreamerv2_transfer.reproduction import processes
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.ledger import Ledger
from dreamerv2_transfer.reproduction.processes import Ended, Processes, last_line, tell
from dreamerv2_transfer.sweeps import page, results
from dreamerv2_transfer.sweeps.plan import Plan
from dreamerv2_transfer.sweeps.search import Search, SweepError
from dreamerv2_transfer.sweeps.space import shown
from dreamerv2_transfer.sweeps.trials import RunningTrial

LEDGER = "jobs.json"
NOTE_EVERY = 10.0  # Seconds of a job that a kill may leave uncounted.
PAGE_EVERY = 60.0  # Seconds between two pages while trials are under way.
OTHERS = ("config.yaml", "reproduce.json")  # Of a run's and of a study's folder.
# How a job ends that is told to stop: well, or before it listens.
STOPPED = (0, cli.INTERRUPTED, -signal.SIGINT)


def run(plan: Plan, pool: Processes, trials: int, failures: int, pruner: str) -> bool:
    """Runs a sweep until it has some trials, or is asked to stop.

    Args:
        plan: The sweep.
        pool: Runs the jobs.
        trials: How many trials to have in all.
        failures: Failed trials in a row that end the sweep.
        pruner: One of `search.PRUNERS`.

    Returns:
        Whether all trials have ended.

    Raises:
        SweepError: Too many trials failed, none is complete, another process runs this
            sweep, or as for `Search`.
        ConfigError: The folder is that of a run or of a study.
    """
    for name in OTHERS:
        if (plan.logdir / name).exists():
            raise ConfigError(
                f"{plan.logdir} is not the folder of a sweep: it has a {name}. Choose "
                "another --logdir."
            )
    used = SweepError(f"Another process runs the sweep in {plan.logdir}.")
    with locks.locked(plan.logdir, used), interrupt.caught() as stopped:
        search = Search(plan, pruner)
        with atomic.writing(plan.logdir):  # What Optuna writes.
            try:
                return Sweeper(plan, search, pool, trials, failures).run(stopped)
            finally:
                results.write(plan, search)
                page.write(plan, search)


class Sweeper:
    """Runs the trials of a sweep whose folder is locked.

    Args:
        plan: The sweep.
        search: Its trials so far.
        pool: Runs the jobs.
        trials: How many trials to have in all.
        failures: Failed trials in a row that end the sweep.
    """

    def __init__(
        self, plan: Plan, search: Search, pool: Processes, trials: int, failures: int
    ):
        self._plan = plan
        self._search = search
        self._processes = pool
        self._ledger = Ledger(plan.logdir, LEDGER)
        self._trials = trials
        self._most_failures = failures
        self._failures: list[str] = []  # In a row, until now.
        self._running: list[RunningTrial] = []
        self._queue: list[Job] = []
        self._before: dict[Job, float] = {}  # Seconds before the last start.
        self._out_of_time: set[Job] = set()
        self._page_at = time.monotonic() + PAGE_EVERY

    def run(self, stopped: Callable[[], bool]) -> bool:
        """Runs trials until all have ended; returns whether they have.

        Args:
            stopped: Tells whether to stop; then jobs stop at their next checkpoint.

        Raises:
            SweepError: Too many trials failed in a row, or none is complete at the end.
        """
        for trial in self._search.interrupted():
            self._begin(RunningTrial(self._plan, trial), "Resumes")
        for one in self._running:
            self._look_at(one)
        known = len(self._search.ended) + len(self._running)
        total = int(max(self._trials, known) * self._cost)
        with Progress(total, self._done(), "Sweep", self._plan.unit) as bar:
            try:
                while not (stopped() or self._has_failed):
                    self._step(bar)
                    # Jobs of trials that were pruned keep their places for a while.
                    if not (self._running or self._processes.running):
                        break
                    time.sleep(processes.POLL)
            finally:
                for ended in self._processes.stop_all():
                    self._note(ended)
        if self._has_failed:
            last = self._failures[-1].rstrip(".")
            raise SweepError(
                f"{len(self._failures)} trials in a row failed, the last one by "
                f"{last}. Mend the cause and repeat the command."
            )
        for one in self._running:
            tell(f"Trial {one.number} stopped; the same command resumes it")
        is_done = len(self._search.ended) >= self._trials
        if is_done and self._search.best is None:
            raise SweepError(
                "No trial is complete, so there is no best one. Mend the cause, which "
                f"the notes of {self._plan.logdir / page.PAGE} tell, and repeat the "
                "command with a higher --trials."
            )
        return is_done

    @property
    def _has_failed(self) -> bool:
        return len(self._failures) >= self._most_failures

    @property
    def _cost(self) -> float:
        """The budget of a trial, all of its jobs together."""
        return self._plan.budget * len(self._plan.games) * len(self._plan.seeds)

    def _done(self) -> int:
        """How much of the sweep is done, in the unit of the budget."""
        trials = len(self._search.ended) + sum(one.share for one in self._running)
        return int(trials * self._cost)

    def _step(self, bar: Progress) -> None:
        """Looks at all that runs, ends trials and starts others."""
        for ended in self._processes.ended():
            self._note(ended)
            one = next((x for x in self._running if ended.job in x.curves), None)
            if one and not self._ledger.is_done(ended.job):
                line = last_line(processes.log_of(self._plan.logdir, ended.job))
                self._end(one, "FAIL", f"{ended.job.name}: {line}")
        for one in [*self._running]:
            is_new = self._look_at(one)
            bar.update(max(self._done() - bar.done, 0))
            if all(self._ledger.is_done(job) for job in one.curves):
                if one.value() is None:
                    self._end(one, "FAIL", one.lacking())
                else:
                    self._end(one, "COMPLETE")
            elif is_new and one.should_prune():
                self._end(one, "PRUNED")
        best, number = self._search.best, len(self._search.ended)
        told = f", best {best.value:.4g} in trial {best.number}" if best else ""
        bar.note(f"{number} of {self._trials} trials{told}")
        bar.skip(max(self._done() - bar.done, 0))  # Of trials that ended early.
        self._start()

    def _begin(self, one: RunningTrial, how: str) -> None:
        told = ", ".join(f"{k} {shown(x)}" for k, x in one.trial.params.items())
        tell(f"{how} trial {one.number}: {told}")
        self._running.append(one)
        self._queue += [job for job in one.curves if not self._ledger.is_done(job)]

    def _start(self) -> None:
        """Starts jobs, and trials, as long as there is place."""
        while self._processes.has_place and not self._has_failed:
            if not self._queue:
                if len(self._search.ended) + len(self._running) >= self._trials:
                    return
                self._begin(RunningTrial(self._plan, self._search.ask()), "Starts")
            # A sweep that was killed leaves jobs that take seconds to save.
            job = next((x for x in self._queue if not locks.is_locked(x.logdir)), None)
            if job is None:
                return
            self._queue.remove(job)
            self._before[job] = self._ledger.spent(job)
            self._processes.start(job, processes.log_of(self._plan.logdir, job))

    def _look_at(self, one: RunningTrial) -> bool:
        """Reads the curves of a trial; returns whether its value is new."""
        seconds = {job: self._seconds(job) for job in one.curves}
        for job in [x for x in self._processes.running if x in seconds]:
            if seconds[job] - self._ledger.spent(job) > NOTE_EVERY:
                self._ledger.stop(job, seconds[job] - self._ledger.spent(job))
            is_over = 0 < 60 * self._plan.minutes <= seconds[job]
            if is_over and job not in self._out_of_time:
                self._out_of_time.add(job)
                self._processes.stop(job)
        return one.look(seconds, {x for x in one.curves if self._ledger.is_done(x)})

    def _seconds(self, job: Job) -> float:
        """How long a job has been running, all starts together."""
        if job not in self._processes.running:
            return self._ledger.spent(job)
        return self._before[job] + self._processes.seconds(job)

    def _note(self, ended: Ended) -> None:
        """Writes down how long a job has been running, and whether it is done."""
        job, seconds, status = ended
        more = self._before[job] + seconds - self._ledger.spent(job)
        if status == 0 or (job in self._out_of_time and status in STOPPED):
            self._ledger.finish(job, more)
        else:
            self._ledger.stop(job, more)

    def _end(self, one: RunningTrial, state: str, error: str = "") -> None:
        """Ends a trial, and tells how."""
        self._running.remove(one)
        self._queue = [job for job in self._queue if job not in one.curves]
        for job in [x for x in self._processes.running if x in one.curves]:
            self._processes.stop(job)
        one.remember(sum(map(self._ledger.seconds, one.curves)), error)
        value = one.value()
        self._search.tell(one.trial, state, value if state == "COMPLETE" else None)
        if error:
            self._failures.append(error)
            tell(f"Trial {one.number} failed, {error}")
        else:
            self._failures.clear()
            tell(f"Trial {one.number} {self._outcome(one, state, value)}")
        results.write(self._plan, self._search)
        if time.monotonic() >= self._page_at:
            page.write(self._plan, self._search)
            self._page_at = time.monotonic() + PAGE_EVERY

    def _outcome(self, one: RunningTrial, state: str, value: float | None) -> str:
        """Returns how a trial ended that did not fail."""
        if state == "PRUNED":
            return f"was pruned after {one.share:.0%} of its budget"
        best = self._search.best
        is_best = best is not None and best.number == one.number
        told = ", the best so far" if is_best else ""
        return f"has a {self._plan.objective.name} of {value:.4g}{told}"
