import hashlib

import numpy as np
import pytest

from dreamerv2_transfer.dqn import actors, agents
from tests import dqn_files

IMAGES = np.zeros((2, 10, 10, 10), bool)


class Values:
    """A network of four actions whose values are given."""

    actions = 4

    def __init__(self, values):
        self.values = np.array(values)
        self.seen = None

    def __call__(self, images):
        self.seen = images
        return self.values


@pytest.fixture
def network(monkeypatch) -> Values:
    found = Values([[0, 1, 3, 2], [5, 1, 3, 2]])
    monkeypatch.setattr(actors, "_load", lambda path, task: found)
    return found


def test_a_player_takes_the_action_of_the_highest_value(network):
    player = actors.Player("model_1.gz", "atari_breakout", 4)
    np.testing.assert_array_equal(player(IMAGES, None), [2, 0])
    assert network.seen is IMAGES


def test_minimal_actions_become_those_of_all_18(network):
    player = actors.Player("model_1.gz", "atari_breakout", 18)
    # Breakout's minimal set is 0, 1, 3 and 4 of ALE's.
    np.testing.assert_array_equal(player(IMAGES, None), [3, 0])


def test_an_atari_player_sees_the_screens(network):
    screens = dqn_files.screens(1)
    actors.Player("model_1.gz", "atari_breakout", 4)(IMAGES[:1], screens)
    np.testing.assert_array_equal(network.seen, screens)


def test_a_file_is_read_when_its_player_first_acts(tmp_path):
    path = tmp_path / "model_7.weights.h5"
    player = actors.Player(path, dqn_files.BREAKOUT, 6)
    weights = dqn_files.own_weights("mlp")
    weights["layer3/kernel"][:] = 0
    weights["layer3/bias"][:] = [0, 0, 0, 0, 1, 0]
    dqn_files.write_own(path, weights)
    np.testing.assert_array_equal(player(IMAGES, None), [4, 4])


def test_describes_the_files_of_a_game(tmp_path):
    (tmp_path / "breakout").mkdir()
    for steps, seed in (1000, 1), (100, 2):
        path = tmp_path / "breakout" / f"model_{steps}.weights.h5"
        dqn_files.write_own(path, dqn_files.own_weights("mlp", seed=seed))
    (few, digest), (many, other) = actors.describe(str(tmp_path), dqn_files.BREAKOUT)
    assert few == "breakout/model_100.weights.h5"
    assert many == "breakout/model_1000.weights.h5"
    content = (tmp_path / few).read_bytes()
    assert digest == hashlib.blake2b(content, digest_size=16).hexdigest() != other


def test_a_bad_file_is_found_before_anything_is_played(tmp_path):
    (tmp_path / "breakout").mkdir()
    path = tmp_path / "breakout" / "model_1.weights.h5"
    path.write_bytes(b"damaged")
    with pytest.raises(agents.DqnError, match="model_1.weights.h5 cannot be read"):
        actors.describe(str(tmp_path), dqn_files.BREAKOUT)


class Rounded(Values):
    """A network whose last digits depend on how many images it sees."""

    calls = 0

    def __call__(self, images):
        self.calls += 1
        numbers = images[:, 0, 0, 0].astype(np.float32)
        error = 1e-6 * (len(images) > 1)
        return np.stack([numbers, 1 - numbers, np.full_like(numbers, 1 + error)], 1)


def test_an_action_does_not_depend_on_the_other_rows(monkeypatch):
    network = Rounded([])
    monkeypatch.setattr(actors, "_load", lambda path, task: network)
    player = actors.Player("model_1.pt", "minatar_breakout", 4)
    images = np.zeros((6, 10, 10, 10), np.float32)
    images[:, 0, 0, 0] = [1, 0, 0.5, 1, 7, 0]
    alone = [int(player(images[i : i + 1], None)[0]) for i in range(6)]
    assert alone == [0, 1, 2, 0, 0, 1]
    network.calls = 0
    assert player(images, None).tolist() == alone
    assert network.calls == 1 + 4  # Of the close ones alone.
