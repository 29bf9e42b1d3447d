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
