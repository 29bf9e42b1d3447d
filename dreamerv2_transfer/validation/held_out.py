"""Evaluates a world model on held-out episodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dreamerv2_transfer.agent import WorldModel
from dreamerv2_transfer.common import tfutils, updates
from dreamerv2_transfer.common.logger.averages import Averages
from dreamerv2_transfer.common.replay import offline
from dreamerv2_transfer.validation.diagnosis import Diagnosis


def by_game(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Returns the means of games' figures, and as `NAME/GAME` those of each.

    Args:
        found: By game, its figures by name.
    """
    result = {}
    for name in sorted({name for figures in found.values() for name in figures}):
        each = {game: x[name] for game, x in found.items() if name in x}
        result[name] = float(np.mean([*each.values()]))
        result |= {f"{name}/{game}": value for game, value in each.items()}
    return result


class HeldOut:
    """Figures of a world model on held-out episodes, always on the same batches.

    Args:
        world_model: The world model to evaluate.
        config: The resolved configuration; `eval_batches` is the number of batches per
            game.
        dataset: Holds out the episodes.
    """

    def __init__(
        self, world_model: WorldModel, config, dataset: offline.OfflineDataset
    ):
        self._wm = world_model
        self._config = config
        self._dataset = dataset
        self._forward = tfutils.compiled(self.forward, config)
        self._diagnosis = Diagnosis(world_model, config, dataset)

    def metrics(self, task: str) -> dict[str, float]:
        """Returns losses and diagnosis of a game by name; none if nothing is held out.

        Rewards may be so rare that no loss shows whether the model predicts them; the
        diagnosis does, see `Diagnosis`.
        """
        return {**self.losses(task), **self._diagnosis.metrics(task)}

    def losses(self, task: str) -> dict[str, float]:
        """Returns a game's losses by name, means over batches."""
        averages = Averages()
        state = self._wm.rssm.initial(self._config.dataset.batch)
        for batch in self._dataset.eval_batches(task, self._config.eval_batches):
            state, metrics = self._forward(updates.tensors(batch), state)
            averages.add(updates.numbers(metrics))
        return averages.result()

    def forward(self, batch, state):
        """Returns the state after a batch, and the metrics of its loss."""
        _, state, _, metrics = self._wm.loss(batch, state)
        return state, metrics
