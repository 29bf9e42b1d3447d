"""All episodes of a task in one piece of memory, in an order that is theirs alone.

Boolean images are stored as bits (a MinAtar step's 10x10x10 planes are 125 bytes)
and one-hot actions as an index, so that 10 million MinAtar steps take 1.2 GiB. A
packed index beside the episodes, or in a cache, is opened in place of the files.
"""

import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import pathlib
import re
import shutil
import sys
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tqdm

from dreamerv2_transfer.common import store
from dreamerv2_transfer.common.store import DatasetError, Episode, EpisodeError

INDEX = ".packed"
FORMAT = 1
FILES_A_CHUNK = 64
PARALLEL_FROM = 2000  # Files; below, starting processes takes longer than reading.


@dataclasses.dataclass(frozen=True)
class Field:
    """One key of a transition: what it is, and how it is stored.

    Attributes:
        shape: of a single step, unpacked.
        dtype: unpacked, for example `bool` or `float32`.
        coding: `plain`; `bits`, eight booleans a byte; or `onehot`, the index as one
            byte, where an index equal to the size stands for a row of zeros (the
            action of an episode's first transition).
    """

    shape: tuple[int, ...]
    dtype: str
    coding: str = "plain"

    @classmethod
    def of(cls, key: str, values: np.ndarray) -> "Field":
        """Chooses the coding of values of shape [time, ...]; it loses nothing."""
        coding = "plain"
        if values.dtype == bool and values.ndim > 1:
            coding = "bits"
        elif key == "action" and _is_onehot(values):
            coding = "onehot"
        return cls(values.shape[1:], values.dtype.name, coding)

    @property
    def kind(self) -> tuple[tuple[int, ...], str]:
        """What it is, whatever the coding."""
        return self.shape, self.dtype

    @property
    def stored(self) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of a step as stored."""
        if self.coding == "bits":
            return (math.ceil(math.prod(self.shape) / 8),), "uint8"
        return ((), "uint8") if self.coding == "onehot" else self.kind

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Packs values of shape [time, ...]."""
        if self.coding == "bits":
            return np.packbits(values.reshape(len(values), -1), axis=1)
        if self.coding == "onehot":
            index = np.where(values.any(1), values.argmax(1), self.shape[0])
            return index.astype(np.uint8)
        return values

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """Unpacks any number of leading axes into an array of the caller's own."""
        if self.coding == "bits":
            return self._decode_bits(stored)
        if self.coding == "onehot":
            rows = np.eye(self.shape[0] + 1, self.shape[0], dtype=self.dtype)
            return rows.take(stored, axis=0)
        return stored

    def _decode_bits(self, stored: np.ndarray) -> np.ndarray:
        leading = stored.shape[:-1]
        # Flat, for that is how numpy unpacks fastest.
        bits = np.unpackbits(stored.ravel()).view(bool).reshape(*leading, -1)
        return bits[..., : math.prod(self.shape)].reshape(leading + self.shape)


def _is_onehot(values: np.ndarray) -> bool:
    if values.dtype.kind != "f" or not 2 <= values.shape[1] <= 255:
        return False
    ones, zeros = (values == 1).sum(1), (values == 0).sum(1)
    return bool(((ones <= 1) & (ones + zeros == values.shape[1])).all())


