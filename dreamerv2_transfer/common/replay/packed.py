"""Opens a task's episodes as contiguous arrays, ordered by content.

A packed index beside the episodes, or in a cache, is opened instead of the files. Under
a memory cap the index is built and read piece by piece, with the same result.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import math
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.errors import describe
from dreamerv2_transfer.common.files import paths as paths_lib
from dreamerv2_transfer.common.files.memory import free_and_total
from dreamerv2_transfer.common.replay import layout, packed_index, shards, store
from dreamerv2_transfer.common.replay.array_file import ArrayFile
from dreamerv2_transfer.common.replay.packed_episodes import (
    Field,
    PackedEpisodes,
    as_seen,
    check_kinds,
    check_same_kinds,
    content_digest,
    kinds,
    with_same_coding,
)
from dreamerv2_transfer.common.replay.store import DatasetError

__all__ = [
    "DatasetError",
    "Field",
    "PackedEpisodes",
    "check_kinds",
    "check_same_kinds",
    "kinds",
    "open_dataset",
    "open_task",
    "with_same_coding",
    "write_index",
]

BAR_DELAY = 5.0  # Seconds until reading files shows a progress bar.
INDEX = ".packed"
FORMAT = 1
FILES_A_CHUNK = 64
PARALLEL_FROM = 2000  # Files; for fewer, starting processes takes longer than reading.
PROCESS_BYTES = 2**29  # What a process takes: an interpreter, and episodes to read.
NAMED = 3  # Damaged files that the warning names; the others are counted.


def open_dataset(
    directory: str | os.PathLike,
    tasks: Sequence[str],
    cache: str | os.PathLike | None = None,
    expected: Mapping[str, tuple[tuple[int, ...], str]] | None = None,
    memory: int = 0,
) -> dict[str, PackedEpisodes]:
    """Opens the folders of some tasks in a folder of task folders.

    Args:
        directory: The dataset; it is only read.
        tasks: The task folders to open.
        cache: Folder for packed indices that have to be built; None for no such folder.
        expected: Shape and dtype by key that the episodes must have, if known; other
            keys may have any. MinAtar's planes are collapsed where this expects it.
        memory: Bytes that opening may take, see `open_task`; 0 for no cap.

    Raises:
        DatasetError: The dataset or a task folder is missing, empty or without a
            readable episode, or has other shapes than another one or than expected; or
            as `open_task`.
    """
    directory = paths_lib.local(directory)
    if not tasks:
        raise DatasetError("No task to open. Received: tasks=[]. Name at least one.")
    with store.listing(directory):
        if not directory.is_dir():
            raise DatasetError(
                f"{directory} is no folder. Collect a dataset there first."
            )
        inside = [x.name for x in directory.iterdir() if x.is_dir()]
    found = sorted(map(store.task_name, inside))
    if missing := [task for task in tasks if task not in found]:
        hint = ""
        if next(directory.glob("*.npz"), None):
            name = store.folder_name(missing[0])
            hint = f" Move its own episodes into a folder {name} inside it."
        there = ", ".join(x for x in found if not x.startswith(".")) or "none"
        raise DatasetError(
            f"{directory} has no task folder {missing[0]}. Task folders there: {there}."
            f"{hint}"
        )
    opened = {}
    for task in tasks:
        name = store.folder_name(task)
        task_cache = pathlib.Path(cache) / name if cache else None
        opened[task] = open_task(directory / name, task_cache, memory)
    return as_expected(opened, expected)


def as_expected(
    opened: Mapping[str, PackedEpisodes],
    expected: Mapping[str, tuple[tuple[int, ...], str]] | None,
) -> dict[str, PackedEpisodes]:
    """Returns tasks of the same shapes, which are those that are expected if any are.

    MinAtar's planes are collapsed where this is expected.

    Raises:
        DatasetError: They differ; names the key and both shapes.
    """
    seen = {task: as_seen(packed, expected or {}) for task, packed in opened.items()}
    check_same_kinds(seen.values())
    for packed in seen.values() if expected else ():
        check_kinds(packed, {**kinds(packed), **expected}, "what the model expects")
    return seen


def open_task(
    directory: str | os.PathLike,
    cache: str | os.PathLike | None = None,
    memory: int = 0,
) -> PackedEpisodes:
    """Opens a folder of episodes, through a packed index where one matches.

    An index matches if it was built from files with the same names, sizes and times of
    modification. Without one, the episodes are read, and an index is written to
    `cache`. Damaged files, and those that differ from the folder's other episodes, are
    named, skipped and listed in `damaged`.

    Under a cap the arrays stay on disk and are read from there each time. An index is
    then built by reading every episode twice, a few of them at a time: first to order
    them, then to write them to their places.

    Args:
        directory: Folder of `.npz` files; it is only read.
        cache: Folder for an index, besides the one beside the episodes. If it cannot be
            written to, the episodes are opened all the same, but not under a cap.
        memory: Bytes that opening may take; 0 for no cap.

    Raises:
        DatasetError: The folder is missing, empty or without a readable episode; under
            a cap also: no index matches and none can be written, or an episode does not
            fit into the memory.
    """
    directory = paths_lib.local(directory)
    paths, name = _list_files(directory)
    cached = pathlib.Path(cache) / name if cache else None
    folders = [directory / INDEX / name, *([cached] if cached else [])]
    told = _told_layout(directory)
    packed = packed_index.find(folders, str(directory), bool(memory), told)
    if not packed:
        expected = expected_layout(directory, paths, memory)
        if memory:
            packed = _stream_files(paths, str(directory), cached, memory, expected)
        else:
            packed = _read_files(paths, str(directory), expected)
            if cached:
                _try_to_write_index(cached, packed, expected)
    warn_of_damaged(packed)
    return packed


def warn_of_damaged(packed: PackedEpisodes) -> None:
    """Names the files that were skipped, if any were."""
    if packed.damaged:
        number = len(packed.damaged)
        more = f", and {number - NAMED} more" if number > NAMED else ""
        print(
            f"Warning: {packed.source}: skipped {number} damaged episodes, read "
            f"{len(packed)}. Damaged: {', '.join(packed.damaged[:NAMED])}{more}",
            flush=True,
        )


def write_index(
    directory: str | os.PathLike,
    memory: int = 0,
    written: Sequence[PackedEpisodes] = (),
) -> PackedEpisodes:
    """Opens a folder of episodes and leaves a packed index beside them.

    Args:
        directory: Folder of `.npz` files.
        memory: Bytes that this may take, see `open_task`; 0 for no cap.
        written: Episodes that the caller has just written; if the folder holds no
            others, no file is read again.

    Raises:
        DatasetError: As `open_task`.
    """
    directory = paths_lib.local(directory)
    paths, name = _list_files(directory)
    if written and sum(map(len, written)) == store.count_episodes(directory)[0]:
        packed = PackedEpisodes.join(written, str(directory), lazily=True)
        expected = expected_layout(directory, paths)
        _try_to_write_index(directory / INDEX / name, packed, expected)
        return packed
    return open_task(directory, directory / INDEX, memory)


def index_beside(directory: str | os.PathLike) -> pathlib.Path:
    """Returns where the packed index beside a folder's episodes is, if there is one."""
    directory = paths_lib.local(directory)
    return directory / INDEX / _list_files(directory)[1]


