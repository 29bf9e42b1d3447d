import copy
import pickle

import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common.envs import actions
from dreamerv2_transfer.common.envs.actions import Joined
from dreamerv2_transfer.common.errors import EnvError

BOX = spaces.Box(np.float32([0, -np.inf]), np.float32([4, np.inf]))
NESTED = spaces.Dict(
    {
        "gear": spaces.Discrete(3, start=5),
        "hand": spaces.Tuple([spaces.MultiBinary(2), BOX]),
    }
)
VECTOR = np.float32([0, 1, 0, 0, 1, 1, 0, 0.5, 7])


@pytest.mark.parametrize(
    ("space", "parts", "vector", "native"),
    [
        (spaces.MultiDiscrete([2, 3]), ((1, 2), (1, 3)), [0, 1, 0, 0, 1], [1, 2]),
        (
            spaces.MultiDiscrete([[2, 2]], start=[[4, 0]]),
            ((2, 2),),
            [1, 0, 0, 1],
            [[4, 1]],
        ),
        (spaces.MultiBinary(2), ((2, 2),), [1, 0, 0, 1], [0, 1]),
        (spaces.MultiBinary([1, 2]), ((2, 2),), [1, 0, 0, 1], [[0, 1]]),
        (spaces.MultiDiscrete([1, 2]), ((1, 1), (1, 2)), [1, 0, 1], [0, 1]),
        (spaces.Box(-2, 2, (1, 2)), ((2, 0),), [0.5, -3], [[1, -2]]),
        (spaces.Box(0, 4, ()), ((1, 0),), [0.5], 3),
    ],
)
def test_a_vector_stands_for_a_native_action(space, parts, vector, native):
    joined, to_native = actions.native_actions(space)
    assert joined.parts == parts
    assert all(joined.contains(joined.sample()) for _ in range(5))
    action = to_native(np.float32(vector))
    assert isinstance(action, np.ndarray) and action.dtype == space.dtype
    assert action.tolist() == native and space.contains(action)


@pytest.mark.parametrize("shape", [(1,), (1, 1), ()])
@pytest.mark.parametrize(
    ("low", "high", "limit", "native"),
    [
        (0, np.inf, np.inf, [0, 0, 1, 2]),
        (-np.inf, 0.5, np.inf, [-1, 0, 0.5, 0.5]),
        (-np.inf, np.inf, np.inf, [-1, 0, 1, 2]),
        (5, 5, 1, [5, 5, 5, 5]),
        (-3e38, 3e38, 1, np.float32([-3e38, 0, 3e38, 3e38])),
    ],
)
def test_numbers_are_clipped_to_their_bounds(shape, low, high, limit, native):
    space = spaces.Box(low, high, shape)
    box, to_native = actions.native_actions(space)
    assert (box.low.item(), box.high.item()) == (-limit, limit)
    made = [to_native(np.full(box.shape, x, np.float32)) for x in (-1, 0, 1, 2)]
    assert [x.item() for x in made] == pytest.approx([*native], rel=1e-6)
    assert all(x.shape == shape and space.contains(x) for x in made)


@pytest.mark.parametrize(("low", "high"), [(1, np.inf), (-np.inf, -1)])
@pytest.mark.parametrize("shape", [(1,), (2, 1)])
def test_bounds_that_leave_no_action_are_refused(low, high, shape):
    space = spaces.Tuple([spaces.Discrete(2), spaces.Box(low, high, shape)])
    for refused in (space, space[1]):
        with pytest.raises(EnvError, match=r"lie in \[-1, 1\], .*TransformAction"):
            actions.native_actions(refused)


def test_the_keys_of_a_dictionary_have_the_order_of_the_space():
    part = spaces.Dict(b=spaces.Discrete(2), a=spaces.Discrete(3))
    space = spaces.Tuple([part, spaces.Discrete(1, start=4)])
    joined, to_native = actions.native_actions(space)
    order = [x.n for x in part.spaces.values()]
    assert [n for _, n in joined.parts] == [*order, 1]
    vector = np.concatenate([np.eye(n)[n - 1] for n in (*order, 1)])
    assert to_native(vector) == ({"a": 2, "b": 1}, 4)
    assert space.contains(to_native(vector))


