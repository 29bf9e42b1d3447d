"""Episodes on disk: one compressed `.npz` per episode, in the original's format."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, documents
from dreamerv2_transfer.common.replay import npz
from dreamerv2_transfer.common.replay.manifest import SCHEMA

Episode = dict[str, np.ndarray]

FLAGS = ("is_first", "is_last", "is_terminal")
REQUIRED = ("action", "reward", *FLAGS)
STORED = {"f": np.dtype(np.float32), "i": np.dtype(np.int32)}  # By kind of number.
MANIFEST = "manifest.json"
_NAME = re.compile(r"[^-]+-([^-]+)-(\d{1,12})(?:x(\d{1,5}))?\.npz")
LOGGED = "log_"  # Prefix of the keys that are only for logging.


class DatasetError(UserError):
    """A dataset that cannot be used as it is."""


class EpisodeError(DatasetError):
    """An episode file that cannot be read as an episode."""


def save_episode(
    directory: str | os.PathLike, episode: Mapping[str, Any], identifier: str = ""
) -> pathlib.Path:
    """Writes an episode to `TIMESTAMP-UUID-LENGTH.npz`, completely or not at all.

    Args:
        directory: Folder of the task; it must exist.
        episode: Arrays or lists by key, each with time as its first axis: `action`,
            `reward`, `is_first`, `is_last`, `is_terminal` and the observations. The
            first transition is that of the reset.
        identifier: The UUID part of the file name, without dashes; random if empty.

    Returns:
        The path of the file.

    Raises:
        atomic.OutputError: The file cannot be written; no part of it is left behind.
    """
    identifier = identifier or uuid.uuid4().hex
    return write(directory, f"{identifier}-{eplen(episode)}", episode)


def write(
    directory: str | os.PathLike, name: str, arrays: Mapping[str, Any]
) -> pathlib.Path:
    """Writes arrays to `TIMESTAMP-NAME.npz`; see `save_episode`."""
    timestamp = datetime.datetime.now().strftime("%Y%m%dT%H%M%S")
    path = pathlib.Path(directory) / f"{timestamp}-{name}.npz"
    encoded = encode(arrays)
    # Not synchronized one by one, since that would halve the speed of collecting short
    # episodes; a file that a power failure damages is named and skipped.
    with atomic.atomic_write(path, sync=False) as file:
        file.write(encoded)
    return path


def encode(episode: Mapping[str, Any]) -> bytes:
    """Returns the content of the file that `save_episode` writes."""
    return npz.encode({k: convert(v) for k, v in episode.items()})


def load_episode(path: str | os.PathLike, logs: bool = False) -> Episode:
    """Reads an episode without running code from the file.

    Args:
        path: The file.
        logs: Whether to read the keys that are only for logging, too.

    Returns:
        Arrays by key, each with time as its first axis; flags as booleans.

    Raises:
        EpisodeError: The file is truncated or no archive, takes more memory than is
            free, or does not hold an episode, see `fault`; names file and fault.
    """
    episode = read_arrays(path, lambda key: logs or is_trained_on(key))
    if wrong := fault({k: v for k, v in episode.items() if is_trained_on(k)}):
        raise EpisodeError(f"{path} is damaged: {wrong}.")
    return episode | {k: episode[k].astype(bool) for k in FLAGS}


def is_trained_on(key: str) -> bool:
    """Tells whether a key of an episode is for more than logging."""
    return not key.startswith(LOGGED)


def read_arrays(
    path: str | os.PathLike, wanted: Callable[[str], bool] = lambda key: True
) -> Episode:
    """Reads arrays of a file in the stored precision, see `convert`.

    Args:
        path: The file.
        wanted: Tells which keys to read.

    Raises:
        EpisodeError: They cannot be read; names file and fault.
    """
    with reading(path):
        return {k: convert(v) for k, v in npz.read(path, wanted).items()}


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turns whatever a damaged file raises into an EpisodeError that names it."""
    try:
        yield
    except EpisodeError:
        raise
    except npz.ArchiveError as error:
        raise EpisodeError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        link = f", a link to {os.readlink(path)}" if os.path.islink(path) else ""
        what = error.strerror or repr(error)
        raise EpisodeError(f"{path}{link} cannot be read: {what}") from error
    except Exception as error:  # Damaged bytes raise nearly any error in zip and npy.
        raise EpisodeError(f"{path} cannot be read: {error!r}") from error


def unpacked_bytes(path: str | os.PathLike) -> int:
    """Returns the bytes of an unpacked episode as its file says, 0 if it is damaged."""
    try:
        with reading(path):
            return npz.unpacked_bytes(path, is_trained_on)
    except EpisodeError:
        return 0