@dataclasses.dataclass(frozen=True)
class PackedEpisodes:
    """Episodes of one task, concatenated, in the order of their content digests.

    The order is the same for the same episodes, whatever their files are called and
    whenever they were written.

    Attributes:
        source: what an error message calls them: a file or a folder.
        fields: the keys, without `is_first`, which is true where an episode starts.
        arrays: by key, as stored: [steps, ...].
        offsets: int64 [episodes + 1], where each episode starts and the last ends.
        digests: uint8 [episodes, 16], of each episode's keys and arrays.
        damaged: what was skipped: file names.
    """

    source: str
    fields: dict[str, Field]
    arrays: dict[str, np.ndarray]
    offsets: np.ndarray
    digests: np.ndarray
    damaged: tuple[str, ...] = ()

    @classmethod
    def from_episode(cls, episode: Episode, source: str) -> "PackedEpisodes":
        """Packs one episode, as `store.load_episode` returns it."""
        digest = np.frombuffer(_digest(episode), np.uint8)[None]
        kept = {k: v for k, v in sorted(episode.items()) if k != "is_first"}
        fields = {k: Field.of(k, v) for k, v in kept.items()}
        arrays = {k: fields[k].encode(v) for k, v in kept.items()}
        offsets = np.array([0, len(episode["action"])])
        return cls(source, fields, arrays, offsets, digest)

    @classmethod
    def join(cls, parts: Sequence["PackedEpisodes"], source: str) -> "PackedEpisodes":
        """Puts the episodes of all parts into one, in content order.

        Raises:
            DatasetError: the parts' keys, shapes or dtypes differ; names both.
        """
        check_same_kinds(parts)
        parts = with_same_coding(parts)
        lengths = np.concatenate([part.lengths for part in parts])
        starts = np.concatenate([part.offsets[:-1] for part in parts])
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        digests = np.concatenate([part.digests for part in parts])
        order = np.lexsort(digests.T[::-1])
        slices = [slice(starts[i], starts[i] + lengths[i]) for i in order]
        pieces = list(zip(owner[order].tolist(), slices, strict=True))
        arrays = {key: _collate(parts, key, pieces) for key in parts[0].fields}
        offsets = np.concatenate([[0], np.cumsum(lengths[order])])
        damaged = tuple(name for part in parts for name in part.damaged)
        fields = parts[0].fields
        return cls(source, fields, arrays, offsets, digests[order], damaged)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [episodes], transitions of each: its steps and the reset."""
        return np.diff(self.offsets)

    @property
    def steps(self) -> int:
        """Environment steps of all episodes."""
        return int(self.offsets[-1]) - len(self)

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take in memory."""
        return sum(v.nbytes for v in self.arrays.values())

    @property
    def fingerprint(self) -> str:
        """A name for exactly these episodes."""
        return hashlib.blake2b(self.digests.tobytes(), digest_size=16).hexdigest()

    def episode(self, number: int) -> Episode:
        """Unpacks one episode: [time, ...] by key, `is_first` included."""
        steps = slice(self.offsets[number], self.offsets[number + 1])
        episode = {k: f.decode(self.arrays[k][steps]) for k, f in self.fields.items()}
        is_first = np.arange(steps.stop - steps.start) == 0
        return episode | {"is_first": is_first}

    def with_plain(self, key: str) -> "PackedEpisodes":
        """The same episodes with one key stored as it is."""
        plain = dataclasses.replace(self.fields[key], coding="plain")
        values = self.fields[key].decode(self.arrays[key])
        return dataclasses.replace(
            self,
            fields={**self.fields, key: plain},
            arrays={**self.arrays, key: values},
        )


def _digest(episode: Episode) -> bytes:
    """Digest over keys, types, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(episode.items()):
        digest.update(f"{key} {value.dtype.str} {value.shape};".encode())
        digest.update(np.ascontiguousarray(value))
    return digest.digest()


def _collate(
    parts: Sequence[PackedEpisodes], key: str, pieces: list[tuple[int, slice]]
) -> np.ndarray:
    """Copies pieces (part, steps) of one key one after the other."""
    arrays = [part.arrays[key] for part in parts]
    total = sum(len(array) for array in arrays)
    out = np.empty((total, *arrays[0].shape[1:]), arrays[0].dtype)
    start = 0
    for owner, steps in pieces:
        stop = start + steps.stop - steps.start
        out[start:stop] = arrays[owner][steps]
        start = stop
    return out


def check_same_kinds(parts: Iterable[PackedEpisodes]) -> None:
    """Checks that all parts have the same keys, shapes and dtypes.

    Raises:
        DatasetError: names the two sources and what each holds.
    """
    first, *others = parts
    for other in others:
        check_kinds(other, kinds(first), first.source)


def kinds(packed: PackedEpisodes) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of a single step by key."""
    return {key: field.kind for key, field in packed.fields.items()}


def check_kinds(
    packed: PackedEpisodes,
    expected: Mapping[str, tuple[tuple[int, ...], str]],
    expected_by: str,
) -> None:
    """Checks the keys that are in either against shapes and dtypes.

    Raises:
        DatasetError: names the key and both shapes.
    """
    found = kinds(packed)
    for key in sorted({*found, *expected}):
        if found.get(key) != expected.get(key):
            raise DatasetError(
                f"{packed.source} does not fit {expected_by}: "
                f"{key} is {_describe(found.get(key))} in the former, "
                f"{_describe(expected.get(key))} in the latter."
            )


def _describe(kind: tuple[tuple[int, ...], str] | None) -> str:
    return f"{kind[1]} {tuple(kind[0])}" if kind else "missing"


def with_same_coding(parts: Sequence[PackedEpisodes]) -> Sequence[PackedEpisodes]:
    """Stores plainly what is one-hot in some parts only (by chance, in short ones)."""
    if len({part.fields["action"].coding for part in parts}) == 1:
        return parts
    return [part.with_plain("action") for part in parts]


