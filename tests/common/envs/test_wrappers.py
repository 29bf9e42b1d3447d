import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common import driver, envs
from dreamerv2_transfer.common.envs import wrappers
from tests import fakes

ONE = spaces.Box(-9, 9, (1,), np.float32)


def only(space, first, **options):
    return lambda: fakes.Scripted(space=space, first=first, **options)


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
    native = fakes.Scripted(actions=spaces.Box(low, high, dtype=np.float64))
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


def test_actions_are_clipped_to_one_bound():
    seen, first = spaces.Dict(x=fakes.FLOATS), {"x": fakes.GOOD}
    box = spaces.Box(0, np.inf, (2,))
    env = fakes.Scripted([first], space=seen, first=first, actions=box)
    made = wrappers.adapt(env)
    made.reset()
    action = np.float32([-0.5, 0.5])
    made.step(action)
    assert made.action_space.contains(action)
    assert env.actions[0].tolist() == [0, 0.5]


def test_discrete_actions_keep_their_start():
    native = fakes.Scripted(actions=spaces.Discrete(3, start=-1))
    vector = envs.make_vector_env(lambda: native, 1)
    drive = driver.Driver(vector)
    one_hot = np.array([[0, 0, 1]], np.float32)
    drive(lambda obs, state: ({"action": one_hot}, state), steps=1)
    assert native.actions == [1]


def test_joined_actions_reach_the_environment_in_its_form():
    space = spaces.Dict(a=spaces.MultiDiscrete([2, 2]), b=spaces.Discrete(3, start=1))
    native = fakes.Scripted(actions=space)
    vector = envs.make_vector_env(lambda: native, 1)
    drive = driver.Driver(vector, seeds=lambda worker: 0)
    action = np.array([[1, 0, 0, 1, 0, 0, 1]], np.float32)
    drive(lambda obs, state: ({"action": action}, state), steps=1)
    (taken,) = native.actions
    assert (taken["a"].tolist(), taken["b"]) == ([0, 1], 3)
    saved = drive.state()
    drive.load_state(saved)
    assert space.contains(native.actions[-1]) and drive.state() == saved


def test_a_tuple_with_images_has_keys():
    image = spaces.Box(0, 255, (3, 3), np.uint8)
    space = spaces.Tuple([image, spaces.Discrete(2), image])
    value = np.zeros((3, 3), np.uint8), 1, np.ones((3, 3), np.uint8)
    obs, _ = envs.make_env(only(space, value)).reset()
    assert {k: (v.shape, v.max()) for k, v in obs.items()} == {
        "0": ((3, 3, 1), 0),
        "1": ((2,), 1),
        "2": ((3, 3, 1), 1),
    }


@pytest.mark.parametrize("outer", [spaces.Dict, spaces.Tuple])
def test_images_inside_tuples_and_dictionaries_stay_images(outer):
    image, zeros = spaces.Box(0, 255, (3, 3), np.uint8), np.zeros((3, 3), np.uint8)
    left = spaces.Tuple([image, spaces.Discrete(2)]), (zeros, 1)
    right = spaces.Dict(eye=image), {"eye": zeros}
    number = spaces.Tuple([spaces.Discrete(2)]), (0,)
    parts = {"0": left, "1": right, "2": number}
    space = {key: part for key, (part, _) in parts.items()}
    value = {key: value for key, (_, value) in parts.items()}
    if outer is spaces.Tuple:
        space, value = list(space.values()), tuple(value.values())
    obs, _ = envs.make_env(only(outer(space), value)).reset()
    assert {k: v.shape for k, v in obs.items()} == {
        "0.0": (3, 3, 1),
        "0.1": (2,),
        "1.eye": (3, 3, 1),
        "2": (2,),
    }


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
            np.uint8([3, 4]),
        ),
        (spaces.Discrete(3, start=5), 6, "vector", np.float32([0, 1, 0])),
        (
            spaces.MultiDiscrete([2, 3]),
            np.array([1, 0]),
            "vector",
            np.float32([0, 1, 1, 0, 0]),
        ),
        (
            spaces.MultiDiscrete([[2, 3]], start=[[4, 1]]),
            np.array([[5, 1]]),
            "vector",
            np.float32([0, 1, 1, 0, 0]),
        ),
        (spaces.Discrete(1, start=-2), -2, "vector", np.float32([1])),
        (spaces.MultiBinary(2), np.int8([1, 0]), "vector", np.float32([1, 0])),
        (spaces.MultiBinary([1, 2]), np.int8([[1, 0]]), "vector", np.float32([1, 0])),
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


RESERVED = ("reward", "is_first", "is_terminal", "action", "terminal", "game_index")


