"""Arrays by name in HDF5 files, with checksums, which are read without trusting them.

A file that is written here carries checksums of its values and of its own structure;
HDF5 checks them when it reads. Files without them, from earlier versions and others,
are read too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5, h5d, h5f, h5fd, h5g, h5l, h5p, h5z

from dreamerv2_transfer.common.errors import UserError, describe
from dreamerv2_transfer.common.files import atomic, documents

MAX_DEPTH = 16  # Of groups in groups.
MAX_OBJECTS = 10_000  # Groups and arrays.
# Arrays below this size stand in HDF5's structure, whose parts must be below 64 KiB.
COMPACT = 2**15


class ArraysError(UserError):
    """An HDF5 file cannot be read, or holds more than plain arrays."""


@dataclasses.dataclass(frozen=True)
class Arrays:
    """The content of an open file.

    Attributes:
        arrays: The arrays by path, with `shape` and `dtype`; `array[()]` reads the
            values.
        attributes: Texts and numbers at the file's root.
    """

    arrays: dict[str, h5py.Dataset]
    attributes: dict[str, Any]


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Arrays]:
    """Opens a file and lists its arrays, without reading any of them.

    Reading all arrays takes no more memory than the file has bytes.

    Raises:
        ArraysError: The file is missing, damaged or incomplete, also if that shows only
            in the block. It refers to other files, is compressed, or claims more values
            than it has.
    """
    try:
        documents.check_is_file(path)
        # Files are replaced, never changed, so that they need no lock.
        with h5py.File(path, "r", locking=False) as file:
            arrays = dict(_walk(file, "", 0, iter(range(MAX_OBJECTS))))
            _check_sizes(arrays, os.path.getsize(path))
            yield Arrays(arrays, _attributes(file))
    except UserError:
        raise
    except Exception as error:  # HDF5 raises almost anything on damaged bytes.
        raise ArraysError(describe(error).rstrip(".")) from error


def _walk(
    group: h5py.Group, prefix: str, depth: int, numbers: Iterator[int]
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the arrays of a group and of the groups inside, which HDF5 would follow
    into other files and as deep as its stack reaches."""
    if depth > MAX_DEPTH:
        raise ArraysError(f"its groups are nested more than {MAX_DEPTH} deep")
    links: list[tuple[bytes, Any]] = []
    # In its own order: to sort damaged links, HDF5 1.14.6 frees memory that is not its.
    group.id.links.iterate(
        lambda *link: links.append(link), order=h5.ITER_NATIVE, info=True
    )
    for name, link in sorted(links, key=lambda x: x[0]):
        path = prefix + name.decode(errors="replace")
        if not path.isprintable() or next(numbers, None) is None:
            raise ArraysError(f"it has more than {MAX_OBJECTS:,} parts, or odd names")
        if link.type != h5l.TYPE_HARD:
            raise ArraysError(f"{path} is a link, possibly to another file")
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _walk(item, f"{path}/", depth + 1, numbers)
        else:
            _check_kind(path, item)
            yield path, item


def _check_kind(path: str, item: Any) -> None:
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise ArraysError(f"{path} is no array")
    if item.dtype.kind not in "biuf":
        raise ArraysError(f"{path} holds {item.dtype}, not numbers")
    layout = item.id.get_create_plist()
    if layout.get_layout() == h5d.VIRTUAL or layout.get_external_count():
        raise ArraysError(f"the values of {path} are in another file")
    filters = {layout.get_filter(i)[0] for i in range(layout.get_nfilters())}
    if filters - {h5z.FILTER_FLETCHER32}:
        raise ArraysError(f"{path} is compressed; unpack it with h5repack -f NONE")


def _check_sizes(arrays: Mapping[str, h5py.Dataset], size: int) -> None:
    """Checks that the values are in the file, so that reading allocates no more."""
    for path, array in arrays.items():
        chunk = math.prod(array.chunks or (0,)) * array.dtype.itemsize
        stored = array.id.get_storage_size()
        size -= stored
        if array.nbytes > stored or max(chunk - stored, -size) > 0:
            raise ArraysError(
                f"{path} claims the shape {array.shape}, but the file does not hold as "
                "many values"
            )


def _attributes(file: h5py.File) -> dict[str, Any]:
    """Reads the attributes of the root that are single values."""
    names = [name for name in file.attrs if file.attrs.get_id(name).shape == ()]
    found = {name: file.attrs[name] for name in names}
    if not all(str(x).isprintable() for x in (*found, *found.values())):
        raise ArraysError("its attributes have characters that cannot be printed")
    return found


def save(
    path: str | os.PathLike,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, str | int] | None = None,
) -> None:
    """Writes arrays with checksums, atomically; the same arrays give the same bytes.

    Args:
        path: The file.
        arrays: Arrays by path, such as `rssm/img_in/kernel`.
        attributes: Texts and numbers for the file's root.

    Raises:
        OutputError: The file cannot be written.
    """
    access = h5p.create(h5p.FILE_ACCESS)
    # The first format that has checksums in each part of the structure.
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    image = io.BytesIO()  # HDF5 prints tracebacks where it cannot write, and goes on.
    access.set_fileobj_driver(h5fd.fileobj_driver, image)
    creation = _timeless(h5p.FILE_CREATE)
    with h5py.File(h5f.create(b"arrays", fapl=access, fcpl=creation)) as file:
        file.attrs.update(attributes or {})
        for name, array in arrays.items():
            _add(file, name, np.asarray(array))
    with atomic.atomic_write(path) as written:
        written.write(image.getbuffer())


def _add(file: h5py.File, name: str, array: np.ndarray) -> None:
    parents = name.split("/")[:-1]
    for i in range(len(parents)):
        group = "/".join(parents[: i + 1])
        if group not in file:
            h5g.create(file.id, group.encode(), gcpl=_timeless(h5p.GROUP_CREATE))
    if array.nbytes < COMPACT:
        layout = h5p.create(h5p.DATASET_CREATE)
        layout.set_layout(h5d.COMPACT)
        file.create_dataset(name, data=array, dcpl=layout)
    else:
        file.create_dataset(name, data=array, chunks=array.shape, fletcher32=True)


def _timeless(kind: Any) -> Any:
    """Returns properties of a new group without the time of its creation."""
    properties = h5p.create(kind)
    properties.set_obj_track_times(False)
    return properties
