"""The packed index: a folder that holds the packed episodes of a task.

Each array is a `.npy` file in content order, beside `offsets.npy`, `digests.npy` and
`index.json`, which describes the arrays and holds the checksums of all, its own too.
They are compared when an index is opened; those of arrays that would take long to read,
when the arrays are first used.
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
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.replay import array_file
from dreamerv2_transfer.common.replay.array_file import ArrayFile, Checked, checksums
from dreamerv2_transfer.common.replay.layout import Layout
from dreamerv2_transfer.common.replay.packed_episodes import Field, PackedEpisodes
from dreamerv2_transfer.common.replay.store import REQUIRED

BLOCK = 2**20  # Rows that are checked at a time.
AT_ONCE = 2**28  # Bytes of arrays that are compared when an index is opened.
TABLES = ("offsets", "digests")


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
            if is_current(folder, expected):
                return open_whole(folder, source, array)
            print(f"Note: {source} is packed anew, as its index is older.", flush=True)
        except Exception as error:  # Damaged bytes raise nearly any error.
            print(
                f"Warning: the packed index {folder} is damaged: {error!r}", flush=True
            )
    return None


def is_current(folder: pathlib.Path, expected: Layout | None = None) -> bool:
    """Tells whether an index is of this version, and holds what is expected.

    One of an earlier version has no checksums, and may hold episodes that break a rule.

    Raises:
        Exception: The index is damaged: nearly any error of json.
    """
    header = read_header(folder)
    return "checksums" in header and expected in (None, {}, header["expected"])


def open_whole(
    folder: pathlib.Path,
    source: str,
    array: Callable[[pathlib.Path], Any],
    at_once: float = AT_ONCE,
    *,
    checked: Callable[[Any, pathlib.Path, list[int]], Checked] = Checked,
) -> PackedEpisodes:
    """Loads an index and checks that its parts are intact and fit each other.

    Args:
        folder: The index.
        source: What error messages call the episodes.
        array: Opens the file of an array.
        at_once: Most bytes of arrays to compare with their checksums now; those of
            larger ones are compared when they are used.
        checked: Makes the arrays that are compared when they are used, as `Checked`.

    Raises:
        Exception: The index is damaged: nearly any error of json and numpy.
    """
    packed, header = load(folder, source, array), read_header(folder)
    for name in TABLES:
        if checksums(getattr(packed, name)) != header["tables"][name]:
            raise ValueError(name)
    _check_tables(packed)
    told = header["checksums"]
    if packed.nbytes > at_once:
        arrays = {
            key: checked(values, array_path(folder, key), told[key])
            for key, values in packed.arrays.items()
        }
        return dataclasses.replace(packed, arrays=arrays)
    for key, values in packed.arrays.items():
        if checksums(values) != told[key]:
            raise ValueError(f"wrong checksum of {key}")
    return packed


def _check_tables(packed: PackedEpisodes) -> None:
    """Raises ValueError if the parts of an index do not fit each other."""
    offsets, total = packed.offsets, packed.offsets[-1]
    if offsets.dtype != np.int64 or offsets[0] != 0 or (np.diff(offsets) < 1).any():
        raise ValueError("offsets")
    if packed.digests.dtype != np.uint8 or packed.digests.shape != (len(packed), 16):
        raise ValueError("digests")
    if not {*REQUIRED} - {"is_first"} <= {*packed.fields}:
        raise ValueError("fields")
    if not all(isinstance(name, str) for name in packed.damaged):
        raise ValueError("damaged")
    for key, field in packed.fields.items():
        _check_field(key, field)
        shape, dtype = field.stored
        values = packed.arrays[key]
        if values.shape != (total, *shape) or values.dtype != dtype:
            raise ValueError(key)
        starts = range(0, total, BLOCK) if field.coding == "onehot" else ()
        if any(values[i : i + BLOCK].max() > field.shape[0] for i in starts):
            raise ValueError(key)


def _check_field(key: str, field: Field) -> None:
    """Raises ValueError for a field that `Field.of` does not make; decoding it could
    take much more memory than its array."""
    shape, coding = field.shape, field.coding
    possible = {
        "plain": True,
        "bits": field.dtype == "bool",
        "onehot": len(shape) == 1
        and shape[0] <= 255
        and field.dtype in ("float16", "float32", "float64"),
    }
    if not possible.get(coding) or any(type(x) is not int or x < 0 for x in shape):
        raise ValueError(key)


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
    offsets, digests = (np.array(map_array(folder / f"{x}.npy")) for x in TABLES)
    damaged = tuple(header["damaged"])
    return PackedEpisodes(source, fields, arrays, offsets, digests, damaged)


def read_header(folder: pathlib.Path) -> dict[str, Any]:
    """Reads what an index says of its arrays.

    Raises:
        Exception: It is damaged; nearly any error of json.
    """
    if odd := [x for x in folder.iterdir() if not x.is_file()]:
        raise ValueError(f"{odd[0].name} is no file")  # Reading a pipe would wait.
    header = json.loads((folder / "index.json").read_text())
    checksum = header.pop("checksum", None)  # Older ones have none.
    if checksum not in (None, _header_checksum(header)):
        raise ValueError("wrong checksum of index.json")
    return header


def _header_checksum(header: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(header, sort_keys=True).encode())


def map_array(path: str | os.PathLike) -> np.ndarray:
    """Maps an array into memory, read-only.

    Unlike reading, mapping compares the header with the size of the file.
    """
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
        seal(temporary, packed, expected)
        for key, values in packed.arrays.items():
            array_file.save(array_path(temporary, key), values)


@contextlib.contextmanager
def creating(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary folder that replaces `folder` when the block ends.

    Removes the other indices beside it: they belong to other states of the dataset. One
    that another process is writing stays. If the block raises, `folder` stays as it
    was.

    Raises:
        OSError: The folder cannot be created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Before the new index is written, since they take space.
    temporary = atomic.temporary_for(folder)
    for other in folder.parent.iterdir():
        # The second form is that of version 0.1.0.
        is_index = re.fullmatch(r"[0-9a-f]{32}(\.\d+\.tmp)?", other.name)
        with contextlib.suppress(FileNotFoundError):
            # A process that was killed may have had our number.
            is_ours = other == temporary or other != folder and is_index
            if is_ours or atomic.is_leftover(other):
                shutil.rmtree(other, ignore_errors=True)
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
    """Writes the tables, and arrays of zeros, which take no space until written to.

    Once the arrays hold their values, `seal` has to write the checksums.
    """
    seal(folder, packed, expected)
    for key, field in packed.fields.items():
        _allocate(array_path(folder, key), field, int(packed.offsets[-1]))


def allocate_missing(folder: pathlib.Path) -> None:
    """Writes arrays of zeros, as `allocate`, beside tables that lack their arrays."""
    described = load(folder, str(folder), lambda path: None)
    rows = int(described.offsets[-1])
    for key, field in described.fields.items():
        path, (shape, dtype) = array_path(folder, key), field.stored
        atomic.remove_leftovers(path)
        with contextlib.suppress(OSError, ValueError):
            there = map_array(path)
            if there.shape == (rows, *shape) and there.dtype == dtype:
                continue
        temporary = atomic.temporary_for(path)
        _allocate(temporary, field, rows)
        os.replace(temporary, path)


def _allocate(path: pathlib.Path, field: Field, rows: int) -> None:
    shape, dtype = field.stored
    np.lib.format.open_memmap(path, "w+", dtype, (rows, *shape))


def seal(folder: pathlib.Path, packed: PackedEpisodes, expected: Layout | None) -> None:
    """Writes the tables of an index, and the checksums of its arrays."""
    for name in TABLES:
        np.save(folder / f"{name}.npy", getattr(packed, name))
    header = {
        "fields": {k: dataclasses.asdict(v) for k, v in packed.fields.items()},
        "damaged": packed.damaged,
        "expected": expected or {},
        "tables": {name: checksums(getattr(packed, name)) for name in TABLES},
        "checksums": {key: checksums(x) for key, x in packed.arrays.items()},
    }
    header["checksum"] = _header_checksum(header)
    (folder / "index.json").write_text(json.dumps(header))


def array_path(folder: pathlib.Path, key: str) -> pathlib.Path:
    """Returns the file of an array, whatever characters its key has."""
    return folder / f"key-{urllib.parse.quote(key, safe='')}.npy"


def key_of(path: pathlib.Path) -> str:
    """Returns the key of an array's file: the inverse of `array_path`."""
    return urllib.parse.unquote(path.name.removeprefix("key-").removesuffix(".npy"))
