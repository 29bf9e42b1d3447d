"""Held-out losses and dreams of each game that a world model is trained on."""

from __future__ import annotations

import pathlib

from dreamerv2_transfer.agent import WorldModel
from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.logger import Logger
from dreamerv2_transfer.common.replay import offline
from dreamerv2_transfer.validation.dreams import Dreams
from dreamerv2_transfer.validation.held_out import HeldOut, by_game


class Recorded:
    """Evaluates a world model on the held-out episodes of all games of a dataset.

    Args:
        world_model: The world model to evaluate.
        config: The resolved configuration.
        dataset: Holds out the episodes.
        logger: Receives the metrics, and the videos for TensorBoard.
        logdir: The run's folder; `videos/` in it receives the videos as GIFs.
    """

    def __init__(
        self,
        world_model: WorldModel,
        config,
        dataset: offline.OfflineDataset,
        logger: Logger,
        logdir: pathlib.Path,
    ):
        self._dataset = dataset
        self._options = config.video
        self._logger = logger
        self._held_out = HeldOut(world_model, config, dataset)
        self._dreams = Dreams(world_model, config, logger, logdir)

    def log(self) -> None:
        """Logs means over the games, the metrics of each, and open-loop videos."""
        tasks, options = self._dataset.tasks, self._options
        found = {task: self._held_out.metrics(task) for task in tasks}
        self._logger.add(by_game(found), prefix="eval")
        for task in tasks:
            batch = self._dataset.video_batch(task, options.rows, options.length)
            if batch is not None:
                self._dreams.log(batch, task, envs.native_planes(task), "openl")
