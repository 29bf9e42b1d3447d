"""The training loop that pre-training, online training and DQN share.

start: restore the last checkpoint, or begin a fresh run
run:   step ─▶ log? ─▶ evaluate? ─▶ save? ─▶ step ─▶ ... until all steps are done
"""

from __future__ import annotations

import abc
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from dreamerv2_transfer.common import updates, when
from dreamerv2_transfer.common.checkpoint import Checkpoint, Stateful
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.errors import EnvError
from dreamerv2_transfer.common.logger import Logger
from dreamerv2_transfer.common.logger.averages import Averages
from dreamerv2_transfer.common.progress import Progress, explained


class Trainer(abc.ABC):
    """Makes steps, logs, evaluates and saves at intervals, and resumes exactly.

    A subclass defines `step`, `evaluate`, and in `variables` and `stateful` what a
    checkpoint holds.

    Args:
        config: The resolved configuration.
        logdir: The run's folder.
        logger: Receives the metrics; its step counter is the run's counter.
        title: What the progress bar calls the run.
        unit: What the counter counts, `update` or `step`.
        saved: Called after each checkpoint.

    Attributes:
        counter: Updates or steps so far.
        averages: Metrics since the last log line.
        logs_last: Whether the last step is logged even if no interval ends there.
    """

    logs_last = True

    def __init__(
        self,
        config,
        logdir: pathlib.Path,
        logger: Logger,
        title: str,
        unit: str = "update",
        saved: Callable[[], None] = lambda: None,
    ):
        self.config = config
        self.logdir = pathlib.Path(logdir)
        self.logger = logger
        self.counter = logger.step
        self.averages = Averages()
        self._title = title
        self._unit = unit
        self._saved = saved
        self._before = 0  # The counter before the step in progress.
        self._missed = Counter()  # 1 if the last evaluation was not completed.

    # Hooks.

    @abc.abstractmethod
    def step(self) -> None:
        """Makes the next piece of work; it may leave the counter as it is."""

    @abc.abstractmethod
    def evaluate(self) -> None:
        """Logs evaluation metrics and videos."""

    @abc.abstractmethod
    def variables(self) -> dict[str, tf.Variable]:
        """Returns all variables of a checkpoint, by name."""

    @abc.abstractmethod
    def stateful(self) -> dict[str, Stateful]:
        """Returns what else has a state, by name, in the order of loading."""

    def begin(self) -> None:  # noqa: B027
        """Prepares a fresh run; by default there is nothing to prepare."""

    def metrics(self) -> Mapping[str, Any]:
        """Returns the metrics of a log line; by default the averages."""
        return self.averages.result()

    def save_files(self) -> None:  # noqa: B027
        """Writes files beside the checkpoint, such as weights for other runs."""

    def has_files(self) -> bool:
        """Returns whether `save_files` wrote those of the checkpoint just restored."""
        return True

    # The loop.

    @property
    def is_done(self) -> bool:
        """Whether all steps are made."""
        return self.counter >= int(self.config.steps)

    def start(self) -> None:
        """Restores the last checkpoint, or begins a fresh run."""
        step = self.restore()
        if step is None:
            self.begin()
        else:
            print(f"resumed from step {step}", flush=True)
            if not self.has_files():  # A kill after the checkpoint, or a lost file.
                self.save_files()
                print(f"Wrote the files of step {step} beside its checkpoint.")

    def run(self, stopped: Callable[[], bool]) -> bool:
        """Makes steps until all are done.

        An environment that fails ends the run, after a checkpoint. An evaluation in
        which it failed is made by the next start.

        Args:
            stopped: Returns whether to save and stop now.

        Returns:
            Whether all steps are done.
        """
        total = int(self.config.steps)
        if self.is_done and self._missed == 0:
            print(f"All {total} {self._unit}s are done; nothing is left to do.")
            return True
        is_saved = False
        try:
            with Progress(total, int(self.counter), self._title, self._unit) as bar:
                if self._missed == 1:
                    self._evaluate()
                    self.save()
                while not self.is_done and not stopped():
                    self._before, is_saved = int(self.counter), False
                    self.step()
                    if self.counter == self._before:
                        continue
                    bar.update(int(self.counter) - self._before)
                    last = self.is_done
                    if self.reaches(self.config.log_every) or (last and self.logs_last):
                        self.logger.add(self.metrics())
                        self.logger.write(fps=True)
                    if self.reaches(self.config.eval_every) or last:
                        self._evaluate()
                    if self.reaches(self.config.checkpoint_every) or last:
                        self.save()
                        is_saved = True
        except EnvError:
            self.save()
            raise
        if self.is_done:
            return True
        if not is_saved:
            self.save()
        step = f"{self._unit} {int(self.counter)}"
        print(f"Stopped at {step}; the same command resumes from it.")
        return False

    def _evaluate(self) -> None:
        self._missed.value = 1
        with explained("Evaluating"):
            self.evaluate()
        self._missed.value = 0

    def reaches(self, every: float) -> bool:
        """Returns whether this step gets to a multiple of `every`; 0 is never."""
        return when.reached(every, self._before, int(self.counter))

    # Checkpoints.

    @functools.cached_property
    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            self.logdir / "checkpoints",
            self.variables(),
            {**self.stateful(), "missed": self._missed},
            self.config.checkpoints_kept,
        )

    def restore(self) -> int | None:
        """Restores the last checkpoint and cuts the log back to it.

        Returns:
            Its step, or None if there is no checkpoint.
        """
        step = self._checkpoint.restore()
        self.logger.rewind(-1 if step is None else step)
        return step

    def save(self) -> None:
        """Writes a checkpoint and the files beside it.

        Raises:
            TrainingError: A variable is not finite; nothing is written.
        """
        now = f"{self._unit} {int(self.counter)}"
        updates.check_weights(self.variables(), now)
        # Even after a power failure, no checkpoint may know more than the log.
        self.logger.sync()
        self._checkpoint.save(int(self.counter))
        self.save_files()
        self._saved()
