"""Pre-trains a world model on recorded episodes of several games.

No environment, no actor, no critic: batches whose rows come from different games, one
update of the world model each. A killed run goes on from its last checkpoint, and its
metrics are those of a run that was never killed.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from dreamerv2_transfer import validation
from dreamerv2_transfer.agent import WorldModel
from dreamerv2_transfer.common import checkpoint, envs, interrupt, tfutils, updates
from dreamerv2_transfer.common.config import check_least
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.distributed import cluster, messages, replicas
from dreamerv2_transfer.common.logger import Logger
from dreamerv2_transfer.common.logger.averages import Averages
from dreamerv2_transfer.common.ops import flops
from dreamerv2_transfer.common.progress import Progress
from dreamerv2_transfer.common.replay import offline, prefetch
from dreamerv2_transfer.transfer import weights

EFFICIENCY = 0.4  # Share of the matrix-product peak that an update reaches on a CPU.
LONG_HOURS = 2
EVAL_SEED = 0  # The noise of every evaluation, so that two differ by the model alone.


def pretrain(
    config,
    logdir: pathlib.Path,
    make_dataset: Callable[[], offline.OfflineDataset],
    make_world_model: Callable[[], WorldModel],
    make_logger: Callable[[Counter], Logger],
    planes: Callable[[str], int | None] = lambda task: None,
    saved: Callable[[], None] = lambda: None,
) -> bool:
    """Trains until `config.steps` updates are done or the process is asked to stop.

    Args:
        config: The resolved configuration.
        logdir: The run's folder.
        make_dataset: Makes the source of batches.
        make_world_model: Makes the model.
        make_logger: Makes the logger, given the counter of updates.
        planes: How many planes a game's image really has, for its colours in videos.
        saved: Called after each checkpoint, by the process that wrote it.

    Returns:
        Whether all updates are done.

    Raises:
        ConfigError: A number by which the run could not begin.
        updates.TrainingError: A loss is not finite. The last checkpoint stays as it is.
        WorkerError: Another process that works on the run has died.
    """
    check(config)
    replicas.check(config)
    trainer = Trainer(
        config, logdir, make_dataset(), make_world_model(), make_logger, planes, saved
    )
    with messages.losses_told(config):
        resumed = messages.agreed(config, trainer.restore())
    if resumed is not None:
        print(f"resumed from step {resumed}")
    if trainer.step >= config.steps:
        print(f"All {int(config.steps)} updates are done; nothing is left to do.")
        return True
    told = messages.losses_told(config)
    with told, interrupt.caught() as stopped, trainer.batches() as batches:
        if resumed is None and config.eval_at_start:
            trainer.evaluate()
        return trainer.run(batches, messages.any_stopped(config, stopped))


def check(config) -> None:
    """Refuses numbers by which a run could not begin.

    Raises:
        ConfigError: Names the key.
    """
    check_least(config, {"steps_per_call": 1})


def announce(config, obs_space, act_space) -> None:
    """Says how long the run will take where that is long: on a machine without a GPU.

    An estimate from the operations of an update and the machine's speed; the progress
    bar knows better once it runs.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    shapes = {k: tuple(v.shape) for k, v in obs_space.items()}
    operations = flops.world_model_step(
        config, shapes, envs.act_size(act_space["action"])
    )
    speed = flops.measure_peak(tfutils.compute_dtype().name, seconds=0.1, size=1024)
    hours = config.steps * operations / (speed * EFFICIENCY) / 3600
    time = f"{hours:.1f} hours" if hours > LONG_HOURS else f"{60 * hours:.0f} minutes"
    print(f"About {time} for {int(config.steps)} updates on this CPU.", flush=True)
    if hours > LONG_HOURS:
        print(
            "For a model that 2 CPU cores train in minutes to an hour, add `small`: "
            "--configs minatar small pretrain"
        )


