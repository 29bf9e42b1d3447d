"""Arrays by name in safetensors files: a header in JSON, then the numbers.

The library checks that the header describes exactly the bytes that follow, so reading
runs no code and takes no more memory than the file has bytes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as library

from dreamerv2_transfer.common.errors import describe
from dreamerv2_transfer.common.files import atomic, documents
from dreamerv2_transfer.common.files.hdf5 import MAX_OBJECTS, Arrays, ArraysError

SUFFIX = ".safetensors"
MOST_BYTES = 2**34


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Arrays]:
    """Reads the arrays of a file.

    Raises:
        ArraysError: The file is missing, damaged or incomplete, its header lies, or it
            holds more than plain numbers.
    """
    try:
        content = documents.read(path, MOST_BYTES)
        arrays = library.load(content)
        header = int.from_bytes(content[:8], "little")
        described = documents.parse_json(content[8 : 8 + header])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArraysError(describe(error).rstrip(".")) from error
    if len(arrays) > MAX_OBJECTS or not all(name.isprintable() for name in arrays):
        raise ArraysError(f"it has more than {MAX_OBJECTS:,} parts, or odd names")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ArraysError(f"{name} holds {array.dtype}, not numbers")
    yield Arrays(arrays, described.get("__metadata__", {}))


def save(
    path: str | os.PathLike,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Writes arrays, atomically; the same arrays give the same bytes.

    Args:
        path: The file.
        arrays: Arrays by path, such as `rssm/img_in/kernel`.
        attributes: Texts for the header.

    Raises:
        OutputError: The file cannot be written.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = library.save(whole, dict(attributes or {}) or None)
    with atomic.atomic_write(path) as file:
        file.write(content)
