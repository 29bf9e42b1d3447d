"""Arrays on disk that are read row by row, and the checksums of their rows."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dreamerv2_transfer.common.replay.store import DatasetError

BLOCK = 2**17  # Bytes of the rows that share a checksum.
AT_ONCE = getattr(os, "RWF_NOWAIT", 0)  # Lets a read end where it would wait.
ASKED = 100  # Calls of `take` that have to find all rows until none are asked for.


class ArrayFile:
    """An array on disk: reads only the rows that are asked for, and keeps none.

    Not a map into memory: the kernel decides how many pages of a map are resident (it
    maps the neighbours of a page that is touched), while we decide what is read. Rows
    that were read lately stay in the kernel's own file cache until that memory is
    needed.

    Args:
        path: A `.npy` file.
        writable: Whether rows may be written.

    Attributes:
        shape: Shape of the array, [rows, ...].
        dtype: Type of the values.

    Raises:
        OSError, ValueError: The file is missing, is no array or is incomplete.
    """

    def __init__(self, path: str | os.PathLike, writable: bool = False):
        # Mapping reads the header and compares the size, but touches no value.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not array.flags.c_contiguous or not array.size:
            raise ValueError(f"{path} holds no rows")
        self.shape, self.dtype = array.shape, array.dtype
        self._path, self._begin = path, array.offset
        self._asks = ASKED  # Asking takes a fifth of the time if all rows are cached.
        self._file = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        if hasattr(os, "posix_fadvise"):  # Pieces are short: do not read ahead.
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def __len__(self) -> int:
        return self.shape[0]

    @functools.cached_property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self._row_bytes

    @functools.cached_property
    def _row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Reads successive rows."""
        start, stop, _ = rows.indices(len(self))
        out = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        self._read(_bytes_of(out), start)
        return out

    def take(self, index: np.ndarray, axis: int = 0) -> np.ndarray:
        """Reads rows like `numpy.take` along the first axis.

        Args:
            index: Numbers of rows, int of any shape; runs of successive numbers are
                read at once.
            axis: Must be 0.

        Returns:
            An array of shape [*index.shape, ...], which the caller may change.
        """
        flat = np.ravel(index)
        out = np.empty((len(flat), *self.shape[1:]), self.dtype)
        view, size = _bytes_of(out), self._row_bytes
        self._asks = max(0, self._asks - 1)
        for start, stop, row in _runs(flat):
            self._read(view[start * size : stop * size], row, AT_ONCE)
        return out.reshape(*np.shape(index), *self.shape[1:])

    def ask(self, index: np.ndarray) -> None:
        """Lets the kernel read rows that `take` will be called for, and returns.

        It does so until they have been in the kernel's file cache for some time.
        """
        if hasattr(os, "posix_fadvise") and self._asks:
            for start, stop, row in _runs(np.ravel(index)):
                place = self._begin + row * self._row_bytes
                size = (stop - start) * self._row_bytes
                os.posix_fadvise(self._file, place, size, os.POSIX_FADV_WILLNEED)

    def write(self, row: int, values: np.ndarray) -> None:
        """Overwrites successive rows, beginning with `row`."""
        view = _bytes_of(np.ascontiguousarray(values, self.dtype))
        place = self._place(row, len(view))
        while view:
            count = os.pwrite(self._file, view, place)
            view, place = view[count:], place + count

    def _read(self, view: memoryview, row: int, flags: int = 0) -> None:
        """Fills a view with the bytes of successive rows, beginning with `row`."""
        place = self._place(row, len(view))
        if flags:
            try:
                count = os.preadv(self._file, [view], place, flags)
            except OSError:  # Nothing is cached, or the file system must wait.
                count = 0
            if count == len(view):
                return
            self._asks, view, place = ASKED, view[count:], place + count
        while view:
            count = os.preadv(self._file, [view], place)
            if not count:
                raise DatasetError(
                    f"{self._path} became shorter while it was in use. "
                    "Start again to build it anew."
                )
            view, place = view[count:], place + count

    def _place(self, row: int, size: int) -> int:
        """Returns where some bytes of rows are in the file, beginning with `row`."""
        place = row * self._row_bytes
        if not 0 <= place <= self.nbytes - size:
            raise IndexError(f"{self._path} has {len(self)} rows. Received: {row=}")
        return self._begin + place


def _bytes_of(values: np.ndarray) -> memoryview:
    return memoryview(values.reshape(-1).view(np.uint8))


def _runs(flat: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yields where runs of successive rows begin and end, and each one's first row."""
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1]) != 1).tolist()
    rows = flat[starts].tolist()
    return zip(starts, [*starts[1:], len(flat)], rows, strict=False)


