"""The sampling law: which pieces of episodes training sees, and how often.

Each piece is drawn as in the original's `replay.py` (Hafner et al. 2021), unless the
law says otherwise, see `Law`. Both datasets use this law: `rows.Pieces` draws pieces
for all rows of a batch at once, `pool.Pool` when a row needs one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.common.choices import DRAWS
from dreamerv2_transfer.common.replay.store import DatasetError

Integers = int | np.ndarray


@dataclasses.dataclass(frozen=True)
class Law:
    """How pieces of episodes are drawn.

    An episode of `total` transitions is drawn uniformly, then a length, then a start:

        episode = U{0, ..., count - 1}
        length  = max(min(total, maxlen) - U{0, ..., minlen - 1}, minlen)
        start   = min(U{0, ..., total - length + ends}, total - length)

    The length is random so that not all pieces end at the same time where episodes are
    equally long. With `prioritize_ends`, ends = minlen: the last start of an episode is
    minlen + 1 times as likely as any other. Otherwise ends = 0.

    With `draw` "steps", the probability of an episode is proportional to `weights`
    instead, so that episodes make up the same share of the steps that are drawn as of
    the data. Ours; the paper's authors read all episodes through, with the same effect.

    A share `rewarded` of the pieces is drawn from the same distribution under the
    condition that the piece holds a nonzero reward, see `rewards.Rewards`. Ours.

    Args:
        minlen: Fewest transitions of a piece; episodes of fewer must not be drawn from.
        maxlen: Most transitions of a piece; 0 for no limit.
        prioritize_ends: Whether to draw the end of an episode more often.
        draw: What is drawn uniformly, "episodes" or "steps".
        rewarded: Share of the pieces that are drawn among those with a reward; if
            there is none, all pieces are drawn as with 0.

    Raises:
        DatasetError: An argument is out of range.
    """

    minlen: int = 1
    maxlen: int = 0
    prioritize_ends: bool = False
    draw: str = DRAWS[0]
    rewarded: float = 0.0

    def __post_init__(self):
        if self.minlen < 1 or (self.maxlen and self.maxlen < self.minlen):
            raise DatasetError(
                "replay.minlen must be at least 1, and replay.maxlen 0 (no limit) or "
                f"at least replay.minlen. Received: minlen={self.minlen}, "
                f"maxlen={self.maxlen}."
            )
        if self.draw not in DRAWS:
            raise DatasetError(
                f"dataset.draw must be one of {', '.join(DRAWS)}. "
                f"Received: draw={self.draw}."
            )
        if not 0 <= self.rewarded <= 1:
            raise DatasetError(
                "dataset.rewarded must be a share of the pieces, from 0 to 1. "
                f"Received: rewarded={self.rewarded}."
            )

    @property
    def is_original(self) -> bool:
        """Whether each episode is as likely as another, and so is each reward."""
        return self.draw == DRAWS[0] and not self.rewarded

    @property
    def ends(self) -> int:
        """How many times more often than any other the last start is drawn."""
        return self.minlen if self.prioritize_ends else 0

    def cut(
        self,
        total: Integers,
        rng: np.random.Generator,
        shape: tuple[int, ...] | None = None,
    ) -> tuple[Integers, Integers]:
        """Draws pieces of given episodes.

        Args:
            total: Transitions of each piece's episode.
            rng: The generator to draw from.
            shape: Shape of what is drawn; None for a single piece.

        Returns:
            First transition and length of each piece.
        """
        # For single numbers Python's functions are faster.
        lower, higher = (min, max) if shape is None else (np.minimum, np.maximum)
        length = lower(total, self.maxlen or total)
        length = higher(length - rng.integers(self.minlen, size=shape), self.minlen)
        last = total - length
        start = lower(rng.integers(last + 1 + self.ends, size=shape), last)
        return start, length

    def shortenings(self, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns by how much pieces can be shorter than the longest, and how often.

        Args:
            totals: Transitions of the episodes.

        Returns:
            What is taken off the longest length, int [n]; its probability, float [n].
            The last number stands for all larger ones, which change no piece.
        """
        longest = np.minimum(totals, self.maxlen or totals).max(initial=self.minlen)
        number = min(self.minlen, int(longest) - self.minlen + 1)
        chances = np.full(number, 1 / self.minlen)
        chances[-1] = (self.minlen - number + 1) / self.minlen
        return np.arange(number), chances

    def length(self, total: np.ndarray, shorter: Integers) -> np.ndarray:
        """Returns the length of pieces that are shortened by given numbers."""
        longest = np.minimum(total, self.maxlen or total)
        return np.maximum(longest - shorter, self.minlen)

    def mean_length(self, totals: np.ndarray) -> np.ndarray:
        """Returns the mean length of the pieces of each episode, float [episodes]."""
        # The lengths are minlen + excess, minlen + excess - 1, ..., at least minlen.
        excess = np.minimum(totals, self.maxlen or totals) - self.minlen
        terms = np.minimum(excess + 1, self.minlen)
        return self.minlen + terms * (2 * excess - terms + 1) / (2 * self.minlen)

    def weights(self, totals: np.ndarray) -> np.ndarray:
        """Returns to what the probability of each episode is proportional."""
        if self.draw == DRAWS[0]:
            return np.ones(len(totals))
        return totals / self.mean_length(totals)


class Weighted:
    """Draws entries of groups, with probabilities proportional to weights.

    Args:
        weights: The weights, one group after the other; none negative.
        counts: Entries of each group; None for a single group.

    Attributes:
        totals: Sum of the weights of each group; a group of 0 must not be drawn from.
    """

    def __init__(self, weights: np.ndarray, counts: Sequence[int] | None = None):
        counts = [len(weights)] if counts is None else counts
        self._sums = np.concatenate([[0.0], np.cumsum(weights)])
        bounds = self._sums[np.concatenate([[0], np.cumsum(counts)])]
        self._low, self._high = bounds[:-1], bounds[1:]
        self.totals = self._high - self._low

    def draw(
        self,
        group: Integers,
        rng: np.random.Generator,
        shape: tuple[int, ...] | None = None,
    ) -> Integers:
        """Draws entries, numbered through all groups.

        Args:
            group: The group of each entry; broadcasts to `shape`.
            rng: The generator to draw from.
            shape: Shape of what is drawn; None for a single entry.
        """
        low, high = self._low[group], self._high[group]
        at = low + rng.random(shape) * (high - low)
        # Rounding may reach the next group, or an entry of weight 0 at the end.
        at = np.minimum(at, np.nextafter(high, low))
        return np.searchsorted(self._sums, at, side="right") - 1
