"""Permutation tests over episodes.

Values of successive frames resemble each other, so a shuffle of the frames would find
too much significant. These tests shuffle whole episodes instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats


def shuffles(
    episode: np.ndarray, number: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yields orders for permutation tests: whole episodes shuffled, then rolled.

    Values in such an order change over time as before, but belong to other frames.
    Rolling by a random number of frames makes a test of few long episodes possible.

    Args:
        episode: int `(N,)`, the number of each frame's episode; each is contiguous.
        number: How many orders to draw.
        rng: Draws them.

    Yields:
        int `(N,)`, an order of the frames.
    """
    starts = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    pieces = np.split(np.arange(len(episode)), starts[1:])
    for _ in range(number):
        order = np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])
        yield np.roll(order, rng.integers(len(order)))


def p_value(value: float, null: np.ndarray) -> float:
    """Returns the share of values as large under the null hypothesis.

    The value itself counts as one of them.
    """
    return float((1 + np.sum(null >= value - 1e-12)) / (1 + len(null)))


def adjust(p_values: Sequence[float]) -> list[float]:
    """Adjusts p values for the false discovery rate (Benjamini and Hochberg 1995)."""
    return stats.false_discovery_control(p_values).tolist() if p_values else []
