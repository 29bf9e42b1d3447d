import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common import config, driver, envs

GAMES = {"asterix": 4, "breakout": 4, "freeway": 7, "seaquest": 10, "space_invaders": 6}


def play(env, seed, actions):
    obs, _ = env.reset(seed=seed)
    trace = [obs["image"]]
    for action in actions:
        obs, reward, terminated, _, _ = env.step(action)
        trace += [obs["image"], reward, terminated]
        if terminated:
            break
    return trace


def equal(one, other):
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in pairs)


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
    assert envs.kinds("atari_pong") is None


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


FLOATS = spaces.Box(-np.inf, np.inf, (2,), np.float32)
GOOD = np.ones(2, np.float32)


class Scripted(gymnasium.Env):
    """Plays what it is given; an exception is raised instead of returned."""

    def __init__(
        self, steps=(), space=FLOATS, first=GOOD, actions=None, reward=1.0, done=False
    ):
        self.observation_space = space
        self.action_space = actions or spaces.Discrete(2)
        self._first, self._script = first, list(steps)
        self._reward, self._done = reward, done
        self.actions, self.closed = [], False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = iter(self._script)
        return self._play(self._first), {}

    def step(self, action):
        self.actions.append(action)
        obs = self._play(next(self._steps, GOOD))
        return obs, self._reward, self._done, False, {"any": self}

    def close(self):
        self.closed = True

    @staticmethod
    def _play(item):
        if isinstance(item, BaseException):
            raise item
        return item


def only(space, first, **options):
    return lambda: Scripted(space=space, first=first, **options)


def test_gym_cartpole_becomes_a_vector():
    env = envs.make_env("gym_CartPole-v1")
    obs, info = env.reset(seed=3)
    reference, _ = gymnasium.make("CartPole-v1").reset(seed=3)
    assert list(obs) == ["vector"]
    assert obs["vector"].dtype == np.float32
    assert np.array_equal(obs["vector"], reference)
    assert env.observation_space.contains(obs)
    assert env.action_space == spaces.Discrete(2)
    assert env.step(1)[1:] == (1.0, False, False, {})
    assert info == {}


def test_gym_keeps_the_own_time_limit_of_an_environment():
    env = envs.make_env("gym_Pendulum-v1")
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[3] for _ in range(200)]
    assert ends == [False] * 199 + [True]


def test_time_limit_of_gym_and_functions():
    for task in ("gym_CartPole-v1", Scripted):
        env = envs.make_env(task, time_limit=2)
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(2)] == [False, True]


def test_bounded_actions_are_rescaled_and_clipped():
    env = envs.make_env("gym_Pendulum-v1")
    assert env.action_space == spaces.Box(-1, 1, (1,), np.float32)
    reference = gymnasium.make("Pendulum-v1")
    for scaled, native in [(0.5, 1.0), (-1.0, -2.0), (3.0, 2.0)]:
        env.reset(seed=0)
        reference.reset(seed=0)
        obs, reward, *_ = env.step(np.array([scaled], np.float32))
        wanted = reference.step(np.array([native], np.float32))
        assert np.array_equal(obs["vector"], wanted[0])
        assert reward == pytest.approx(float(wanted[1]), rel=1e-6)


def test_components_without_bounds_stay_as_they_are():
    low, high = np.array([-np.inf, 0, 0.1, 5]), np.array([np.inf, 10, 0.3, 5])
    native = Scripted(actions=spaces.Box(low, high, dtype=np.float64))
    env = envs.make_env(lambda: native)
    assert env.action_space.low.tolist() == [-np.inf, -1, -1, -1]
    assert env.action_space.high.tolist() == [np.inf, 1, 1, 1]
    assert env.action_space.dtype == np.float32
    env.reset()
    env.step(np.array([7, 0, 1, 1], np.float32))
    env.step(np.array([-7, -9, 9, -1], np.float32))
    assert native.actions[0].tolist() == [7, 5, 0.3, 5]
    assert native.actions[1].tolist() == [-7, 0, 0.3, 5]
    assert native.actions[0].dtype == np.float64


