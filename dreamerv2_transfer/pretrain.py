"""Pre-trains a world model on recorded episodes of several games.

There is no environment, no actor and no critic: the rows of a batch come from different
games, and each batch makes one update of the world model. A killed run resumes from its
last checkpoint, with the metrics of a run that was never killed.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dreamerv2_transfer import validation
from dreamerv2_transfer.agent import WorldModel
from dreamerv2_transfer.common import envs, evaluation, interrupt, tfutils, updates
from dreamerv2_transfer.common import trainer as trainer_lib
from dreamerv2_transfer.common.checkpoint import Stateful, named_variables
from dreamerv2_transfer.common.distributed import cluster, messages
from dreamerv2_transfer.common.logger import Logger
from dreamerv2_transfer.common.ops import flops
from dreamerv2_transfer.common.replay import offline, prefetch
from dreamerv2_transfer.transfer import weights

EFFICIENCY = 0.4  # Share of the matrix-product peak that an update reaches on a CPU.
LONG_HOURS = 2
SHORT_HOURS = 1 / 60


def pretrain(
    config,
    logdir: pathlib.Path,
    dataset: offline.OfflineDataset,
    world_model: WorldModel,
    logger: Logger,
    saved: Callable[[], None] = lambda: None,
) -> bool:
    """Trains until `config.steps` updates are done or the process is asked to stop.

    Args:
        config: The resolved configuration.
        logdir: The run's folder.
        dataset: Provides the batches.
        world_model: The world model to train.
        logger: Receives the metrics; its step counter counts the updates.
        saved: Called after each checkpoint, by the process that wrote it.

    Returns:
        Whether all updates are done.

    Raises:
        TrainingError: A loss is not finite. The last checkpoint stays as it is.
        WorkerError: Another process of the run has died.
    """
    trainer = Trainer(config, logdir, dataset, world_model, logger, saved)
    with messages.naming_lost_workers(config), interrupt.caught() as stopped:
        trainer.start()
        with trainer.batches:
            return trainer.run(messages.any_stopped(config, stopped))


class Trainer(trainer_lib.Trainer):
    """Updates a world model on batches of several games.

    Its arguments are those of `pretrain`.
    """

    # The rest of an interval belongs to the next log line of a longer run.
    logs_last = False

    def __init__(self, config, logdir, dataset, world_model, logger, saved):
        super().__init__(config, logdir, logger, "Pre-training", saved=saved)
        self.dataset = dataset
        self.wm = world_model
        self.batches = prefetch.Prefetch(dataset, config.dataset.prefetch)
        self._state = world_model.rssm.initial(config.dataset.batch)
        self._carry = tfutils.variables(self._state)
        self._updates = updates.Updates(
            self.update,
            config,
            self.logdir,
            source=dataset.source,
            consume=self.add_metrics,
        )
        self._recorded = validation.Recorded(
            world_model, config, dataset, logger, self.logdir
        )

    def begin(self) -> None:
        """Evaluates the fresh model, if asked to."""
        if self.config.eval_at_start:
            self.evaluate()

    def step(self) -> None:
        """Makes the updates of one call of the graph."""
        count = updates.in_next_call(self.config, self.counter, self.config.steps)
        batches = [self.batches.next() for _ in range(count)]
        self._state = self._updates.run(batches, self._state, self.counter)
        self.counter.increment(count)

    def update(self, batch: dict[str, tf.Tensor], state):
        """Updates the world model on a batch `(B, T, ...)`.

        Returns:
            The states after the batch, and metrics: scalars over all rows, and under
            `NAME/` those of each game, `(tasks,)`.
        """
        state, outputs, metrics = self.wm.train(batch, state)
        tasks = len(self.dataset.tasks)
        by_task = self.wm.loss_by_task(outputs, batch["task"], tasks)
        return state, {**metrics, **{f"{k}/": v for k, v in by_task.items()}}

    def add_metrics(self, metrics: dict[str, np.ndarray], batch: updates.Batch) -> None:
        """Averages the metrics of an update, those of a game weighted by its rows."""
        by_task = {k: metrics.pop(k) for k in list(metrics) if k.endswith("/")}
        self.averages.add(metrics)
        rows = np.bincount(batch["task"], minlength=len(self.dataset.tasks))
        for i, task in enumerate(self.dataset.tasks):
            values = {f"{name}{task}": v[i] for name, v in by_task.items()}
            self.averages.add(values, int(rows[i]))

    def metrics(self) -> dict[str, float]:
        self._updates.read()
        return self.averages.result()

    def evaluate(self) -> None:
        """Logs losses on held-out episodes and open-loop videos, game by game.

        Only the chief does; the other processes wait for it at their next update.
        """
        self._updates.read()
        if not cluster.is_chief(self.config):
            return
        with tfutils.reseeded(self.wm.rng, evaluation.SEED):
            self._recorded.log()
        self.logger.write()

    def variables(self) -> dict[str, tf.Variable]:
        return {
            **named_variables("world_model", self.wm.variables),
            **named_variables("model_opt", self.wm.model_opt.variables),
            **{f"carry/{k}": v for k, v in self._carry.items()},
            "rng": self.wm.rng.state,
        }

    def stateful(self) -> dict[str, Stateful]:
        return {
            "step": self.counter,
            "dataset": self.batches,
            "averages": self.averages,
        }

    def restore(self) -> int | None:
        """Restores the last checkpoint, which must be the same in all processes."""
        step = messages.agree_on_step(self.config, super().restore())
        self._state = {k: tf.identity(v) for k, v in self._carry.items()}
        return step

    def save(self) -> None:
        """Writes a checkpoint and the world model's weights, in the chief alone."""
        self._updates.read()
        if cluster.is_chief(self.config):
            tfutils.assign(self._carry, self._state)
            super().save()

    def save_files(self) -> None:
        weights.save_world_model(self.logdir, self.wm, int(self.counter))

    def has_files(self) -> bool:
        if not cluster.is_chief(self.config):
            return True
        return weights.step_of(self.logdir / weights.WORLD_MODEL) == self.counter


def announce(config, obs_space, act_space) -> None:
    """Prints how long a run of a minute or more will take on a machine without a GPU.

    The estimate comes from the operations of an update and the machine's speed; the
    progress bar knows better once it runs.
    """
    if tfutils.on_gpu():
        return
    shapes = {k: tuple(v.shape) for k, v in obs_space.items()}
    operations = flops.world_model_step(
        config, shapes, envs.act_size(act_space["action"])
    )
    speed = flops.measure_peak(tfutils.compute_dtype().name, seconds=0.1, size=1024)
    hours = config.steps * operations / (speed * EFFICIENCY) / 3600
    if hours < SHORT_HOURS:  # Less than what starting takes.
        return
    time = f"{hours:.1f} hours" if hours > LONG_HOURS else f"{60 * hours:.0f} minutes"
    print(f"About {time} for {int(config.steps):,} updates on this CPU.", flush=True)
    if hours > LONG_HOURS:
        print(
            "For a model that 2 CPU cores train in minutes to an hour, add `small`: "
            "--configs minatar small pretrain"
        )
