import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import config, envs, errors
from dreamerv2_transfer.common.envs import dmc

pytest.importorskip("dm_control", reason="the extra dmc is not installed")

# Rendering wants a process of its own, as MUJOCO_GL is read once in a process.
RENDER = """
import json
import numpy as np
from dreamerv2_transfer.common import envs, errors

env = envs.make_env("dmc_walker_walk", size=(32, 48))
try:
    first, other, again = [env.reset(seed=i)[0]["image"] for i in (0, 1, 0)]
except errors.EnvError as error:
    print(json.dumps({"error": str(error)}))
    raise SystemExit
env.unwrapped._camera = 99
try:
    env.reset(seed=0)
except errors.EnvError as error:
    wrong = str(error)
print(json.dumps({
    "shape": first.shape,
    "dtype": str(first.dtype),
    "colors": len(np.unique(first)),
    "again": np.array_equal(first, again),
    "other": np.array_equal(first, other),
    "keys": list(env.observation_space.spaces),
    "wrong": wrong,
}))
import tensorflow as tf  # Both Mesa's LLVM and its own are in the process now.
print(json.dumps(float(tf.function(tf.exp, jit_compile=True)(0.0))))
"""


def make(task="walker_walk", **options):
    return envs.make_env(f"dmc_{task}", **{"image": False, **options})


def play(env, seed, steps=30):
    """Vectors and rewards of random play."""
    rng = np.random.default_rng(seed)
    obs, _ = env.reset(seed=seed)
    rows = [[*np.concatenate([*obs.values()]), 0.0]]
    for _ in range(steps):
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        obs, reward, *_ = env.step(action)
        rows.append([*np.concatenate([*obs.values()]), reward])
    return np.array(rows)


def test_spaces_of_walker():
    env = make()
    obs, _ = env.reset(seed=0)
    shapes = [(k, v.shape, v.dtype.name) for k, v in obs.items()]
    assert shapes == [
        ("orientations", (14,), "float32"),
        ("height", (1,), "float32"),
        ("velocity", (9,), "float32"),
    ]
    assert list(env.observation_space.spaces) == ["orientations", "height", "velocity"]
    assert env.observation_space.contains(obs)
    assert env.observation_space.contains(env.step(np.zeros(6, np.float32))[0])
    assert (env.action_space.low == -1).all() and (env.action_space.high == 1).all()
    assert env.action_space.shape == (6,)


@pytest.mark.parametrize(("flatten", "shape"), [(True, (16,)), (False, (8, 2))])
def test_matrices_become_vectors_if_asked_for(flatten, shape):
    env = make("manipulator_bring_ball", flatten=flatten)
    obs, _ = env.reset(seed=0)
    assert obs["arm_pos"].shape == shape
    assert env.observation_space.contains(obs)


def test_names_are_those_of_the_original():
    assert dmc.tasks()["cup_catch"] == ("ball_in_cup", "catch")
    assert dmc.tasks()["point_mass_easy"] == ("point_mass", "easy")
    assert "ball_in_cup_catch" not in dmc.tasks()
    assert make("cup_catch").action_space.shape == (2,)


# One whose model is drawn as it is loaded, and one whose actuators change.
@pytest.mark.parametrize("task", ["walker_walk", "lqr_lqr_2_1", "point_mass_hard"])
def test_an_episode_depends_on_its_seed_alone(task):
    env = make(task)
    first = play(env, 3)
    assert not np.array_equal(play(env, 4), first)
    assert np.array_equal(play(env, 3), first)
    assert np.array_equal(play(make(task), 3), first)


def test_without_a_seed_episodes_differ():
    env = make("cartpole_swingup")
    starts = [env.reset()[0]["velocity"].tolist() for _ in range(3)]
    starts.append(make("cartpole_swingup").reset()[0]["velocity"].tolist())
    assert len({tuple(x) for x in starts}) == 4


