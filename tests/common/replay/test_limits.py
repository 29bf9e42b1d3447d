"""Limits of a dataset's options; those of a configuration are in `test_offline`."""

import types

import pytest

from dreamerv2_transfer.common.replay import limits
from dreamerv2_transfer.common.replay.store import DatasetError


def test_a_cap_in_gib_becomes_bytes():
    config = types.SimpleNamespace(dataset=types.SimpleNamespace(memory=0.5))
    assert limits.memory_cap(config) == 2**29


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch=0"),
        ({"holdout": 1}, "holdout=1"),
        ({"weights": [1.0]}, r"=\[1.0\] for tasks=\['a', 'b'\]"),
        ({"weights": [0.0, 0.0]}, "not all zero"),
    ],
)
def test_options_out_of_range_are_named(changes, message):
    options = {"batch": 2, "length": 3, "weights": [1.0, 2.0], "holdout": 0}
    limits.check_options(["a", "b"], **options)
    with pytest.raises(DatasetError, match=message):
        limits.check_options(["a", "b"], **{**options, **changes})
