"""Packed indices in object stores, whose arrays are read by ranges when they are used.

    URL/TASK/*.npz                         the episodes
    URL/TASK/.packed/NAME/                 their packed index, arrays in parts
    CACHE/remote/.../.ranges/TASK/         a copy of the manifest
    CACHE/remote/.../.ranges/TASK/NAME/    the index; at first arrays have holes

NAME is a digest of the names and sizes of the episodes, so that the index of other
episodes is not found. Training starts as soon as its first batch is here, and a thread
copies the rest meanwhile. A block of rows counts as here once it has its checksum,
which a hole has not, so a process may be killed at any moment. Parts are small, as some
stores read all of an object to answer a range of it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.files import atomic, mirror, paths, remote
from dreamerv2_transfer.common.files.mirror import Mirror, RemoteError
from dreamerv2_transfer.common.replay import (
    layout,
    packed_index,
    store,
    streamed_array,
)
from dreamerv2_transfer.common.replay import packed as packing
from dreamerv2_transfer.common.replay.array_file import ArrayFile
from dreamerv2_transfer.common.replay.packed import INDEX, PackedEpisodes
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.common.replay.streamed_array import Streamed

HINT_AFTER = 20.0  # Seconds of fetching, after which a note says how not to wait.
WAITS = (1, 4, 15)  # Seconds until the next tries after a failure.
KEPT_FREE = 2**30  # Bytes of the disk that are not filled by copies ahead of their use.
TURN = 0.02  # Seconds until the copying looks again whether it may continue.
HEADER = "index.json"
TABLES = (*(f"{name}.npy" for name in packed_index.TABLES), HEADER)


def open_dataset(
    directory: str | os.PathLike,
    tasks: Sequence[str],
    cache: str | os.PathLike | None = None,
    expected: Mapping[str, tuple[tuple[int, ...], str]] | None = None,
    memory: int = 0,
) -> dict[str, PackedEpisodes]:
    """Opens the folders of some tasks in a folder of task folders, or at a URL.

    If each task at a URL has a packed index of its episodes, only the tables are
    fetched now. Otherwise, or if all episodes were fetched before, it is as with a
    local folder, once what is missing is fetched. The batches are the same either way.

    Args:
        directory: The dataset; it is only read. May be a URL.
        tasks: See `packed.open_dataset`, also for the others.
        cache: Folder for packed indices that have to be built; None for no such folder.
        expected: Shape and dtype by key that the episodes must have, if known.
        memory: Bytes that opening may take; 0 for no cap.

    Raises:
        DatasetError: As `packed.open_dataset`.
        RemoteError: The URL cannot be read.
    """
    paths.check(directory)
    if remote.is_remote(directory) and tasks:
        with contextlib.suppress(IndexFault):
            if opened := _open(Mirror(os.fspath(directory)), tasks, cache, memory):
                return packing.as_expected(opened, expected)
    names, start = [store.folder_name(task) for task in tasks], time.monotonic()
    folder = remote.fetched(directory, *(f"{name}/*" for name in names))
    if time.monotonic() - start > HINT_AFTER:
        print(
            f"Note: fetching the episodes took {time.monotonic() - start:.0f} s. "
            f"dataset.py index {directory} lets training start before.",
            flush=True,
        )
    return packing.open_dataset(folder, tasks, cache, expected, memory)


def _open(
    source: Mirror, tasks: Sequence[str], cache: str | os.PathLike | None, memory: int
) -> dict[str, PackedEpisodes]:
    """Opens the indices of tasks, if all have one that is wanted; see `open_dataset`.

    Raises:
        IndexFault: One cannot be used.
    """
    names = {task: store.folder_name(task) for task in tasks}
    # Listing all episodes takes longer; without an index it is done but once.
    if not all(source.sizes(f"{name}/{INDEX}") for name in names.values()):
        return {}
    found = {task: StoredIndex(source, name, memory) for task, name in names.items()}
    if not all(index.is_wanted() for index in found.values()):
        return {}
    opened = {task: index.open(cache) for task, index in found.items()}
    missing = sum(index.missing_bytes() for index in found.values())
    has_room = missing + KEPT_FREE < shutil.disk_usage(source.home).free
    for task, index in found.items():
        packed = opened[task]
        then = "all of it" if has_room else "only that, as the disk lacks room for all"
        print(
            f"{index.url} is read by ranges. What is read is kept in {index.here}, and "
            f"meanwhile {then}: {packed.nbytes / 2**30:.3g} GiB.",
            flush=True,
        )
        packing.warn_of_damaged(packed)
        if not has_room:
            continue
        # The smallest first, as every batch reads all of them.
        arrays = sorted(packed.arrays.values(), key=lambda x: x.nbytes)
        threading.Thread(target=_complete, args=(arrays,), daemon=True).start()
    return opened


def _complete(arrays: Sequence[Any]) -> None:
    for array in arrays:
        array.complete()


def upload(url: str, folder: str) -> int:
    """Copies the packed index beside a task's local episodes to the store.

    Args:
        url: The URL of the dataset, which this process writes.
        folder: Name of the task's folder.

    Returns:
        The bytes of the index.

    Raises:
        DatasetError: There is no index, or the store has other episodes.
        RemoteError: The store cannot be written to.
    """
    source = Mirror(url)
    here, there = source.path / folder, source.sizes(folder)
    index = packing.index_beside(here)
    if not index.is_dir() or _name(there) != _name(_local_sizes(here)):
        raise DatasetError(
            f"The episodes of {source.url}/{folder} are others than those in {here}, "
            "or have no packed index there. Wait until all are uploaded, and run the "
            "same command again."
        )
    root = f"{source.root}/{folder}/{INDEX}"
    packed = packed_index.open_whole(index, str(here), packed_index.map_array, -1)
    with mirror.reaching(source.url):
        for name in there:
            if name.startswith(f"{INDEX}/"):
                source.fs.rm_file(f"{source.root}/{folder}/{name}")
        for key, array in packed.arrays.items():
            file = packed_index.array_path(pathlib.Path(), key).name
            step = streamed_array.blocks_of_part(array)
            for part, first in enumerate(range(0, array.blocks, step)):
                last = min(first + step, array.blocks) - 1
                rows = array[array.rows_of(first).start : array.rows_of(last).stop]
                place = f"{root}/{_name(there)}/{streamed_array.part_name(file, part)}"
                source.fs.pipe_file(place, rows.tobytes())
        for name in TABLES:  # The header comes last: with it, the index is complete.
            content = (index / name).read_bytes()
            source.fs.pipe_file(f"{root}/{_name(there)}/{name}", content)
    return packed.nbytes


def _name(sizes: Mapping[str, int]) -> str:
    """Returns the name of the index of some episodes, given the bytes of all files."""
    digest = hashlib.blake2b(f"format {packing.FORMAT}".encode(), digest_size=16)
    for name, size in sorted(sizes.items()):
        if name.endswith(".npz") and "/" not in name:
            digest.update(f"{name}/{size};".encode())
    return digest.hexdigest()


def _local_sizes(folder: pathlib.Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    return {entry.name: entry.stat().st_size for entry in store.entries(folder)}


class IndexFault(DatasetError):
    """A packed index in a store that cannot be used."""


class StoredIndex:
    """The packed index of a task's episodes in a store.

    Args:
        source: The mirror of the dataset's URL.
        folder: Name of the task's folder.
        memory: Bytes that the task may take in memory; 0 for no cap.

    Attributes:
        url: The URL of the index.
        here: The folder of its files on this machine.

    Raises:
        RemoteError: The store cannot be read.
    """

    def __init__(self, source: Mirror, folder: str, memory: int):
        self._source, self._folder, self._memory = source, folder, memory
        self._sizes = source.sizes(folder)
        name = _name(self._sizes)
        self._place = f"{INDEX}/{name}"
        self.url = f"{source.url}/{folder}/{self._place}"
        self.here = source.home / ".ranges" / folder / name
        self._lock, self._urgent = threading.Lock(), 0
        self._falling_back = threading.Lock()
        self._episodes: PackedEpisodes | None = None
        self._open_episodes: Callable[[], PackedEpisodes] = NotImplemented
        self._fingerprint = ""

    def is_wanted(self) -> bool:
        """Tells whether the store has the index, and this machine not the episodes."""
        local = _local_sizes(self._source.path / self._folder)
        has_index = f"{self._place}/{HEADER}" in self._sizes
        return has_index and _name(local) != _name(self._sizes)

    def open(self, cache: str | os.PathLike | None) -> PackedEpisodes:
        """Fetches the tables.

        Args:
            cache: Folder for an index of the episodes, should this one be damaged.

        Raises:
            IndexFault: It is damaged, or of an older version; was named in a warning.
        """
        array = ArrayFile if self._memory else packed_index.map_array
        try:
            self._prepare()
            packed = packed_index.open_whole(
                self.here,
                str(self.here.parent),
                array,
                -1,
                checked=functools.partial(Streamed, self),
            )
        except Exception as error:  # Damaged bytes raise nearly any error.
            progress.write(
                f"Warning: the packed index {self.url} cannot be used, so all episodes "
                f"are fetched before training starts: {error!r}"
            )
            raise IndexFault(f"{self.url} cannot be used.") from error
        self._fingerprint = packed.fingerprint
        self._open_episodes = functools.partial(
            self._fetch_episodes, pathlib.Path(cache) / self._folder if cache else None
        )
        return packed

    def missing_bytes(self) -> int:
        """Returns the bytes of the arrays that have not been copied yet."""
        stats = [path.stat() for path in self.here.glob("key-*.npy")]
        return sum(max(0, x.st_size - 512 * x.st_blocks) for x in stats)

    def _prepare(self) -> None:
        """Writes the tables, and arrays of holes; those that are there already stay."""
        for other in self.here.parent.glob("*/"):
            if other != self.here:  # It is of episodes that are no longer there.
                shutil.rmtree(other, ignore_errors=True)
        self._fetch_manifest()
        stops = [self._sizes[f"{self._place}/{name}"] for name in TABLES]
        found = self.read(TABLES, [0] * len(TABLES), stops)
        for name, content in zip(TABLES, found, strict=True):
            with atomic.atomic_write(self.here / name, sync=False) as file:
                file.write(content)
        told = layout.listed(store.read_manifest(self.here.parent) or {})
        if not packed_index.is_current(self.here, told):
            raise IndexFault("it is of an older version or manifest")
        packed_index.allocate_missing(self.here)

    def _fetch_manifest(self) -> None:
        here = self.here.parent / store.MANIFEST
        if store.MANIFEST not in self._sizes:
            here.unlink(missing_ok=True)
            return
        with mirror.reaching(self.url):
            place = f"{self._source.root}/{self._folder}/{store.MANIFEST}"
            content = self._source.fs.cat_file(place)
        with atomic.atomic_write(here, sync=False) as file:
            file.write(content)

    def read(
        self, names: Sequence[str], starts: Sequence[int], stops: Sequence[int]
    ) -> list[bytes]:
        """Reads ranges of files, at the same time if the store's package does.

        Raises:
            RemoteError: One cannot be read, or is gone; it was tried several times.
        """
        root = f"{self._source.root}/{self._folder}/{self._place}"
        places = [f"{root}/{name}" for name in names]
        for wait in (*WAITS, None):
            try:
                with mirror.reaching(self.url):
                    found = self._source.fs.cat_ranges(places, [*starts], [*stops])
                    for error in found:
                        if isinstance(error, BaseException):
                            raise error
                return found
            except RemoteError as error:
                if wait is None or isinstance(error.__cause__, FileNotFoundError):
                    raise
                time.sleep(wait)
        raise AssertionError("not reached")

    @contextlib.contextmanager
    def urgent(self) -> Iterator[None]:
        """Lets the copying of what is not needed yet wait for the block."""
        with self._lock:
            self._urgent += 1
        try:
            yield
        finally:
            with self._lock:
                self._urgent -= 1

    def wait_for_turn(self) -> None:
        """Waits until nothing is urgent."""
        while self._urgent:
            time.sleep(TURN)

    @property
    def is_damaged(self) -> bool:
        """Whether a part of it could not be read, so that the episodes were fetched."""
        return self._episodes is not None

    def episodes(self, fault: Exception) -> PackedEpisodes:
        """Returns the same episodes as read from their own files.

        Args:
            fault: What is wrong with the index, for the warning.

        Raises:
            DatasetError: They cannot be read, or are others by now.
        """
        with self._falling_back:
            if self._episodes is None:
                progress.write(
                    f"Warning: {fault} The episodes of {self._source.url}/"
                    f"{self._folder} are fetched instead."
                )
                found = self._open_episodes()
                if found.fingerprint != self._fingerprint:
                    raise DatasetError(
                        f"The packed index {self.url} is damaged, and the episodes "
                        "beside it are others than it was made of. Restore them, or "
                        "start a new run in another --logdir."
                    )
                self._episodes = found
            return self._episodes

    def _fetch_episodes(self, cache: pathlib.Path | None) -> PackedEpisodes:
        local = remote.fetched(self._source.url, f"{self._folder}/*")
        return packing.open_task(local / self._folder, cache, self._memory)