def index_fault(directory: str | os.PathLike) -> str:
    """Compares the packed index beside a folder's episodes with its checksums.

    Returns:
        A line that names its damage; empty if there is none, or no index but an older
        one without checksums, which the next training replaces.
    """
    folder = index_beside(directory)
    if not folder.is_dir():
        return ""
    try:
        if packed_index.is_current(folder):
            packed_index.open_whole(folder, str(directory), ArrayFile, math.inf)
    except Exception as error:  # Damaged bytes raise nearly any error.
        return (
            f"{folder} is damaged ({describe(error)}). Remove it: the next training "
            "builds it anew from the episodes."
        )
    return ""


def _list_files(directory: pathlib.Path) -> tuple[list[str], str]:
    """Returns the paths of all episodes and a name for this state of the folder."""
    with store.listing(directory):
        if not directory.is_dir():
            raise DatasetError(
                f"{directory} is no folder. Collect episodes there first."
            )
        entries = store.entries(directory)
        if not any(map(store.is_file, entries)):
            raise DatasetError(f"{directory} holds no episode (no file *.npz).")
        digest = hashlib.blake2b(f"format {FORMAT}".encode(), digest_size=16)
        for entry in entries:
            # What is no file is named when it is read.
            stat = entry.stat(follow_symlinks=store.is_file(entry))
            digest.update(f"{entry.name}/{stat.st_size}/{stat.st_mtime_ns};".encode())
    return [entry.path for entry in entries], digest.hexdigest()


