import subprocess
import sys

import numpy as np
import pytest

from dreamerv2_transfer.common import envs
from tests import fakes


def test_gym_keeps_the_own_time_limit_of_an_environment():
    env = envs.make_env("gym_Pendulum-v1")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[3] for _ in range(200)]
    assert ends == [False] * 199 + [True]


def test_missing_dependency_is_told_in_one_line():
    with pytest.raises(envs.EnvError, match="gym_no_such_module:X-v0 .*made") as error:
        envs.make_env("gym_no_such_module:X-v0")
    assert "No module named 'no_such_module'" in str(error.value)
    assert "\n" not in str(error.value)


def test_functions_that_make_no_environment_are_refused():
    with pytest.raises(envs.EnvError, match="must be a gymnasium.Env"):
        envs.make_env(lambda: "pong")
    with pytest.raises(envs.EnvError, match="could not be made: OSError: no disk"):
        envs.make_env(lambda: fakes.Scripted._play(OSError("no\ndisk")))


def test_kinds_of_a_gym_task():
    wanted = {"vector": ((3,), "float32"), "action": ((1,), "float32")}
    assert envs.kinds("gym_Pendulum-v1") == wanted


def test_ids_of_packages_that_gymnasium_does_not_import_by_itself():
    code = (
        "from dreamerv2_transfer.common import envs\n"
        "for task in ('gym_ALE/Pong-v5', 'gym_MinAtar/Breakout-v1'):\n"
        "    with envs.make_env(task, fit=envs.Fit('.*', (64, 64))) as env:\n"
        "        image = env.reset(seed=0)[0]['image']\n"
        "        print(task, env.action_space.n, *image.shape, image.dtype)\n"
        "with envs.make_env('gym_Pong-v4') as env: print(env.action_space.n)\n"
        "import sys; print('seaborn' in sys.modules)\n"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "gym_ALE/Pong-v5 6 64 64 3 uint8",
        "gym_MinAtar/Breakout-v1 3 10 10 4 bool",
        "6",
        "False",
    ]
    assert not done.stderr


def test_processes_know_these_ids_too():
    env = envs.make_vector_env("gym_MinAtar/Freeway-v1", 2, parallel="process")
    try:
        obs, _ = env.reset(seed=[1, 2])
        assert obs["image"].shape == (2, 10, 10, 7)
    finally:
        env.close()


@pytest.mark.parametrize(
    ("task", "near"),
    [
        ("gym_ALE/Pongg-v5", "gym_ALE/Pong-v5"),
        ("gym_ALE/Pong-v9", "gym_ALE/Pong-v5"),
        ("gym_MinAtar/Brekout-v1", "gym_MinAtar/Breakout-v1"),
        ("gym_MinAtr/Breakout-v1", "gym_MinAtar/Breakout-v1"),
    ],
)
def test_unknown_ids_name_the_nearest(task, near):
    with pytest.raises(envs.EnvError, match=f"Received: task={task}") as error:
        envs.make_env(task)
    assert f"Did you mean {near}" in str(error.value)
