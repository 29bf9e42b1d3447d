"""Arrays on disk that are read row by row and never kept in memory."""

import dataclasses
import os
import weakref
from collections.abc import Callable

import numpy as np

from dreamerv2_transfer.common.replay.store import DatasetError


class ArrayFile:
    """An array on disk, of which what is asked for is read, and nothing is kept.

    Not a map into memory: how many pages of a map are resident is the kernel's choice
    (it maps the neighbours of a page that is touched), what is read is ours. What was
    read lately stays in the kernel's own file cache, while nobody needs that memory.

    Attributes:
        shape: [rows, ...].
        dtype: of the values.
    """

    def __init__(self, path: str | os.PathLike, writable: bool = False):
        """Opens a `.npy` file.

        Raises:
            OSError, ValueError: the file is missing, or no array or not all of it.
        """
        # Mapping it reads the header and compares the size, but touches no value.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not array.flags.c_contiguous or not array.size:
            raise ValueError(f"{path} holds no rows")
        self.shape, self.dtype = array.shape, array.dtype
        self._path, self._begin = path, array.offset
        self._file = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        if hasattr(os, "posix_fadvise"):  # Pieces are short: reading ahead is in vain.
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Reads successive rows."""
        start, stop, _ = rows.indices(len(self))
        out = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        self._read(out, start)
        return out

    def take(self, index: np.ndarray, axis: int = 0) -> np.ndarray:
        """Reads rows, as `numpy.take` along the first axis; runs of them at once.

        Args:
            index: int, any shape; successive numbers along its last axis are fast.
            axis: 0.

        Returns:
            An array of the caller's own, of shape [*index.shape, ...].
        """
        flat = np.ravel(index)
        out = np.empty((len(flat), *self.shape[1:]), self.dtype)
        starts = np.flatnonzero(np.diff(flat, prepend=flat[:1]) != 1).tolist()
        for start, stop in zip(starts, [*starts[1:], len(flat)], strict=False):
            self._read(out[start:stop], int(flat[start]))
        return out.reshape(*np.shape(index), *self.shape[1:])

    def write(self, row: int, values: np.ndarray) -> None:
        """Overwrites successive rows, from `row` on."""
        view, place = self._locate(np.ascontiguousarray(values, self.dtype), row)
        while len(view):
            count = os.pwrite(self._file, view, place)
            view, place = view[count:], place + count

    def _read(self, out: np.ndarray, row: int) -> None:
        view, place = self._locate(out, row)
        while len(view):
            count = os.preadv(self._file, [view], place)
            if not count:
                raise DatasetError(
                    f"{self._path} became shorter while it was in use. "
                    "Start again, and it is made anew."
                )
            view, place = view[count:], place + count

    def _locate(self, values: np.ndarray, row: int) -> tuple[memoryview, int]:
        """The bytes of some rows, and where in the file they belong."""
        if not 0 <= row <= len(self) - len(values):
            raise IndexError(f"{self._path} has {len(self)} rows. Received: {row=}")
        view = memoryview(values.reshape(-1).view(np.uint8))
        return view, self._begin + row * self._row_bytes


@dataclasses.dataclass(frozen=True)
class Decoded:
    """An array on disk whose rows are decoded when they are read."""

    stored: ArrayFile
    decode: Callable[[np.ndarray], np.ndarray]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.decode(self.stored[rows])

    def take(self, index: np.ndarray, axis: int = 0) -> np.ndarray:
        """As `ArrayFile.take`, decoded."""
        return self.decode(self.stored.take(index, axis))
