"""Paths that may be URLs of object stores: fetched to be read, opened to be written.

    s3://bucket/logdir/run  <- fsspec ->  ~/.cache/dreamerv2_transfer/remote/.../run

All code works in the local folder, a `mirror.Mirror` of the URL.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import pathlib
from collections.abc import Callable, Iterator

from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.files import locks, paths
from dreamerv2_transfer.common.files.mirror import Mirror, RemoteError, WriterError
from dreamerv2_transfer.common.files.paths import is_url as is_remote

__all__ = [
    "Folder",
    "RemoteError",
    "WriterError",
    "fetched",
    "followed",
    "is_remote",
    "is_written",
    "local_folder",
    "opened",
]

# Files of a run that another run starts from or plays with.
WEIGHTS = (
    "*.weights.h5",
    "*.safetensors",
    "config.yaml",
    "README.md",
    "checkpoints/*.index",
)
CHECKPOINTS = ("checkpoints/*", "config.yaml")


def local_folder(url: str) -> pathlib.Path:
    """Returns the local folder of a URL, whose files may be out of date."""
    return Mirror(url).path


def fetched(path: str | os.PathLike, *patterns: str) -> pathlib.Path:
    """Returns a local folder or file to read; fetches it if the path is a URL.

    Only files that are new or changed since the last time are copied. Files that are
    written into the folder stay there; they are not uploaded.

    Args:
        path: A path, or a URL of a folder or of a file.
        patterns: Names of the files in a folder that are needed, such as
            `*.weights.h5`; all by default. `*` matches slashes too.

    Raises:
        PathError: It is not a path, see `paths.check`.
        RemoteError: There is nothing at the URL, or it cannot be reached.
    """
    paths.check(path)
    if not is_remote(path):
        return paths.local(path)
    source = Mirror(os.fspath(path))
    listing = source.listing()
    if not listing:
        raise RemoteError(
            f"There is nothing at {path}. Check its name, and whether it was uploaded."
        )
    if "" in listing:
        folder, _, name = source.url.rpartition("/")
        source = Mirror(folder)
        _refresh(source, source.listing(name), lambda x: x == name)
        return source.path / name
    _refresh(source, listing, lambda x: _matches(x, patterns))
    return source.path


def is_written(url: str) -> bool:
    """Returns whether a process of this machine writes to a URL.

    Raises:
        RemoteError: There is no such protocol, or a package is missing.
    """
    return locks.is_locked(Mirror(url).home)


def followed(
    path: str | os.PathLike, reader: str, patterns: tuple[str, ...] = CHECKPOINTS
) -> pathlib.Path:
    """Returns the folder of a run that another process writes, as it last saved it.

    Args:
        path: A path, or a URL, where there may be nothing yet.
        reader: Name of this reader, which gets its own local copy of the URL.
        patterns: Names of the files that are needed, as for `fetched`.

    Raises:
        PathError: It is not a path, see `paths.check`.
        RemoteError: The URL cannot be reached.
    """
    paths.check(path)
    if not is_remote(path):
        return paths.local(path)
    source = Mirror(os.fspath(path), f"-{reader}")
    _refresh(source, source.listing(), lambda x: _matches(x, patterns))
    return source.path


def _refresh(source: Mirror, listing, wanted: Callable[[str], bool]) -> None:
    with source.copying(), contextlib.ExitStack() as stack:
        try:
            stack.enter_context(source.writing())
        except WriterError:
            print(
                f"Another process of this machine writes to {source.url}: reading its "
                f"local folder {source.path}."
            )
            return
        source.refresh(listing, wanted)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, x) for x in patterns)


class Folder:
    """A folder that this process writes.

    Attributes:
        path: Its place on this machine.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path

    def push(self) -> None:
        """Uploads new files if the folder is remote."""


class RemoteFolder(Folder):
    """The local folder of a URL that this process writes.

    Args:
        mirror: The mirror of the URL.
    """

    def __init__(self, mirror: Mirror):
        super().__init__(mirror.path)
        self._mirror = mirror

    def push(self) -> None:
        """Uploads new files. If that fails, prints the error; the next push retries.

        Raises:
            WriterError: Another process writes to the store.
        """
        try:
            self._mirror.push()
        except WriterError:
            raise
        except RemoteError as error:
            progress.write(f"Not uploaded yet; the next upload tries again: {error}")

    def finish(self) -> None:
        """Uploads new files.

        Raises:
            RemoteError: The upload failed.
        """
        try:
            self._mirror.push()
        except WriterError:
            raise
        except RemoteError as error:
            raise RemoteError(
                f"{error} Nothing is lost: all files are in {self.path}. Run the same "
                "command to resume and to upload them."
            ) from error


@contextlib.contextmanager
def opened(
    path: str | os.PathLike, check: Callable[[pathlib.Path], None] = lambda path: None
) -> Iterator[Folder]:
    """Opens a folder for writing, on this machine or, by a URL, on a store.

    The local folder of a URL is first updated to what the store has, unless this
    machine was the last to write there: its folder is then at least as new, as an
    upload may have been killed. New files are uploaded at the end, also after an error.

    Args:
        path: A path, or a URL.
        check: Inspects the local folder before this process claims the store. If it
            raises an error, the store stays as it is.

    Raises:
        PathError: It is not a path, see `paths.check`.
        WriterError: Another process writes there.
        RemoteError: The store cannot be reached.
    """
    paths.check(path)
    if not is_remote(path):
        folder = paths.local(path)
        check(folder)
        yield Folder(folder)
        return
    source = Mirror(os.fspath(path))
    with source.writing():
        with source.copying():
            listing = source.listing()
            source.check_not_emptied(listing)
            source.refresh(listing, exact=True)
        print(f"The local folder of {source.url} is {source.path}.", flush=True)
        check(source.path)
        source.claim()
        remote = RemoteFolder(source)
        try:
            yield remote
        except WriterError:
            raise
        except BaseException:
            remote.push()
            raise
        remote.finish()