def test_repeated_actions_add_their_rewards():
    once, thrice = make(), make(action_repeat=3)
    for env in (once, thrice):
        env.reset(seed=0)
    action = np.full(6, 0.5, np.float32)
    for _ in range(5):
        steps = [once.step(action) for _ in range(3)]
        obs, reward, *_ = thrice.step(action)
        assert reward == pytest.approx(sum(step[1] for step in steps))
        assert np.array_equal(obs["velocity"], steps[-1][0]["velocity"])
    assert reward > 0


def test_actions_are_rescaled_to_their_bounds():
    env = make("quadruped_walk")
    suite_env = env.unwrapped._env
    done = []
    step = suite_env.step
    suite_env.step = lambda action: done.append(action) or step(action)
    env.reset(seed=0)
    for action in (-1, 0, 1):
        env.step(np.full(12, action, np.float32))
    assert np.allclose(
        [x[:3] for x in done], [[-1, -1, -0.8], [0, 0.05, 0], [1, 1.1, 0.8]]
    )


@pytest.mark.parametrize(
    ("task", "camera", "used"),
    [("walker_walk", -1, 0), ("quadruped_walk", -1, 2), ("quadruped_walk", 1, 1)],
)
def test_camera(task, camera, used):
    assert make(task, camera=camera).unwrapped._camera == used


def test_the_time_limit_of_dm_control_truncates():
    env = make("cartpole_balance", action_repeat=300)  # Of its 1,000 steps.
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(4)]
    assert ends == [(False, False)] * 3 + [(False, True)]


def test_a_discount_of_0_terminates():
    env = make("quadruped_walk")
    env.reset(seed=0)
    task = env.unwrapped._env.task
    task.get_termination = lambda physics: 0.0
    assert env.step(np.zeros(12, np.float32))[2:4] == (True, False)


def test_physics_that_break_are_an_error():
    env = make()
    env.reset(seed=0)
    env.unwrapped._env.physics.data.qpos[:] = np.nan
    with pytest.raises(errors.EnvError, match="dmc_walker_walk, step 1 .*PhysicsError"):
        env.step(np.zeros(6, np.float32))


def test_unknown_task_names_the_nearest():
    with pytest.raises(errors.EnvError, match="Did you mean dmc_walker_walk"):
        envs.make_env("dmc_walkr_walk")


def test_missing_package_says_what_to_install(monkeypatch):
    dmc.tasks.cache_clear()
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(errors.EnvError, match=r"'dreamerv2_transfer\[dmc\]'"):
        envs.make_env("dmc_walker_walk")
    dmc.tasks.cache_clear()


@pytest.mark.parametrize(
    ("blocks", "image", "flatten"),
    [("dmc_vision", True, False), ("dmc_proprio", False, True)],
)
def test_options_of_the_blocks(blocks, image, flatten):
    loaded = blocks_lib.load_config([blocks])
    assert envs.options(loaded, "dmc_walker_walk") == {
        "time_limit": 0,
        "action_repeat": 2,
        "size": (64, 64),
        "camera": -1,
        "image": image,
        "flatten": flatten,
    }
    envs.check_action_repeat(loaded, "dmc_walker_walk")
    with pytest.raises(config.ConfigError, match="atari_... and dmc_... do"):
        envs.check_action_repeat(loaded, "minatar_breakout")


def test_rendered_images():
    env = {**os.environ, "MUJOCO_GL": os.environ.get("MUJOCO_GL") or "egl"}
    done = subprocess.run(
        [sys.executable, "-c", RENDER], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen, *rest = [json.loads(line) for line in done.stdout.splitlines()]
    if "error" in seen:
        assert "MUJOCO_GL" in seen["error"]
        pytest.skip(f"nothing can be rendered here: {seen['error']}")
    wrong, colors = seen.pop("wrong"), seen.pop("colors")
    assert colors > 10
    assert "dmc_camera=99" in wrong and "2 fixed cameras" in wrong
    assert seen == {
        "shape": [32, 48, 3],
        "dtype": "uint8",
        "again": True,
        "other": False,
        "keys": ["image", "orientations", "height", "velocity"],
    }
    assert rest == [1.0]
