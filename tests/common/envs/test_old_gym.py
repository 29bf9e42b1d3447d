import types

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.envs import old_gym, wrappers
from tests import gyms


def play(env, seed=3):
    obs, _ = env.reset(seed=seed)
    steps = [env.step(0) for _ in range(5)]
    return obs, [step[1:4] for step in steps]


def test_an_environment_of_gym_0_21():
    grid = gyms.Grid()
    env = envs.make_env(lambda: grid)
    obs, steps = play(env)
    assert env.observation_space == spaces.Dict(
        image=spaces.Box(0, 255, (56, 56, 3), np.uint8)
    )
    assert env.action_space == spaces.Discrete(7)
    assert list(obs) == ["image"]
    assert steps == [(0.5, False, False)] * 4 + [(0.5, False, True)]
    assert grid.seeds == [3]
    env.close()
    assert grid.closed


def test_an_environment_of_gym_0_26():
    env = envs.make_env(gyms.Newer)
    _, steps = play(env)
    assert steps == [(0.5, False, False)] * 4 + [(0.5, True, False)]
    assert env.unwrapped._env.seeded == 3


@pytest.mark.parametrize(
    ("info", "ends"),
    [
        ({}, (True, False)),
        ({"TimeLimit.truncated": False}, (True, False)),
        ({"TimeLimit.truncated": True}, (False, True)),
        ({"is_terminal": False}, (False, True)),  # The original's key.
        ({"is_terminal": True, "TimeLimit.truncated": True}, (True, False)),
    ],
)
def test_how_an_episode_ended(monkeypatch, info, ends):
    monkeypatch.setattr(gyms.Grid, "infos", (info,))
    env = old_gym.adapt(gyms.Grid())
    env.reset()
    assert env.step(0)[2:4] == ends


def test_the_name_is_that_of_the_spec_or_of_the_class():
    grid = gyms.Grid()
    assert wrappers.title(old_gym.adapt(grid)) == "Grid"
    grid.spec = types.SimpleNamespace(id="MiniGrid-DoorKey-6x6-v0")
    assert wrappers.title(old_gym.adapt(grid)) == "MiniGrid-DoorKey-6x6-v0"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (gyms.Box(-1, 1, (2,), np.float32), spaces.Box(-1, 1, (2,), np.float32)),
        (gyms.Discrete(4), spaces.Discrete(4)),
        (type("MultiDiscrete", (), {"nvec": [2, 3]})(), spaces.MultiDiscrete([2, 3])),
        (type("MultiBinary", (), {"n": 5})(), spaces.MultiBinary(5)),
        (
            type("Tuple", (), {"spaces": [gyms.Discrete(2)]})(),
            spaces.Tuple([spaces.Discrete(2)]),
        ),
        (
            gyms.Dict(a=gyms.Dict(b=gyms.Discrete(2))),
            spaces.Dict(a=spaces.Dict(b=spaces.Discrete(2))),
        ),
        (spaces.Discrete(3), spaces.Discrete(3)),
    ],
)
def test_spaces_become_those_of_gymnasium(old, new):
    assert old_gym.converted(old) == new


def test_a_space_without_a_counterpart_is_named(monkeypatch):
    space = gyms.Dict(
        image=gyms.Grid.observation_space.spaces["image"], mission=gyms.MissionSpace()
    )
    monkeypatch.setattr(gyms.Grid, "observation_space", space)
    with pytest.raises(envs.EnvError, match="'mission' of MissionSpace.None."):
        envs.make_env(gyms.Grid)


@pytest.mark.parametrize(
    "value", ["pong", gyms.Grid, gymnasium.make_vec("CartPole-v1", 2)]
)
def test_what_is_no_environment_is_refused(value):
    assert not old_gym.is_environment(value)
    with pytest.raises(envs.EnvError, match="must be a gymnasium.Env"):
        old_gym.adapt(value)


def test_results_of_another_number_are_refused_with_the_number(monkeypatch):
    monkeypatch.setattr(gyms.Grid, "step", lambda self, action: (1, 2, 3))
    env = envs.make_env(gyms.Grid)
    env.reset()
    with pytest.raises(
        envs.EnvError, match="tuple of 5, as of Gymnasium 1. Received: tuple of 3"
    ):
        env.step(0)