class Joined:
    """Slices of arrays one after the other, which are copied only when they are read.

    Args:
        pieces: The slices, [rows, ...] of one shape and type; at least one.
    """

    def __init__(self, pieces: Sequence[np.ndarray]):
        self._pieces = pieces
        self._ends = np.cumsum([len(piece) for piece in pieces])
        self.shape = (int(self._ends[-1]), *pieces[0].shape[1:])
        self.dtype = pieces[0].dtype
        self.nbytes = sum(piece.nbytes for piece in pieces)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Reads successive rows."""
        start, stop, _ = rows.indices(len(self))
        first, last = np.searchsorted(self._ends, (start, stop - 1), "right").tolist()
        found = self._pieces[first : last + 1]
        if not found:
            return np.empty((0, *self.shape[1:]), self.dtype)
        begin = int(self._ends[first]) - len(self._pieces[first])
        joined = found[0] if len(found) == 1 else np.concatenate(found)
        return joined[start - begin : stop - begin]


Array = np.ndarray | ArrayFile | Joined


def save(path: str | os.PathLike, array: Array) -> None:
    """Writes an array as `numpy.save` does, some rows at a time."""
    described = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, described)
        rows = _rows_of_block(array)
        for start in range(0, len(array), rows):
            file.write(np.ascontiguousarray(array[start : start + rows]).data)


def checksums(array: Array) -> list[int]:
    """Returns the CRC-32 of each block of an array's rows."""
    rows = _rows_of_block(array)
    return [_checksum(array[i : i + rows]) for i in range(0, len(array), rows)]


def _rows_of_block(array: Array) -> int:
    return max(1, BLOCK * len(array) // max(array.nbytes, 1))


def _checksum(rows: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(rows).reshape(-1).view(np.uint8))


class Checked:
    """An array on disk, each block of which is compared when it is first read.

    Args:
        stored: The array.
        path: Its file, for the error message.
        expected: What `checksums` returned when it was written.

    Attributes:
        is_remote: Whether blocks may have to be fetched first.

    Raises:
        ValueError: There is another number of checksums than of blocks.
    """

    is_remote = False

    def __init__(self, stored: Array, path: str | os.PathLike, expected: list[int]):
        self.stored, self.nbytes = stored, stored.nbytes
        self.shape, self.dtype = stored.shape, stored.dtype
        self._path, self._expected = path, expected
        self._rows = _rows_of_block(stored)
        self._seen = np.zeros(math.ceil(len(stored) / self._rows), bool)
        if len(expected) != len(self._seen):
            raise ValueError(f"checksums of {path}")

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Reads successive rows; raises DatasetError if their block is damaged."""
        self._check(np.arange(*rows.indices(len(self))))
        return self.stored[rows]

    def take(self, index: np.ndarray, axis: int = 0) -> np.ndarray:
        """Reads rows as `ArrayFile.take`; raises DatasetError as reading a slice."""
        self._check(index)
        return self.stored.take(index, axis)

    def ask(self, index: np.ndarray) -> None:
        """Does the same as `ArrayFile.ask`."""
        self.stored.ask(index)

    def _check(self, index: np.ndarray) -> None:
        blocks = np.ravel(index) // self._rows
        if not self._seen[blocks].all():
            self.see(np.unique(blocks[~self._seen[blocks]]).tolist())

    def see(self, blocks: list[int]) -> None:
        """Compares blocks; raises DatasetError if one is damaged."""
        for block in blocks:
            if not self.fits(block, self.stored[self.rows_of(block)]):
                raise DatasetError(
                    f"{self._path} is damaged: wrong checksum. Remove its folder and "
                    "start again: it is built anew from the episodes."
                )
            self._seen[block] = True

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self._seen)

    def rows_of(self, block: int) -> slice:
        """Returns the rows of a block."""
        return slice(block * self._rows, min((block + 1) * self._rows, len(self)))

    def fits(self, block: int, rows: np.ndarray) -> bool:
        """Tells whether rows have the checksum of a block."""
        return _checksum(rows) == self._expected[block]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """An array on disk whose rows are decoded when they are read.

    Attributes:
        stored: The array.
        decode: Called with the rows that were read.
    """

    stored: ArrayFile | Checked
    decode: Callable[[np.ndarray], np.ndarray]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.decode(self.stored[rows])

    def take(self, index: np.ndarray, axis: int = 0) -> np.ndarray:
        """Reads rows as `ArrayFile.take`, and decodes them."""
        return self.decode(self.stored.take(index, axis))

    def ask(self, index: np.ndarray) -> None:
        """Does the same as `ArrayFile.ask`."""
        self.stored.ask(index)


def is_on_disk(array: Array | Checked | Decoded) -> bool:
    """Tells whether rows are read from disk or fetched, not from (mapped) memory."""
    while isinstance(array, Checked | Decoded):
        if isinstance(array, Checked) and array.is_remote:
            return True
        array = array.stored
    return isinstance(array, ArrayFile)
