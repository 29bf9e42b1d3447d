import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common.envs import Joined
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.trained import values

IMAGE = {"image": spaces.Box(0, 255, (4, 4, 1), np.uint8)}
BOTH = {**IMAGE, "speed": spaces.Box(-np.inf, np.inf, (2,), np.float32)}
PLANES = {"image": spaces.Box(0, 1, (4, 4, 2), bool)}
AXES = {1: "(T, ...)", 2: "(B, T, ...)"}
BYTES = np.zeros((3, 4, 4, 1), np.uint8)
ONE = np.eye(6, dtype=np.float32)


def test_observations_are_returned_with_their_leading_axes():
    given = {"image": BYTES, "speed": np.zeros((3, 2)), "reward": None}
    seen = values.observations(given, BOTH, AXES)
    assert seen.lead == (3,)
    assert seen.arrays["speed"].dtype == np.float32
    assert set(seen.arrays) == {"image", "speed"}
    assert seen.is_first is None


def test_a_single_key_needs_no_dictionary():
    assert values.observations(BYTES[None], IMAGE, AXES).lead == (1, 3)


@pytest.mark.parametrize(
    ("given", "space", "message"),
    [
        (BYTES, BOTH, "observes 'image', 'speed': pass a dictionary"),
        ({"image": BYTES}, BOTH, "lacks 'speed'"),
        (BYTES[0], IMAGE, r"\(T, ..., 4, 4, 1\) or \(B, T, ..., 4, 4, 1\)"),
        (BYTES[:, :3], IMAGE, r"Received: \(3, 3, 4, 1\)"),
        (BYTES.astype(float), IMAGE, "bytes from 0 to 255, uint8. Received: float64"),
        (BYTES.repeat(2, -1), PLANES, "True and False, bool. Received: uint8"),
        (BYTES[:0], IMAGE, "nothing to observe"),
        (np.full((3, 4, 4, 1), "a"), IMAGE, "Received: <U1"),
        ({"image": BYTES, "speed": np.full((3, 2), np.nan)}, BOTH, "not a number"),
        ({"image": BYTES, "speed": np.zeros((2, 2))}, BOTH, "the same leading axes"),
        ({"image": BYTES, "is_first": [True]}, IMAGE, "the same leading axes"),
    ],
)
def test_impossible_observations_are_refused_by_name(given, space, message):
    with pytest.raises(ModelError, match=message):
        values.observations(given, space, AXES)


def test_discrete_actions_are_numbers_or_vectors():
    vectors = values.actions([2, 0], spaces.Discrete(6), (2,))
    assert vectors.tolist() == ONE[[2, 0]].tolist()
    assert values.actions(ONE[[2, 0]], spaces.Discrete(6)).tolist() == vectors.tolist()
    assert values.native(vectors, spaces.Discrete(6)).tolist() == [2, 0]


def test_zeros_stand_for_no_action():
    assert not values.actions(np.zeros((1, 6)), spaces.Discrete(6)).any()


def test_continuous_actions_are_vectors():
    space = spaces.Box(-1, 1, (2,))
    found = values.actions(np.array([[0.5, -1]]), space, (1,))
    assert found.dtype == np.float32
    assert values.native(found, space).tolist() == [[0.5, -1]]


BOX = spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("given", "space", "lead", "message"),
    [
        ([6], spaces.Discrete(6), None, "has 6 actions, 0 to 5. Received: an action 6"),
        ([-1, 0], spaces.Discrete(6), None, "Received: an action -1"),
        ([1, 2], spaces.Discrete(6), (3,), r"needs \(3,\) actions"),
        (np.zeros((3, 4)), spaces.Discrete(6), None, r"shape \(3, 4\)"),
        ([[0.5] * 6], spaces.Discrete(6), None, "one-hot"),
        ([["a"] * 6], spaces.Discrete(6), None, "must be numbers"),
        (np.float32(2), spaces.Discrete(6), None, r"shape \(\)"),
        ([[np.nan, 0]], BOX, None, r"not a number \(NaN or infinity\) at \[0, 0\]"),
        ([[2.0, 0]], BOX, None, "must lie in Box.* from 0 to 2"),
        ([0.0, 0.0], BOX, (2,), "vectors of 2 floats"),
    ],
)
def test_impossible_actions_are_refused(given, space, lead, message):
    with pytest.raises(ModelError, match=message):
        values.actions(given, space, lead)


def test_discrete_actions_begin_at_their_start():
    space = spaces.Discrete(3, start=-1)
    vectors = values.actions(np.array([-1, 1]), space)
    assert vectors.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert values.native(vectors, space).tolist() == [-1, 1]
    with pytest.raises(ModelError, match="3 actions, -1 to 1. Received: an action 2"):
        values.actions(np.array([2, 0]), space)


def test_joined_actions_are_vectors_of_one_hot_choices():
    space = Joined([(1, 2), (1, 0)])
    given = np.float32([[0, 0, 0], [0, 1, 0.5]])
    assert values.actions(given, space).tolist() == given.tolist()
    assert values.native(given, space) is given
    with pytest.raises(ModelError, match=r"Each choice .* Received: \[1.0, 1.0, 0.0\]"):
        values.actions(np.float32([[1, 1, 0]]), space)
