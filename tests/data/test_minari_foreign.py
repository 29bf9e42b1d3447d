import types

import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common.replay.store import DatasetError, EpisodeError
from dreamerv2_transfer.data import minari_foreign

VECTOR = spaces.Box(-9, 9, (2,), np.float64)


def convert(observation, action, seen, done, truncations=(False, True), **options):
    """An episode of two steps, as Minari reads it."""
    data = {
        "observations": seen,
        "actions": done,
        "rewards": np.array([1.0, 2.0]),
        "terminations": [False, False],
        "truncations": list(truncations),
    }
    storage = types.SimpleNamespace(observation_space=observation, action_space=action)
    return minari_foreign.converted(data, storage, **options)


def test_vectors_become_floats():
    seen = np.array([[1, 2], [3, 4], [5, 6]], np.float64)
    made = convert(VECTOR, spaces.Discrete(3), seen, np.array([0, 1]))
    assert made["observations"].keys() == {"vector"}
    assert made["observations"]["vector"].tolist() == seen.tolist()
    assert made["observations"]["vector"].dtype == np.float32
    assert made["rewards"].tolist() == [1, 2]


def test_discrete_actions_become_one_hot():
    space = spaces.Discrete(3, start=1)
    made = convert(VECTOR, space, np.zeros((3, 2)), np.array([3, 1]))
    assert made["actions"].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert made["actions"].dtype == np.float32


@pytest.mark.parametrize("action", [0, 4, -1])
def test_actions_that_do_not_exist_are_refused(action):
    space = spaces.Discrete(3, start=1)
    with pytest.raises(EpisodeError, match="There are 3 actions"):
        convert(VECTOR, space, np.zeros((3, 2)), np.array([3, action]))


def test_integers_that_floats_round_are_refused():
    space = spaces.Box(0, 2**50, (1,), np.int64)
    kept, rounded = (n + np.arange(3)[:, None] for n in (2**24 - 2, 2**40))
    made = convert(space, spaces.Discrete(3), kept, np.array([0, 1]))
    assert made["observations"]["vector"].tolist() == kept.tolist()
    with pytest.raises(EpisodeError, match="'' holds integers up to 1099511627778"):
        convert(space, spaces.Discrete(3), rounded, np.array([0, 1]))


def test_bounded_actions_are_rescaled_and_others_kept():
    low, high = np.array([0, -np.inf, 2, 0]), np.array([4, np.inf, 2, np.inf])
    space = spaces.Box(low, high, (4,), np.float64)
    done = np.array([[1.0, 7.0, 2.0, 3.0], [4.0, -2.0, 2.0, 0.5]])
    made = convert(VECTOR, space, np.zeros((3, 2)), done)
    assert made["actions"].tolist() == [[-0.5, 7, 2, 3], [1, -2, 2, 0.5]]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
def test_images_get_channels(shape, dtype):
    space = spaces.Box(0, 1, shape, dtype)
    seen = np.arange(3 * np.prod(shape)).reshape(3, *shape).astype(dtype)
    made = convert(space, spaces.Discrete(2), seen, np.array([0, 1]))
    image = made["observations"]["image"]
    assert image.shape == (3, 4, 5, shape[2] if len(shape) == 3 else 1)
    assert image.dtype == dtype and np.array_equal(image.ravel(), seen.ravel())


def test_dictionaries_are_joined_by_dots():
    space = spaces.Dict(
        {
            "a": spaces.Dict({"image": spaces.Box(0, 255, (4, 5), np.uint8)}),
            "n": spaces.Discrete(2),
        }
    )
    seen = {"a": {"image": np.zeros((3, 4, 5), np.uint8)}, "n": np.array([0, 1, 1])}
    made = convert(space, spaces.Discrete(2), seen, np.array([0, 1]))
    assert made["observations"].keys() == {"a.image", "n"}
    assert made["observations"]["n"].tolist() == [[1, 0], [0, 1], [0, 1]]


def test_an_episode_without_an_end_is_truncated():
    seen, done = np.zeros((3, 2)), np.array([0, 1])
    made = convert(VECTOR, spaces.Discrete(2), seen, done, [False, False])
    assert made["truncations"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("observation", "action", "named"),
    [
        (spaces.Text(5), spaces.Discrete(2), "The observation '' of Text.* no vector"),
        (
            VECTOR,
            spaces.MultiBinary(2),
            "The actions of MultiBinary.* neither discrete",
        ),
        (VECTOR, spaces.Box(0, 1, (2, 2)), "The actions of Box.* neither discrete"),
    ],
)
def test_spaces_without_numbers_are_named(observation, action, named):
    with pytest.raises(DatasetError, match=named):
        convert(observation, action, np.zeros((3, 2)), np.zeros((2, 2), int))


TWICE = spaces.Dict({"a.b": VECTOR, "a": spaces.Dict(b=VECTOR)})


@pytest.mark.parametrize(
    ("space", "seen", "fault"),
    [
        (
            TWICE,
            {"a.b": np.zeros((3, 2)), "a": {"b": np.ones((3, 2))}},
            "'a.b': another",
        ),
        (
            spaces.Dict(reward=VECTOR),
            {"reward": np.zeros((3, 2))},
            "'reward': reward, ",
        ),
        (spaces.Dict(task=VECTOR), {"task": np.zeros((3, 2))}, "'task': these names"),
        (spaces.Dict(say=spaces.Text(9)), {"say": ["a"] * 3}, "'say' of Text"),
    ],
)
def test_keys_that_cannot_be_kept_are_named(space, seen, fault):
    with pytest.raises(DatasetError, match=fault) as error:
        convert(space, spaces.Discrete(2), seen, np.array([0, 1]))
    assert "--obs.exclude" in str(error.value)


def test_observations_are_left_out_by_name():
    space = spaces.Dict(say=spaces.Text(9), task=VECTOR, mine=VECTOR)
    seen = {"say": ["a"] * 3, "task": np.zeros((3, 2)), "mine": np.ones((3, 2))}
    made = convert(
        space, spaces.Discrete(2), seen, np.array([0, 1]), exclude="say|task"
    )
    assert made["observations"].keys() == {"mine"}


def test_bytes_and_stacked_frames_come_as_environments_give_them():
    memory, frames = spaces.Box(0, 255, (2,), np.uint8), np.arange(3 * 4 * 256)
    frames = frames.reshape(3, 4, 16, 16).astype(np.uint8)
    space = spaces.Dict(ram=memory, eye=spaces.Box(0, 255, (4, 16, 16), np.uint8))
    seen = {"ram": np.full((3, 2), 200, np.uint8), "eye": frames}
    made = convert(space, spaces.Discrete(2), seen, np.array([0, 1]))["observations"]
    assert made["ram"].dtype == np.uint8 and made["ram"].tolist() == [[200, 200]] * 3
    assert np.array_equal(made["eye"], np.moveaxis(frames, 1, -1))
