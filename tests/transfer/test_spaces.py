import numpy as np
import pytest
from gymnasium import spaces as gym_spaces

from dreamerv2_transfer.common.envs import Joined
from dreamerv2_transfer.transfer import spaces

IMAGE = gym_spaces.Box(0, 255, (64, 64, 1), np.uint8)
SPEED = gym_spaces.Box(-np.inf, np.inf, (3,), np.float32)


def test_discrete_actions_come_back():
    text = spaces.describe({"image": IMAGE, "log_x": SPEED}, gym_spaces.Discrete(4))
    seen, act = spaces.parse(text)
    assert seen == {"image": IMAGE, "is_first": gym_spaces.Box(0, 1, (), bool)}
    assert act == {"action": gym_spaces.Discrete(4)}


def test_bounds_of_continuous_actions_come_back_infinite_ones_too():
    box = gym_spaces.Box(np.float32([-1, -np.inf]), np.float32([1, np.inf]))
    seen, act = spaces.parse(spaces.describe({"vector": SPEED}, box))
    assert seen["vector"] == SPEED
    assert act["action"] == box


def test_actions_of_a_dataset_lie_between_minus_one_and_one():
    written = {"action": {"shape": [2], "dtype": "float32"}}
    _, act = spaces.of_layout(written)
    assert act["action"] == gym_spaces.Box(-1, 1, (2,), np.float32)


@pytest.mark.parametrize(
    "space",
    [
        gym_spaces.Discrete(3, start=-1),
        Joined([(2, 3), (2, 0)]),
        Joined([(1, 2), (1, 0)], [0, 0, -np.inf], [1, 1, np.inf]),
    ],
)
def test_joined_actions_and_the_first_number_come_back(space):
    _, act = spaces.parse(spaces.describe({"vector": SPEED}, space))
    assert act["action"] == space


@pytest.mark.parametrize(
    "text",
    [
        '{"action": {"shape": [2], "dtype": "float32", "parts": [[1, 3]]}}',
        '{"action": {"shape": [2], "dtype": "float32", "parts": [[2]]}}',
        "",
        "[]",
        "{}",
        '{"action": {"shape": [2]}}',
        '{"action": {"shape": [1], "dtype": "object"}}',
        '{"action": {"shape": [2000000000], "dtype": "float32"}}',
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError):
        spaces.parse(text)