def test_nested_actions_are_parts_of_one_vector():
    joined, to_native = actions.native_actions(NESTED)
    assert joined.parts == ((1, 3), (2, 2), (2, 0))
    assert joined.low.tolist() == [0] * 7 + [-1, -np.inf]
    assert joined.high.tolist() == [1] * 7 + [1, np.inf]
    action = to_native(VECTOR)
    assert NESTED.contains(action)
    assert action["gear"] == 6
    assert [x.tolist() for x in action["hand"]] == [[1, 0], [3, 7]]


def test_samples_lie_in_the_space():
    joined, to_native = actions.native_actions(NESTED)
    joined.seed(0)
    drawn = np.array([joined.sample() for _ in range(300)])
    assert all(joined.contains(x) and NESTED.contains(to_native(x)) for x in drawn)
    np.testing.assert_allclose(drawn[:, :3].mean(0), 1 / 3, atol=0.1)
    np.testing.assert_allclose(drawn[:, 7:].std(0), 3**-0.5, atol=0.1)
    assert np.abs(drawn).max() <= 1


def test_samples_keep_to_a_mask():
    joined = Joined([(2, 3), (1, 0)])
    # The second choice has no class that is allowed, so all are.
    mask = np.float32([0, 1, 1, 0, 0, 0, 1])
    rng = np.random.default_rng(0)
    drawn = np.array([joined.draw(rng, mask) for _ in range(300)])
    assert joined.is_onehot(drawn).all()
    wanted = [0, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3]
    np.testing.assert_allclose(drawn[:, :6].mean(0), wanted, atol=0.1)
    assert (drawn[:, 0] == 0).all() and len(np.unique(drawn[:, 6])) == 300


def test_a_choice_is_one_hot():
    joined = Joined([(1, 2), (1, 0)])
    vectors = np.float32([[0, 1, 0.5], [1, 1, 0], [0, 0, 0], [0.5, 0.5, 0], [1, 0, 1]])
    assert joined.is_onehot(vectors).tolist() == [True, False, False, False, True]
    assert [joined.contains(x) for x in vectors] == [True, False, False, False, True]
    assert not joined.contains(np.float32([0, 1, 1.5]))


def test_spaces_are_equal_if_their_parts_are():
    joined = Joined([(1, 2), (1, 2), (1, 0)])
    assert joined.parts == ((2, 2), (1, 0))
    assert joined == Joined([(2, 2), (1, 0)]) != Joined([(1, 4), (1, 0)])
    box = spaces.Box(joined.low, joined.high)
    assert joined != box and box != joined
    assert pickle.loads(pickle.dumps(joined)) == joined == copy.deepcopy(joined)
    assert repr(joined) == "Joined(2 x 2 classes, 1 numbers)"


def test_plain_actions_have_one_part():
    assert actions.parts(spaces.Discrete(3, start=1)) == ((1, 3),)
    assert actions.parts(spaces.Box(-1, 1, (4,))) == ((4, 0),)
    for ours in (spaces.Discrete(3, start=1), Joined([(1, 2), (1, 0)])):
        assert actions.native_actions(ours)[0] is ours


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (0,)),
        spaces.Box(0, 5, (2,), np.int64),
        spaces.Dict(a=spaces.Discrete(2), b=spaces.Text(3)),
        spaces.Box(0, 1, (2,), bool),
        spaces.Tuple([]),
        spaces.Dict(),
        spaces.Tuple([spaces.Discrete(2), spaces.Tuple([])]),
        spaces.Dict(a=spaces.Discrete(2), b=spaces.Dict()),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.OneOf([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
    ],
)
def test_other_actions_are_refused(space):
    with pytest.raises(
        EnvError, match="Received: actions of .* Tuple or Dict"
    ) as error:
        actions.native_actions(space)
    assert str(space) in str(error.value)
