"""The packed index: a folder that holds the packed episodes of a task.

The arrays are one `.npy` each, in content order, beside `offsets.npy`, `digests.npy`
and the `index.json` that says what they are.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from dreamerv2_transfer.common.replay.array_file import ArrayFile
from dreamerv2_transfer.common.replay.packed_episodes import Field, PackedEpisodes

BLOCK = 2**20  # Rows that are checked at once.
# What damaged bytes raise in json and numpy.
FAULTS = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError)


def find(
    folders: Iterable[pathlib.Path], source: str, on_disk: bool
) -> PackedEpisodes | None:
    """Opens the first index that is there and whole, if any.

    Args:
        folders: where there may be one, in this order.
        source: what error messages call the episodes.
        on_disk: keep the arrays there, and do not map them into memory.
    """
    array = ArrayFile if on_disk else map_array
    for folder in folders:
        if not folder.is_dir():
            continue
        try:
            return open_whole(folder, source, array)
        except FAULTS as error:
            print(
                f"Warning: the packed index {folder} is damaged: {error!r}", flush=True
            )
    return None


def open_whole(
    folder: pathlib.Path, source: str, array: Callable[[pathlib.Path], Any]
) -> PackedEpisodes:
    """Loads an index and checks it.

    Raises:
        FAULTS: it is damaged.
    """
    packed = load(folder, source, array)
    _check_index(packed)
    return packed


def load(
    folder: pathlib.Path, source: str, array: Callable[[pathlib.Path], Any]
) -> PackedEpisodes:
    """Loads the tables of an index; `array` opens the file of an array."""
    header = json.loads((folder / "index.json").read_text())
    fields = {
        k: Field(tuple(v["shape"]), v["dtype"], v["coding"])
        for k, v in header["fields"].items()
    }
    arrays = {k: array(array_path(folder, k)) for k in fields}
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    digests = np.load(folder / "digests.npy", allow_pickle=False)
    damaged = tuple(header["damaged"])
    return PackedEpisodes(source, fields, arrays, offsets, digests, damaged)


def map_array(path: str | os.PathLike) -> np.ndarray:
    """Maps an array into memory, to be read only."""
    # As a plain array: indexing a memmap object is several times slower.
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def save(folder: pathlib.Path, packed: PackedEpisodes) -> None:
    """Writes an index, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with creating(folder) as temporary:
        _write_tables(temporary, packed)
        for key, values in packed.arrays.items():
            np.save(array_path(temporary, key), values)


@contextlib.contextmanager
def creating(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that takes the place of `folder` when the block ends.

    Removes other indices beside it, which are of other states of the dataset. If the
    block raises, `folder` stays as it was.

    Raises:
        OSError: it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # First, for the space that they take.
    for other in folder.parent.iterdir():
        if other != folder and re.fullmatch(r"[0-9a-f]{32}(\.\d+\.tmp)?", other.name):
            shutil.rmtree(other, ignore_errors=True)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)  # Only if it is damaged.
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def allocate(folder: pathlib.Path, packed: PackedEpisodes) -> None:
    """Writes the tables, and arrays of zeros, which take no space until they change."""
    _write_tables(folder, packed)
    for key, field in packed.fields.items():
        shape, dtype = field.stored
        shape = (int(packed.offsets[-1]), *shape)
        np.lib.format.open_memmap(array_path(folder, key), "w+", dtype, shape)


def _write_tables(folder: pathlib.Path, packed: PackedEpisodes) -> None:
    np.save(folder / "offsets.npy", packed.offsets)
    np.save(folder / "digests.npy", packed.digests)
    fields = {k: dataclasses.asdict(v) for k, v in packed.fields.items()}
    header = {"fields": fields, "damaged": packed.damaged}
    (folder / "index.json").write_text(json.dumps(header))


def array_path(folder: pathlib.Path, key: str) -> pathlib.Path:
    """The file of an array, whatever characters its key has."""
    return folder / f"key-{urllib.parse.quote(key, safe='')}.npy"


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
        if field.coding == "onehot" and _maximum(array) > field.shape[0]:
            raise ValueError(key)


def _maximum(array: np.ndarray | ArrayFile) -> int:
    starts = range(0, len(array), BLOCK)
    return max(array[start : start + BLOCK].max() for start in starts)
