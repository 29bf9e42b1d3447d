"""Episodes of values that change slowly, for tests."""

import numpy as np

from dreamerv2_transfer.analysis import permutations, splits

EPISODE = np.repeat(np.arange(60), 20)
ROWS = splits.split(EPISODE, np.random.default_rng(0))


def rng(seed=3):
    return np.random.default_rng(seed)


def orders(rows, number=99):
    """Orders of these rows for a permutation test."""
    return list(permutations.shuffles(EPISODE[rows], number, rng()))


def walk():
    """A value that changes slowly within each episode."""
    steps = rng().choice([-1, 0, 1], (60, 20))
    return steps.cumsum(1).reshape(-1).astype(np.float32)
