"""Writes arrays to `.npz` files, and reads them without trusting what a file says.

`numpy.load` allocates whatever a header asks for before it reads a value, waits for
ever for a pipe, and compares no checksum where a header asks for less than there is.
Here sizes are compared before anything is unpacked, and each array is read to its end,
so that its checksum is compared.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import numpy as np

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.files import documents, memory

try:  # The extra `fast`: a tenth of zlib's time, and smaller files.
    from isal import isal_zlib
except ImportError:
    isal_zlib = None

LEVEL = 1  # Of compression: 6, as of numpy, takes 3 times as long for 2/3 of the bytes.
CHUNK = 2**18  # Bytes that are unpacked at a time.
SURELY_FREE = 2**26  # Bytes; for more, looks how much memory is free.
SUFFIX = ".npy"
LOCAL_HEADER = 30  # Bytes in front of a member's name.
PREFIX = 10  # Bytes in front of a header: magic, version, and the header's length.
Header = tuple[tuple[int, ...], bool, np.dtype]


class ArchiveError(Exception):
    """Says what is wrong with a file, without its name."""


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the content of a compressed file of arrays, for `numpy.load` too."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as into:
        for key, values in arrays.items():
            values = np.asarray(values, order="C")
            header = np.lib.format.header_data_from_array_1_0(values)
            # Without numpy's `savez_compressed`, which copies what it writes.
            with into.open(key + SUFFIX, "w", force_zip64=True) as member:
                if isal_zlib is not None:
                    foreign.set_compressor(member, _deflate())
                np.lib.format.write_array_header_1_0(member, header)
                member.write(values.reshape(-1).view(np.uint8))
    return file.getvalue()


def _deflate() -> Any:
    return isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -zlib.MAX_WBITS)


def read(
    path: str | os.PathLike, wanted: Callable[[str], bool] = lambda key: True
) -> dict[str, np.ndarray]:
    """Reads arrays, without running code from the file.

    Args:
        path: The file.
        wanted: Tells which keys to read; the others are not looked at.

    Raises:
        ArchiveError: The file contradicts itself, holds objects, or takes more memory
            than is free.
        Exception: The file is damaged: nearly any error of zipfile, zlib and numpy.
    """
    with _opened(path, wanted) as (file, members):
        _check_memory(members)
        return {key: _read_array(file, x) for key, x in members.items()}


def kinds(
    path: str | os.PathLike, wanted: Callable[[str], bool] = lambda key: True
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Returns shape and type of arrays by key, without reading their values.

    Args:
        path: The file.
        wanted: Tells which keys to look at.

    Raises:
        ArchiveError, Exception: As `read`.
    """
    with _opened(path, wanted) as (file, members):
        _check_memory(members)
        found = {}
        for key, member in members.items():
            with file.open(member) as stream:
                shape, _, dtype = _read_header(stream, member)
                found[key] = shape, dtype
        return found


def unpacked_bytes(
    path: str | os.PathLike, wanted: Callable[[str], bool] = lambda key: True
) -> int:
    """Returns the bytes that `read` unpacks; raises as `read`."""
    with _opened(path, wanted) as (_, members):
        return sum(x.file_size for x in members.values())


@contextlib.contextmanager
def _opened(
    path: str | os.PathLike, wanted: Callable[[str], bool]
) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """Opens a file; yields it and its wanted members by key."""
    documents.check_is_file(path)  # Opening a pipe would wait for a writer.
    with zipfile.ZipFile(path) as file:
        members: dict[str, zipfile.ZipInfo] = {}
        for member in file.infolist():
            key = member.filename.removesuffix(SUFFIX)
            if key == member.filename:
                raise ArchiveError(f"{key} in it is no array")
            if key in members:
                raise ArchiveError(f"it holds {key} twice")
            members[key] = member
        in_order = sorted(members.values(), key=lambda x: x.header_offset)
        for one, following in itertools.pairwise(in_order):
            size = LOCAL_HEADER + len(one.filename) + one.compress_size
            if one.header_offset + size > following.header_offset:
                raise ArchiveError("its arrays overlap")
        yield file, {k: v for k, v in members.items() if wanted(k)}


def _check_memory(members: dict[str, zipfile.ZipInfo]) -> None:
    """Raises ArchiveError if members take more than half of the free memory."""
    needed = sum(x.file_size for x in members.values())
    known = memory.free_and_total() if needed > SURELY_FREE else None
    # Half of it, since a packed copy is made beside what was unpacked.
    if known and needed > known[0] / 2:
        raise ArchiveError(
            f"it takes {needed / 2**30:.3g} GiB unpacked, and only "
            f"{known[0] / 2**30:.3g} GiB of memory are free"
        )


def _read_array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    try:
        with file.open(member) as stream:
            shape, fortran, dtype = _read_header(stream, member)
            values = np.empty(shape[::-1] if fortran else shape, dtype)
            view = memoryview(values.reshape(-1).view(np.uint8))
            while view:
                count = stream.readinto(view[:CHUNK])  # type: ignore[attr-defined]
                if not count:
                    raise ArchiveError(f"{member.filename} ends too early")
                view = view[count:]
    except zipfile.BadZipFile as error:
        if "CRC" in str(error):
            raise ArchiveError(f"wrong checksum of {member.filename}") from error
        raise
    if dtype.kind == "b" and values.size and values.view(np.uint8).max() > 1:
        raise ArchiveError(f"{member.filename} holds booleans other than 0 and 1")
    return values.T if fortran else values


def _read_header(stream: IO[bytes], member: zipfile.ZipInfo) -> Header:
    """Reads an array's header, and compares it with the size of the array."""
    name = member.filename
    begin = stream.read(PREFIX)
    if begin[:6] != np.lib.format.MAGIC_PREFIX or begin[6:8] != b"\x01\x00":
        raise ArchiveError(f"{name} is no array of version 1.0")
    length = int.from_bytes(begin[8:], "little")
    shape, fortran, dtype = _parse_header(begin[8:] + stream.read(length))
    if dtype.hasobject:
        raise ArchiveError(f"{name} holds objects")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or PREFIX + length + size != member.file_size:
        raise ArchiveError(f"{name} holds {member.file_size} bytes, not {shape}")
    return shape, fortran, dtype


@functools.lru_cache(1024)  # Parsing takes as long as reading a short episode.
def _parse_header(header: bytes) -> Header:
    return np.lib.format.read_array_header_1_0(io.BytesIO(header))
