import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common.envs import Joined
from dreamerv2_transfer.common.replay import layout, store
from tests import fakes

EXPECTED = layout.describe(fakes.episode(3))


def acting(*actions):
    made = fakes.episode(len(actions) - 1, actions=len(actions[0]))
    return made | {"action": np.array(actions, np.float32)}


def fill(folder, episodes):
    folder.mkdir(exist_ok=True)
    return [str(store.save_episode(folder, episode)) for episode in episodes]


def agreed(paths):
    return layout.agreed(layout.outline(paths))


def test_a_layout_is_written_as_in_a_manifest():
    assert EXPECTED == {
        "action": {"shape": [6], "dtype": "float32", "n": 6},
        "image": {"shape": [10, 10, 10], "dtype": "bool"},
        "is_first": {"shape": [], "dtype": "bool"},
        "is_last": {"shape": [], "dtype": "bool"},
        "is_terminal": {"shape": [], "dtype": "bool"},
        "reward": {"shape": [], "dtype": "float32"},
    }
    assert layout.listed({"spaces": EXPECTED}) == EXPECTED


def test_the_layout_of_an_environment_is_that_of_its_episodes():
    keys = {
        "image": spaces.Box(0, 1, (10, 10, 10), bool),
        "action": spaces.Discrete(6),
        "reward": spaces.Box(-np.inf, np.inf, (), np.float32),
        **{key: spaces.Box(0, 1, (), bool) for key in store.FLAGS},
    }
    assert layout.of_spaces(keys) == EXPECTED
    actions = {"action": spaces.Box(-1, 1, (6,), np.int64)}
    assert layout.of_spaces(actions) == {"action": {"shape": [6], "dtype": "float32"}}
    # As they are stored.
    others = {
        "vector": spaces.Box(-1, 1, (3,), np.float64),
        "count": spaces.Box(0, 9, (2,), np.int64),
        "log_a": spaces.Box(0, 9, (2,), np.int64),
    }
    assert layout.of_spaces(others) == {
        "vector": {"shape": [3], "dtype": "float32"},
        "count": {"shape": [2], "dtype": "int32"},
    }
    earlier = {
        key: {"shape": [*x.shape], "dtype": x.dtype.name} for key, x in others.items()
    }
    found = layout.listed({"spaces": EXPECTED | earlier})
    assert found == EXPECTED | layout.of_spaces(others)


@pytest.mark.parametrize(
    "told",
    [
        None,
        3,
        [],
        {},
        {"image": {"shape": [3], "dtype": "bool"}},
        EXPECTED | {"image": {}},
        EXPECTED | {"image": {"shape": 3, "dtype": "bool"}},
        EXPECTED | {"image": {"shape": ["a"], "dtype": "bool"}},
        EXPECTED | {"image": None},
    ],
)
def test_a_manifest_that_makes_no_sense_tells_nothing(told):
    assert layout.listed({"spaces": told}) == {}
    assert layout.listed({}) == {}


@pytest.mark.parametrize(
    ("episode", "fault"),
    [
        (fakes.episode(4), ""),
        (fakes.episode(4, actions=5), "action is float32 (5,), and float32 (6,)"),
        (fakes.episode(4, image_shape=(10, 10, 4)), "image is bool (10, 10, 4)"),
        (fakes.episode(4, dtype=np.uint8), "image is uint8 (10, 10, 10), and bool"),
        (fakes.episode(4) | {"ram": np.zeros((5, 2))}, "ram is float64 (2,), and mis"),
        (fakes.episode(4) | {"log_a": np.zeros(5)}, ""),
        (
            fakes.episode(2) | {"action": np.float32(np.eye(6)[[0, 1, 1]] * 0.5)},
            "action is not one-hot at 0, 1, 2",
        ),
        (
            fakes.episode(1) | {"action": np.ones((2, 6), np.float32)},
            "action is not one-hot at 0, 1",
        ),
    ],
)
def test_what_does_not_fit_into_its_folder_is_named(episode, fault):
    found = layout.misfit(episode, EXPECTED)
    assert found.startswith(fault) and bool(found) == bool(fault)


def test_any_action_fits_where_actions_are_not_one_hot():
    expected = EXPECTED | {"action": {"shape": [6], "dtype": "float32"}}
    assert layout.misfit(fakes.episode(3), expected) == ""
    twice = fakes.episode(1) | {"action": np.ones((2, 6), np.float32)}
    assert layout.misfit(twice, expected) == ""


