"""Write files that are whole or absent, whatever happens while they are written."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import BinaryIO

from dreamerv2_transfer.common.errors import UserError

URL = re.compile(r"[a-z][a-z0-9+.-]+:/")  # Of which a path leaves one slash.


class OutputError(UserError):
    """A file cannot be written: a full disk, a missing permission, a wrong path."""


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns the operating system's errors into one that names the file.

    Raises:
        OutputError: Where the block raised an `OSError`, or the path is a URL.
    """
    if URL.match(os.fspath(path)):
        raise OutputError(
            f"Cannot write {path}: among outputs a logdir and a dataset alone may be "
            "URLs. Name a local path."
        )
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. Free some space, or "
            "choose another folder that you may write to."
        ) from error


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, sync: bool = True) -> Iterator[BinaryIO]:
    """Opens a temporary file that takes the place of `path` when the block ends.

    Missing parent folders are made. If the block raises, `path` stays as it was.

    Args:
        path: The file to write.
        sync: Wait until the disk has it, so that a power failure cannot damage it; a
            kill cannot in either case.

    Raises:
        OutputError: If the file cannot be written.
    """
    path = pathlib.Path(path).expanduser()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
