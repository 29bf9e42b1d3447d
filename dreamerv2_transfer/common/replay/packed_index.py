"""The packed index: a folder that holds the packed episodes of a task.

Each array is a `.npy` file in content order, beside `offsets.npy`, `digests.npy` and
`index.json`, which describes the arrays.
"""

from __future__ import annotations

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
from dreamerv2_transfer.common.replay.layout import Layout
from dreamerv2_transfer.common.replay.packed_episodes import Field, PackedEpisodes

BLOCK = 2**20  # Rows that are checked at a time.
# Errors that damaged bytes raise in json and numpy.
FAULTS = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError)


def find(
    folders: Iterable[pathlib.Path],
    source: str,
    on_disk: bool,
    expected: Layout | None = None,
) -> PackedEpisodes | None:
    """Opens the first index that exists and is intact; None if there is none.

    Args:
        folders: Where to look, in this order.
        source: What error messages call the episodes.
        on_disk: Whether to leave the arrays on disk rather than map them into memory.
        expected: What the episodes must hold, if something tells it beside them.
    """
    array = ArrayFile if on_disk else map_array
    for folder in folders:
        if not folder.is_dir():
            continue
        try:
            # An index of an earlier version may hold episodes that break the law.
            held = read_header(folder).get("expected")
            if held is not None and (not expected or held == expected):
                return open_whole(folder, source, array)
            print(f"Note: {source} is packed anew, as its index is older.", flush=True)
        except FAULTS as error:
            print(
                f"Warning: the packed index {folder} is damaged: {error!r}", flush=True
            )
    return None


def open_whole(
    folder: pathlib.Path, source: str, array: Callable[[pathlib.Path], Any]
) -> PackedEpisodes:
    """Loads an index and checks that its parts fit each other.

    Args:
        folder: The index.
        source: What error messages call the episodes.
        array: Opens the file of an array.

    Raises:
        FAULTS: The index is damaged.
    """
    packed = load(folder, source, array)
    offsets, total = packed.offsets, packed.offsets[-1]
    if offsets[0] != 0 or (np.diff(offsets) < 1).any():
        raise ValueError("offsets")
    if packed.digests.shape != (len(packed), 16):
        raise ValueError("digests")
    for key, field in packed.fields.items():
        shape, dtype = field.stored
        values = packed.arrays[key]
        if values.shape != (total, *shape) or values.dtype != dtype:
            raise ValueError(key)
        starts = range(0, total, BLOCK) if field.coding == "onehot" else ()
        if any(values[i : i + BLOCK].max() > field.shape[0] for i in starts):
            raise ValueError(key)
    return packed


def load(
    folder: pathlib.Path, source: str, array: Callable[[pathlib.Path], Any]
) -> PackedEpisodes:
    """Loads an index without checking it; see `open_whole`."""
    header = read_header(folder)
    fields = {
        k: Field(tuple(v["shape"]), v["dtype"], v["coding"])
        for k, v in header["fields"].items()
    }
    arrays = {k: array(array_path(folder, k)) for k in fields}
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    digests = np.load(folder / "digests.npy", allow_pickle=False)
    damaged = tuple(header["damaged"])
    return PackedEpisodes(source, fields, arrays, offsets, digests, damaged)


def read_header(folder: pathlib.Path) -> dict[str, Any]:
    """Reads what an index says of its arrays."""
    return json.loads((folder / "index.json").read_text())


def map_array(path: str | os.PathLike) -> np.ndarray:
    """Maps an array into memory, read-only."""
    # A plain array: indexing a memmap object is several times slower.
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def save(
    folder: pathlib.Path, packed: PackedEpisodes, expected: Layout | None = None
) -> None:
    """Writes an index completely or not at all.

    Args:
        folder: The index.
        packed: The episodes.
        expected: What each of them was found to hold, if they were compared.

    Raises:
        OSError: It cannot be written.
    """
    with creating(folder) as temporary:
        _write_tables(temporary, packed, expected)
        for key, values in packed.arrays.items():
            np.save(array_path(temporary, key), values)


@contextlib.contextmanager
def creating(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that replaces `folder` when the block ends.

    Removes the other indices beside it: they belong to other states of the dataset. If
    the block raises, `folder` stays as it was.

    Raises:
        OSError: The folder cannot be created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Before the new index is written, since they take space.
    for other in folder.parent.iterdir():
        if other != folder and re.fullmatch(r"[0-9a-f]{32}(\.\d+\.tmp)?", other.name):
            shutil.rmtree(other, ignore_errors=True)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)  # It exists only if damaged.
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def allocate(
    folder: pathlib.Path, packed: PackedEpisodes, expected: Layout | None = None
) -> None:
    """Writes the tables, and arrays of zeros, which take no space until written to."""
    _write_tables(folder, packed, expected)
    for key, field in packed.fields.items():
        shape, dtype = field.stored
        shape = (int(packed.offsets[-1]), *shape)
        np.lib.format.open_memmap(array_path(folder, key), "w+", dtype, shape)


def _write_tables(
    folder: pathlib.Path, packed: PackedEpisodes, expected: Layout | None
) -> None:
    np.save(folder / "offsets.npy", packed.offsets)
    np.save(folder / "digests.npy", packed.digests)
    fields = {k: dataclasses.asdict(v) for k, v in packed.fields.items()}
    header = {"fields": fields, "damaged": packed.damaged, "expected": expected or {}}
    (folder / "index.json").write_text(json.dumps(header))


def array_path(folder: pathlib.Path, key: str) -> pathlib.Path:
    """Returns the file of an array, whatever characters its key has."""
    return folder / f"key-{urllib.parse.quote(key, safe='')}.npy"
