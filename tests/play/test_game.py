"""The real game, which can be taken back to any step."""

import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.errors import EnvError
from dreamerv2_transfer.play.game import Game
from tests import fakes


def make(task="minatar_breakout", seed=0):
    return Game(task, blocks.load_config(["minatar", "debug", "pretrain"]), seed)


@pytest.fixture
def scripted(monkeypatch):
    """Makes games of a scripted environment."""

    def make_game(*steps, **options):
        env = fakes.Scripted(steps, **options)
        monkeypatch.setattr(envs, "make_env", lambda *args, **settings: env)
        return make("gym_Scripted-v0"), env

    return make_game


def test_a_game_shows_the_same_after_the_same_actions():
    one, other = make("minatar_freeway", 7), make("minatar_freeway", 7)
    actions = [2, 2, 4, 0, 2, 2, 2]
    seen = [one.after(actions[:n]) for n in range(8)]
    assert seen[0].reward == 0.0 and not seen[0].ended
    assert not np.array_equal(seen[0].obs["image"], seen[7].obs["image"])
    for n in (7, 3, 5, 0):  # Forward, back, forward, and to the start.
        found = other.after(actions[:n]).obs["image"]
        np.testing.assert_array_equal(found, seen[n].obs["image"])


def test_other_seeds_are_other_episodes():
    start = [make("minatar_freeway", n).after([]).obs["image"] for n in (0, 1)]
    assert not np.array_equal(*start)


def test_actions_that_follow_the_last_are_not_repeated(scripted):
    game, env = scripted()
    game.after([1])
    game.after([1, 0])
    assert env.actions == [1, 0]
    game.after([0, 1])
    assert env.actions == [1, 0, 0, 1]


def test_actions_are_counted_from_0(scripted):
    game, env = scripted(actions=spaces.Discrete(3, start=5))
    assert game.action_names == ["5", "6", "7"] and game.used_actions == [0, 1, 2]
    game.after([0, 2])
    assert env.actions == [5, 7]


def test_an_end_is_told(scripted):
    game, _ = scripted(done=True)
    assert game.after([1]).ended


def test_a_game_that_fails_says_so_and_can_be_started_again(scripted):
    game, _ = scripted(fakes.GOOD, RuntimeError("no ROM"))
    with pytest.raises(EnvError, match="failed at step 2: RuntimeError: no ROM"):
        game.after([0, 1, 1])
    assert game.after([0]).reward == 1.0


def test_vectors_of_actions_have_no_keys(scripted):
    with pytest.raises(EnvError, match="numbered.*gym_Scripted-v0"):
        scripted(actions=fakes.FLOATS)


def test_a_game_that_does_not_exist_is_named():
    with pytest.raises(EnvError, match="minatar_brekout.*Did you mean"):
        make("minatar_brekout")


def test_minatar_names_its_actions_and_its_planes():
    game = make("minatar_seaquest")
    assert game.action_names == ["NOOP", "LEFT", "UP", "RIGHT", "DOWN", "FIRE"]
    assert game.objects[0] == "sub_front" and game.objects[7] == "oxygen_gauge"
    assert make("minatar_freeway").used_actions == [0, 2, 4]


def test_atari_names_its_actions():
    config = blocks.load_config(["atari", "debug"])
    game = Game("atari_pong", config, 0)
    assert game.action_names[:3] == ["NOOP", "FIRE", "RIGHT"]
    assert game.used_actions == [*range(6)] and game.objects == []


def test_actions_without_names_are_numbers(scripted):
    game, env = scripted()
    assert game.action_names == ["0", "1"]
    game.close()
    assert env.closed