def test_discrete_actions_keep_their_start():
    native = Scripted(actions=spaces.Discrete(3, start=-1))
    vector = envs.make_vector_env(lambda: native, 1)
    drive = driver.Driver(vector)
    one_hot = np.array([[0, 0, 1]], np.float32)
    drive(lambda obs, state: ({"action": one_hot}, state), steps=1)
    assert native.actions == [1]


@pytest.mark.parametrize(
    "actions",
    [
        spaces.MultiBinary(3),
        spaces.MultiDiscrete([2, 3]),
        spaces.Box(-1, 1, (2, 2)),
        spaces.Box(0, 5, (2,), np.int64),
        spaces.Dict(a=spaces.Discrete(2)),
    ],
)
def test_other_actions_are_refused(actions):
    with pytest.raises(envs.EnvError, match="Received: actions of ") as error:
        envs.make_env(lambda: Scripted(actions=actions))
    assert str(actions) in str(error.value)


@pytest.mark.parametrize(
    ("space", "value", "key", "wanted"),
    [
        (
            spaces.Box(0, 255, (4, 5, 3), np.uint8),
            np.full((4, 5, 3), 7, np.uint8),
            "image",
            np.full((4, 5, 3), 7, np.uint8),
        ),
        (
            spaces.Box(0, 255, (4, 5), np.uint8),
            np.full((4, 5), 7, np.uint8),
            "image",
            np.full((4, 5, 1), 7, np.uint8),
        ),
        (
            spaces.Box(0, 1, (2, 2), bool),
            np.eye(2, dtype=bool),
            "image",
            np.eye(2, dtype=bool)[..., None],
        ),
        (spaces.Box(0, 1, (), np.float64), 0.5, "vector", np.float32([0.5])),
        (
            spaces.Box(-9, 9, (2, 1, 1), np.float32),
            np.float32([[[1]], [[2]]]),
            "vector",
            np.float32([1, 2]),
        ),
        (
            spaces.Box(0, 255, (2,), np.uint8),
            np.uint8([3, 4]),
            "vector",
            np.float32([3, 4]),
        ),
        (spaces.Discrete(3, start=5), 6, "vector", np.float32([0, 1, 0])),
        (
            spaces.MultiDiscrete([2, 3]),
            np.array([1, 0]),
            "vector",
            np.float32([0, 1, 1, 0, 0]),
        ),
        (spaces.MultiBinary(2), np.int8([1, 0]), "vector", np.float32([1, 0])),
        (
            spaces.Tuple([spaces.Discrete(2), spaces.Box(-9, 9, (1,))]),
            (1, np.float32([8])),
            "vector",
            np.float32([0, 1, 8]),
        ),
    ],
)
def test_observations_become_images_and_vectors(space, value, key, wanted):
    env = envs.make_env(only(space, value))
    obs, _ = env.reset()
    assert list(obs) == [key]
    assert obs[key].dtype == wanted.dtype
    assert np.array_equal(obs[key], wanted)
    assert env.observation_space.contains(obs)


def test_dictionaries_keep_their_keys():
    space = spaces.Dict(
        {
            "camera": spaces.Box(0, 255, (3, 3), np.uint8),
            "robot": spaces.Dict(
                arm=spaces.Dict(angle=spaces.Box(-9, 9, (), np.float64)),
                gripper=spaces.Discrete(2),
            ),
            "log_score": spaces.Discrete(9),
        }
    )
    value = {
        "camera": np.zeros((3, 3), np.uint8),
        "robot": {"arm": {"angle": 2.5}, "gripper": 1},
        "log_score": 8,
    }
    env = envs.make_env(only(space, value))
    obs, _ = env.reset()
    assert {k: v.tolist() for k, v in obs.items() if k != "camera"} == {
        "log_score": 8,
        "robot.arm.angle": [2.5],
        "robot.gripper": [0, 1],
    }
    assert obs["camera"].shape == (3, 3, 1)
    assert env.observation_space.contains(obs)


