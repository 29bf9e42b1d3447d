"""Warns when an actor exploits rewards that only its dreams hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import SupportsFloat

from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.logger.averages import Averages

DREAMED = "reward_dreamed"
TRUE = ("reward_played", "reward_replayed")


class Phantom:
    """Compares dreamed with true rewards, and warns once if they are phantoms.

    An actor seeks what its world model predicts, so it finds states in which the model
    is wrong. It dreams of rewards there and does not get them.

    Of the true rates, the higher one counts: that of the episodes that the actor plays,
    and that of the replayed steps, from which dreams start. These may hold more rewards
    (`dataset.rewarded`), or fewer where earlier actors played them.

    Args:
        config: The resolved configuration; `phantom` says when to warn, and
            `clip_rewards` what learned rewards are.
    """

    def __init__(self, config):
        self._options = config.phantom
        self._clip = config.clip_rewards
        self._averages = Averages()
        self._updates = 0
        self._warned = False

    def add(self, metrics: Mapping[str, SupportsFloat], weight: float = 1.0) -> None:
        """Adds metrics, and warns if it is time to.

        Args:
            metrics: Mean rewards a step; others are ignored.
            weight: How much they count: each update alike, an episode by its steps.
        """
        if self._warned or not self._options.patience:
            return
        known = {k: metrics[k] for k in (DREAMED, *TRUE) if k in metrics}
        self._averages.add(known, weight)
        self._updates += DREAMED in known
        if self._updates < self._options.patience:
            return
        self._updates, means = 0, self._averages.result()
        true = max(0.0, *(means[k] for k in TRUE if k in means))
        limit = max(self._options.ratio * true, true + self._options.margin)
        if means[DREAMED] > limit:
            self._warned = True
            played, replayed = (f"{means[k]:.2g}" if k in means else "?" for k in TRUE)
            progress.write(
                "Warning: the actor exploits phantom reward. Over "
                f"{self._options.patience} updates it dreamed {means[DREAMED]:.2g} "
                f"reward a step, where its episodes held {played} and the replayed "
                f"steps {replayed} (rewards after clip_rewards={self._clip}). The "
                "world model predicts rewards that do not exist, and play may get "
                "worse the longer this goes on. Train the world model on more rewards "
                "(--dataset.rewarded 0.5, or a longer pre-training), and do not freeze "
                "it."
            )
