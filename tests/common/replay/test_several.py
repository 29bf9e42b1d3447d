"""Replays of several games, whose rows share each batch."""

import json
import shutil

import numpy as np
import pytest

from dreamerv2_transfer.common import replay
from dreamerv2_transfer.common.replay.several import SeveralReplays, rows_of_games
from dreamerv2_transfer.common.replay.store import DatasetError
from tests import fakes, replays


def make(folder, envs=2):
    """Two games with two environments each."""
    games = {
        name: replay.Replay(folder / name, seed=i, index=7 - i)
        for i, name in enumerate(("one", "two"))
    }
    return SeveralReplays(games, envs, [3.0, 1.0])


def play(target):
    """Whole episodes, numbered as the workers, and a part of one."""
    for worker in range(4):
        replays.add(target, fakes.episode(20, worker), worker)
    replays.add(target, fakes.episode(9, 5), 3, stop=4)


def test_each_game_has_its_rows_of_a_batch(tmp_path):
    target = make(tmp_path)
    play(target)
    assert target.stats["total_steps"] == 80 and target.stats["total_episodes"] == 4
    assert len([*(tmp_path / "two").iterdir()]) == 2
    batch = target.batch(8, 6)
    assert batch["task"].tolist() == [0] * 6 + [1] * 2
    assert batch["game_index"].tolist() == [7] * 6 + [6] * 2
    numbers = batch["reward"][:, 0] // 1000
    assert set(numbers[:6]) <= {0, 1} and set(numbers[6:]) <= {2, 3}
    # A row goes on where it was.
    again = target.batch(8, 6)
    goes_on = ~again["is_first"][:, 0]
    last = batch["reward"][goes_on, -1] + 1
    np.testing.assert_array_equal(again["reward"][goes_on, 0], last)
    assert goes_on.any()


def test_it_resumes_exactly(tmp_path):
    target = make(tmp_path / "a")
    play(target)
    target.batch(8, 6)
    state = json.loads(json.dumps(target.state()))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    other = make(tmp_path / "b")
    other.load_state(state)
    for time in range(4):
        step = {k: v[time] for k, v in fakes.episode(9, 5).items()}
        other.restore_step(step, 3)
    for resumed in (target, other):
        replays.add(resumed, fakes.episode(9, 5), 3, start=4)
        resumed.drop_ongoing(0)
    for _ in range(5):
        assert replays.same(target.batch(8, 6), other.batch(8, 6))


@pytest.mark.parametrize(
    ("batch", "weights", "rows"),
    [
        (16, [1, 1], [8, 8]),
        (16, [1, 1, 1], [6, 5, 5]),
        (10, [0.7, 0.2, 0.1], [7, 2, 1]),
        (4, [3, 1], [3, 1]),
    ],
)
def test_rows_are_the_whole_numbers_nearest_the_shares(batch, weights, rows):
    assert rows_of_games(batch, weights) == rows


@pytest.mark.parametrize(("batch", "weights"), [(1, [1, 1]), (16, [1, 0])])
def test_a_game_without_a_row_is_refused(batch, weights):
    with pytest.raises(DatasetError, match=rf"dataset.batch={batch} and task_weights="):
        rows_of_games(batch, weights)