@pytest.mark.parametrize("key", ["reward", "is_first", "is_terminal", "action"])
def test_reserved_keys_are_refused(key):
    with pytest.raises(envs.EnvError, match=f"the key '{key}', of Discrete"):
        envs.make_env(only(spaces.Dict({key: spaces.Discrete(2)}), {key: 1}))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Discrete(2), None),
        spaces.Tuple([spaces.Text(5)]),
    ],
)
@pytest.mark.parametrize("key", ["words", "log_words"])
def test_spaces_without_numbers_are_refused(space, key):
    with pytest.raises(envs.EnvError, match=f"'{key}' of ") as error:
        envs.make_env(only(spaces.Dict({key: space}), None))
    assert str(space) in str(error.value)


def test_keys_that_meet_when_joined_are_refused():
    inner = spaces.Discrete(2)
    space = spaces.Dict({"a.b": inner, "a": spaces.Dict(b=inner)})
    with pytest.raises(envs.EnvError, match=r"'a\.b'"):
        envs.make_env(only(space, None))


def test_what_has_the_form_is_not_wrapped():
    games = envs.MinAtar("breakout"), envs.Dummy(spaces.Box(-1, 1, (6,), np.float32))
    for game in games:
        assert envs.adapt(game) is game
    env = envs.adapt(gymnasium.make("CartPole-v1"))
    assert isinstance(env, envs.GymEnv)
    assert envs.adapt(env) is env


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
        envs.make_env(lambda: Scripted._play(OSError("no\ndisk")))


def test_kinds_of_a_gym_task():
    wanted = {"vector": ((3,), "float32"), "action": ((1,), "float32")}
    assert envs.kinds("gym_Pendulum-v1") == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"steps": [GOOD, np.float32([0, np.nan])]},
            "2 of .*: observation is not finite.*nan .1 of 2",
        ),
        (
            {"steps": [np.array([0, 1e300])]},
            "1 of .*: observation is not finite. Received: inf",
        ),
        ({"steps": [np.ones(3, np.float32)]}, r"shape \(2,\). Received: .*\(3,\)"),
        ({"steps": [np.array(["a", "b"])]}, "must be float32 .*Received: <U1"),
        ({"steps": [None]}, "must be float32 .*Received: object"),
        ({"steps": [[[1], [1, 2]]]}, "Received: ValueError"),
        ({"reward": np.nan}, "reward is not finite. Received: nan"),
        ({"reward": "1"}, "reward must be float32 .*Received: <U1"),
        ({"reward": None}, "reward must be float32 .*Received: object"),
        ({"reward": np.ones(1)}, r"reward must be .*Received: float64 of shape \(1,\)"),
        ({"done": 1}, "terminated must be a bool. Received: 1"),
        (
            {"steps": [ZeroDivisionError("by\n0")]},
            "step raised ZeroDivisionError: by 0$",
        ),
    ],
)
def test_faults_of_a_step_are_named(options, message):
    env = envs.make_env(lambda: Scripted(**options))
    env.reset()
    with pytest.raises(envs.EnvError, match=f"^Scripted, step .*{message}"):
        for _ in range(2):
            env.step(0)


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (
            spaces.Box(0, 255, (2, 2), np.uint8),
            np.ones((2, 2)),
            "must be uint8 of shape .*Received: float64",
        ),
        (spaces.Discrete(3), 3, r"must be Discrete\(3\). Received: array\(3\)"),
        (spaces.Discrete(3), 1.0, "must be int64 of shape .*Received: float64"),
        (spaces.Box(-9, 9, (1,), np.int8), [300], "must be int8 .*Received: int64"),
        (spaces.Dict(a=FLOATS), {"b": GOOD}, r"must be \['a'\]. Received: \['b'\]"),
        (spaces.Dict(a=FLOATS), GOOD, r"must be \['a'\]. Received: ndarray"),
        (
            spaces.Dict(a=spaces.Dict(b=FLOATS)),
            {"a": {"b": -np.inf * GOOD}},
            "observation 'a.b' is not finite. Received: -inf .2 of 2",
        ),
        (spaces.Tuple([FLOATS, FLOATS]), (GOOD,), "observation must be Tuple"),
    ],
)
def test_observations_must_be_as_their_space_says(space, value, message):
    env = envs.make_env(only(space, value))
    with pytest.raises(envs.EnvError, match=f"^Scripted, step 0 of .*{message}"):
        env.reset()


