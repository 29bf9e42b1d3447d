"""Writes files that are either whole or absent, even if the process is killed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pathlib
import platform
import re
import shutil
import time
from collections.abc import Iterator
from typing import BinaryIO

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import paths

# A `pathlib.Path` keeps only one slash.
URL = re.compile(rf"{paths.PROTOCOL}:/", re.IGNORECASE)

# Of a file, a system and a process; 0.1.0 left out the system.
TEMPORARY = re.compile(r"\.(?P<file>.+?)\.((?P<system>\w{8})-)?(?P<process>\d+)\.tmp")
FORGOTTEN = 24 * 3600  # Seconds after which no process still writes a temporary file.


class OutputError(UserError):
    """A file cannot be written: a full disk, a missing permission, a wrong path."""


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turns the operating system's errors into one that names the file.

    Raises:
        OutputError: The block raised an `OSError`, or the path is a URL.
    """
    if URL.match(os.fspath(path)):
        raise OutputError(
            f"Cannot write {path}: only a logdir and a dataset can be written to a "
            "URL. Name a local path."
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
    """Opens a temporary file that replaces `path` when the block ends.

    Missing parent folders are created. If the block raises, `path` stays as it was.

    Args:
        path: The file to write.
        sync: Whether to wait until the file is on the disk, so that even a power
            failure cannot damage it.

    Raises:
        OutputError: The file cannot be written.
    """
    path = paths.local(path)
    temporary = temporary_for(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if sync:  # Else they are many, in a folder that is long to read.
            remove_leftovers(path)
        try:
            with open(temporary, "wb") as file:
                yield file
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
            if sync:
                sync_names(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file, see `atomic_write`.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def new_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Creates a temporary folder that becomes `path` when the block ends.

    If the block raises, nothing is left of it.

    Args:
        path: The folder, which must not exist or be empty.

    Raises:
        OutputError: The folder cannot be written.
    """
    temporary = temporary_for(path)
    with writing(path):
        shutil.rmtree(temporary, ignore_errors=True)  # Of a process of this number.
        temporary.mkdir(parents=True)
        remove_leftovers(path)
        try:
            yield temporary
            if path.is_dir():  # Windows does not replace it.
                path.rmdir()
            os.replace(temporary, path)
            sync_names(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def temporary_for(path: pathlib.Path) -> pathlib.Path:
    """Returns the name beside `path` under which this process alone writes it."""
    return path.with_name(f".{path.name}.{_system()}-{os.getpid()}.tmp")


def remove_leftovers(path: pathlib.Path) -> None:
    """Removes the temporary files and folders of processes that were killed.

    A file system may be shared, so the number of a process says nothing about one on
    another machine or in another container: what these left is removed after a day.
    """
    for other in path.parent.iterdir():
        found = TEMPORARY.fullmatch(other.name)
        if not found or found["file"] != path.name:
            continue
        with contextlib.suppress(OSError):  # Gone meanwhile, or not ours to remove.
            is_left = is_leftover(other)
            if is_left and other.is_dir():
                shutil.rmtree(other)
            elif is_left:
                other.unlink()


def is_leftover(path: pathlib.Path) -> bool:
    """Tells whether a temporary file or folder is that of a process that was killed.

    Raises:
        OSError: It is gone.
    """
    found = TEMPORARY.fullmatch(path.name)
    if found and found["system"] == _system():
        return not _is_running(int(found["process"]))
    return bool(found) and time.time() - path.lstat().st_mtime > FORGOTTEN


@functools.cache
def _system() -> str:
    """Identifies the machine or container whose processes have different numbers."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]


def _is_running(process: int) -> bool:
    if os.name == "nt":  # The same call would end it.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def sync(path: pathlib.Path) -> None:
    """Waits until the content of a file is on the disk."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def sync_names(folder: pathlib.Path) -> None:
    """Waits until a folder's names are on the disk, where the file system can tell."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
