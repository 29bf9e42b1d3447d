"""Folders that one process at a time may write to."""

from __future__ import annotations

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator

from dreamerv2_transfer.common.files import atomic


@contextlib.contextmanager
def locked(folder: pathlib.Path, error: Exception | None = None) -> Iterator[None]:
    """Holds a folder's lock, which ends with the process whatever becomes of it.

    Args:
        folder: It exists.
        error: What to raise where another process holds it; None waits for that one.
    """
    with atomic.writing(folder):
        file = open(folder / ".lock", "w")  # noqa: SIM115
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if error else 0))
        except BlockingIOError:
            raise error from None
        yield
