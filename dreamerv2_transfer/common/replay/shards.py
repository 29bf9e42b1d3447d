"""Several short episodes of a task in one file: a shard.

A shard holds what the file of one episode does, with the transitions of its episodes
one after the other, and `shard_offsets`: where each episode begins and the last ends.
Its name is `TIMESTAMP-UUID-STEPSxEPISODES.npz`. Its episodes are called UUIDn0, UUIDn1,
and so on.

Whoever reads the files of a folder reads them here, shard or not.
"""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.packed_episodes import PackedEpisodes
from dreamerv2_transfer.common.replay.store import Episode, EpisodeError

OFFSETS = "shard_offsets"


class Part(NamedTuple):
    """An episode of a file, or what keeps it from being one.

    Attributes:
        origin: What messages call it: the file, and the episode's number in a shard.
        identifier: The episode's identifier; empty if the file has another name.
        episode: Arrays by key, [time, ...]; empty if it is damaged.
        fault: A sentence that names its damage; empty if there is none.
    """

    origin: str
    identifier: str
    episode: Episode
    fault: str = ""


# Writing.


def join(episodes: Sequence[Mapping[str, np.ndarray]]) -> Episode:
    """Returns the arrays of a shard's file, in the stored precision.

    Args:
        episodes: Episodes with the same keys.

    Raises:
        DatasetError: One of them would not load; says why.
    """
    lengths = [len(episode["action"]) for episode in episodes]
    offsets = np.array([0, *itertools.accumulate(lengths)], np.int32)
    joined = {
        key: store.convert(np.concatenate([x[key] for x in episodes]))
        for key in episodes[0]
    }
    if not _are_episodes(joined, offsets):
        for episode in episodes:
            store.as_loaded(episode)  # Says what is wrong.
    return {**joined, OFFSETS: offsets}


def _are_episodes(joined: Episode, offsets: np.ndarray) -> bool:
    """Tells whether `store.fault` has nothing to say of joined episodes.

    Of short episodes, one look at all of them takes a tenth of the time.
    """
    first, last, terminal = (joined[key] for key in store.FLAGS)
    flags = np.zeros((3, len(first)), bool)
    flags[0, 0], flags[1, -1] = True, True
    as_one = {key: v for key, v in joined.items() if store.is_trained_on(key)}
    as_one |= dict(zip(store.FLAGS, flags, strict=True))
    return (
        all(x.dtype == bool for x in (first, last, terminal))
        and not store.fault(as_one)
        and bool((np.diff(offsets) > 1).all())
        and np.array_equal(np.flatnonzero(first), offsets[:-1])
        and np.array_equal(np.flatnonzero(last), offsets[1:] - 1)
        and not (terminal & ~last).any()
    )


def save(
    directory: str | os.PathLike, joined: Episode, identifier: str
) -> pathlib.Path:
    """Writes episodes to a file, completely or not at all.

    Args:
        directory: Folder of the task; it must exist.
        joined: One episode or several, as `join` returns them.
        identifier: The UUID part of the file name.

    Returns:
        The path of the file; that of one episode is as the original's.

    Raises:
        atomic.OutputError: The file cannot be written; no part of it is left behind.
    """
    episodes = len(joined[OFFSETS]) - 1
    steps = len(joined["action"]) - episodes
    if episodes == 1:
        alone = {key: values for key, values in joined.items() if key != OFFSETS}
        return store.save_episode(directory, alone, identifier)
    return store.write(directory, f"{identifier}-{steps}x{episodes}", joined)


def pack(joined: Episode, source: str) -> PackedEpisodes:
    """Packs episodes, as `join` returns them, without what is for logging alone."""
    kept = {k: v for k, v in joined.items() if k != OFFSETS and store.is_trained_on(k)}
    return PackedEpisodes.from_joined(kept, joined[OFFSETS], source)


# Reading.


