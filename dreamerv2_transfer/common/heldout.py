"""Losses of a world model on episodes that it is not trained on."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from dreamerv2_transfer.common import offline, tfutils, updates
from dreamerv2_transfer.common.averages import Averages

if TYPE_CHECKING:
    from dreamerv2_transfer.agent import WorldModel


class HeldOut:
    """Evaluates a world model, always on the same batches.

    Args:
        world_model: Predicts.
        config: The resolved configuration; `eval_batches` says how many a game.
        dataset: Whose held-out episodes count.
    """

    def __init__(
        self, world_model: WorldModel, config, dataset: offline.OfflineDataset
    ):
        self._wm = world_model
        self._config = config
        self._dataset = dataset
        self._losses = tfutils.compiled(self._losses_fn, config)

    def losses(self, task: str) -> dict[str, float]:
        """Losses and metrics of a game by name; none if nothing of it is held out."""
        averages = Averages()
        state = self._wm.rssm.initial(self._config.dataset.batch)
        for batch in self._dataset.eval_batches(task, self._config.eval_batches):
            state, metrics = self._losses(updates.tensors(batch), state)
            averages.add(updates.numbers(metrics))
        return averages.result()

    def _losses_fn(self, batch, state):
        _, state, _, metrics = self._wm.loss(batch, state)
        return state, metrics


def open_dataset(config, logdir: pathlib.Path) -> offline.OfflineDataset | None:
    """The episodes of `eval_dataset`, on which an online run is evaluated, if any.

    Raises:
        DatasetError: They cannot be read, or are of another kind than the run's.
    """
    if not config.eval_dataset:
        return None
    alone = config.update(task_weights=[1.0])
    folder = config.eval_dataset
    return offline.open_dataset(alone, folder, [config.task], logdir / "packed")
