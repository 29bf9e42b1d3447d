"""Arrays in object stores, blocks of which are copied here when they are first read."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.files.mirror import RemoteError
from dreamerv2_transfer.common.replay import packed_index
from dreamerv2_transfer.common.replay.array_file import ArrayFile, Checked
from dreamerv2_transfer.common.replay.packed_episodes import PackedEpisodes

PART_BYTES = 2**24  # Of an array; each part is an object of the store.
RANGE_BYTES = 2**21
RANGES = 4  # Ranges that are read in one call, at the same time.


class Index(Protocol):
    """What an array asks the index that it belongs to, see `streamed.StoredIndex`."""

    url: str

    @property
    def is_damaged(self) -> bool:
        """Whether the episodes were fetched instead."""

    def read(
        self, names: Sequence[str], starts: Sequence[int], stops: Sequence[int]
    ) -> list[bytes]:
        """Reads ranges of files; raises RemoteError."""

    def episodes(self, fault: Exception) -> PackedEpisodes:
        """Returns the same episodes as read from their own files."""

    def urgent(self) -> contextlib.AbstractContextManager[None]:
        """Lets the copying of what is not needed yet wait for the block."""

    def wait_for_turn(self) -> None:
        """Waits until nothing is urgent."""


def blocks_of_part(array: Checked) -> int:
    """Returns how many blocks of an array are in each of its parts."""
    return max(1, PART_BYTES // max(1, array.nbytes // array.blocks))


def part_name(file: str, part: int) -> str:
    """Returns the name of a part of an array's file in the store."""
    return f"{file}.{part:05}"


class Streamed(Checked):
    """An array in a store, each block of which is copied here when it is first read.

    Args:
        index: The index that it belongs to.
        stored: The array here, with holes.
        path: Its file.
        expected: What `array_file.checksums` returned when it was written.
    """

    is_remote = True

    def __init__(
        self, index: Index, stored: Any, path: pathlib.Path, expected: list[int]
    ):
        super().__init__(stored, path, expected)
        self._index, self._file = index, ArrayFile(path, writable=True)
        self._name, self._key = path.name, packed_index.key_of(path)
        self._row_bytes = self.nbytes // len(self)
        self._coming: set[int] = set()  # Blocks that a thread brings.
        self._arrived = threading.Condition()

    def ask(self, index: np.ndarray) -> None:
        """Starts to copy the blocks of rows that `take` will be called for."""
        blocks = np.unique(index // self._rows)
        missing = blocks[~self._seen[blocks]].tolist()
        if missing:
            threading.Thread(target=self._ask, args=(missing,), daemon=True).start()
        elif isinstance(self.stored, ArrayFile):
            self.stored.ask(index)

    def see(self, blocks: list[int]) -> None:
        """Copies blocks that are not here; if they are damaged, from the episodes.

        Raises:
            DatasetError: See `StoredIndex.episodes`.
        """
        with self._index.urgent():
            self._share(blocks, self._surely_bring)

    def complete(self) -> None:
        """Copies all blocks in their order, but those that cannot be read now."""
        step = max(1, RANGES * RANGE_BYTES // (self._rows * self._row_bytes))
        for first in range(0, self.blocks, step):
            self._index.wait_for_turn()
            self._try([*range(first, min(first + step, self.blocks))])

    def _ask(self, blocks: list[int]) -> None:
        with self._index.urgent():
            self._try(blocks)

    def _try(self, blocks: list[int]) -> None:
        with contextlib.suppress(UserError):
            self._share(blocks, self._bring)

    def _share(self, blocks: list[int], bring: Callable[[list[int]], None]) -> None:
        """Brings blocks, or waits for those that another thread is bringing."""
        while blocks := [block for block in blocks if not self._seen[block]]:
            with self._arrived:
                ours = [block for block in blocks if block not in self._coming]
                self._coming.update(ours)
                if not ours:
                    self._arrived.wait()
                    continue
            try:
                bring(ours)
            finally:
                with self._arrived:
                    self._coming.difference_update(ours)
                    self._arrived.notify_all()

    def _surely_bring(self, blocks: list[int]) -> None:
        try:
            self._bring(blocks)
        except RemoteError as error:
            episodes = self._index.episodes(error)
            rows = episodes.arrays[self._key]
            for block in blocks:
                self._keep(block, rows[self.rows_of(block)], episodes.source)

    def _bring(self, blocks: list[int]) -> None:
        """Copies blocks from the store that are not here since an earlier time.

        Raises:
            RemoteError: They cannot be read, or are damaged.
        """
        if self._index.is_damaged:
            raise RemoteError(f"{self._index.url} is damaged.")
        missing = []
        for block in blocks:
            here = self._file[self.rows_of(block)]
            self._seen[block] = self.fits(block, here)
            missing += [] if self._seen[block] else [block]
        spans = self._spans(missing)
        while some := [*itertools.islice(spans, RANGES)]:
            ranges = [self._place(*span) for span in some]
            found = self._index.read(*zip(*ranges, strict=True))
            for span, (name, *_), content in zip(some, ranges, found, strict=True):
                self._keep_all(span, content, f"{self._index.url}/{name}")

    def _spans(self, blocks: list[int]) -> Iterator[tuple[int, int]]:
        """Yields first and last of runs of blocks in a part that make short ranges."""
        most = RANGE_BYTES // (self._rows * self._row_bytes)
        step = blocks_of_part(self)
        keys = {block: (block - i, block // step) for i, block in enumerate(blocks)}
        for _, run in itertools.groupby(blocks, keys.__getitem__):
            numbers = iter([*run])
            while some := [*itertools.islice(numbers, max(1, most))]:
                yield some[0], some[-1]

    def _place(self, first: int, last: int) -> tuple[str, int, int]:
        """Returns the name, begin and end of the blocks of a part."""
        part, skipped = divmod(first, blocks_of_part(self))
        begin = self.rows_of(first - skipped).start
        rows = self.rows_of(first).start - begin, self.rows_of(last).stop - begin
        return (part_name(self._name, part), *(x * self._row_bytes for x in rows))

    def _keep_all(self, span: tuple[int, int], content: bytes, source: str) -> None:
        first, last = span
        start, stop = self.rows_of(first).start, self.rows_of(last).stop
        if len(content) != (stop - start) * self._row_bytes:
            raise RemoteError(f"{source} is too short.")
        rows = np.frombuffer(content, self.dtype).reshape(-1, *self.shape[1:])
        for block in range(first, last + 1):
            steps = self.rows_of(block)
            self._keep(block, rows[steps.start - start : steps.stop - start], source)

    def _keep(self, block: int, rows: np.ndarray, source: str) -> None:
        if not self.fits(block, rows):
            raise RemoteError(f"{source} is damaged: wrong checksum.")
        with atomic.writing(self._path):
            self._file.write(block * self._rows, rows)
        self._seen[block] = True
