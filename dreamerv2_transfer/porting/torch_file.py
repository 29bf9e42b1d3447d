"""Reads and writes PyTorch's checkpoints without PyTorch.

A checkpoint is a zip archive: `NAME/data.pkl` is a pickle of plain values and tensors,
and `NAME/data/KEY` holds the bytes of each tensor's storage. The pickle may name the
few things in `_CALLABLE` alone, each of which is a function of this module, so a file
runs no code. Arrays that were saved from a GPU are read like any others.
"""

from __future__ import annotations

import collections
import functools
import io
import math
import os
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.common.errors import describe
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.porting.pickles import PortError

MAX_PICKLE = 2**26  # Bytes of names and shapes; that of a large agent has 2**17.
_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_STORAGES = {dtype: name for name, dtype in _DTYPES.items()}


def read(path: str | os.PathLike) -> Any:
    """Reads a checkpoint, with arrays in place of tensors.

    Raises:
        PortError: It is missing, damaged, of PyTorch before 1.6, or refers to more than
            tensors and plain values. None of it is run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _load(archive)
    except zipfile.BadZipFile as error:
        raise PortError(
            f"{path} is not a checkpoint of PyTorch 1.6 or newer, or is damaged. Save "
            "it again with a newer PyTorch, or use an earlier copy of it."
        ) from error
    except PortError as error:
        raise PortError(f"{path} cannot be used: {error}") from error
    except Exception as error:  # Damaged bytes can raise almost anything.
        raise PortError(
            f"{path} cannot be read as a checkpoint of PyTorch: {describe(error)}"
        ) from error


def _load(archive: zipfile.ZipFile) -> Any:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type for entry in entries.values()):
        raise PortError("its entries are compressed, which those of PyTorch are not.")
    names = [x for x in entries if x.endswith("/data.pkl") and x.count("/") == 1]
    if len(names) != 1:
        raise PortError("it has no data.pkl, as PyTorch's checkpoints do.")
    if entries[names[0]].file_size > MAX_PICKLE:
        raise PortError(f"its data.pkl has more than {MAX_PICKLE:,} bytes.")
    folder = names[0].removesuffix("data.pkl")

    @functools.cache
    def storage(dtype: np.dtype, key: str) -> np.ndarray:
        return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)

    return _Unpickler(io.BytesIO(archive.read(names[0])), storage).load()


class _Unpickler(pickle.Unpickler):
    """Makes plain values and arrays, and nothing else.

    Args:
        file: The pickle.
        storage: Returns the numbers of a storage, given their dtype and its key.
    """

    def __init__(self, file, storage):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) not in _CALLABLE:
            raise PortError(
                f"it refers to {module}.{name}, which is more than tensors and plain "
                "values. None of it was run."
            )
        return _CALLABLE[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _, _ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise PortError("it has tensors of an unknown kind.")
        return self._storage(dtype, str(key))


def _tensor(storage, offset, size, stride, *_) -> np.ndarray:
    """Returns part of a storage, as `torch._utils._rebuild_tensor_v2` does."""
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    fits = 0 <= offset <= last < len(storage) and math.prod(size) <= len(storage)
    if math.prod(size) and (not fits or min(stride, default=0) < 0):
        raise PortError("a tensor reaches outside of its storage.")
    strides = [step * storage.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, strides)
    return np.ascontiguousarray(view).reshape(size)


_CALLABLE = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
}


def write(path: str | os.PathLike, content: Mapping) -> None:
    """Writes a checkpoint of plain values and arrays, which `torch.load` reads.

    Raises:
        OutputError: It cannot be written.
    """
    path = pathlib.Path(path)
    arrays: list[np.ndarray] = []
    program = b"\x80\x02" + _pickled(content, arrays) + b"."
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", program)
        archive.writestr(f"{path.stem}/byteorder", b"little")
        for key, array in enumerate(arrays):
            archive.writestr(f"{path.stem}/data/{key}", array.tobytes())
        archive.writestr(f"{path.stem}/version", b"3\n")
    with atomic.atomic_write(path) as file:
        file.write(packed.getvalue())


def _pickled(value: Any, arrays: list[np.ndarray]) -> bytes:
    """Returns the instructions that push a value, in protocol 2.

    Args:
        value: A plain value, an array, or a structure of them.
        arrays: Is extended by the arrays.
    """
    if isinstance(value, np.ndarray):
        return _pickled_array(value, arrays)
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + struct.pack("<B", len(digits)) + digits
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    inside = value.items() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping):
        pairs = (_pickled(x, arrays) for pair in inside for x in pair)
        return b"}(" + b"".join(pairs) + b"u"
    items = b"".join(_pickled(x, arrays) for x in inside)
    return b"(" + items + b"t" if isinstance(value, tuple) else b"](" + items + b"e"


def _pickled_array(array: np.ndarray, arrays: list[np.ndarray]) -> bytes:
    array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    storage = f"ctorch\n{_STORAGES[array.dtype]}\n".encode()
    key = _pickled(str(len(arrays)), arrays)
    arrays.append(array)
    numel = _pickled(array.size, arrays)
    persistent = _pickled("storage", arrays) + storage + key + _pickled("cpu", arrays)
    strides = tuple(step // array.itemsize for step in array.strides)
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + persistent + numel + b"tQ"
        b"K\x00"
        + _pickled(array.shape, arrays)
        + _pickled(strides, arrays)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )
