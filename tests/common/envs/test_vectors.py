import re

import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common import envs
from tests import fakes

INT64 = spaces.Box(-(2**62), 2**62, (2,), np.int64)
FLOAT64 = spaces.Box(-np.inf, np.inf, (2,), np.float64)


def make(space, first):
    return envs.make_env(lambda: fakes.Scripted(space=space, first=first))


@pytest.mark.parametrize(
    ("space", "value", "name", "number"),
    [
        (INT64, np.int64([0, 2**40]), "vector", 2**40),
        (INT64, np.int64([0, -(2**24) - 1]), "vector", -(2**24) - 1),
        (spaces.Dict(t=INT64), {"t": np.int64([2**24 + 1, 0])}, "t", 2**24 + 1),
        (spaces.Tuple((FLOAT64, INT64)), ([0.0, 0.0], [2**40, 0]), "vector.1", 2**40),
        (FLOAT64, np.float64([1, -1e39]), "vector", -1e39),
    ],
)
def test_a_number_that_float32_cannot_hold_is_refused(space, value, name, number):
    env = make(space, value)
    message = re.escape(f"an observation '{name}' with {number}, of ")
    with pytest.raises(envs.EnvError, match=f"{message}.*--obs.exclude"):
        env.reset()


@pytest.mark.parametrize(
    ("space", "value", "kept"),
    [
        (INT64, np.int64([2**24 - 1, 1 - 2**24]), [2**24 - 1, 1 - 2**24]),
        (FLOAT64, np.float64([1e38, 0.1]), [np.float32(1e38), np.float32(0.1)]),
        (spaces.Tuple((FLOAT64, INT64)), ([0.5, 1.0], [7, -9]), [0.5, 1, 7, -9]),
    ],
)
def test_numbers_that_float32_holds_are_kept(space, value, kept):
    obs, _ = make(space, value).reset()
    assert obs["vector"].dtype == np.float32
    assert obs["vector"].tolist() == kept


def test_a_large_integer_may_be_logged():
    space = spaces.Dict(x=FLOAT64, log_stamp=INT64)
    first = {"x": np.float64([1, 2]), "log_stamp": np.int64([2**40 + 1, 0])}
    obs, _ = make(space, first).reset()
    assert obs["log_stamp"].tolist() == [2**40 + 1, 0]
