"""Fuzzes the reader of `variables.pkl`; see `fuzzing`."""

from __future__ import annotations

import pathlib
import pickle
import tempfile
from collections.abc import Iterator

import atheris
import numpy as np

with atheris.instrument_imports(
    include=["dreamerv2_transfer.porting.pickles", "pickletools"]
):
    from dreamerv2_transfer.porting import pickles

import fuzzing

FILE = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm")) / "variables.pkl"


def test(content: bytes) -> None:
    """Reads a file: either it is refused, or its arrays lie inside of its bytes."""
    FILE.write_bytes(content)
    try:
        arrays = pickles.load_variables(FILE)
    except pickles.PortError as error:
        assert len(str(error)) < 500 and str(error).isprintable()
        return
    assert all(array.nbytes <= len(content) for array in arrays)
    assert all(array.dtype.kind in "biuf" for array in arrays)
    assert all(not array.flags.writeable for array in arrays)
    sum(array.astype(np.float64).sum() for array in arrays)


def seeds() -> Iterator[bytes]:
    arrays = (
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.ones((2, 3))),
        np.int32(7),
        np.zeros((0, 2)),
        np.array([True, False]),
        np.arange(3, dtype=">i4"),
    )
    for protocol in range(2, 6):
        yield pickle.dumps(arrays, protocol)
        yield pickle.dumps(list(arrays), protocol)
    pickles.save_variables(FILE, arrays)
    yield FILE.read_bytes()


if __name__ == "__main__":
    fuzzing.run(test, seeds())
