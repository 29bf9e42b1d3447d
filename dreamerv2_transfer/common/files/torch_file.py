"""Reads and writes PyTorch's checkpoints without PyTorch.

A checkpoint is a zip archive: `NAME/data.pkl` is a pickle of plain values and tensors,
and `NAME/data/KEY` holds the bytes of each tensor's storage. Before PyTorch 1.6 it was
one stream: three pickles that say what it is, that of the values, one of the keys, and
the storages. Either may be gzipped.

The pickle may name the few things in `_CALLABLE` and `_DTYPES` alone, which are
functions and strings of this module, so a file runs no code. Arrays that were saved
from a GPU are read like any others.
"""

from __future__ import annotations

import collections
import functools
import gzip
import io
import math
import os
import pathlib
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from dreamerv2_transfer.common.errors import UserError, describe
from dreamerv2_transfer.common.files import atomic, documents

# More than an agent has with its optimizer; guards against files of a few KB that
# unpack to gigabytes.
MAX_BYTES = 2**31
MAX_PICKLE = 2**26  # Bytes of names and shapes; that of a large agent has 2**17.
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"  # First bytes of such files.
_OLD = 0x1950A86A20F9469CFC6C  # First number of a file from before 1.6.
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


class TorchFileError(UserError):
    """A checkpoint of PyTorch cannot be read."""


def read(path: str | os.PathLike) -> Any:
    """Reads a checkpoint, with arrays in place of tensors.

    Raises:
        TorchFileError: Names the file and what is wrong with it: missing, damaged, too
            large, or it refers to more than tensors and plain values. None of it is
            run.
    """
    try:
        documents.check_is_file(path)
        with open(path, "rb") as file:
            is_packed = file.read(2) == _GZIP
        with gzip.open(path) if is_packed else open(path, "rb") as file:
            return _read(_unpacked(file) if is_packed else file)
    except TorchFileError as error:
        raise TorchFileError(f"{path} cannot be used: {error}") from error
    except Exception as error:  # Damaged bytes can raise almost anything.
        raise TorchFileError(
            f"{path} cannot be read as a checkpoint of PyTorch: {describe(error)}"
        ) from error


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    content = file.read(MAX_BYTES + 1)
    _check_size(len(content))
    return io.BytesIO(content)


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise TorchFileError(
            f"it unpacks to more than {MAX_BYTES:,} bytes, as no agent does."
        )


def _read(file: IO[bytes]) -> Any:
    start = file.read(4)
    file.seek(0)
    if start != _ZIP:
        return _read_old(file)
    with zipfile.ZipFile(file) as archive:
        return _read_zip(archive)


def _read_zip(archive: zipfile.ZipFile) -> Any:
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(entry.compress_type for entry in entries.values()):
        raise TorchFileError(
            "its entries are compressed, which those of PyTorch are not."
        )
    _check_size(sum(entry.file_size for entry in entries.values()))
    names = [x for x in entries if x.endswith("/data.pkl") and x.count("/") == 1]
    if len(names) != 1:
        raise TorchFileError("it has no data.pkl, as PyTorch's checkpoints do.")
    if entries[names[0]].file_size > MAX_PICKLE:
        raise TorchFileError(f"its data.pkl has more than {MAX_PICKLE:,} bytes.")
    folder = names[0].removesuffix("data.pkl")

    @functools.cache
    def storage(dtype: np.dtype, key: str, size: int) -> np.ndarray:
        return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)

    return _load(io.BytesIO(archive.read(names[0])), storage)


def _read_old(file: IO[bytes]) -> Any:
    storages: dict[str, np.ndarray] = {}

    def storage(dtype: np.dtype, key: str, size: int) -> np.ndarray:
        """Makes room for numbers that follow later in the file."""
        if key not in storages:
            others = sum(x.nbytes for x in storages.values())
            _check_size(others + dtype.itemsize * size)
            storages[key] = np.zeros(size, dtype)
        return storages[key]

    if _load(file, storage) != _OLD:
        raise TorchFileError("it is no checkpoint of PyTorch.")
    for _ in ("version of the format", "machine"):
        _load(file, storage)
    content = _load(file, storage)
    for key in _load(file, storage):
        (size,) = struct.unpack("<q", file.read(8))
        if size != storages[key].size:
            raise TorchFileError(
                f"storage {key} has {size:,} numbers, not {storages[key].size:,}."
            )
        numbers = file.read(storages[key].nbytes)
        storages[key][:] = np.frombuffer(numbers, storages[key].dtype)
    return content


def _load(file: IO[bytes], storage: Callable[[np.dtype, str, int], np.ndarray]) -> Any:
    """Reads a pickle, once its instructions proved to need no more room than it has.

    Python's own unpickler makes room for what an instruction announces, so that nine
    bytes can ask for gigabytes.
    """
    start = file.tell()
    for number, (instruction, argument, at) in enumerate(pickletools.genops(file)):
        is_place = instruction.name in ("PUT", "BINPUT", "LONG_BINPUT")
        if is_place and argument > number:
            raise TorchFileError("its pickle stores a value far behind all others.")
        size = argument if instruction.name == "FRAME" else at - start
        if size > MAX_PICKLE:
            raise TorchFileError(f"its pickle has more than {MAX_PICKLE:,} bytes.")
    file.seek(start)
    return _Unpickler(file, storage).load()


class _Unpickler(pickle.Unpickler):
    """Makes plain values and arrays, and nothing else.

    Args:
        file: The pickle, where it starts. Is left where it ends.
        storage: Returns the numbers of a storage, given their dtype, key and number.
    """

    def __init__(
        self, file: IO[bytes], storage: Callable[[np.dtype, str, int], np.ndarray]
    ):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return name
        if (module, name) not in _CALLABLE:
            raise TorchFileError(
                f"it refers to {module}.{name}, which is more than tensors and plain "
                "values. None of it was run."
            )
        return _CALLABLE[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, name, key, _, size, *view = pid
        if kind != "storage" or name not in _DTYPES or any(view):
            raise TorchFileError("it has tensors of an unknown kind.")
        return self._storage(_DTYPES[name], str(key), size)


def _tensor(storage, offset, size, stride, *_) -> np.ndarray:
    """Returns part of a storage, as `torch._utils._rebuild_tensor_v2` does."""
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    fits = 0 <= offset <= last < len(storage) and math.prod(size) <= len(storage)
    if math.prod(size) and (not fits or min(stride, default=0) < 0):
        raise TorchFileError("a tensor reaches outside of its storage.")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides)


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
