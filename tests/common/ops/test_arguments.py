import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dreamerv2_transfer.common.ops import arguments


def refilled(array: np.ndarray) -> np.ndarray:
    return arguments.fill(arguments.describe(array), np.random.default_rng(0))


@given(
    arrays.arrays(
        st.sampled_from([np.bool_, np.uint8, np.int32, np.int64, np.float16]),
        arrays.array_shapes(max_dims=3, max_side=5),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_what_fills_an_array_has_its_shape_type_and_range(array):
    found = refilled(array)
    assert found.shape == array.shape and found.dtype == array.dtype
    if not np.issubdtype(array.dtype, np.floating):
        assert array.min() <= found.min() and found.max() <= array.max()
    if array.size <= arguments.FEW:
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_normal_numbers_have_the_same_mean_and_deviation(dtype):
    array = np.random.default_rng(1).normal(3, 0.5, (100, 100)).astype(dtype)
    found = refilled(array)
    assert found.dtype == dtype
    assert found.astype(float).mean() == pytest.approx(3, abs=0.02)
    assert found.astype(float).std() == pytest.approx(0.5, rel=0.03)


def test_one_hot_vectors_stay_one_hot():
    found = refilled(np.eye(6, dtype=np.float32)[[0, 3, 5, 1]])
    np.testing.assert_array_equal(found.sum(-1), np.ones(4))
    assert set(found.ravel()) == {0, 1}


def test_of_two_numbers_each_keeps_its_share():
    array = np.full((100, 100), 255, np.uint8)
    array[:30] = 0
    assert arguments.describe(array)["choices"] == [0, 255]
    assert np.mean(refilled(array) == 255) == pytest.approx(0.7, abs=0.02)


def test_large_counters_are_exact():
    state = np.array([2**62 + 1, -5, 7])
    np.testing.assert_array_equal(refilled(state), state)
    assert refilled(np.array(2**62 + 1)) == 2**62 + 1
