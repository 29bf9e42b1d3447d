"""Measures what fine-tuning makes a world model forget of the games that it knew."""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamerv2_transfer.common.replay import offline
from dreamerv2_transfer.validation.held_out import HeldOut
from dreamerv2_transfer.world_model import WorldModel


class Forgetting:
    """The model's error on held-out episodes of known games, and how much it grew.

        forgetting = mean over games of (error now - error before the first update)

    It is measured in nats a step, and below 0 where the model got better. (The
    forgetting of Chaudhry et al. 2018, "Riemannian Walk for Incremental Learning", with
    errors in place of accuracies and the start in place of the best.)

    Args:
        world_model: The world model that is fine-tuned.
        config: The resolved configuration.
        dataset: The episodes of the known games.
    """

    def __init__(
        self, world_model: WorldModel, config, dataset: offline.OfflineDataset
    ):
        self._games = [task for task in dataset.tasks if dataset.held_out(task)]
        self._held_out = HeldOut(world_model, config, dataset)
        self._start: dict[str, float] = {}

    def metrics(self) -> dict[str, float]:
        """Returns errors and forgetting by name; the first call is the start.

        The start is another one after a run resumed with other games.
        """
        errors = {
            task: float(self._held_out.losses(task)["model_error"])
            for task in self._games
        }
        if not errors:
            return {}
        if self._start.keys() != errors.keys():
            self._start = errors
        return {
            "known_model_error": float(np.mean([*errors.values()])),
            "forgetting": float(np.mean([errors[k] - self._start[k] for k in errors])),
            **{f"known_model_error/{task}": error for task, error in errors.items()},
        }

    def state(self) -> dict[str, Any]:
        return {"start": self._start}

    def load_state(self, state: dict[str, Any]) -> None:
        self._start = state["start"]
