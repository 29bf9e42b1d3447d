"""The episodes of a replay that are kept in memory, and the counts of all of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dreamerv2_transfer.common.replay import sources
from dreamerv2_transfer.common.replay.law import Law
from dreamerv2_transfer.common.replay.packed import PackedEpisodes
from dreamerv2_transfer.common.replay.pool import Chances
from dreamerv2_transfer.common.replay.sources import Stored


class Memory:
    """Complete episodes, oldest first; the oldest leave it beyond a capacity.

    Args:
        capacity: Most steps in memory, 0 for no limit; the newest episode stays.
        episodes: The episodes to begin with.
        total_episodes: Number of the run's episodes, in memory or not.
        total_steps: Environment steps of all of them.
        known: Identifiers of the episodes that these totals count.
        law: How pieces of the episodes are drawn.

    Attributes:
        episodes: The episodes in memory.
        chances: How likely each of them is.
        known: As given.
        total_episodes: Number of the run's episodes so far.
        total_steps: Environment steps of all of them.
    """

    def __init__(
        self,
        capacity: float,
        episodes: list[Stored],
        total_episodes: int,
        total_steps: int,
        known: Iterable[str],
        law: Law | None = None,
    ):
        self.episodes = episodes
        self.chances = Chances(law or Law(), episodes)
        self.known = frozenset(known)
        self.total_episodes = total_episodes
        self.total_steps = total_steps
        self._capacity = capacity or np.inf
        self._steps = sum(x.packed.steps for x in episodes)

    @property
    def stats(self) -> dict[str, int]:
        """Steps and episodes of the run (`total_*`) and in memory (`loaded_*`)."""
        return {
            "total_steps": self.total_steps,
            "total_episodes": self.total_episodes,
            "loaded_steps": self._steps,
            "loaded_episodes": len(self.episodes),
        }

    def fit(self, packed: PackedEpisodes) -> PackedEpisodes:
        """Checks an episode's shapes against the newest; raises DatasetError."""
        if not self.episodes:
            return packed
        return sources.fit(packed, self.episodes[-1].packed)

    def add(self, episode: Stored) -> None:
        """Adds a new episode; drops the oldest ones beyond the capacity."""
        packed = self.fit(episode.packed)
        self.episodes.append(episode._replace(packed=packed))
        self.chances.append(self.episodes[-1])
        self.total_episodes += 1
        self.total_steps += packed.steps
        self._steps += packed.steps
        while self._steps > self._capacity and len(self.episodes) > 1:
            self._steps -= self.episodes.pop(0).packed.steps
            self.chances.drop_oldest()
