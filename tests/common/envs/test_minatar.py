import numpy as np
import pytest

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.envs import minatar
from tests.traces import equal, play

GAMES = {"asterix": 4, "breakout": 4, "freeway": 7, "seaquest": 10, "space_invaders": 6}


@pytest.mark.parametrize("game", GAMES)
def test_minatar_spaces(game):
    env = envs.make_env(f"minatar_{game}")
    obs, _ = env.reset(seed=0)
    assert obs["image"].shape == (10, 10, 10)
    assert obs["image"].dtype == bool
    assert env.observation_space.contains(obs)
    assert env.action_space.n == 6
    assert isinstance(env.step(5)[1], float)


@pytest.mark.parametrize(("game", "channels"), GAMES.items())
def test_minatar_planes_are_the_games_own_padded_with_zeros(game, channels):
    minatar = pytest.importorskip("minatar")
    reference = minatar.Environment(game)
    env = envs.make_env(f"minatar_{game}")
    reference.seed(7)
    reference.reset()
    obs, _ = env.reset(seed=7)
    for action in [1, 2, 5, 3, 4, 0] * 10:
        assert np.array_equal(obs["image"][..., :channels], reference.state())
        assert not obs["image"][..., channels:].any()
        obs, reward, terminated, *_ = env.step(action)
        assert (reward, terminated) == reference.act(action)
        if terminated:
            break


def test_planes_collapse_to_the_first_one_that_is_on():
    cells = minatar.collapsed(np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 1]]]))
    assert cells.shape == (1, 3, 11) and cells.dtype == bool
    assert cells.argmax(-1).tolist() == [[0, 1, 2]] and (cells.sum(-1) == 1).all()
    env = envs.make_env("minatar_seaquest", view="collapsed")
    planes = envs.make_env("minatar_seaquest")
    seen, whole = (x.reset(seed=3)[0]["image"] for x in (env, planes))
    assert env.observation_space["image"].shape == seen.shape == (10, 10, 11)
    np.testing.assert_array_equal(seen, minatar.collapsed(whole))


@pytest.mark.parametrize(
    ("view", "settings"),
    [
        ({}, {}),  # Runs of the earlier layout do not have the key.
        ({"minatar_view": "planes"}, {}),
        ({"minatar_view": "collapsed"}, {"view": "collapsed"}),
    ],
)
def test_only_another_view_than_the_default_is_a_setting(view, settings):
    wanted = {"sticky": 0.1, "ramping": True, **settings}
    given = Config({"minatar_sticky": 0.1, "minatar_ramping": True, **view})
    assert minatar.settings(given) == wanted


@pytest.mark.parametrize("game", GAMES)
def test_seeded_episode_does_not_depend_on_what_was_played_before(game):
    actions = np.random.default_rng(0).integers(0, 6, 200)
    env = envs.make_env(f"minatar_{game}", sticky=0.5)
    fresh = play(env, 3, actions)
    env.step(2)  # Would be repeated if the last action survived the reset.
    assert equal(fresh, play(env, 3, actions))
    assert not equal(fresh, play(env, 4, actions))


def test_unseeded_episodes_differ():
    actions = np.random.default_rng(0).integers(0, 6, 200)
    one, other = (envs.make_env("minatar_seaquest") for _ in range(2))
    assert not equal(play(one, None, actions), play(other, None, actions))


def test_freeway_ends_by_itself():
    env = envs.make_env("minatar_freeway")
    env.reset(seed=0)
    steps = 1
    while not env.step(0)[2]:
        steps += 1
    assert steps == 2501  # Its limit of 2,500 is checked after the step.


@pytest.mark.parametrize(
    ("task", "planes"),
    [
        ("minatar_breakout", 4),
        ("minatar_seaquest", 10),
        ("dummy_discrete", None),
        ("gym_CartPole-v1", None),
    ],
)
def test_native_planes(task, planes):
    assert envs.native_planes(task) == planes
