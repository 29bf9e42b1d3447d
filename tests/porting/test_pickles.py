import io
import pathlib
import pickle
import tracemalloc

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


class Calls:
    """An object whose pickle calls a function, and gives the result a state."""

    def __init__(self, function, args, state=None):
        self._parts = (function, args, state)

    def __reduce__(self):
        return self._parts


def reconstructed(state):
    """An array that is made as numpy does, with a state of one's own."""
    empty = np.zeros(0, "u1").__reduce__()
    return Calls(*empty[:2], state)


BYTES = np.dtype("u1")


@pytest.mark.parametrize(
    "value",
    [
        Calls(np.ndarray, ((64,), BYTES, b"x" * 64, -4096)),
        Calls(np.ndarray, ((64,), BYTES, b"x" * 64, 0)),
        Calls(np.ndarray, ((8,), BYTES, b"x" * 8, 0, (-64,))),
        Calls(np.ndarray, ((64,), BYTES, b"x")),
        Calls(np.ndarray, ((2**33,), BYTES)),
        Calls(np.ndarray, ((2**33,), BYTES, b"")),
        Calls(np.ndarray, ((-1, -1), BYTES, b"x")),
        Calls(np.ndarray, ((True,), BYTES, b"x")),
        Calls(np.ndarray, ((2**62, 4), BYTES, b"")),
        Calls(np.ndarray, ((1,) * 33, BYTES, b"x")),
        Calls(np.ndarray, ((1,), np.dtype("O"), b"x" * 8)),
        Calls(np.ndarray, ((1,), np.dtype("u1,f4"), b"x" * 5)),
        Calls(np.ndarray, ((1,), np.dtype("V4"), b"x" * 4)),
        Calls(np.ndarray, ((1,), Calls(np.dtype, ("2147483647u1", False, True)), b"")),
        Calls(np.ndarray, ((1,), Calls(np.dtype, ({"names": []}, False, True)), b"")),
        Calls(np.ndarray, ((1,), np.dtype("u1"), np.zeros(64, "u1"))),
        Calls(np.frombuffer, (b"x" * 64, BYTES)),
        Calls(np.zeros(1).__reduce_ex__(5)[0], (b"x" * 64, BYTES, (32,), "C")),
        Calls(np.zeros(1).__reduce__()[0], (np.ndarray, (2**33,), b"b")),
        Calls(np.int64(0).__reduce__()[0], (np.dtype("O"), b"x" * 8)),
        Calls(np.int64(0).__reduce__()[0], (np.dtype("i8"), b"x")),
        reconstructed((1, (2**33,), BYTES, False, b"x")),
        reconstructed((1, (1,), np.dtype("O"), False, [1])),
        reconstructed((1, (64,), np.dtype("f8"), False, b"x" * 64)),
    ],
    ids=range(24),
)
def test_no_array_reaches_outside_of_its_bytes(tmp_path, value):
    path = tmp_path / "variables.pkl"
    path.write_bytes(pickle.dumps((np.zeros(2), value)))
    tracemalloc.start()
    with pytest.raises(pickles.PortError, match="None of it was run"):
        pickles.load_variables(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_call_with_an_offset_is_named(tmp_path):
    path = tmp_path / "variables.pkl"
    call = Calls(np.ndarray, ((64,), BYTES, b"x" * 64, -4096))
    path.write_bytes(pickle.dumps((call,)))
    with pytest.raises(pickles.PortError, match="calls numpy.ndarray in another way"):
        pickles.load_variables(path)


DEEP = b"\x80\x04)" + b"\x85" * 90_000  # A tuple of a tuple of ...
PAIRS = b"".join(b"\x94h%c\x86" % i for i in range(60))  # 2**60, if printed.
MEMO = b"\x80\x04)r\xff\xff\xff\x7f"  # The two thousand millionth value.
BYTEARRAY = b"\x80\x05\x96" + (2**33).to_bytes(8, "little") + b"."


@pytest.mark.parametrize(
    "content",
    [
        DEEP + b".",
        DEEP + b"}\x94(h\x00h\x00u.",  # As a key, its hash would need a deep stack.
        b"\x80\x04)" + PAIRS + b"\x8c\x01x\x93.",
        MEMO,
        BYTEARRAY,
        b"\x80\x04" + b"]" * 200_000 + b".",
        b"\x80\x04(.",
        b"\x80\x04R.",
        b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93}b.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"\x80\x04\x82\x01.",
        b"\x80\x04P\n.",
    ],
    ids=range(12),
)
def test_no_instruction_takes_more_than_the_file_has(tmp_path, content):
    path = tmp_path / "variables.pkl"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(pickles.PortError) as error:
        pickles.load_variables(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20 and len(str(error.value)) < 500


def test_a_text_of_the_file_does_not_control_the_terminal(tmp_path):
    path = tmp_path / "variables.pkl"
    path.write_bytes(b"\x80\x04\x8c\x06\x1b[31m\n\x8c\x03\xed\xa0\x80\x93.")
    with pytest.raises(pickles.PortError) as error:
        pickles.load_variables(path)
    assert str(error.value).isprintable() and str(error.value).isascii()


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
