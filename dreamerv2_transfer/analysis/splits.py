"""Splits frames into parts to learn from, to choose by and to measure on.

Frames of an episode resemble each other, so episodes are held out as a whole: a random
share of the frames would not do.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dreamerv2_transfer.common.errors import UserError

SHARES = (0.6, 0.2, 0.2)  # Of the frames, for `train`, `choose` and `test`.


class AnalysisError(UserError):
    """There is too little to analyse."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Numbers of frames, with all frames of an episode in the same part.

    Attributes:
        train: The frames to learn from.
        choose: The frames by which settings are chosen.
        test: The held-out frames to measure on.
    """

    train: np.ndarray
    choose: np.ndarray
    test: np.ndarray


def split(episode: np.ndarray, rng: np.random.Generator) -> Split:
    """Splits frames by their episodes, at random, in about the shares of `SHARES`.

    Args:
        episode: int `(N,)`, the number of each frame's episode.
        rng: Draws the order of the episodes.

    Raises:
        AnalysisError: There are fewer than three episodes.
    """
    numbers, lengths = np.unique(episode, return_counts=True)
    if len(numbers) < len(SHARES):
        raise AnalysisError(
            "To hold episodes out, there must be at least 3 of them; raise --frames or "
            f"--envs. Received: {len(numbers)}"
        )
    order = rng.permutation(len(numbers))
    # With the parts laid end to end, an episode goes where its middle lies.
    middle = np.cumsum(lengths[order]) - lengths[order] / 2
    part = np.searchsorted(np.cumsum(SHARES)[:-1], middle / lengths.sum())
    part[[0, -1]] = 0, 2
    if 1 not in part:
        part[len(part) // 2] = 1
    parts = [
        np.flatnonzero(np.isin(episode, numbers[order[part == i]])) for i in (0, 1, 2)
    ]
    return Split(*parts)