def open_dataset(
    directory: str | os.PathLike,
    tasks: Sequence[str],
    cache: str | os.PathLike | None = None,
    expected: Mapping[str, tuple[tuple[int, ...], str]] | None = None,
) -> dict[str, PackedEpisodes]:
    """Opens the folders of some tasks in a folder of task folders.

    Args:
        directory: the dataset; it is only read.
        tasks: which of its task folders to open.
        cache: folder for the packed indices that had to be built, if any.
        expected: shape and dtype by key that the episodes must have, if known.

    Raises:
        DatasetError: the folder or a task folder is missing, empty, without a
            readable episode, or of other shapes than another or than expected.
    """
    directory = pathlib.Path(directory).expanduser()
    _check_folders(directory, tasks)
    opened = {}
    for task in tasks:
        task_cache = pathlib.Path(cache) / task if cache else None
        opened[task] = open_task(directory / task, task_cache)
    check_same_kinds(opened.values())
    for packed in opened.values() if expected else ():
        # Keys beyond the expected ones do no harm.
        wanted = {**kinds(packed), **expected}
        check_kinds(packed, wanted, "what the model expects")
    return opened


def _check_folders(directory: pathlib.Path, tasks: Sequence[str]) -> None:
    if not tasks:
        raise DatasetError("No task to open. Received: tasks=[]. Name at least one.")
    if not directory.is_dir():
        raise DatasetError(f"{directory} is no folder. Collect a dataset there first.")
    found = sorted(x.name for x in directory.iterdir() if x.is_dir())
    for task in tasks:
        if task in found:
            continue
        hint = ""
        if next(directory.glob("*.npz"), None):
            hint = f" Its own episodes belong into a folder {task} inside it."
        there = ", ".join(x for x in found if not x.startswith(".")) or "none"
        raise DatasetError(
            f"{directory} has no task folder {task}. Task folders there: {there}.{hint}"
        )


def open_task(
    directory: str | os.PathLike, cache: str | os.PathLike | None = None
) -> PackedEpisodes:
    """Opens a folder of episodes, through a packed index where one matches.

    An index matches if it was built from files of the same names, sizes and times of
    modification. Where none does, the episodes are read, and an index is written to
    `cache`. Damaged files are named, skipped and counted in `damaged`.

    Args:
        directory: folder of `.npz` files; it is only read.
        cache: folder for an index, next to the one beside the episodes. If it cannot
            be written to, the episodes are opened all the same.

    Raises:
        DatasetError: the folder is missing, empty or has no readable episode, or
            its episodes differ in shape.
    """
    directory = pathlib.Path(directory).expanduser()
    paths, name = _list_files(directory)
    folders = [directory / INDEX, *([pathlib.Path(cache)] if cache else [])]
    for folder in folders:
        if packed := _read_index(folder / name, str(directory)):
            _report_damaged(packed)
            return packed
    packed = _read_files(paths, str(directory))
    _report_damaged(packed)
    if cache:
        _try_to_write_index(pathlib.Path(cache) / name, packed)
    return packed


def write_index(directory: str | os.PathLike) -> PackedEpisodes:
    """Opens a folder of episodes and leaves a packed index beside them."""
    return open_task(directory, pathlib.Path(directory) / INDEX)


def _list_files(directory: pathlib.Path) -> tuple[list[str], str]:
    """Paths of all episodes and a name for this state of the folder."""
    if not directory.is_dir():
        raise DatasetError(f"{directory} is no folder. Collect episodes there first.")
    entries = [x for x in os.scandir(directory) if x.name.endswith(".npz")]
    entries = sorted((x for x in entries if x.is_file()), key=lambda x: x.name)
    if not entries:
        raise DatasetError(f"{directory} holds no episode (no file *.npz).")
    digest = hashlib.blake2b(f"format {FORMAT}".encode(), digest_size=16)
    for entry in entries:
        stat = entry.stat()
        digest.update(f"{entry.name}/{stat.st_size}/{stat.st_mtime_ns};".encode())
    return [entry.path for entry in entries], digest.hexdigest()


def _report_damaged(packed: PackedEpisodes) -> None:
    if packed.damaged:
        print(
            f"Warning: {packed.source}: skipped {len(packed.damaged)} damaged "
            f"episodes, read {len(packed)}. Damaged: {_shorten(packed.damaged)}",
            flush=True,
        )


