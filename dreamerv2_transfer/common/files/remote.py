"""Paths that may be URLs of object stores: fetched to be read, opened to be written.

    s3://bucket/logdir/run  <- fsspec ->  ~/.cache/dreamerv2_transfer/remote/.../run

All code works in the local folder, see `stage`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import pathlib
import re
from collections.abc import Callable, Iterator

from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.files.mirror import RemoteError, Stage, WriterError

__all__ = [
    "Folder",
    "RemoteError",
    "WriterError",
    "fetched",
    "followed",
    "is_remote",
    "opened",
    "stage",
]

# Of a run, what another one starts from or plays with, and what says how to.
WEIGHTS = ("*.weights.h5", "config.yaml")
CHECKPOINTS = ("checkpoints/*", "config.yaml")


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path is a URL, `PROTOCOL://...`."""
    return bool(re.match(r"[a-z][a-z0-9+.-]+://", os.fspath(path)))


def stage(url: str) -> pathlib.Path:
    """The local folder of a URL; what is in it may be old."""
    return Stage(url).path


def fetched(path: str | os.PathLike, *patterns: str) -> pathlib.Path:
    """The local folder or file of a path that is to be read.

    Of a URL, the files are copied that are new or changed since the last time. What is
    written into the folder stays there; it is not uploaded.

    Args:
        path: A path, or a URL of a folder or of a file.
        patterns: Of a folder's files the ones that matter, such as `*.weights.h5`; all
            by default. `*` stands for slashes too.

    Raises:
        RemoteError: There is nothing at the URL, or it cannot be reached.
    """
    if not is_remote(path):
        return pathlib.Path(path).expanduser()
    source = Stage(os.fspath(path))
    listing = source.listing()
    if not listing:
        raise RemoteError(
            f"There is nothing at {path}. See to its name, and whether it was uploaded."
        )
    if "" in listing:
        folder, _, name = source.url.rpartition("/")
        source = Stage(folder)
        _refresh(source, source.listing(name), lambda x: x == name)
        return source.path / name
    _refresh(source, listing, lambda x: _matches(x, patterns))
    return source.path


def followed(path: str | os.PathLike, reader: str) -> pathlib.Path:
    """The folder of a run that another process writes, as it was saved last.

    Args:
        path: A path, or a URL, at which there may be nothing yet.
        reader: A name; each has a copy of its own of what is at the URL.

    Raises:
        RemoteError: The URL cannot be reached.
    """
    if not is_remote(path):
        return pathlib.Path(path).expanduser()
    source = Stage(os.fspath(path), f"-{reader}")
    _refresh(source, source.listing(), lambda x: _matches(x, CHECKPOINTS))
    return source.path


def _refresh(source: Stage, listing, wanted: Callable[[str], bool]) -> None:
    with source.copying(), contextlib.ExitStack() as stack:
        try:
            stack.enter_context(source.writing())
        except WriterError:
            print(f"{source.url} is being written from here: reading {source.path}.")
            return
        source.refresh(listing, wanted)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, x) for x in patterns)


class Folder:
    """A folder that this process writes.

    Attributes:
        path: Where it is on this machine.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path

    def push(self) -> None:
        """Brings what was written to where it belongs, if that is elsewhere."""


class Mirror(Folder):
    """The stage of a URL, which this process writes."""

    def __init__(self, source: Stage):
        super().__init__(source.path)
        self._stage = source

    def push(self) -> None:
        """Uploads what is new. Where that fails it is said, and left to the next time.

        Raises:
            WriterError: Another process writes to the store.
        """
        try:
            self._stage.push()
        except WriterError:
            raise
        except RemoteError as error:
            progress.write(f"Not uploaded yet, and tried again the next time: {error}")

    def finish(self) -> None:
        """Uploads what is new.

        Raises:
            RemoteError: That failed.
        """
        try:
            self._stage.push()
        except WriterError:
            raise
        except RemoteError as error:
            raise RemoteError(
                f"{error} Nothing is lost: all is in {self.path}, from where the same "
                "command goes on and uploads."
            ) from error


@contextlib.contextmanager
def opened(
    path: str | os.PathLike, check: Callable[[pathlib.Path], None] = lambda path: None
) -> Iterator[Folder]:
    """Opens a folder to be written, here or, by a URL, on a store.

    Of a URL, the stage first becomes what the store has, unless this stage was the last
    to write there: then it is at least as new, for an upload may have been killed. In
    the end, however that comes, what is new is uploaded.

    Args:
        path: A path, or a URL.
        check: Looks at the local folder before the store is told that this process
            writes there; what it raises leaves the store as it is.

    Raises:
        WriterError: Another process writes there.
        RemoteError: The store cannot be reached.
    """
    if not is_remote(path):
        folder = pathlib.Path(path).expanduser()
        check(folder)
        yield Folder(folder)
        return
    source = Stage(os.fspath(path))
    with source.writing():
        with source.copying():
            listing = source.listing()
            source.check_not_emptied(listing)
            source.refresh(listing, exact=True)
        print(f"{source.url} is worked on in {source.path}.", flush=True)
        check(source.path)
        source.claim()
        mirror = Mirror(source)
        try:
            yield mirror
        except WriterError:
            raise
        except BaseException:
            mirror.push()
            raise
        mirror.finish()