@pytest.mark.parametrize("key", RESERVED)
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
        spaces.Tuple([]),
        spaces.Tuple([spaces.Discrete(2), spaces.Tuple([])]),
        spaces.Tuple([spaces.Discrete(2), spaces.Dict()]),
        spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]),
    ],
)
@pytest.mark.parametrize("key", ["words", "log_words"])
def test_spaces_without_numbers_are_refused(space, key):
    with pytest.raises(envs.EnvError, match=f"'{key}' of ") as error:
        envs.make_env(only(spaces.Dict({key: space}), None))
    assert str(space) in str(error.value)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 64, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_observations_of_size_0_are_refused(shape, dtype):
    space = spaces.Box(0, 1, shape, dtype)
    with pytest.raises(envs.EnvError, match="'x' of Box.*which holds no numbers"):
        envs.make_env(only(spaces.Dict(x=space), None))


def test_keys_that_meet_when_joined_are_refused():
    inner = spaces.Discrete(2)
    space = spaces.Dict({"a.b": inner, "a": spaces.Dict(b=inner)})
    with pytest.raises(envs.EnvError, match=r"'a\.b'"):
        envs.make_env(only(space, None))


def test_what_has_the_form_is_not_wrapped():
    games = envs.MinAtar("breakout"), envs.Dummy(spaces.Box(-1, 1, (6,), np.float32))
    for game in games:
        assert wrappers.adapt(game) is game
    env = wrappers.adapt(gymnasium.make("CartPole-v1"))
    assert isinstance(env, wrappers.GymEnv)
    assert wrappers.adapt(env) is env


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"steps": [fakes.GOOD, np.float32([0, np.nan])]},
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
    env = envs.make_env(lambda: fakes.Scripted(**options))
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
        (
            spaces.Dict(a=fakes.FLOATS),
            {"b": fakes.GOOD},
            r"must be \['a'\]. Received: \['b'\]",
        ),
        (
            spaces.Dict(a=fakes.FLOATS),
            fakes.GOOD,
            r"must be \['a'\]. Received: ndarray",
        ),
        (
            spaces.Dict(a=spaces.Dict(b=fakes.FLOATS)),
            {"a": {"b": -np.inf * fakes.GOOD}},
            "observation 'a.b' is not finite. Received: -inf .2 of 2",
        ),
        (
            spaces.Tuple([fakes.FLOATS, fakes.FLOATS]),
            (fakes.GOOD,),
            "observation must be Tuple",
        ),
    ],
)
def test_observations_must_be_as_their_space_says(space, value, message):
    env = envs.make_env(only(space, value))
    with pytest.raises(envs.EnvError, match=f"^Scripted, step 0 of .*{message}"):
        env.reset()


@pytest.mark.parametrize("value", [[1, 2], np.array([1.0, 2.0]), np.array([1, 2])])
def test_numbers_are_cast_where_nothing_is_lost(value):
    env = wrappers.Checked(fakes.Scripted(first=value))
    obs, _ = env.reset()
    assert obs.dtype == np.float32
    assert obs.tolist() == [1, 2]


def test_interfaces_of_old_versions_are_refused():
    class Old(fakes.Scripted):
        def reset(self, **_):
            return fakes.GOOD

    with pytest.raises(envs.EnvError, match="reset must return a tuple of 2.*ndarray"):
        envs.make_env(Old).reset()


def test_exceptions_are_chained_but_stopping_is_not_caught():
    env = envs.make_env(only(fakes.FLOATS, KeyError("x")))
    with pytest.raises(envs.EnvError) as error:
        env.reset()
    assert isinstance(error.value.__cause__, KeyError)
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop):
            envs.make_env(only(fakes.FLOATS, stop())).reset()


def fresh(*scripts):
    """A function that makes one environment after the other of those listed."""
    made = []

    def make():
        made.append(fakes.Scripted(**scripts[len(made)]))
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
        "A fresh environment replaces it.\n"
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
    assert capsys.readouterr().out.count("A fresh environment replaces it.") == 4


def test_without_restart_a_fault_goes_up():
    env = envs.make_vector_env(lambda: fakes.Scripted([OSError("gone")]), 1)
    env.reset()
    with pytest.raises(envs.EnvError, match="step 1 .* OSError: gone"):
        env.step(np.zeros(1, int))


def test_driver_keeps_the_episode_that_a_restart_ended():
    make = fresh({"steps": [fakes.GOOD, OSError("gone")]}, {"done": True})
    drive = driver.Driver(envs.make_vector_env(make, 1, restart=True))
    kept = []
    drive.on_episode(lambda episode, worker: kept.append(episode))
    drive(lambda obs, state: ({"action": np.eye(2)[:1]}, state), episodes=2)
    assert [episode["reward"].tolist() for episode in kept] == [[0, 1, 0], [0, 1]]
    assert [bool(episode["is_terminal"][-1]) for episode in kept] == [False, True]


def fitted(space, value, keys=".*", size=(2, 2), key="image"):
    """Returns the only observation of an environment whose images are resized."""
    space = spaces.Dict({key: space})
    env = fakes.Scripted(space=space, first={key: value})
    env = envs.make_env(lambda: env, fit=envs.Fit(keys, size))
    obs, _ = env.reset()
    assert env.observation_space.contains(obs)
    return obs[key]