def expected_layout(
    directory: str | os.PathLike, paths: list[str], memory: int = 0
) -> layout.Layout:
    """Returns what all episodes of a folder must hold.

    Its manifest tells it; without one, it is what most of the episodes hold.

    Args:
        directory: The folder.
        paths: Its episodes.
        memory: Bytes that this may take; 0 for no cap.
    """
    if told := _told_layout(directory):
        return told
    processes = count_processes(paths, memory)
    counts: collections.Counter[layout.Outline] = collections.Counter()
    for outline in each_chunk(layout.outline, paths, f"compare {directory}", processes):
        counts.update(outline)
    return layout.agreed(counts)


def _told_layout(directory: str | os.PathLike) -> layout.Layout:
    """Returns the layout in a folder's manifest; empty if it tells none."""
    with contextlib.suppress(DatasetError):  # `dataset.py verify` names its damage.
        return layout.listed(store.read_manifest(directory) or {})
    return {}


def _read_files(
    paths: list[str], source: str, expected: layout.Layout, memory: int = 0
) -> PackedEpisodes:
    """Reads and packs episodes; under a cap only their tables, without the arrays."""
    processes = count_processes(paths, memory)
    # Half of the memory: an episode may be there twice, unpacked and packed.
    limit = math.ceil(memory / processes / 2)
    read = functools.partial(_read_chunk, expected=expected, limit=limit)
    parts, damaged, held = [], [], 0
    free, _ = free_and_total() or (math.inf, 0)
    for part, faults in each_chunk(read, paths, f"read {source}", processes):
        parts += [part] if part else []
        damaged += faults
        held += part.nbytes if part else 0
        if 2 * held > free:  # It is there twice while the parts are joined.
            raise DatasetError(
                f"{source} takes more memory than the {free / 2**30:.3g} GiB that are "
                "free. Set --dataset.memory to the GiB that it may take: the rest is "
                "read from disk."
            )
    if not parts:
        raise DatasetError(
            f"{source} has no readable episode; {len(damaged)} are damaged. "
            f"The first: {damaged[0][1]}"
        )
    joined = PackedEpisodes.join(parts, source)
    return dataclasses.replace(joined, damaged=tuple(name for name, _ in damaged))


