"""Parts of episodes over which a model dreams."""

from __future__ import annotations

import dataclasses

import numpy as np

FEWEST = 32  # With fewer sequences the horizon is shortened to get more of them.


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Parts of episodes, of which a model sees the beginning and predicts the rest.

    Attributes:
        index: int `(S, context + horizon)`, numbers of frames.
        episode: int `(S,)`, the number of each sequence's episode.
        context: Number of frames that the model sees.
    """

    index: np.ndarray
    episode: np.ndarray
    context: int

    @property
    def horizon(self) -> int:
        """Number of frames that the model does not see."""
        return self.index.shape[1] - self.context

    def __len__(self) -> int:
        return len(self.index)

    def some(self, which: np.ndarray) -> Sequences:
        """Returns the sequences of the given numbers."""
        return Sequences(self.index[which], self.episode[which], self.context)


def draw(
    episode: np.ndarray,
    context: int,
    horizon: int,
    most: int,
    rng: np.random.Generator,
) -> Sequences | None:
    """Draws sequences of equal length that do not overlap.

    If too few episodes are long enough, the sequences are shorter than asked for.

    Args:
        episode: int `(N,)`, the number of each frame's episode; each is contiguous.
        context: Number of frames that are seen.
        horizon: Most frames that are predicted.
        most: Most sequences.
        rng: Draws them.

    Returns:
        None if no episode is longer than the context.
    """
    starts = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    lengths = np.diff(np.append(starts, len(episode)))
    tried = range(horizon, 0, -1)
    enough = (h for h in tried if np.sum(lengths // (context + h)) >= FEWEST)
    any_at_all = (h for h in tried if lengths.max() >= context + h)
    horizon = next(enough, next(any_at_all, 0))
    if not horizon:
        return None
    size = context + horizon
    pieces = np.concatenate(
        [s + size * np.arange(n // size) for s, n in zip(starts, lengths, strict=True)]
    )
    drawn = np.sort(rng.permutation(pieces)[:most])
    return Sequences(drawn[:, None] + np.arange(size), episode[drawn], context)