class Trainer:
    """The parts of a pre-training run, and what it does between two checkpoints."""

    def __init__(
        self, config, logdir, dataset, world_model, make_logger, planes, saved
    ):
        self.config = config
        self._saved = saved
        self.logdir = pathlib.Path(logdir)
        self.dataset = dataset
        self.wm = world_model
        self.step = Counter()
        self._is_chief = cluster.is_chief(config)
        self.logger = make_logger(self.step)
        self.averages = Averages()
        self.planes = planes
        self._position = self.dataset.state()
        self._state = self.wm.rssm.initial(config.dataset.batch)
        self._carry = tfutils.variables(self._state)
        self._updates = updates.Updates(
            self._update_fn,
            config,
            self.logdir,
            self._games,
            self._average,
        )
        self._held_out = validation.HeldOut(world_model, config, dataset)
        self._dreams = validation.Dreams(world_model, config, self.logger, logdir)
        self._checkpoint = checkpoint.Checkpoint(
            self.logdir / "checkpoints",
            self._variables(),
            self._python_state,
            self._load_python_state,
            config.checkpoints_kept,
        )

    def _variables(self) -> dict[str, tf.Variable]:
        """All that a checkpoint holds, by name."""
        return {
            **checkpoint.named_variables("world_model", self.wm.variables),
            **checkpoint.named_variables("model_opt", self.wm.model_opt.variables),
            **{f"carry/{k}": v for k, v in self._carry.items()},
            "rng": self.wm.rng.state,
        }

    def _python_state(self) -> dict:
        return {
            "step": self.step.state(),
            "dataset": self._position,
            "averages": self.averages.state(),
        }

    def _load_python_state(self, state: dict) -> None:
        self.step.load_state(state["step"])
        self._position = state["dataset"]
        self.dataset.load_state(state["dataset"])
        self.averages.load_state(state["averages"])

    def restore(self) -> int | None:
        """Goes back to the last checkpoint, the log too. Returns its step, if any."""
        step = self._checkpoint.restore()
        self._state = {k: tf.identity(v) for k, v in self._carry.items()}
        self.logger.rewind(-1 if step is None else step)
        return step

    def save(self) -> None:
        """Writes a checkpoint and the weights that travel; only the chief does."""
        self._updates.read()
        if not self._is_chief:
            return
        tfutils.assign(self._carry, self._state)
        self._checkpoint.save(int(self.step))
        path = self.logdir / weights.WORLD_MODEL
        weights.save_weights(path, self.wm.components)
        self._saved()

    def batches(self) -> prefetch.Prefetch:
        return prefetch.Prefetch(self.dataset, self.config.dataset.prefetch)

    def run(self, batches, stopped: Callable[[], bool]) -> bool:
        """Updates until all are done (True) or `stopped` says so (False)."""
        steps = int(self.config.steps)
        with Progress(steps, int(self.step), "Pre-training", "update") as bar:
            while self.step < steps and not stopped():
                count = updates.in_next_call(self.config, self.step, steps)
                self.update([batches.next() for _ in range(count)])
                self._position = batches.state()
                bar.update(count)
                self._after_update(steps)
        if self.step >= steps:
            return True
        if not self._due(self.config.checkpoint_every):  # Else it was just written.
            self.save()
        print(f"Stopped at update {int(self.step)}; the same command goes on from it.")
        return False

    def _after_update(self, steps: int) -> None:
        last = self.step >= steps
        if self._due(self.config.log_every):
            self._updates.read()
            self.logger.add(self.averages.result())
            self.logger.write(fps=True)
        if self._due(self.config.eval_every) or last:
            self.evaluate()
        if self._due(self.config.checkpoint_every) or last:
            self.save()

    def _due(self, every: float) -> bool:
        return updates.is_due(self.step, every)

    def update(self, batches: Sequence[updates.Batch]) -> None:
        """One update of the world model on each of the batches."""
        self._state = self._updates.run(batches, self._state, self.step)
        self.step.increment(len(batches))

    def _update_fn(self, batch, state):
        """Metrics over all rows, and as `NAME/` those of each game, `(tasks,)`."""
        state, outputs, metrics = self.wm.train(batch, state)
        tasks = len(self.dataset.tasks)
        by_task = self.wm.loss_by_task(outputs, batch["task"], tasks)
        return state, {**metrics, **{f"{k}/": v for k, v in by_task.items()}}

    def _average(self, metrics: dict[str, np.ndarray], batch: updates.Batch) -> None:
        """Counts the metrics over all rows once, and those of a game by its rows."""
        by_task = {k: metrics.pop(k) for k in list(metrics) if k.endswith("/")}
        self.averages.add(metrics)
        rows = np.bincount(batch["task"], minlength=len(self.dataset.tasks))
        for i, task in enumerate(self.dataset.tasks):
            values = {f"{name}{task}": v[i] for name, v in by_task.items()}
            self.averages.add(values, int(rows[i]))

    def _games(self, batch: updates.Batch) -> str:
        return ", ".join(sorted({self.dataset.tasks[i] for i in batch["task"]}))

    def evaluate(self) -> None:
        """Logs losses on held-out episodes and open-loop videos, game by game.

        Only the chief does; the others wait for it at their next update.
        """
        self._updates.read()
        if not self._is_chief:
            return
        with tfutils.reseeded(self.wm.rng, EVAL_SEED):
            losses = {task: self._held_out.losses(task) for task in self.dataset.tasks}
            losses = {task: values for task, values in losses.items() if values}
            for name in sorted({k for values in losses.values() for k in values}):
                by_task = {t: x[name] for t, x in losses.items() if name in x}
                self.logger.scalar(f"eval_{name}", np.mean(list(by_task.values())))
                self.logger.add({f"eval_{name}/{t}": v for t, v in by_task.items()})
            for task in self.dataset.tasks:
                self._log_videos(task)
        self.logger.write()

    def _log_videos(self, task: str) -> None:
        options = self.config.video
        batch = self.dataset.video_batch(task, options.rows, options.length)
        if batch is not None:
            self._dreams.log(batch, task, self.planes(task), "openl")