@pytest.mark.parametrize("value", [[1, 2], np.array([1.0, 2.0]), np.array([1, 2])])
def test_numbers_are_cast_where_nothing_is_lost(value):
    env = envs.Checked(Scripted(first=value))
    obs, _ = env.reset()
    assert obs.dtype == np.float32
    assert obs.tolist() == [1, 2]


def test_interfaces_of_old_versions_are_refused():
    class Old(Scripted):
        def reset(self, **_):
            return GOOD

    with pytest.raises(envs.EnvError, match="reset must return a tuple of 2.*ndarray"):
        envs.make_env(Old).reset()


def test_exceptions_are_chained_but_stopping_is_not_caught():
    env = envs.make_env(only(FLOATS, KeyError("x")))
    with pytest.raises(envs.EnvError) as error:
        env.reset()
    assert isinstance(error.value.__cause__, KeyError)
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop):
            envs.make_env(only(FLOATS, stop())).reset()


def test_checking_is_cheap():
    checked = envs.Checked(Scripted([GOOD] * 3000))
    checked.reset()
    bare = checked.env
    times = {checked: [], bare: []}
    for _ in range(5):
        for env, taken in times.items():
            start = time.perf_counter()
            for _ in range(200):
                env.step(0)
            taken.append((time.perf_counter() - start) / 200)
    assert min(times[checked]) - min(times[bare]) < 30e-6


def fresh(*scripts):
    """A function that makes one environment after the other of those listed."""
    made = []

    def make():
        made.append(Scripted(**scripts[len(made)]))
        return made[-1]

    make.made = made
    return make


def test_restart_ends_the_episode_and_goes_on(capsys):
    last = np.float32([5, 6])
    make = fresh({"steps": [last, OSError("gone")]}, {})
    env = envs.make_env(make, restart=True)
    env.reset()
    env.step(0)
    last[:] = 9  # What was returned must not change with the array of the environment.
    obs, *rest = env.step(0)
    assert obs["vector"].tolist() == [5, 6]
    assert rest == [0.0, False, True, {}]
    assert capsys.readouterr().out == (
        "Scripted, step 2 of the episode: step raised OSError: gone "
        "A fresh environment goes on.\n"
    )
    assert [old.closed for old in make.made] == [True, False]
    obs, _ = env.reset()
    assert obs["vector"].tolist() == [1, 1]
    assert env.step(1)[1:4] == (1.0, False, False)


def test_reset_is_tried_three_times(capsys):
    bad = {"first": OSError("gone")}
    env = envs.make_env(fresh(bad, bad, {}), restart=True)
    assert env.reset()[0]["vector"].tolist() == [1, 1]
    make = fresh(bad, bad, bad, {})
    with pytest.raises(envs.EnvError, match="reset raised OSError: gone"):
        envs.make_env(make, restart=True).reset()
    assert len(make.made) == 3
    assert capsys.readouterr().out.count("A fresh environment goes on.") == 4


def test_without_restart_a_fault_goes_up():
    env = envs.make_vector_env(lambda: Scripted([OSError("gone")]), 1)
    env.reset()
    with pytest.raises(envs.EnvError, match="step 1 .* OSError: gone"):
        env.step(np.zeros(1, int))


def test_driver_keeps_the_episode_that_a_restart_ended():
    make = fresh({"steps": [GOOD, OSError("gone")]}, {"done": True})
    drive = driver.Driver(envs.make_vector_env(make, 1, restart=True))
    kept = []
    drive.on_episode(lambda episode, worker: kept.append(episode))
    drive(lambda obs, state: ({"action": np.eye(2)[:1]}, state), episodes=2)
    assert [episode["reward"].tolist() for episode in kept] == [[0, 1, 0], [0, 1]]
    assert [bool(episode["is_terminal"][-1]) for episode in kept] == [False, True]


