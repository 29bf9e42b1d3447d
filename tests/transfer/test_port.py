import pathlib
import pickle

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.transfer import port
from tests import fakes

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "data"


@pytest.mark.parametrize("folder", ["dreamerv2_atari", "dreamerv2_proprio"])
def test_reads_pickles_of_numpy_1_and_2(folder):
    values = port.load_variables(GOLDEN / folder / "variables.pkl")
    assert len(values) == {"dreamerv2_atari": 65, "dreamerv2_proprio": 55}[folder]
    assert all(isinstance(value, np.ndarray) for value in values)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_reads_every_protocol_that_holds_bytes(tmp_path, protocol):
    path = tmp_path / "variables.pkl"
    written = (np.arange(3.0), np.int64(4), np.zeros([2, 2], np.float32))
    path.write_bytes(pickle.dumps(written, protocol=protocol))
    if protocol == 2:  # It stores bytes as a call of `_codecs.encode`.
        with pytest.raises(port.PortError, match="_codecs.encode"):
            port.load_variables(path)
        return
    read = port.load_variables(path)
    for a, b in zip(read, written, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_hostile_pickle_runs_nothing(tmp_path):
    path, target = tmp_path / "variables.pkl", tmp_path / "touched"
    path.write_bytes(pickle.dumps((np.zeros(2), fakes.Touch(target))))
    with pytest.raises(port.PortError, match="is no numpy array"):
        port.load_variables(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"garbage", "not a variables.pkl"),
        (pickle.dumps(({"a": 1},)), "not a tuple of numeric arrays"),
        (pickle.dumps((np.array(["text"]),)), "not a tuple of numeric arrays"),
        (pickle.dumps((np.zeros(100),))[:-50], "not a variables.pkl"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    path = tmp_path / "variables.pkl"
    path.write_bytes(content)
    with pytest.raises(port.PortError, match=message) as error:
        port.load_variables(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(port.PortError, match="none.pkl"):
        port.load_variables(tmp_path / "none.pkl")


def test_assign_names_both_shapes_and_changes_nothing():
    variables = [tf.Variable([1.0]), tf.Variable([1.0, 2.0])]
    with pytest.raises(port.PortError, match=r"\(3,\).*\(2,\)"):
        port.assign(variables, [np.zeros(1), np.zeros(3)])
    assert variables[0].numpy() == 1
    with pytest.raises(port.PortError, match="holds 1 arrays"):
        port.assign(variables, [np.zeros(1)])
    port.assign(variables, [np.array([5.0]), np.array([6, 7])])
    np.testing.assert_array_equal(variables[1], [6, 7])
