"""The original's `variables.pkl`: a pickled tuple of arrays without names.

Reading one runs no code from it. Writing refers to nothing but `numpy.ndarray` and
`numpy.dtype`, which have the same names in numpy 1, that the original needs, and 2.
"""

from __future__ import annotations

import io
import os
import pathlib
import pickle
from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic


class PortError(UserError):
    """An old checkpoint that cannot be read or does not fit."""


# All that a pickle of numpy arrays and numpy scalars refers to. numpy 1 and numpy 2
# wrote different module paths.
_ALLOWED = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    )
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and containers of them, and refuses everything else."""

    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it refers to {module}.{name}, which is no numpy array"
            )
        return super().find_class(module, name)


def load_variables(path: str | pathlib.Path) -> tuple[np.ndarray, ...]:
    """Reads the arrays of an original `variables.pkl`.

    Raises:
        PortError: If the file is missing, truncated, or holds anything but a tuple of
            numeric arrays. Nothing of it is executed.
    """
    path = pathlib.Path(path)
    try:
        values = ArrayUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise PortError(f"Cannot read {path}: {error.strerror}.") from error
    except Exception as error:  # A damaged pickle can raise anything.
        raise PortError(
            f"{path} is not a variables.pkl of DreamerV2: {error}. None of it was run."
        ) from error
    if not isinstance(values, tuple | list) or not all(map(_is_numeric, values)):
        raise PortError(
            f"{path} is not a variables.pkl of DreamerV2: it holds "
            f"{type(values).__name__}, not a tuple of numeric arrays."
        )
    return tuple(np.asarray(value) for value in values)


def _is_numeric(value) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf"


def save_variables(path: str | os.PathLike, arrays: Sequence[np.ndarray]) -> None:
    """Writes arrays as the original's `Agent.load` reads them, atomically.

    Raises:
        OutputError: If the file cannot be written.
    """
    with atomic.atomic_write(path) as file:
        pickler = pickle.Pickler(file, protocol=4)
        # numpy's own way names a module that is called otherwise in numpy 1.
        pickler.dispatch_table = {np.ndarray: _reduce}
        pickler.dump(tuple(np.asarray(array) for array in arrays))


def _reduce(array: np.ndarray):
    return np.ndarray, (array.shape, array.dtype, array.tobytes())
