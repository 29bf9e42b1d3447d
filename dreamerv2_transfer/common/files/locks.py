"""Folders that one process at a time may write to."""

from __future__ import annotations

import contextlib
import errno
import pathlib
from collections.abc import Iterator

import filelock

from dreamerv2_transfer.common.files import atomic

# What network file systems without locks answer.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)


@contextlib.contextmanager
def locked(folder: pathlib.Path, error: Exception | None = None) -> Iterator[None]:
    """Holds the lock of a folder, which is created if it is missing.

    The operating system frees the lock when the process ends, even if it is killed. A
    lock file that is left behind blocks nothing.

    Args:
        folder: The folder.
        error: Raised if another process holds the lock; None waits for that process.

    Raises:
        OutputError: The folder cannot be written, or its file system has no locks.
        Exception: `error`, if another process holds the lock.
    """
    # The library's own kind of lock, a file that must be removed, could be left behind.
    lock = filelock.FileLock(folder / ".lock", fallback_to_soft=False)
    with atomic.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0 if error else -1)
        except filelock.Timeout:
            raise error from None
        except OSError as cause:
            if cause.errno not in NO_LOCKS:
                raise
            raise atomic.OutputError(
                f"Cannot lock {folder}: {cause.strerror}. Its file system has no locks "
                "(flock), which keep two processes from writing there at once. Choose "
                "a folder on another file system, such as a local disk."
            ) from cause
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: pathlib.Path) -> bool:
    """Returns whether another process holds the lock of a folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        with locked(folder, _InUseError()):
            return False
    except _InUseError:
        return True


class _InUseError(Exception):
    """Another process holds a lock."""
