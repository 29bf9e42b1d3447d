"""Joins pieces of episodes, drawn by the sampling law, into rows of a batch.

A row joins pieces one after the other, see `join`. The state of a row is the piece
that it is in, so that the next batch continues there.

Both datasets use `law.Law`. They keep their own random streams, which their checkpoints
resume: `offline.py` draws pieces for all rows of a batch at once and drops those that
turn out to be too many, `online.py` draws one piece at a time when a row needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common.replay.law import Law, Weighted
from dreamerv2_transfer.common.replay.rewards import Rewards


def join(sizes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joins pieces into rows, one after the other.

    Args:
        sizes: Steps of each piece, int [rows, pieces]; at least `length` in a row.
            Column 0 is what is left of the piece in progress, which may be no step.
        length: Steps of a row.

    Returns:
        Where in its row each piece starts, and how many of its steps the row takes,
        both int [rows, pieces]; where a new piece starts, bool [rows, length].
    """
    start = np.cumsum(sizes, axis=1) - sizes
    taken = np.clip(length - start, 0, sizes)
    is_first = np.zeros((len(sizes), length), bool)
    row, piece = np.nonzero(taken[:, 1:])
    is_first[row, start[row, piece + 1]] = True
    return start, taken, is_first


def longest_first(
    starts: np.ndarray, totals: np.ndarray, rows: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fills rows with the longest episodes from their start, without drawing.

    Then come the rest of these episodes, uninterrupted as well; shorter episodes are
    joined only if these do not fill the rows.

    Args:
        starts: First steps of the episodes, int [episodes].
        totals: Their transitions, int [episodes].
        rows: Number of rows.
        length: Steps of a row.

    Returns:
        The step at each position, int [rows, length]; where a piece starts, bool [rows,
        length].
    """
    order = np.argsort(-totals, kind="stable")
    episodes = list(zip(starts[order], totals[order], strict=True))
    whole = [
        (start + turn * length, length)
        for turn in range(int(totals.max()) // length)
        for start, total in episodes
        if total >= (turn + 1) * length
    ]
    pieces = whole[:rows]
    short = [(start, total) for start, total in episodes if total < length] or whole
    while sum(size for _, size in pieces) < rows * length:
        pieces += short
    index = np.concatenate([start + np.arange(size) for start, size in pieces])
    is_first = np.concatenate([np.arange(size) == 0 for _, size in pieces])
    shape = rows, length
    count = rows * length
    return index[:count].reshape(shape), is_first[:count].reshape(shape)


class Pieces:
    """Draws pieces of the episodes of several games.

    Args:
        episodes: For each game, first steps and transitions of its usable episodes.
        law: How pieces are drawn.
        rewards: For each game, the steps of these episodes that hold a reward, in
            order and in the numbers of the first steps; needed if the law takes a
            share of its pieces from them.

    Attributes:
        mean: Mean length of a piece, about, in the game of the shortest pieces.
        rewarded: For each game, the share of its pieces that are drawn among those
            with a reward.
    """

    def __init__(
        self,
        episodes: Sequence[tuple[np.ndarray, np.ndarray]],
        law: Law,
        rewards: Sequence[np.ndarray] = (),
    ):
        self._counts = np.array([len(starts) for starts, _ in episodes])
        self._bases = np.cumsum(self._counts) - self._counts
        self._starts = np.concatenate([starts for starts, _ in episodes])
        self._totals = np.concatenate([totals for _, totals in episodes])
        self._law = law
        means = [np.minimum(x, law.maxlen or x).mean() for _, x in episodes]
        self.mean = max(min(means) - law.minlen / 2, law.minlen)
        self._weighted = None
        if law.draw == "steps":
            self._weighted = Weighted(law.weights(self._totals), self._counts)
        self.rewarded = np.zeros(len(episodes))
        if law.rewarded:
            self._rewards = Rewards(
                law,
                _renumbered(episodes, rewards),
                self._totals,
                [len(steps) for steps in rewards],
            )
            self.rewarded[self._rewards.totals > 0] = law.rewarded

    def draw(
        self, game: np.ndarray, number: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws pieces of each row's game.

        Args:
            game: The game of each row, int [rows].
            number: Pieces of a row.
            rng: The generator to draw from.

        Returns:
            First steps and lengths, int64 [rows, number].
        """
        shape, column = (len(game), number), game[:, None]
        if self._weighted:
            episode = self._weighted.draw(column, rng, shape)
        else:
            drawn = rng.integers(self._counts[column], size=shape)
            episode = self._bases[column] + drawn
        start, length = self._law.cut(self._totals[episode], rng, shape)
        if self.rewarded.any():
            chosen = rng.random(shape) < self.rewarded[column]
            group = np.broadcast_to(column, shape)[chosen]
            replaced = self._rewards.draw(group, rng)
            episode[chosen], start[chosen], length[chosen] = replaced
        return self._starts[episode] + start, length


def _renumbered(
    episodes: Sequence[tuple[np.ndarray, np.ndarray]], steps: Sequence[np.ndarray]
) -> np.ndarray:
    """Numbers steps of each game through the episodes of all games."""
    renumbered, base = [], 0
    for (starts, totals), found in zip(episodes, steps, strict=True):
        episode = np.searchsorted(starts, found, side="right") - 1
        bases = base + np.cumsum(totals) - totals
        renumbered.append(found + (bases - starts)[episode])
        base += int(totals.sum())
    return np.concatenate(renumbered)


class Rows:
    """An endless stream of batches, each row of one game.

    Args:
        pieces: What rows are joined from.
        weights: How often each game is drawn.
        batch: Rows of a batch.
        length: Steps of a row.
        rng: The generator to draw from.
    """

    def __init__(
        self,
        pieces: Pieces,
        weights: Sequence[float],
        batch: int,
        length: int,
        rng: np.random.Generator,
    ):
        self._pieces = pieces
        self._cumulative = np.cumsum(weights) / np.sum(weights)
        self._cumulative /= self._cumulative[-1]  # So that the last is exactly one.
        self._length = length
        self._number = int(1.5 * length / pieces.mean) + 1
        self._rng = rng
        self._game = np.full(batch, -1)
        self._next = np.zeros(batch, np.int64)
        self._left = np.zeros(batch, np.int64)

    def next(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws a batch.

        Returns:
            The game of each row, int [batch]; the step of that game's episodes at each
            position, int64 [batch, length]; where a piece starts, bool [batch, length].
        """
        chance = self._rng.random(len(self._game))
        game = np.searchsorted(self._cumulative, chance, side="right")
        # Column 0 is what is left of the piece in progress: no step where the row
        # changes its game.
        left = np.where(game == self._game, self._left, 0)
        begins, sizes = [self._next[:, None]], [left[:, None]]
        while left.min() < self._length:
            begin, size = self._pieces.draw(game, self._number, self._rng)
            begins.append(begin)
            sizes.append(size)
            left = left + size.sum(1)
        begin, size = np.concatenate(begins, 1), np.concatenate(sizes, 1)
        start, taken, is_first = join(size, self._length)
        shift = np.repeat((begin - start).ravel(), taken.ravel())
        index = shift.reshape(is_first.shape) + np.arange(self._length)
        self._game = game
        self._next = index[:, -1] + 1
        self._left = np.where(taken > 0, size - taken, 0).sum(1)
        return game, index, is_first

    def state(self) -> dict[str, Any]:
        """Returns what the stream needs to continue exactly here; JSON-able."""
        return {
            "rng": self._rng.bit_generator.state,
            "game": self._game.tolist(),
            "next": self._next.tolist(),
            "left": self._left.tolist(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continues where `state` was taken."""
        self._rng.bit_generator.state = state["rng"]
        self._game = np.array(state["game"])
        self._next = np.array(state["next"], np.int64)
        self._left = np.array(state["left"], np.int64)