def count_processes(paths: Sequence[str], memory: int = 0) -> int:
    """Returns how many processes should read some files.

    Args:
        paths: The files; one process reads few of them, otherwise one per core.
        memory: Bytes that all processes may take; 0 for no cap.
    """
    if len(paths) < PARALLEL_FROM:
        return 1
    most = min(os.cpu_count() or 1, math.ceil(len(paths) / FILES_A_CHUNK), 16)
    return max(1, min(most, memory // PROCESS_BYTES)) if memory else most


def each_chunk(
    function: Callable[[list[str]], Any], paths: list[str], title: str, processes: int
) -> Iterator:
    """Calls a function with chunks of files; shows a progress bar if it takes long.

    Args:
        function: Called with the paths of a chunk; can be pickled.
        paths: The files.
        title: What the progress bar says.
        processes: How many chunks are processed at a time; 1 uses this process.

    Yields:
        What the function returns, in the order of the files.
    """
    starts = range(0, len(paths), FILES_A_CHUNK)
    chunks = [paths[i : i + FILES_A_CHUNK] for i in starts]
    with contextlib.ExitStack() as stack:
        bar = progress.Progress(len(paths), 0, title, "file", delay=BAR_DELAY)
        stack.enter_context(bar)
        results = map(function, chunks)
        if processes > 1:
            # Spawned: a fork of a process with threads (TensorFlow's) may hang.
            pool = multiprocessing.get_context("spawn").Pool(processes)
            results = stack.enter_context(pool).imap(function, chunks)
        for result in results:
            yield result
            bar.update(FILES_A_CHUNK)


def _read_chunk(
    paths: list[str], expected: layout.Layout, limit: int = 0
) -> tuple[PackedEpisodes | None, list[tuple[str, str]]]:
    """Reads some episodes.

    Args:
        paths: Their files.
        expected: What each of them must hold.
        limit: Most bytes of an unpacked episode. With a limit, the arrays are left out.

    Returns:
        The intact episodes, and (name, fault) of each damaged file.
    """
    parts, damaged = [], []
    for path in paths:
        if limit and (size := store.unpacked_bytes(path)) > limit:
            raise DatasetError(
                f"{path} takes {size / 2**30:.3g} GiB unpacked, more than there is "
                "for an episode under the memory cap: "
                f"{limit / 2**30:.3g} GiB. Raise dataset.memory, or set it to 0 "
                "for no cap."
            )
        for part in shards.parts(path):
            fault = part.fault
            if not fault and (wrong := layout.misfit(part.episode, expected)):
                fault = f"{part.origin} is damaged: {wrong}."
            if fault:
                damaged.append((os.path.basename(part.origin), fault))
                continue
            packed = PackedEpisodes.from_episode(part.episode, part.origin)
            parts.append(packed.without_arrays() if limit else packed)
    joined = PackedEpisodes.join(parts, parts[0].source) if parts else None
    return joined, damaged


def _stream_files(
    paths: list[str],
    source: str,
    folder: pathlib.Path | None,
    memory: int,
    expected: layout.Layout,
) -> PackedEpisodes:
    """Writes an index with only a few episodes in memory at a time, and opens it."""
    if folder is None:
        raise DatasetError(
            f"{source} has no packed index to read under a memory cap, and no folder "
            "for one was named. Set dataset.memory to 0 for no cap."
        )
    try:
        with packed_index.creating(folder) as temporary:
            packed = _read_files(paths, source, expected, memory)
            packed_index.allocate(temporary, packed, expected)
            damaged, filled = set(packed.damaged), np.zeros(len(packed), bool)
            intact = [x for x in paths if os.path.basename(x) not in damaged]
            fill = functools.partial(_fill_chunk, temporary, source)
            processes = count_processes(paths, memory)
            for numbers in each_chunk(fill, intact, f"pack {source}", processes):
                filled[numbers] = True
            if not filled.all():
                raise DatasetError(
                    f"Episodes in {source} changed while they were read. Start again."
                )
            filled_in = packed_index.load(temporary, source, ArrayFile)
            packed_index.seal(temporary, filled_in, expected)
    except OSError as error:
        raise DatasetError(
            f"Under a memory cap {source} is read from a packed index, but none can be "
            f"written to {folder.parent}: {error}. Make room or choose another logdir, "
            "or set dataset.memory to 0 for no cap."
        ) from error
    return packed_index.open_whole(folder, source, ArrayFile)


def _fill_chunk(folder: pathlib.Path, source: str, paths: list[str]) -> list[int]:
    """Writes each episode to all places for its content; returns their numbers."""
    arrays = functools.partial(ArrayFile, writable=True)
    packed = packed_index.load(folder, source, arrays)
    filled = []
    for path in paths:
        for episode in shards.intact(path):
            numbers = packed.find(content_digest(episode))
            for key, field in packed.fields.items() if numbers else ():
                stored = field.encode(episode[key])
                for number in numbers:
                    packed.arrays[key].write(packed.offsets[number], stored)
            filled += numbers
    return filled


def _try_to_write_index(
    folder: pathlib.Path, packed: PackedEpisodes, expected: layout.Layout
) -> None:
    try:
        packed_index.save(folder, packed, expected)
    except OSError as error:
        print(f"Warning: no packed index in {folder.parent}: {error}", flush=True)
