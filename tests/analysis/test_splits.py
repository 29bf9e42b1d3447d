"""Parts of the frames."""

import numpy as np
import pytest

from dreamerv2_transfer.analysis import splits

EPISODE = np.repeat(np.arange(60), 20)
ROWS = splits.split(EPISODE, np.random.default_rng(0))


def test_the_parts_share_no_episode_and_leave_none_out():
    parts = [set(EPISODE[x]) for x in (ROWS.train, ROWS.choose, ROWS.test)]
    assert [len(x) for x in parts] == [36, 12, 12]
    assert set.union(*parts) == set(range(60))


@pytest.mark.parametrize("lengths", [[100, 1, 1], [1, 100, 1, 100], [5] * 4])
def test_no_part_is_empty(lengths):
    episode = np.repeat(np.arange(len(lengths)), lengths)
    for seed in range(10):
        rows = splits.split(episode, np.random.default_rng(seed))
        parts = [set(episode[x]) for x in (rows.train, rows.choose, rows.test)]
        assert all(parts) and sum(map(len, parts)) == len(lengths)


def test_two_episodes_are_too_few():
    with pytest.raises(splits.AnalysisError, match="Received: 2"):
        splits.split(np.array([0, 0, 1]), np.random.default_rng(3))