def trajectory(parallel, task, steps, **options):
    """Transitions of two environments that are reset where they end."""
    rng = np.random.default_rng(0)
    with contextlib.closing(envs.make_vector_env(task, 2, parallel, **options)) as env:
        seeds = iter(range(1000))
        found = []

        def policy(obs, state):
            choice = rng.integers(env.single_action_space.n, size=2)
            return {"action": np.eye(env.single_action_space.n)[choice]}, state

        drive = driver.Driver(env, seeds=lambda worker: next(seeds))
        for add in (drive.on_step, drive.on_reset):
            add(lambda tran, worker: found.append((worker, tran)))
        drive(policy, steps=steps)
    return found


@pytest.mark.parametrize("task", ["gym_CartPole-v1", "minatar_breakout"])
def test_processes_play_what_one_process_plays(task):
    one, other = (trajectory(kind, task, 200) for kind in ("none", "process"))
    assert len(one) == len(other) > 206  # Some episodes ended and began.
    for (worker, tran), (other_worker, other_tran) in zip(one, other, strict=True):
        assert worker == other_worker
        assert tran.keys() == other_tran.keys()
        for key, value in tran.items():
            assert np.array_equal(value, other_tran[key]), key
            assert value.dtype == other_tran[key].dtype


@pytest.mark.parametrize("parallel", ["thread", "processes", ""])
def test_unknown_parallel_names_the_known(parallel):
    with pytest.raises(envs.EnvError, match=f"={parallel}. It must be none or process"):
        envs.make_vector_env("dummy_discrete", 1, parallel)


def test_fault_in_a_process_comes_up_and_close_ends_all():
    # Python would put the source line, with its percent sign, into a traceback.
    env = envs.make_vector_env(lambda: Scripted([OSError(f"{7:d} % d")]), 2, "process")
    env.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(envs.EnvError, match="^Scripted, step 1 .*OSError: 7 % d$"):
            env.step(np.zeros(2, int))
    start = time.monotonic()
    env.close()
    assert time.monotonic() - start < 3
    assert not any(process.is_alive() for process in env.processes)


def test_restart_in_a_process():
    make = lambda: Scripted([GOOD, OSError("gone")])  # noqa: E731
    with contextlib.closing(
        envs.make_vector_env(make, 2, "process", restart=True)
    ) as env:
        env.reset()
        assert env.step(np.zeros(2, int))[3].tolist() == [False, False]
        assert env.step(np.zeros(2, int))[3].tolist() == [True, True]
        env.reset(options={"reset_mask": np.ones(2, bool)})
        assert env.step(np.zeros(2, int))[3].tolist() == [False, False]


class Dying(Scripted):
    def step(self, action):
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(Scripted):
    def step(self, action):
        time.sleep(1000)


def test_death_of_a_process_is_told_and_close_works():
    env = envs.make_vector_env(Dying, 2, "process")
    env.reset()
    with pytest.raises(envs.EnvError, match=r"exit status \[-9, -9\] of .*\[0, 1\]"):
        env.step(np.zeros(2, int))
    env.close()


def test_close_ends_a_process_that_does_not_answer():
    env = envs.make_vector_env(Hanging, 1, "process")
    env.reset()
    env.step_async(np.zeros(1, int))
    env.close(timeout=0.1)
    assert not env.processes[0].is_alive()


def test_processes_leave_signals_to_the_parent():
    with contextlib.closing(
        envs.make_vector_env("dummy_discrete", 2, "process")
    ) as env:
        env.reset()
        for process in env.processes:
            os.kill(process.pid, signal.SIGINT)
            os.kill(process.pid, signal.SIGTERM)
        obs, *_ = env.step(np.zeros(2, int))
        assert obs["vector"][:, 0].tolist() == [1, 1]


PARENT = """
import os, signal, sys
from dreamerv2_transfer.common import envs
env = envs.make_vector_env("dummy_discrete", 2, "process")
env.reset()
print(*(process.pid for process in env.processes), flush=True)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] not in "ZX"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
@pytest.mark.parametrize("how", ["kill", "exit"])
def test_processes_end_with_their_parent(how):
    root = pathlib.Path(envs.__file__).parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", PARENT, how],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2
    until = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


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
    assert envs.options(settings) == episodes
    more = {"restart": True, "parallel": "process"}
    assert envs.run_options(settings) == {**episodes, **more}
