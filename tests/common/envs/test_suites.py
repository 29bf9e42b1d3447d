import contextlib

import gymnasium
import numpy as np
import pytest

from dreamerv2_transfer.common import blocks, choices, config, envs
from dreamerv2_transfer.common.envs import suites
from tests import fakes


def test_time_limit_truncates():
    env = envs.make_env("minatar_freeway", time_limit=3)
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


@pytest.mark.parametrize(
    ("task", "near"),
    [
        ("minatar_brekout", "minatar_breakout"),
        ("minatr_freeway", "minatar_freeway"),
        ("atari_nothing_like_it", "minatar_seaquest"),
        ("", "minatar_seaquest"),
    ],
)
def test_unknown_task_names_the_nearest(task, near):
    with pytest.raises(envs.EnvError, match=near) as error:
        envs.make_env(task)
    assert f"task={task}." in str(error.value)


def test_vector_env_resets_only_where_told():
    env = envs.make_vector_env("dummy_discrete", 3)
    env.reset(seed=[0, 1, 2])
    for _ in range(2):
        env.step(np.zeros(3, int))
    mask = np.array([False, True, False])
    obs, _ = env.reset(options={"reset_mask": mask})
    assert obs["vector"][:, 0].tolist() == [2, 0, 2]
    assert env.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.DISABLED


@pytest.mark.parametrize("make", [envs.make_env, lambda x: envs.make_vector_env(x, 2)])
def test_spaces_of_a_transition(make):
    env = make("minatar_asterix")
    spaces = envs.obs_space(env)
    assert {k: (v.shape, v.dtype) for k, v in spaces.items()} == {
        "image": ((10, 10, 10), bool),
        "reward": ((), np.float32),
        "is_first": ((), bool),
        "is_last": ((), bool),
        "is_terminal": ((), bool),
    }
    assert envs.act_size(envs.act_space(env)["action"]) == 6
    assert envs.act_size(envs.act_space(make("dummy_continuous"))["action"]) == 6


def test_kinds_of_a_task():
    wanted = {"image": ((10, 10, 10), "bool"), "action": ((6,), "float32")}
    assert envs.kinds("minatar_breakout") == wanted
    wanted = {"image": ((64, 64, 1), "uint8"), "action": ((18,), "float32")}
    assert envs.kinds("atari_pong", all_actions=True) == wanted
    assert envs.kinds("atari_pongg") is None


def test_time_limit_of_gym_and_functions():
    for task in ("gym_CartPole-v1", fakes.Scripted):
        env = envs.make_env(task, time_limit=2)
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("task", "near"),
    [("gym_CartPol-v1", "gym_CartPole-v1"), ("gym_Pendulum-v9", "gym_Pendulum-v1")],
)
def test_unknown_gym_id_names_the_nearest(task, near):
    with pytest.raises(envs.EnvError, match=f"task={task}. Did you mean .*{near}"):
        envs.make_env(task)
    assert envs.kinds(task) is None


@pytest.mark.parametrize("parallel", ["thread", "processes", ""])
def test_unknown_parallel_names_the_known(parallel):
    with pytest.raises(envs.EnvError, match=f"={parallel}. It must be none or process"):
        envs.make_vector_env("dummy_discrete", 1, parallel)


def test_options_of_a_run_hold_those_of_the_episodes():
    settings = config.Config(
        {
            "time_limit": 7,
            "minatar_sticky": 0.1,
            "minatar_ramping": True,
            "envs_parallel": "process",
            "envs_restart": True,
        }
    )
    episodes = {"time_limit": 7, "sticky": 0.1, "ramping": True}
    assert envs.options(settings, "minatar_breakout") == episodes
    more = {"restart": True, "parallel": "process"}
    assert envs.run_options(settings, "minatar_breakout") == {**episodes, **more}
    assert envs.options(settings, "gym_CartPole-v1") == {"time_limit": 7}


def test_every_suite_names_makes_and_configures_its_tasks():
    assert [*suites.SUITES] == ["minatar", "atari", "dmc", "crafter", "dummy", "gym"]
    for suite in suites.SUITES.values():
        assert all(map(callable, (suite.tasks, suite.make, suite.settings)))
    for task in ("minatar_freeway", "atari_pong", "dummy_discrete", "gym_CartPole-v1"):
        suite, _, name = task.partition("_")
        assert name in suites.SUITES[suite].tasks()
        assert isinstance(suites.SUITES[suite].make(name), gymnasium.Env)


@pytest.mark.parametrize("parallel", choices.PARALLEL)
def test_each_way_to_step_in_parallel(parallel):
    with contextlib.closing(envs.make_vector_env("dummy_discrete", 2, parallel)) as env:
        env.reset()
        assert env.step(np.zeros(2, int))[1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("names", "size"), [([], 64), (["minatar"], 10), (["crafter"], 64)]
)
def test_images_are_fitted_to_what_the_decoder_predicts(names, size):
    loaded = blocks.load_config(names)
    assert envs.fit(loaded) == (loaded.decoder.cnn_keys, (size, size), "^$", False)
    assert envs.run_options(loaded, "gym_X-v0")["fit"] == envs.fit(loaded)
    # What manifests list stays as it was, so that older collections are continued.
    assert envs.options(loaded, "gym_X-v0") == {"time_limit": loaded.time_limit}


def test_suites_that_render_what_is_asked_for_are_not_fitted():
    env = envs.make_env("atari_pong", fit=envs.Fit(".*", (10, 10)))
    assert env.observation_space["image"].shape == (64, 64, 1)


def test_what_is_left_out_is_a_regular_expression():
    loaded = blocks.load_config([], ["--obs.exclude", "mission|direction"])
    assert envs.fit(loaded).exclude == "mission|direction"
    with pytest.raises(config.ConfigError, match=r"obs.exclude must be .*Received: \("):
        envs.fit(loaded.update({"obs.exclude": "("}))