def parts(path: str | os.PathLike, logs: bool = False) -> list[Part]:
    """Reads the episodes of a file without running code from it.

    Args:
        path: The file.
        logs: Whether to read the keys that are only for logging, too.

    Returns:
        A part for each episode; if the file as a whole is damaged, one with its fault.
    """
    try:
        found = raw(path, lambda key: logs or store.is_trained_on(key))
    except EpisodeError as error:
        return [Part(str(path), "", {}, str(error))]
    return [_checked(part) for part in found]


def _checked(part: Part) -> Part:
    """Returns a part with flags as booleans, or its fault."""
    kept = {k: v for k, v in part.episode.items() if store.is_trained_on(k)}
    if wrong := store.fault(kept):
        return part._replace(episode={}, fault=f"{part.origin} is damaged: {wrong}.")
    flags = {k: kept[k].astype(bool) for k in store.FLAGS}
    return part._replace(episode=part.episode | flags)


def raw(
    path: str | os.PathLike, wanted: Callable[[str], bool] = lambda key: True
) -> list[Part]:
    """Reads the arrays of each episode of a file, which may break rules for episodes.

    Args:
        path: The file.
        wanted: Tells which keys to read.

    Raises:
        EpisodeError: They cannot be read; names file and fault.
    """
    arrays = store.read_arrays(path, lambda key: key == OFFSETS or wanted(key))
    name = store.name_of(path)
    offsets = arrays.pop(OFFSETS, None)
    if offsets is None:
        return [Part(str(path), name.identifier if name else "", arrays)]
    if wrong := _offsets_fault(offsets, arrays):
        raise EpisodeError(f"{path} is damaged: {wrong}.")
    slices = list(itertools.starmap(slice, itertools.pairwise(offsets.tolist())))
    # A name that says another number of episodes names none.
    fits = name is not None and name.episodes == len(slices)
    return [
        Part(
            f"{path}, episode {number}",
            name.identifiers[number] if name and fits else "",
            {key: values[steps] for key, values in arrays.items()},
        )
        for number, steps in enumerate(slices)
    ]


def _offsets_fault(offsets: np.ndarray, arrays: Episode) -> str:
    """Says why offsets cannot be those of arrays; empty if they can."""
    if offsets.dtype.kind != "i" or offsets.ndim != 1 or len(offsets) < 2:
        return f"{OFFSETS} is {offsets.dtype} of shape {offsets.shape}"
    lengths = {k: len(v) if v.ndim else None for k, v in arrays.items()}
    if {*lengths.values()} != {int(offsets[-1])}:
        return f"its keys are of lengths {lengths}, and {OFFSETS} ends at {offsets[-1]}"
    if offsets[0] != 0 or (np.diff(offsets) < 1).any():
        return f"{OFFSETS} does not rise from 0"
    return ""


def lengths(path: str | os.PathLike) -> list[int]:
    """Returns the steps of each episode of a file; fewer bytes are read than by `raw`.

    Raises:
        EpisodeError: As `raw`.
    """
    return [len(x.episode["reward"]) - 1 for x in raw(path, "reward".__eq__)]


def load(path: str | os.PathLike, number: int) -> Episode:
    """Reads one episode of a file, as `store.load_episode` does.

    Args:
        path: The file.
        number: The episode's place in a shard; 0 otherwise.

    Raises:
        EpisodeError: It is damaged; names file and fault.
    """
    with store.reading(path):
        stat = os.stat(path)
    found = _kept(str(path), stat.st_mtime_ns, stat.st_size)
    part = found[min(number, len(found) - 1)]
    if part.fault:
        raise EpisodeError(part.fault)
    return part.episode


@functools.lru_cache(1)  # Neighbours in a shard are read one after the other.
def _kept(path: str, changed: int, size: int) -> list[Part]:
    return parts(path)


def intact(*paths: str | os.PathLike) -> Iterator[Episode]:
    """Yields the episodes of files that are not damaged."""
    for path in paths:
        yield from (part.episode for part in parts(path) if not part.fault)
