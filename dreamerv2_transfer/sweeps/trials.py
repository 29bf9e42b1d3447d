"""Trials that are under way: their learning curves, at points of their budget.

A run's budget has `POINTS` points. At each of them a trial's value is the mean over its
games, so trials are compared at the same updates, or the same minutes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dreamerv2_transfer.common.config import suggestion
from dreamerv2_transfer.plotting import metrics_file, runs
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.sweeps.plan import Plan
from dreamerv2_transfer.sweeps.search import POINTS

if TYPE_CHECKING:
    from optuna.trial import Trial

# A trial's attributes.
MARKS = "marks"  # By job, the step that it had reached at each point.
LEVELS = "levels"  # By game, the last level of the metric.
SHARE = "share"  # Of the budget that was used.
SECONDS = "seconds"  # Of all jobs together.
ERROR = "error"  # Why it failed.


class Curve:
    """The learning curve of a job, which may still be running.

    Args:
        plan: The sweep.
        job: The job.
        game: Its game.
        marks: The step that it had reached at each point, as far as that is known.

    Attributes:
        game: Its game.
        marks: The same, up to the last look.
        share: Share of its budget that it has used.
        names: The metrics that it has logged.
    """

    def __init__(self, plan: Plan, job: Job, game: str, marks: list[float]):
        self.game = game
        self.marks = list(marks)
        self.share = len(marks) / POINTS
        self._plan = plan
        self._file = job.logdir / runs.METRICS
        self._seen: tuple[int, int] | None = None
        self.names: list[str] = []
        self._last = 0.0  # Step of the last line.
        self._series: Series | None = None

    def look(self, seconds: float, is_done: bool = False) -> bool:
        """Takes note of how far the job is.

        Args:
            seconds: How long it has been running, all starts together.
            is_done: Whether it has ended.

        Returns:
            Whether it has reached a point.
        """
        self._read()
        plan = self._plan
        used = seconds / plan.budget if plan.minutes else self._last / plan.budget
        self.share = 1.0 if is_done else max(self.share, min(used, 1.0))
        before = len(self.marks)
        while len(self.marks) < int(POINTS * self.share + 1e-9):
            at = plan.budget * (len(self.marks) + 1) / POINTS
            self.marks.append(self._last if plan.minutes else at)
        return len(self.marks) > before

    def level(self, point: int) -> float | None:
        """Returns how good it was at a point, from 1 on, that it has reached."""
        return self._plan.objective.level(self._series, self.marks[point - 1])

    @property
    def last(self) -> float | None:
        """How good it was when it was last looked at."""
        return self._plan.objective.level(self._series, self._last)

    def _read(self) -> None:
        try:
            found = os.stat(self._file)
            if (seen := (found.st_mtime_ns, found.st_size)) == self._seen:
                return
            metrics, _ = metrics_file.read(self._file)
        except FileNotFoundError:
            return
        self._seen = seen
        self.names = [*metrics]
        self._series = metrics.get(self._plan.objective.metric)
        lasts = [float(steps[-1]) for steps, _ in metrics.values()]
        self._last = max(lasts, default=0.0)


class RunningTrial:
    """A trial that is under way.

    Args:
        plan: The sweep.
        trial: What Optuna drew; gets the values.

    Attributes:
        trial: The same.
        curves: By job, its curve.
    """

    def __init__(self, plan: Plan, trial: Trial):
        self.trial = trial
        marks = trial.user_attrs.get(MARKS, {})
        self.curves = {
            job: Curve(plan, job, game, marks.get(job.name, []))
            for job, game in plan.jobs(trial.number, trial.params).items()
        }
        self._plan = plan
        known = trial.study.trials[trial.number].intermediate_values
        self._told = max(known, default=0)

    def look(self, seconds: Mapping[Job, float], done: set[Job]) -> bool:
        """Reads the metrics of its jobs, and reports the points they all have reached.

        Args:
            seconds: How long jobs have been running, all starts together.
            done: The jobs that have ended.

        Returns:
            Whether its value is new.
        """
        new = [
            curve.look(seconds.get(job, 0.0), job in done)
            for job, curve in self.curves.items()
        ]
        # After a restart, nothing but this tells which step was reached in which time.
        if any(new) and self._plan.minutes:
            marks = {job.name: curve.marks for job, curve in self.curves.items()}
            self.trial.set_user_attr(MARKS, marks)
        before = self._told
        reached = min(len(curve.marks) for curve in self.curves.values())
        for point in range(before + 1, reached + 1):
            value = self.value(point)
            if value is not None:  # Else nothing had been logged by then.
                self.trial.report(value, point)
                self._told = point
        return self._told > before

    def value(self, point: int = POINTS) -> float | None:
        """Returns the mean over all jobs at a point; None before it or without any."""
        levels = []
        for curve in self.curves.values():
            level = curve.level(point) if point <= len(curve.marks) else None
            if level is None:
                return None
            levels.append((curve.game, level))
        return self._plan.objective.score(levels)

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number

    @property
    def share(self) -> float:
        """Share of its budget that it has used."""
        return sum(x.share for x in self.curves.values()) / len(self.curves)

    def should_prune(self) -> bool:
        """Whether it is worse than others were at its last point."""
        return self._told < POINTS and self.trial.should_prune()

    def lacking(self) -> str:
        """Returns why it has no value, although it has ended."""
        metric = self._plan.objective.metric
        logged = [name for curve in self.curves.values() for name in curve.names]
        return f"it logged no {metric}.{suggestion(metric, logged)}"

    def remember(self, seconds: float, error: str) -> None:
        """Writes down what is known of it at its end, for the results.

        Args:
            seconds: How long its jobs have been running, all together.
            error: Why it failed; '' if it did not.
        """
        levels: dict[str, list[float]] = {}
        for curve in self.curves.values():
            if curve.last is not None:
                levels.setdefault(curve.game, []).append(curve.last)
        means = {game: sum(known) / len(known) for game, known in levels.items()}
        self.trial.set_user_attr(LEVELS, means)
        self.trial.set_user_attr(SHARE, self.share)
        self.trial.set_user_attr(SECONDS, seconds)
        if error:
            self.trial.set_user_attr(ERROR, error)
