"""The sampling law: pieces of episodes, joined into rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Pieces:
    """Where pieces of episodes may be taken from, and how they are drawn.

    As the original's replay: an episode is drawn uniformly, then a length, then a
    start; `prioritize_ends` makes the end of an episode as likely as `minlen` starts.
    """

    def __init__(
        self,
        episodes: Sequence[tuple[np.ndarray, np.ndarray]],
        minlen: int,
        maxlen: int,
        prioritize_ends: bool,
    ):
        """Takes first steps and lengths of the usable episodes of each game."""
        self._counts = np.array([len(starts) for starts, _ in episodes])
        self._bases = np.cumsum(self._counts) - self._counts
        self._starts = np.concatenate([starts for starts, _ in episodes])
        self._totals = np.concatenate([totals for _, totals in episodes])
        self._minlen = minlen
        self._maxlen = maxlen or np.iinfo(np.int64).max
        self._slack = 1 + (minlen if prioritize_ends else 0)
        self.mean = self._mean_lengths(episodes).min()

    def _mean_lengths(self, episodes: Sequence[tuple]) -> np.ndarray:
        means = [np.minimum(totals, self._maxlen).mean() for _, totals in episodes]
        return np.maximum(np.array(means) - self._minlen / 2, self._minlen)

    def draw(
        self, game: np.ndarray, number: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws pieces of each row's game.

        Args:
            game: int [rows], the game of each row.
            number: how many pieces a row.
            rng: the generator to draw from.

        Returns:
            First steps and lengths, int64 [rows, number].
        """
        shape = (len(game), number)
        counts, bases = self._counts[game, None], self._bases[game, None]
        episode = bases + rng.integers(counts, size=shape)
        total = self._totals[episode]
        length = np.minimum(total, self._maxlen)
        # A random length, lest all chunks end at once where episodes are equally long.
        length = np.maximum(
            length - rng.integers(self._minlen, size=shape), self._minlen
        )
        spare = total - length
        start = np.minimum(rng.integers(spare + self._slack), spare)
        return self._starts[episode] + start, length


class Rows:
    """An endless stream of rows that pieces are joined into.

    The state of a row is the piece that it is in: its game, the next step, and how
    many steps are left.
    """

    def __init__(
        self,
        pieces: Pieces,
        weights: np.ndarray,
        batch: int,
        length: int,
        rng: np.random.Generator,
    ):
        """Takes the pieces of several games and the weight of each game."""
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
        game = self._draw_games()
        begin, size = self._fill(game)
        end = np.cumsum(size, axis=1)
        first = end - size
        piece, is_first = self._lay_out(first)
        index = np.take_along_axis(begin - first, piece, 1) + np.arange(self._length)
        self._game = game
        self._next = index[:, -1] + 1
        self._left = np.take_along_axis(end, piece[:, -1:], 1)[:, 0] - self._length
        return game, index, is_first

    def _draw_games(self) -> np.ndarray:
        chance = self._rng.random(len(self._game))
        return np.searchsorted(self._cumulative, chance, side="right")

    def _fill(self, game: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First steps and sizes of enough pieces for each row: [batch, pieces].

        Column zero is what is left of the piece in progress. The pieces that turn out
        to be too many are dropped: all are drawn independently.
        """
        left = np.where(game == self._game, self._left, 0)
        begins, sizes = [self._next[:, None]], [left[:, None]]
        filled = left
        while filled.min() < self._length:
            begin, size = self._pieces.draw(game, self._number, self._rng)
            begins.append(begin)
            sizes.append(size)
            filled = filled + size.sum(1)
        return np.concatenate(begins, 1), np.concatenate(sizes, 1)

    def _lay_out(self, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the piece at each position, and where a new one starts."""
        rows = np.arange(len(first))[:, None]
        piece = np.zeros((len(first), self._length + 1), np.int64)
        # The extra column takes the pieces that start beyond the row.
        column = np.minimum(first[:, 1:], self._length)
        piece[rows, column] = np.arange(1, first.shape[1])
        piece = piece[:, :-1]
        return np.maximum.accumulate(piece, axis=1), piece > 0

    def state(self) -> dict[str, Any]:
        """What is needed to go on exactly here; JSON-able."""
        return {
            "rng": self._rng.bit_generator.state,
            "game": self._game.tolist(),
            "next": self._next.tolist(),
            "left": self._left.tolist(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken."""
        self._rng.bit_generator.state = state["rng"]
        self._game = np.array(state["game"])
        self._next = np.array(state["next"], np.int64)
        self._left = np.array(state["left"], np.int64)
