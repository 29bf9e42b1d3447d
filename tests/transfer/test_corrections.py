"""Corrections of kernels in files of weights."""

import numpy as np
import pytest

from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.transfer import corrections

ARRAYS = {
    "rssm/cell/layer/kernel": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
    "rssm/cell/layer/bias": np.array([5.0, 6.0], np.float32),
    "rssm/adapter.cell.layer.down": np.array([[1.0], [2.0]], np.float32),
    "rssm/adapter.cell.layer.up": np.array([[3.0, 4.0]], np.float32),
    "rssm/adapter.scale": np.array(0.5, np.float32),
}


class Rssm:
    """What `corrections` reads of an RSSM."""

    def __init__(self, arrays):
        self.variables = [Variable(path, value) for path, value in arrays.items()]


class Variable:
    def __init__(self, path, value):
        self.path, self.shape, self._value = path, value.shape, value

    def numpy(self):
        return self._value


def test_merged_kernels_are_the_corrected_ones():
    found = corrections.merged(ARRAYS)
    assert sorted(found) == ["rssm/cell/layer/bias", "rssm/cell/layer/kernel"]
    expected = [[1 + 0.5 * 3, 2 + 0.5 * 4], [3 + 0.5 * 6, 4 + 0.5 * 8]]
    np.testing.assert_array_equal(found["rssm/cell/layer/kernel"], expected)
    assert found["rssm/cell/layer/kernel"].dtype == np.float32


def test_corrections_are_kept_for_a_model_with_the_same_and_else_merged():
    assert corrections.fitted(Rssm(ARRAYS), ARRAYS) is ARRAYS
    plain = corrections.merged(ARRAYS)
    assert corrections.fitted(Rssm(ARRAYS), plain) is plain
    other = {**ARRAYS, "rssm/adapter.scale": np.array(1.0, np.float32)}
    for rssm in (Rssm(plain), Rssm(other)):
        assert corrections.fitted(rssm, ARRAYS).keys() == plain.keys()


def test_mixed_actions_become_rows_of_their_own():
    """Of two known actions, the first new one is their mean, the second the last."""
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 8.0]]  # One of the latents, two of actions.
    arrays = {
        corrections.IMG_IN: np.array(rows, np.float32),
        corrections.ALIGN: np.array([[0, 0], [-9, 9], [0, 0.1]], np.float32),
    }
    found = corrections.merged(arrays)
    share = 1 / (1 + np.exp(-10 * 0.1))
    expected = [rows[0], [4, 6], rows[2], [3 + 2 * share, 4 + 4 * share]]
    np.testing.assert_allclose(found[corrections.IMG_IN], expected, rtol=1e-6)
    rssm = Rssm(arrays)
    assert corrections.fitted(rssm, arrays) is arrays
    assert corrections.ALIGN not in corrections.fitted(rssm, arrays, other_actions=True)


@pytest.mark.parametrize("name", ["scale", "cell.layer.up"])
def test_a_half_of_a_correction_is_refused(name):
    broken = {k: v for k, v in ARRAYS.items() if k != f"rssm/adapter.{name}"}
    with pytest.raises(CheckpointError, match=f"but no rssm/adapter.{name}"):
        corrections.merged(broken)
