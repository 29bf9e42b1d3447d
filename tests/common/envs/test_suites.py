import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from dreamerv2_transfer.common import config, envs
from tests import fakes
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


def test_time_limit_truncates():
    env = envs.make_env("minatar_freeway", time_limit=3)
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_freeway_ends_by_itself():
    env = envs.make_env("minatar_freeway")
    env.reset(seed=0)
    steps = 1
    while not env.step(0)[2]:
        steps += 1
    assert steps == 2501  # Its limit of 2,500 is checked after the step.


def test_dummy_counts():
    env = envs.make_env("dummy_continuous")
    env.reset()
    action = np.zeros(6, np.float32)
    obs, reward, *_ = [env.step(action) for _ in range(3)][-1]
    assert obs["image"].shape == (64, 64, 3)
    assert (obs["image"] == 3).all()
    assert (obs["vector"] == 3).all()
    assert reward == 3.0
    ends = [env.step(action)[2] for _ in range(7)]
    assert ends == [False] * 6 + [True]


def test_dummy_refuses_invalid_actions():
    env = envs.make_env("dummy_discrete")
    env.reset()
    with pytest.raises(ValueError, match="action=6"):
        env.step(6)


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


def test_gym_keeps_the_own_time_limit_of_an_environment():
    env = envs.make_env("gym_Pendulum-v1")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[3] for _ in range(200)]
    assert ends == [False] * 199 + [True]


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


def test_minatar_comes_without_its_display():
    code = (
        "import sys; from dreamerv2_transfer.common import envs\n"
        "envs.make_env('minatar_breakout')\n"
        "assert 'seaborn' not in sys.modules\n"
        "from matplotlib import pyplot"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
