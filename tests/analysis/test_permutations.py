"""Permutation tests over episodes."""

import numpy as np
import pytest

from dreamerv2_transfer.analysis import permutations

EPISODE = np.repeat(np.arange(60), 20)


def test_a_shuffle_keeps_what_follows_within_an_episode():
    for order in permutations.shuffles(EPISODE, 5, np.random.default_rng(3)):
        assert sorted(order) == list(range(1200))
        # Two neighbours go apart at the ends of 60 episodes and at the roll only.
        assert (np.diff(order) != 1).sum() <= 61
        assert (order != np.arange(1200)).mean() > 0.5


def test_a_p_value_counts_the_value_itself():
    assert permutations.p_value(5, np.array([1, 2, 3, 4])) == 0.2
    assert permutations.p_value(2, np.array([1, 2, 3, 4])) == 0.8


def test_p_values_are_adjusted_for_false_discoveries():
    assert permutations.adjust([0.01, 0.02, 0.9]) == pytest.approx([0.03, 0.03, 0.9])
    assert permutations.adjust([]) == []
