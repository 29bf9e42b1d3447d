"""Damaged and made-up pickles: refused with a sentence, or arrays inside of them."""

import pickle
import pickletools
import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from dreamerv2_transfer.porting import pickles

ARRAYS = st_numpy.arrays(
    st.sampled_from(["?", "i1", "<i4", ">i8", "u1", "<u2", "f2", "<f4", ">f8"]),
    st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
SAVED = pickle.dumps(
    (np.arange(6.0).reshape(2, 3), np.int32(7), np.ones((2, 3), np.float32).T), 4
)
NAMES = [x.name for x in pickletools.opcodes]
CODES = {x.name: x.code.encode("latin1") for x in pickletools.opcodes}


def read(path, content):
    """Reads a file whose arrays, if it has any, must lie inside of its bytes."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        arrays = pickles.load_variables(path)
    except pickles.PortError as error:
        assert str(path) in str(error) and len(str(error)) < 600
        arrays = None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21 + 100 * len(content)
    for array in arrays or ():
        assert array.nbytes <= len(content) and array.dtype.kind in "biuf"
    return arrays


@hypothesis.given(st.lists(ARRAYS, max_size=3), st.integers(3, 5), st.booleans())
def test_arrays_come_back_as_they_were(tmp_path, arrays, protocol, are_fortran):
    arrays = [np.asfortranarray(x) if are_fortran else x for x in arrays]
    found = read(tmp_path / "variables.pkl", pickle.dumps(tuple(arrays), protocol))
    for a, b in zip(found, arrays, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


@hypothesis.given(st.data())
def test_damaged_pickles_give_arrays_inside_of_them(tmp_path, data):
    content, place = SAVED, st.integers(0, len(SAVED) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        start, piece = data.draw(place), data.draw(st.binary(max_size=9))
        cut = data.draw(st.sampled_from([0, 0, 1, 4, 50]))
        content = content[:start] + piece + content[start + len(piece) + cut :]
    read(tmp_path / "variables.pkl", content)


@hypothesis.given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=12)), max_size=40)
)
def test_any_instructions_are_survived(tmp_path, instructions):
    program = b"".join(CODES[name] + argument for name, argument in instructions)
    read(tmp_path / "variables.pkl", b"\x80\x04" + program + b".")


class Calls:
    """An object whose pickle calls a function, and gives the result a state."""

    def __init__(self, function, args, state):
        self._parts = (function, args, state)

    def __reduce__(self):
        return self._parts


PARTS = st.recursive(
    st.one_of(
        st.sampled_from([np.ndarray, np.dtype("u1"), np.dtype("f8"), np.dtype("O")]),
        st.integers(-(2**40), 2**40),
        st.sampled_from([True, None, "C", "F", "u1", "f8", "O", "S9", b"", b"x" * 64]),
        st.just(np.arange(8.0)),
    ),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)
FUNCTIONS = st.sampled_from(
    [
        np.ndarray,
        np.dtype,
        np.zeros(1).__reduce__()[0],
        np.zeros(1).__reduce_ex__(5)[0],
        np.int64(0).__reduce__()[0],
    ]
)


@hypothesis.given(
    FUNCTIONS, PARTS.filter(lambda x: isinstance(x, tuple)), PARTS, st.integers(3, 5)
)
def test_no_arguments_reach_outside_of_the_file(
    tmp_path, function, args, state, protocol
):
    content = pickle.dumps((Calls(function, args, state),), protocol)
    read(tmp_path / "variables.pkl", content)


@pytest.mark.parametrize("kept", range(0, len(SAVED), 7))
def test_truncated_pickles_are_refused(tmp_path, kept):
    assert read(tmp_path / "variables.pkl", SAVED[:kept]) is None
