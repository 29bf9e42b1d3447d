import subprocess
import sys

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks, config, envs, errors
from tests.traces import equal, play

pytest.importorskip("crafter", reason="the extra crafter is not installed")

PLAY = """
import hashlib
import numpy as np
from dreamerv2_transfer.common import envs

env = envs.make_env("crafter_reward")
obs, _ = env.reset(seed=3)
digest = hashlib.sha256(obs["image"].tobytes())
for action in np.random.default_rng(0).integers(17, size=120):
    digest.update(env.step(action)[0]["image"].tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def env():
    return envs.make_env("crafter_reward")


def test_spaces(env):
    obs, _ = env.reset(seed=0)
    assert (obs["image"].shape, obs["image"].dtype) == ((64, 64, 3), np.uint8)
    assert env.action_space.n == 17
    logged = [key for key in obs if key.startswith("log_achievement_")]
    assert len(logged) == 22 and "log_achievement_collect_wood" in logged
    assert set(obs) == {"image", "log_reward", *logged}
    assert env.observation_space.contains(obs)
    obs, *_ = env.step(0)
    assert env.observation_space.contains(obs)


def test_height_and_width_of_the_image():
    made = envs.make_env("crafter_reward", size=(36, 72))
    obs, _ = made.reset(seed=0)
    assert obs["image"].shape == (36, 72, 3)
    assert made.observation_space.contains(obs)


def test_an_episode_depends_on_its_seed_alone(env):
    actions = np.random.default_rng(0).integers(17, size=30)
    first = play(env, 3, actions)
    assert not equal(play(env, 4, actions), first)
    assert equal(play(env, 3, actions), first)
    assert equal(play(envs.make_env("crafter_reward"), 3, actions), first)


def test_an_episode_does_not_depend_on_addresses_in_memory(monkeypatch):
    found = set()
    for code in (PLAY, f"hold = [object() for _ in range(99_999)]\n{PLAY}"):
        run = [sys.executable, "-c", code]
        found.add(
            subprocess.run(run, capture_output=True, text=True, check=True).stdout
        )
    assert len(found) == 1


def test_creatures_of_a_chunk_stay_in_order(env):
    env.reset(seed=0)
    world = env.unwrapped._env._world
    chunk = next(objects for objects in world._chunks.values() if len(objects) > 2)
    places = [world._objects.index(item) for item in chunk]
    assert places == sorted(places)


def test_without_a_seed_worlds_differ(env):
    one, other = (env.reset()[0]["image"] for _ in range(2))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("task", "reward"), [("reward", 1.0), ("noreward", 0.0)])
def test_rewards_and_what_is_logged(task, reward):
    made = envs.make_env(f"crafter_{task}")
    obs, _ = made.reset(seed=0)
    assert obs["log_reward"] == 0
    made.unwrapped._env._player.inventory["sapling"] = 1
    world, player = made.unwrapped._env._world, made.unwrapped._env._player
    world[player.pos + np.array(player.facing)] = "grass"
    place = made.unwrapped._env.action_names.index("place_plant")
    obs, received, terminated, truncated, _ = made.step(place)
    assert obs["log_achievement_place_plant"] == 1
    assert obs["log_achievement_collect_wood"] == 0
    assert obs["log_reward"] == 1.0
    assert (received, terminated, truncated) == (reward, False, False)


def test_death_terminates_and_the_last_step_truncates(env):
    env.reset(seed=0)
    game = env.unwrapped._env
    game._player.health = 0
    assert env.step(0)[2:4] == (True, False)
    env.reset(seed=0)
    game._step = 9_999
    assert env.step(0)[2:4] == (False, True)


def test_kinds_leave_out_what_is_only_logged():
    wanted = {"image": ((64, 64, 3), "uint8"), "action": ((17,), "float32")}
    assert envs.kinds("crafter_reward") == wanted


def test_options_of_the_block():
    loaded = blocks.load_config(["crafter"])
    wanted = {"time_limit": 0, "size": (64, 64)}
    assert envs.options(loaded, "crafter_reward") == wanted
    repeated = loaded.update({"action_repeat": 2})
    with pytest.raises(config.ConfigError, match="action_repeat must be 1"):
        envs.check_action_repeat(repeated, "crafter_reward")


def test_unknown_task_names_the_nearest():
    with pytest.raises(errors.EnvError, match="Did you mean crafter_reward"):
        envs.make_env("crafter_rewrd")


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "crafter", None)
    with pytest.raises(errors.EnvError, match=r"'dreamerv2_transfer\[crafter\]'"):
        envs.make_env("crafter_reward")
