"""Pieces that hold a reward: drawn directly, and how often training sees rewards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dreamerv2_transfer.common.replay.law import Law, Weighted
from dreamerv2_transfer.common.replay.packed_episodes import PackedEpisodes

CHUNK = 2**16  # Rewards that are computed with at a time, and steps that are read.


class Rewards:
    """Draws pieces from the sampling law's under the condition that they hold a reward.

    Each piece that holds one belongs to its first. Of the pieces of length L, those
    that belong to the reward at step r, with the reward before it at p (-1 if there is
    none), start at

        s = max(p + 1, r - L + 1), ..., min(r, total - L)

    So a reward is drawn by how likely its pieces are, then a length, then a start.

    A reward takes 16 bytes: its step, and the sum of the probabilities up to it.

    Args:
        law: How pieces are drawn.
        steps: The steps with a reward, numbered through all episodes, int [rewards].
        totals: Transitions of the episodes, int [episodes].
        counts: Rewards of each group of episodes; None for a single group.

    Attributes:
        totals: For each group, the sum over its episodes of their weight times the
            probability that a piece holds a reward.
    """

    def __init__(
        self,
        law: Law,
        steps: np.ndarray,
        totals: np.ndarray,
        counts: Sequence[int] | None = None,
    ):
        self._law, self._steps, self._totals = law, steps, totals
        self._bases = np.cumsum(totals) - totals
        self._shorter, self._likely = law.shortenings(totals)
        self._weights = law.weights(totals)
        chances = np.zeros(len(steps))
        for index, episode, shorter, likely in self._each():
            *_, share = self._starts(index, episode, shorter)
            chances[index] += likely * share
        self._weighted = Weighted(chances, counts)
        self.totals = self._weighted.totals

    def _each(self) -> Iterator[tuple[np.ndarray, np.ndarray, int, np.ndarray]]:
        """Yields rewards, their episodes, and each length with its weights."""
        for begin in range(0, len(self._steps), CHUNK):
            index = np.arange(begin, min(begin + CHUNK, len(self._steps)))
            episode = self._episode(index)
            weight = self._weights[episode]
            for shorter, likely in zip(self._shorter, self._likely, strict=True):
                yield index, episode, int(shorter), likely * weight

    def _episode(self, index: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._bases, self._steps[index], side="right") - 1

    def _starts(
        self,
        index: np.ndarray,
        episode: np.ndarray,
        shorter: int | np.ndarray,
        others: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Returns where the pieces of rewards start.

        Args:
            index: Numbers of the rewards.
            episode: Their episodes.
            shorter: By how much the pieces are shorter than the longest.
            others: Whether pieces that hold an earlier reward count too.

        Returns:
            First and last start; length of the pieces; their share of the pieces of
            this length of the episode.
        """
        base, total = self._bases[episode], self._totals[episode]
        before = np.where((index > 0) & (not others), self._steps[index - 1], -1)
        step = self._steps[index] - base
        length = self._law.length(total, shorter)
        end = total - length
        first = np.maximum(np.maximum(before + 1 - base, step - length + 1), 0)
        last = np.minimum(step, end)
        ways = last - first + 1 + np.where(last == end, self._law.ends, 0)
        ways = np.where(first <= last, ways, 0)
        return first, last, length, ways / (end + 1 + self._law.ends)

    def draw(
        self, group: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws pieces.

        Args:
            group: The group of each piece, int [pieces]; each has a reward.
            rng: The generator to draw from.

        Returns:
            Number of the episode through all groups, first transition and length of
            each piece.
        """
        index = self._weighted.draw(group, rng, group.shape)
        episode = self._episode(index)
        shorter = 0
        if len(self._shorter) > 1:
            columns = index[:, None], episode[:, None], self._shorter
            sums = np.cumsum(self._starts(*columns)[-1] * self._likely, axis=1)
            at = rng.random((len(index), 1)) * sums[:, -1:]
            shorter = np.minimum((at >= sums).sum(1), len(self._shorter) - 1)
        first, last, length, _ = self._starts(index, episode, shorter)
        end = self._totals[episode] - length
        ends = np.where(last == end, self._law.ends, 0)
        start = np.minimum(first + rng.integers(last - first + 1 + ends), last)
        return episode, start, length

    def presented(self) -> float:
        """Returns the share of the steps drawn for training that hold a reward.

        In the long run it is the mean number of rewards of a piece over the mean length
        of a piece. Pieces count as if each was read to its end, although a row that
        changes its game drops what is left of a piece.
        """
        if not len(self._steps):
            return 0.0
        number = holding = steps = 0.0
        for index, episode, shorter, weight in self._each():
            *_, length, share = self._starts(index, episode, shorter)
            holding += float(weight @ share)
            steps += float(weight @ (share * length))
            *_, share = self._starts(index, episode, shorter, others=True)
            number += float(weight @ share)
        mean = np.average(self._law.mean_length(self._totals), weights=self._weights)
        drawn, chosen = 1 - self._law.rewarded, self._law.rewarded
        rewards = drawn * number / self._weights.sum() + chosen * number / holding
        return float(rewards / (drawn * mean + chosen * steps / holding))


def rewarded_steps(packed: PackedEpisodes) -> np.ndarray:
    """Returns the steps of packed episodes that hold a nonzero reward, in order."""
    array, begins = packed.arrays["reward"], range(0, int(packed.offsets[-1]), CHUNK)
    found = [np.flatnonzero(array[x : x + CHUNK]) + x for x in begins]
    return np.concatenate(found)
