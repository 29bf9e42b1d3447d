"""Draws pieces of a replay's episodes by the sampling law, as a row needs them."""

from __future__ import annotations

import array
from collections.abc import Iterable, Sequence

import numpy as np

from dreamerv2_transfer.common.replay.law import Law, Weighted
from dreamerv2_transfer.common.replay.rewards import Rewards
from dreamerv2_transfer.common.replay.sources import Ongoing, Piece, Stored

BLOCK = 16  # Pieces with a reward that are drawn at once; faster than one at a time.


def rewards_of(law: Law, episodes: Sequence[Stored | Ongoing]) -> Rewards:
    """Returns what draws the pieces of each episode that hold a reward."""
    steps = [episode.rewarded for episode in episodes]
    totals = np.array([episode.length for episode in episodes])
    bases = np.cumsum(totals) - totals
    counts = [len(found) for found in steps]
    return Rewards(
        law, np.concatenate(steps) + np.repeat(bases, counts), totals, counts
    )


class Chances:
    """How likely each episode in memory is, oldest first: two numbers for each.

    Of the original's law, by which all are as likely, there is nothing to keep.

    Args:
        law: How pieces are drawn.
        episodes: The episodes to begin with.
    """

    def __init__(self, law: Law, episodes: Iterable[Stored]):
        self.law = law
        self._weights, self._rewarded = array.array("d"), array.array("d")
        for episode in episodes:
            self.append(episode)

    def append(self, episode: Stored | Ongoing) -> None:
        """Adds an episode."""
        if self.law.draw == "steps":
            weight = self.law.weights(np.array([episode.length]))
            self._weights.append(float(weight[0]))
        if self.law.rewarded:
            self._rewarded.append(float(rewards_of(self.law, [episode]).totals[0]))

    def drop_oldest(self) -> None:
        """Removes the oldest episode."""
        for values in (self._weights, self._rewarded):
            if values:
                values.pop(0)

    def tables(
        self, ongoing: Sequence[Ongoing]
    ) -> tuple[Weighted | None, Weighted | None]:
        """Returns what draws the numbers of episodes, those in progress coming last.

        They depend on nothing but the episodes, so that they are the same after a
        resume.

        Returns:
            By weight; None if all are as likely. By how likely a piece holds a reward;
            None if none does, or the law takes none of them.
        """
        more = Chances(self.law, [])
        for episode in ongoing:
            more.append(episode)
        weights = np.array(self._weights + more._weights)
        rewarded = np.array(self._rewarded + more._rewarded)
        return (
            Weighted(weights) if len(weights) else None,
            Weighted(rewarded) if rewarded.any() else None,
        )


class Pool:
    """The episodes that a batch is drawn from.

    Args:
        episodes: Those in memory, oldest first.
        ongoing: Those in progress.
        chances: How likely those in memory are.
        rng: The generator to draw from.

    Attributes:
        lacks_rewards: Whether the law takes a share of the pieces from those that hold
            a reward, and there is none.
    """

    def __init__(
        self,
        episodes: list[Stored],
        ongoing: Sequence[Ongoing],
        chances: Chances,
        rng: np.random.Generator,
    ):
        # Copies the list only if it has to: there may be many episodes.
        self._episodes: list = [*episodes, *ongoing] if ongoing else episodes
        self._law, self._rng = chances.law, rng
        self._weights = self._rewarded = None
        self._ready: list[tuple[Stored | Ongoing, int, int]] = []
        if not self._law.is_original:
            self._weights, self._rewarded = chances.tables(ongoing)
        self.lacks_rewards = self._law.rewarded > 0 and self._rewarded is None

    def __len__(self) -> int:
        return len(self._episodes)

    def draw(self) -> Piece:
        """Draws a piece."""
        if self._rewarded and self._rng.random() < self._law.rewarded:
            self._ready = self._ready or self._with_rewards(self._rewarded)
            episode, start, length = self._ready.pop()
        else:
            if self._weights:
                number = self._weights.draw(0, self._rng)
            else:
                number = self._rng.integers(len(self._episodes))
            episode = self._episodes[number]
            start, length = map(int, self._law.cut(episode.length, self._rng))
        return episode.cut(start, start + length)

    def _with_rewards(self, table: Weighted) -> list[tuple[Stored | Ongoing, int, int]]:
        """Draws episode, start and length of several pieces that hold a reward."""
        numbers = table.draw(0, self._rng, (BLOCK,))
        episodes = [self._episodes[number] for number in numbers]
        rewards = rewards_of(self._law, episodes)
        _, start, length = rewards.draw(np.arange(BLOCK), self._rng)
        return [*zip(episodes, start.tolist(), length.tolist(), strict=True)]
