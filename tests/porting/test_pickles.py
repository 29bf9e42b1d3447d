import io
import pathlib
import pickle

import numpy as np
import pytest

from dreamerv2_transfer.porting import pickles
from tests import fakes

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "data"


@pytest.mark.parametrize("folder", ["dreamerv2_atari", "dreamerv2_proprio"])
def test_reads_pickles_of_numpy_1_and_2(folder):
    values = pickles.load_variables(GOLDEN / folder / "variables.pkl")
    assert len(values) == {"dreamerv2_atari": 65, "dreamerv2_proprio": 55}[folder]
    assert all(isinstance(value, np.ndarray) for value in values)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_reads_every_protocol_that_holds_bytes(tmp_path, protocol):
    path = tmp_path / "variables.pkl"
    written = (np.arange(3.0), np.int64(4), np.zeros([2, 2], np.float32))
    path.write_bytes(pickle.dumps(written, protocol=protocol))
    if protocol == 2:  # It stores bytes as a call of `_codecs.encode`.
        with pytest.raises(pickles.PortError, match="_codecs.encode"):
            pickles.load_variables(path)
        return
    read = pickles.load_variables(path)
    for a, b in zip(read, written, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_hostile_pickle_runs_nothing(tmp_path):
    path, target = tmp_path / "variables.pkl", tmp_path / "touched"
    path.write_bytes(pickle.dumps((np.zeros(2), fakes.Touch(target))))
    with pytest.raises(pickles.PortError, match="is no numpy array"):
        pickles.load_variables(path)
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
    with pytest.raises(pickles.PortError, match=message) as error:
        pickles.load_variables(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(pickles.PortError, match="none.pkl"):
        pickles.load_variables(tmp_path / "none.pkl")


def test_writes_what_numpy_1_can_read(tmp_path):
    path = tmp_path / "variables.pkl"
    written = (np.int32(7), np.float64(0.1), np.arange(6, dtype=np.float32)[::2])
    pickles.save_variables(path, written)
    referred = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, *name):
            referred.add(name)
            return super().find_class(*name)

    Unpickler(io.BytesIO(path.read_bytes())).load()
    # numpy 2 alone has a module numpy._core, to which its own pickles refer.
    assert referred == {("numpy", "ndarray"), ("numpy", "dtype")}
    for read in (pickles.load_variables(path), pickle.loads(path.read_bytes())):
        for a, b in zip(read, written, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_array_equal(a, b)
