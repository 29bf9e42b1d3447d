import importlib.metadata
import sys

import numpy as np
import pytest

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.envs import atari, native
from dreamerv2_transfer.common.errors import EnvError

VERSION = tuple(map(int, importlib.metadata.version("ale-py").split(".")[:3]))
needed = pytest.mark.skipif(VERSION < (0, 12, 1), reason="an earlier ale-py")


def make(number=2, **settings):
    return envs.make_vector_env("atari_pong", number, backend="native", **settings)


def played(env, seeds, steps=12):
    obs, _ = env.reset(seed=seeds)
    images = [obs["image"].copy()]
    for actions in np.random.default_rng(0).integers(6, size=(steps, env.num_envs)):
        images.append(env.step(actions)[0]["image"].copy())
    return np.array(images)


@needed
def test_without_chance_it_shows_what_our_environment_shows(monkeypatch):
    monkeypatch.setattr(atari, "STICKY", 0.0)
    monkeypatch.setattr(atari, "NOOPS", 0)
    theirs, ours = make(1), envs.make_vector_env("atari_pong", 1)
    assert theirs.single_observation_space == ours.single_observation_space
    assert theirs.single_action_space == ours.single_action_space
    assert np.array_equal(played(theirs, [3]), played(ours, [3]))


@needed
def test_an_episode_depends_on_its_seed_and_its_actions_alone():
    env = make()
    first, again = played(env, [3, 2**32 - 1]), played(env, [3, 5])
    assert np.array_equal(first[:, 0], again[:, 0])
    assert not np.array_equal(first[:, 1], again[:, 1])


@needed
def test_only_what_the_mask_names_is_reset_and_limits_count_from_there():
    env = make(time_limit=3)
    env.reset(seed=0)
    env.step(np.zeros(2, int))
    seen, _ = env.reset(seed=[1, None], options={"reset_mask": np.array([True, False])})
    assert seen["image"].shape == (2, 64, 64, 1)
    ends = [env.step(np.zeros(2, int))[3].tolist() for _ in range(3)]
    assert ends == [[False, False], [False, True], [True, True]]


def test_what_it_cannot_do_is_one_clear_error(monkeypatch):
    with pytest.raises(EnvError, match="Players cannot see.*screen=84"):
        make(screen=84)
    with pytest.raises(EnvError, match="Atari games alone. Received: minatar_breakout"):
        envs.make_vector_env("minatar_breakout", 2, backend="native")
    with pytest.raises(EnvError, match="Atari games alone. Received: atari_pang"):
        envs.make_vector_env("atari_pang", 2, backend="native")
    monkeypatch.setitem(sys.modules, "ale_py.vector_env", None)
    with pytest.raises(EnvError, match="needs ale-py 0.12.1; use collect.backend"):
        native.NativeVectorEnv("pong", 1)