def _shorten(names: Sequence[str], most: int = 3) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _read_files(paths: list[str], source: str) -> PackedEpisodes:
    """Reads and packs episodes, in several processes if there are many."""
    starts = range(0, len(paths), FILES_A_CHUNK)
    chunks = [paths[i : i + FILES_A_CHUNK] for i in starts]
    interval = 0.1 if sys.stderr.isatty() else 10  # Seconds; few lines in a log.
    with tqdm.tqdm(
        total=len(paths), desc=f"read {source}", delay=5, mininterval=interval
    ) as bar:
        parts, damaged = [], []
        for part, faults in _map(_read_chunk, chunks, parallel=len(paths)):
            parts += [part] if part else []
            damaged += faults
            bar.update(FILES_A_CHUNK)
    if not parts:
        raise DatasetError(
            f"{source} has no readable episode; {len(damaged)} are damaged. "
            f"The first: {damaged[0][1]}"
        )
    joined = PackedEpisodes.join(parts, source)
    return dataclasses.replace(joined, damaged=tuple(name for name, _ in damaged))


def _map(function, chunks: list, parallel: int) -> Iterator:
    """Maps in order; over processes from a number of files on."""
    processes = min(os.cpu_count() or 1, len(chunks), 16)
    if parallel < PARALLEL_FROM or processes < 2:
        yield from map(function, chunks)
        return
    # Spawned, since a fork of a process with threads (TensorFlow's) may hang.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(function, chunks)


def _read_chunk(
    paths: list[str],
) -> tuple[PackedEpisodes | None, list[tuple[str, str]]]:
    """Reads some episodes; also (name, fault) of each that is damaged."""
    parts, damaged = [], []
    for path in paths:
        try:
            episode = store.load_episode(path)
        except EpisodeError as error:
            damaged.append((os.path.basename(path), str(error)))
        else:
            parts.append(PackedEpisodes.from_episode(episode, path))
    joined = PackedEpisodes.join(parts, parts[0].source) if parts else None
    return joined, damaged


def _try_to_write_index(folder: pathlib.Path, packed: PackedEpisodes) -> None:
    try:
        _write_index(folder, packed)
    except OSError as error:
        print(f"Warning: no packed index in {folder.parent}: {error}", flush=True)


def _write_index(folder: pathlib.Path, packed: PackedEpisodes) -> None:
    """Writes an index to its own folder, whole or not at all; drops older ones."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _write_arrays(temporary, packed)
        shutil.rmtree(folder, ignore_errors=True)  # Only if it is damaged.
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for other in folder.parent.iterdir():
        if other != folder and re.fullmatch(r"[0-9a-f]{32}(\.\d+\.tmp)?", other.name):
            shutil.rmtree(other, ignore_errors=True)


def _write_arrays(folder: pathlib.Path, packed: PackedEpisodes) -> None:
    np.save(folder / "offsets.npy", packed.offsets)
    np.save(folder / "digests.npy", packed.digests)
    for key, value in packed.arrays.items():
        np.save(folder / _array_name(key), value)
    fields = {k: dataclasses.asdict(v) for k, v in packed.fields.items()}
    header = {"fields": fields, "damaged": packed.damaged}
    (folder / "index.json").write_text(json.dumps(header))


def _array_name(key: str) -> str:
    return f"key-{urllib.parse.quote(key, safe='')}.npy"


def _read_index(folder: pathlib.Path, source: str) -> PackedEpisodes | None:
    """Maps an index into memory; None if there is none or it is damaged."""
    if not folder.is_dir():
        return None
    try:
        return _map_arrays(folder, source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"Warning: the packed index {folder} is damaged: {error!r}", flush=True)
        return None


def _map_arrays(folder: pathlib.Path, source: str) -> PackedEpisodes:
    header = json.loads((folder / "index.json").read_text())
    fields = {
        k: Field(tuple(v["shape"]), v["dtype"], v["coding"])
        for k, v in header["fields"].items()
    }
    arrays = {k: _map_array(folder / _array_name(k)) for k in fields}
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    digests = np.load(folder / "digests.npy", allow_pickle=False)
    packed = PackedEpisodes(
        source, fields, arrays, offsets, digests, tuple(header["damaged"])
    )
    _check_index(packed)
    return packed


def _map_array(path: pathlib.Path) -> np.ndarray:
    # As a plain array: indexing a memmap object is several times slower.
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def _check_index(packed: PackedEpisodes) -> None:
    """Raises ValueError if parts of an index do not fit each other."""
    offsets, total = packed.offsets, packed.offsets[-1]
    if offsets[0] != 0 or (np.diff(offsets) < 1).any():
        raise ValueError("offsets")
    if packed.digests.shape != (len(packed), 16):
        raise ValueError("digests")
    for key, field in packed.fields.items():
        shape, dtype = field.stored
        array = packed.arrays[key]
        if array.shape != (total, *shape) or array.dtype != dtype:
            raise ValueError(key)
        if field.coding == "onehot" and array.max() > field.shape[0]:
            raise ValueError(key)
