import contextlib

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.envs.masks import MASK, Masked
from tests import fakes

FIT = envs.Fit("image", (10, 10), mask=True)


class Telling(fakes.Scripted):
    """Returns the masks that it is given, one after the other."""

    def __init__(self, masks, **options):
        super().__init__(**options)
        self._masks = iter(masks)

    def reset(self, **options):
        obs, _ = super().reset(**options)
        return obs, {MASK: next(self._masks)}

    def step(self, action):
        *rest, _ = super().step(action)
        return *rest, {MASK: next(self._masks)}


def test_the_mask_becomes_an_observation():
    masks = [np.int8([1, 0]), [True, True]]
    env = envs.make_env(lambda: Telling(masks), fit=FIT)
    assert env.observation_space[MASK] == spaces.Box(0, 1, (2,), np.float32)
    obs, _ = env.reset()
    assert {k: v.tolist() for k, v in obs.items()} == {MASK: [1, 0], "vector": [1, 1]}
    assert obs[MASK].dtype == np.float32
    assert env.step(0)[0][MASK].tolist() == [1, 1]


def test_masks_of_parts_are_joined():
    acts = spaces.Dict(a=spaces.MultiDiscrete([2, 2]), b=spaces.Discrete(3))
    mask = {"a": (np.int8([1, 0]), np.int8([1, 1])), "b": np.int8([0, 0, 1])}
    obs, _ = Masked(Telling([mask], actions=acts)).reset()
    assert obs[MASK].tolist() == [1, 0, 1, 1, 0, 0, 1]


BINARY, PAIR = spaces.MultiBinary([1, 2]), spaces.MultiDiscrete([2, 3])


@pytest.mark.parametrize(
    ("space", "mask", "vector"),
    [
        # The order of the space, not that of the mask.
        (
            spaces.Dict(a=spaces.Discrete(2), b=spaces.Discrete(2)),
            {"b": np.int8([1, 0]), "a": np.int8([0, 1])},
            [0, 1, 1, 0],
        ),
        (
            spaces.Tuple([spaces.Dict(x=PAIR), spaces.Discrete(1)]),
            ({"x": (np.int8([1, 0]), np.int8([0, 1, 1]))}, np.int8([1])),
            [1, 0, 0, 1, 1, 1],
        ),
        (PAIR, [[1, 0], [0, 1, 1]], [1, 0, 0, 1, 1]),
        (BINARY, np.int8([[0, 2]]), [1, 0, 1, 1]),  # As Gymnasium samples it.
        (BINARY, np.int8([[1, 0]]), [0, 1, 1, 0]),
        (BINARY, np.int8([1, 0, 1, 1]), [1, 0, 1, 1]),
        (spaces.Tuple([PAIR, spaces.Discrete(2)]), (None, [0, 1]), [1] * 5 + [0, 1]),
        (spaces.Discrete(3), None, [1, 1, 1]),
        (spaces.Discrete(3), np.float32([0, 0, 0]), [0, 0, 0]),
        (
            spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]),
            ([0, 1], None),
            [0, 1, 1, 1],
        ),
    ],
)
def test_a_mask_has_the_form_that_gymnasium_samples_by(space, mask, vector):
    obs, _ = Masked(Telling([mask], actions=space)).reset()
    assert obs[MASK].dtype == np.float32 and obs[MASK].tolist() == vector


@pytest.mark.parametrize(
    ("space", "mask", "received"),
    [
        (spaces.Dict(a=spaces.Discrete(2)), {"b": [1, 0]}, r"\{'b': \[1, 0\]\}"),
        (spaces.Dict(a=spaces.Discrete(2)), {"a": [1]}, r"\[1\] \(1 values\)"),
        (BINARY, np.int8([[1, 3]]), r"\[0, 1, -1, -1\]"),
        (PAIR, (np.int8([1, 0]), None), r"\[1, 0, None\]"),
        (spaces.Discrete(2), ["a", "b"], r"\['a', 'b'\]"),
        (spaces.Discrete(2), {"a": 1}, r"\[{'a': 1}\]"),
        (spaces.Discrete(2), [], r"\[\]"),
    ],
)
def test_a_mask_of_another_form_is_refused(space, mask, received):
    env = Masked(Telling([mask], actions=space))
    with pytest.raises(envs.EnvError, match=f"zeros and ones, .*{received}"):
        env.reset()


def test_an_observed_mask_needs_no_info():
    space = spaces.Dict({"x": fakes.FLOATS, MASK: spaces.MultiBinary(2)})
    first = {"x": fakes.GOOD, MASK: np.int8([0, 1])}
    env = envs.make_env(lambda: fakes.Scripted(space=space, first=first), fit=FIT)
    obs, _ = env.reset()
    assert {k: v.tolist() for k, v in obs.items()} == {MASK: [0, 1], "x": [1, 1]}


def test_images_of_a_tuple_stay_images_beside_a_mask():
    screen = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    space = spaces.Tuple([screen, fakes.FLOATS])
    first = (np.zeros((64, 64, 3), np.uint8), fakes.GOOD)
    env = envs.make_env(
        lambda: Telling([[1, 0]], space=space, first=first),
        fit=envs.Fit("0", (64, 64), mask=True),
    )
    obs, _ = env.reset()
    assert {k: v.shape for k, v in obs.items()} == {
        "0": (64, 64, 3),
        "1": (2,),
        MASK: (2,),
    }


@pytest.mark.parametrize("parallel", ["none", "process"])
@pytest.mark.parametrize("mask", [False, True])
def test_vector_environments_tell_whether_they_have_masks(parallel, mask):
    fit = FIT._replace(mask=mask)
    vector = envs.make_vector_env(fakes.Gate, 1, parallel=parallel, fit=fit)
    with contextlib.closing(vector):
        assert vector.metadata.get(envs.IS_MASKED, False) == mask


def test_masks_are_seen_only_if_asked_for():
    env = envs.make_env(lambda: Telling([[1, 0]]), fit=FIT._replace(mask=False))
    assert list(env.reset()[0]) == ["vector"]


@pytest.mark.parametrize(
    ("mask", "received"),
    [
        ([1, 0, 1], r"\[1, 0, 1\] \(3 values\)"),
        ([0.5, 1], r"\[0.5, 1.0\] \(2 values\)"),
    ],
)
def test_other_masks_are_refused(mask, received):
    env = envs.make_env(lambda: Telling([mask]), fit=FIT)
    with pytest.raises(envs.EnvError, match=f"2 zeros and ones, .* {received}"):
        env.reset()


def test_a_missing_mask_is_named():
    env = envs.make_env(lambda: fakes.Scripted(), fit=FIT)
    with pytest.raises(envs.EnvError, match=r"no 'action_mask'. Received: \[\]"):
        env.reset()


def test_numbers_have_no_mask():
    box = spaces.Box(-1, 1, (2,))
    with pytest.raises(envs.EnvError, match="A mask is for choices"):
        envs.make_env(lambda: Telling([], actions=box), fit=FIT)


def test_taxi_tells_its_mask():
    newest = max(x for x in gymnasium.registry if x.startswith("Taxi-v"))
    env = envs.make_env(f"gym_{newest}", fit=FIT)
    obs, _ = env.reset(seed=0)
    assert obs["vector"].shape == (500,) and obs[MASK].shape == (6,)
    assert 0 < obs[MASK].sum() < 6