def test_a_folder_holds_what_most_of_its_episodes_hold(tmp_path):
    other = [fakes.episode(5, image_shape=(8, 8, 1), dtype=np.uint8)]
    paths = fill(tmp_path, [*other, fakes.episode(3), fakes.episode(4)])
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    (tmp_path / "unlike.npz").mkdir()
    more = [str(tmp_path / "damaged.npz"), str(tmp_path / "unlike.npz")]
    assert agreed([*more, *paths]) == EXPECTED
    assert agreed(paths[:2]) == layout.describe(other[0])  # A tie: the first.
    assert agreed(more) == {}


def test_shapes_and_types_are_those_of_loaded_episodes(tmp_path):
    episode = fakes.episode(3) | {
        "vector": np.zeros((4, 3)),
        "count": np.arange(4),
        "log_a": np.zeros(4),
    }
    (path,) = fill(tmp_path, [episode])
    assert agreed([path]) == layout.describe(store.load_episode(path))


NONE, LEFT, RIGHT, BOTH = (0, 0), (1, 0), (0, 1), (1, 1)


@pytest.mark.parametrize(
    ("episodes", "onehot"),
    [
        ([(NONE, LEFT), (NONE, RIGHT), (NONE, BOTH)], True),
        ([(LEFT, LEFT), (NONE, RIGHT)], True),
        ([(NONE, BOTH), (NONE, RIGHT, BOTH), (NONE, LEFT)], False),
        ([(NONE, LEFT, NONE), (NONE, LEFT)], False),
        ([(NONE, LEFT), (NONE, LEFT), (NONE, (0.5, 0))], False),
    ],
)
def test_most_episodes_tell_whether_actions_are_one_hot(tmp_path, episodes, onehot):
    paths = fill(tmp_path, [acting(*actions) for actions in episodes])
    assert ("n" in agreed(paths)["action"]) == onehot


def test_joined_actions_consist_of_parts():
    told = layout.of_spaces({"action": Joined([(1, 2), (1, 0)])})
    assert told == {
        "action": {"shape": [3], "dtype": "float32", "parts": [[1, 2], [1, 0]]}
    }
    good = acting([0, 0, 0], [1, 0, 0.5], [0, 1, -1])
    expected = layout.describe(good) | told
    assert layout.listed({"spaces": expected}) == expected
    assert layout.misfit(good, expected) == ""
    bad = acting([0, 0, 0], [1, 1, 0.5], [0, 1, -1])
    assert layout.misfit(bad, expected) == "a choice of action is not one-hot at 1"


def test_parts_of_another_size_are_not_listed():
    told = layout.of_spaces({"action": Joined([(1, 2), (1, 0)])})
    told["action"]["shape"] = [4]
    assert layout.listed({"spaces": EXPECTED | told}) == {}


def test_tasks_share_the_parts_of_their_actions(tmp_path):
    for name, parts in (("a", [(2, 2)]), ("b", [(2, 2)]), ("c", [(1, 4)])):
        (tmp_path / name).mkdir()
        told = layout.of_spaces({"action": Joined(parts)})
        store.write_manifest(tmp_path / name, {"spaces": EXPECTED | told})
    told = layout.actions({x: tmp_path / x for x in "abcd"})
    assert layout.common_parts({x: told[x] for x in "ab"}) == [[2, 2]]
    assert layout.common_parts({"d": told["d"]}) == []
    with pytest.raises(store.DatasetError, match="a and c differ"):
        layout.common_parts({x: told[x] for x in "abc"})


def test_the_number_of_the_first_action_is_told(tmp_path):
    for name, start in (("a", 1), ("b", 1), ("c", 0)):
        (tmp_path / name).mkdir()
        told = layout.of_spaces({"action": spaces.Discrete(6, start=start)})
        assert told["action"].get("start", 0) == start
        store.write_manifest(tmp_path / name, {"spaces": EXPECTED | told})
    told = layout.actions({x: tmp_path / x for x in "abcd"})
    assert layout.common_start({x: told[x] for x in "ab"}) == 1
    assert layout.common_start(told) == 0
    assert layout.common_start({"d": told["d"]}) == 0