def as_loaded(episode: Mapping[str, Any]) -> Episode:
    """Returns an episode as `load_episode` would return it after saving.

    Raises:
        DatasetError: It would not load.
    """
    kept = {k: convert(v) for k, v in episode.items() if is_trained_on(k)}
    if wrong := fault(kept):
        raise DatasetError(f"The new episode cannot be used: {wrong}.")
    return kept | {k: kept[k].astype(bool) for k in FLAGS}


def fault(episode: Episode) -> str:
    """Says in words why these arrays are no episode; empty if they are one.

    This is the law for training, for `dataset.py verify` and for imports alike: an
    observation beside the keys of `REQUIRED`; arrays of finite numbers, as long as each
    other; a reset and at least one step; `is_first` at the first transition alone,
    `is_last` at the last alone, and `is_terminal` at the last or nowhere.
    """
    if missing := [k for k in REQUIRED if k not in episode]:
        return f"it lacks {', '.join(missing)}; it has {', '.join(sorted(episode))}"
    if len(episode) == len(REQUIRED):
        return "it holds no observation"
    if bad := [k for k, v in episode.items() if v.dtype.kind not in "biuf"]:
        return f"{bad[0]} is of type {episode[bad[0]].dtype}"
    lengths = {k: len(v) if v.ndim else None for k, v in episode.items()}
    if None in lengths.values() or len(set(lengths.values())) > 1:
        return f"its keys are of unequal lengths {lengths}"
    if episode["action"].ndim != 2:
        return f"action has shape {episode['action'].shape}, not (time, size)"
    for key in ("reward", *FLAGS):
        if episode[key].ndim != 1:
            return f"{key} has shape {episode[key].shape}, not (time,)"
    if eplen(episode) < 1:
        return "it has no step"
    for key, value in episode.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return f"{key} is not finite"
        stored = STORED.get(value.dtype.kind, value.dtype)
        if value.dtype.itemsize > stored.itemsize and convert(value) is value:
            largest = value.flat[np.abs(value.astype(np.float64)).argmax()]
            return f"{key} holds {largest}, which {stored} cannot hold"
    return _flag_fault(episode)


def _flag_fault(episode: Episode) -> str:
    """Says which flag is set where it cannot be; empty if none is."""
    last = eplen(episode)
    for key in FLAGS:
        if episode[key].dtype != bool and not np.isin(episode[key], (0, 1)).all():
            return f"{key} holds other values than 0 and 1"
    if (at := np.flatnonzero(episode["is_first"]).tolist()) != [0]:
        return f"is_first is set at {shorten(at)}, not at 0 alone"
    if (at := np.flatnonzero(episode["is_last"]).tolist()) != [last]:
        return f"is_last is set at {shorten(at)}, not at the end ({last}) alone"
    if set(at := np.flatnonzero(episode["is_terminal"]).tolist()) - {last}:
        return f"is_terminal is set at {shorten(at)}, before the end ({last})"
    return ""


def shorten(steps: Sequence[int], most: int = 5) -> str:
    """Lists numbers of steps in words, the first of many."""
    more = f" and {len(steps) - most} more" if len(steps) > most else ""
    return (", ".join(map(str, steps[:most])) or "no step") + more


def convert(value: Any) -> np.ndarray:
    """Returns an array in the stored precision: float32, int32, or as it is.

    It also stays as it is if a number does not fit: `fault` refuses it by name.
    """
    value = np.asarray(value)
    stored = STORED.get(value.dtype.kind, value.dtype.newbyteorder("="))
    with np.errstate(over="ignore"):
        cast = value.astype(stored, copy=False)
    if value.dtype.itemsize > stored.itemsize and not _fits(value, cast):
        return value
    return cast


def _fits(value: np.ndarray, cast: np.ndarray) -> bool:
    """Tells whether a cast has kept integers, and no float has become infinite."""
    if value.dtype.kind == "f":
        return np.array_equal(np.isfinite(value), np.isfinite(cast))
    return np.array_equal(value, cast)


def onehot(index: np.ndarray, size: int) -> np.ndarray:
    """Returns one-hot actions, float32 [..., size].

    Raises:
        EpisodeError: There is no such action.
    """
    if index.size and not 0 <= index.min() <= index.max() < size:
        raise EpisodeError(
            f"There are {size} actions. Received: actions from {index.min()} to "
            f"{index.max()}."
        )
    return np.eye(size, dtype=np.float32)[index]


def eplen(episode: Mapping[str, Any]) -> int:
    """Returns the number of environment steps: transitions without the reset."""
    return len(episode["action"]) - 1


def episode_return(episode: Mapping[str, Any]) -> float:
    """Returns the undiscounted sum of the rewards."""
    return float(episode["reward"].sum(dtype=np.float64))