def test_images_are_resized_to_the_mean_of_what_a_pixel_covers():
    quarters = np.kron([[10, 20], [30, 40]], np.ones((8, 8))).astype(np.uint8)
    resized = fitted(spaces.Box(0, 255, (16, 16), np.uint8), quarters)
    assert resized.tolist() == [[[10], [20]], [[30], [40]]]
    checkers = (np.indices((16, 16)).sum(0) % 2 * 200).astype(np.uint8)
    resized = fitted(spaces.Box(0, 255, (16, 16), np.uint8), checkers)
    assert resized.tolist() == [[[100], [100]], [[100], [100]]]


def test_all_channels_of_an_image_are_resized():
    image = np.broadcast_to(np.arange(9, dtype=np.uint8) * 7, (6, 8, 9))
    resized = fitted(spaces.Box(0, 255, (6, 8, 9), np.uint8), image, size=(2, 4))
    assert (resized == np.arange(9) * 7).all()
    assert resized.shape == (2, 4, 9)


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (spaces.Box(0, 1, (8, 8, 3), bool), {}),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), {"keys": "view"}),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), {"key": "log_view"}),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), {"size": (8, 8)}),
    ],
)
def test_planes_and_images_that_are_not_predicted_keep_their_size(space, options):
    value = np.ones(space.shape, space.dtype)
    assert fitted(space, value, **options).shape == (8, 8, 3)


def seen(space, value):
    """Returns the space and the value of an observation in our form."""
    env = envs.make_env(only(space, value))
    obs, _ = env.reset()
    (key,) = obs
    assert env.observation_space.contains(obs)
    return env.observation_space[key], key, obs[key]


def test_a_vector_of_bytes_stays_one():
    memory = np.array([0, 1, 128, 255], np.uint8)
    space, key, value = seen(spaces.Box(0, 255, (4,), np.uint8), memory)
    assert (space, key) == (spaces.Box(0, 255, (4,), np.uint8), "vector")
    assert value.tolist() == [0, 1, 128, 255] and value.dtype == np.uint8


def test_small_numbers_in_bytes_become_floats():
    # Divided by 255 they could hardly be told apart.
    space, _, value = seen(spaces.Box(0, 1, (3,), np.uint8), np.uint8([0, 1, 1]))
    assert space == spaces.Box(0, 1, (3,), np.float32)
    assert value.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 12])
def test_channels_that_come_first_become_the_last_axis(channels):
    first = np.random.default_rng(0).integers(256, size=(channels, 20, 24))
    box = spaces.Box(0, 255, (channels, 20, 24), np.uint8)
    space, key, value = seen(box, first.astype(np.uint8))
    assert (space.shape, key) == ((20, 24, channels), "image")
    assert all(np.array_equal(value[..., c], first[c]) for c in range(channels))


@pytest.mark.parametrize("channels", [1, 3])
def test_stacked_frames_become_channels_in_their_order(channels):
    frames = np.random.default_rng(0).integers(256, size=(4, 64, 64, channels))
    box = spaces.Box(0, 255, frames.shape, np.uint8)
    space, key, value = seen(box, frames.astype(np.uint8))
    assert (space.shape, key) == ((64, 64, 4 * channels), "image")
    for i in range(4):
        frame = value[..., i * channels : (i + 1) * channels]
        assert np.array_equal(frame, frames[i])


@pytest.mark.parametrize(
    "shape", [(64, 64, 3), (64, 64, 4), (10, 10, 10), (10, 10, 20), (64, 64, 64)]
)
def test_channels_that_come_last_stay_there(shape):
    space, _, _ = seen(spaces.Box(0, 1, shape, bool), np.zeros(shape, bool))
    assert space.shape == shape


@pytest.mark.parametrize(
    "key", [*wrappers.RESERVED, *wrappers.TAKEN], ids=lambda key: key or "empty"
)
def test_names_that_mean_something_else_are_refused(key):
    space = spaces.Dict({key: ONE, "mine": ONE})
    with pytest.raises(envs.EnvError, match="--obs.exclude") as error:
        envs.make_env(lambda: fakes.Scripted(space=space))
    assert f"the key {key!r}" in str(error.value)


def test_observations_are_left_out_by_name():
    space = spaces.Dict({"task": ONE, "text": spaces.Text(9), "mine": ONE})
    first = {"task": np.zeros(1), "text": "go", "mine": np.ones(1)}
    env = fakes.Scripted(space=space, first=first)
    env = envs.make_env(lambda: env, fit=envs.Fit(".*", (64, 64), "task|text"))
    assert list(env.observation_space) == ["mine"]
    assert env.reset()[0]["mine"].tolist() == [1.0]


def test_leaving_out_everything_is_refused():
    env = fakes.Scripted(space=spaces.Dict(mine=ONE))
    with pytest.raises(envs.EnvError, match="obs.exclude leaves no observation"):
        envs.make_env(lambda: env, fit=envs.Fit(".*", (64, 64), ".*"))