class Name(NamedTuple):
    """What a file's name says.

    Attributes:
        identifier: The UUID.
        steps: Environment steps of all its episodes.
        episodes: How many episodes it has.
    """

    identifier: str
    steps: int
    episodes: int = 1

    @property
    def identifiers(self) -> list[str]:
        """The identifiers of its episodes."""
        if self.episodes == 1:
            return [self.identifier]
        return [f"{self.identifier}n{i}" for i in range(self.episodes)]


def name_of(path: str | os.PathLike) -> Name | None:
    """Reads the name of a file with one episode or several; None if it is another."""
    match = _NAME.fullmatch(os.path.basename(path))
    return Name(match[1], int(match[2]), int(match[3] or 1)) if match else None


def parse_name(path: str | os.PathLike) -> tuple[str, int] | None:
    """Returns identifier and steps in the name of a file with one episode, or None."""
    name = name_of(path)
    return (name.identifier, name.steps) if name and name.episodes == 1 else None


@contextlib.contextmanager
def listing(directory: str | os.PathLike) -> Iterator[None]:
    """Turns errors of the operating system into one that names a folder.

    Raises:
        DatasetError: The block raised an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"{directory} cannot be read: {error.strerror or error}. Name another "
            "folder, or give yourself the right to read it."
        ) from error


def entries(directory: str | os.PathLike) -> list[os.DirEntry]:
    """Returns a folder's entries `*.npz` by name, also those that are no files.

    Raises:
        DatasetError: The folder cannot be read.
    """
    with listing(directory), os.scandir(directory) as found:
        return sorted(
            (x for x in found if x.name.endswith(".npz")), key=lambda x: x.name
        )


def is_file(entry: os.DirEntry) -> bool:
    """Tells whether an entry is a file: no folder, pipe or link that leads nowhere."""
    try:
        return entry.is_file()
    except OSError:  # As of a link to itself.
        return False


def check_is_file(path: str | os.PathLike) -> None:
    """Raises EpisodeError, which says what is there, if a path leads to no file."""
    with reading(path):
        documents.check_is_file(path)


def count_episodes(directory: str | os.PathLike) -> tuple[int, int]:
    """Counts a folder's episodes and steps by the names of the files.

    Raises:
        DatasetError: The folder cannot be read.
    """
    with listing(directory):
        if not pathlib.Path(directory).is_dir():
            return 0, 0
    names = written(directory).values()
    return sum(x.episodes for x in names), sum(x.steps for x in names)


def written(directory: str | os.PathLike) -> dict[str, Name]:
    """Returns what the names of a folder's files say, by identifier.

    Raises:
        DatasetError: The folder cannot be read.
    """
    files = filter(is_file, entries(directory))
    names = [name_of(entry.path) for entry in files]
    return {name.identifier: name for name in names if name}


def read_manifest(directory: str | os.PathLike) -> dict[str, Any] | None:
    """Reads a task folder's `manifest.json`; None if there is none.

    Raises:
        DatasetError: The file is damaged.
    """
    path = pathlib.Path(directory) / MANIFEST
    try:
        return SCHEMA.parse(documents.read(path, documents.JSON_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DatasetError(f"{path} is damaged: {error}. Remove it.") from error


def folder_name(task: str) -> str:
    """Returns the name of a task's folder: `gym_ALE@Pong-v5` for `gym_ALE/Pong-v5`."""
    return task.replace("/", "@")


def task_name(folder: str) -> str:
    """Returns the task of a folder, given its name: the inverse of `folder_name`."""
    return folder.replace("@", "/") if folder.startswith("gym_") else folder


def listed_policies(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a manifest's policies in the order in which `log_policy` numbers them.

    Older manifests hold a mapping by name, and their episodes no `log_policy`.
    """
    listed = manifest.get("policies", [])
    if isinstance(listed, Mapping):
        return [{"name": name, **more} for name, more in listed.items()]
    return list(listed)


def write_manifest(directory: str | os.PathLike, manifest: Mapping[str, Any]) -> None:
    """Writes `manifest.json`: task, spaces, policies, steps, episodes, versions."""
    with atomic.atomic_write(pathlib.Path(directory) / MANIFEST) as file:
        file.write(json.dumps(manifest, indent=2).encode() + b"\n")


def leftovers(directory: str | os.PathLike) -> list[pathlib.Path]:
    """Returns the temporary files of writers that were killed, and no other files."""
    found = []
    for path in sorted(pathlib.Path(directory).glob(".*.tmp")):
        part = atomic.TEMPORARY.fullmatch(path.name)
        if part and (part["file"] == MANIFEST or part["file"].endswith(".npz")):
            found.append(path)
    return found


def remove_leftovers(directory: str | os.PathLike) -> None:
    """Removes the `leftovers` of a folder to which only this process writes."""
    for path in leftovers(directory):
        path.unlink(missing_ok=True)
