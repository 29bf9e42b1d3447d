"""The local copy of a URL's folder, and the copying between the two.

fsspec knows the stores: S3, Google Cloud Storage and many others. Files are only copied
as a whole, a store is never used as if it were a disk, and all other code works on
local folders.

A note beside the local folder records, for each file, the version in the store and the
local size and time when both were last the same. So each copy compares three states:
the store's, the local one, and the last common one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dreamerv2_transfer.common import errors, foreign
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, cache, documents, locks
from dreamerv2_transfer.common.files.documents import Schema
from dreamerv2_transfer.common.progress import Progress

# fsspec takes longer to import than the rest of this module; few commands need it.
if TYPE_CHECKING:
    import fsspec

WRITER = ".writer.json"  # In the store: names the process that writes there.
FILES_A_CALL = 256  # Files copied in parallel, and most that a kill can lose.
BAR_DELAY = 5.0  # Seconds until a copy shows a progress bar.
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # Extra by protocol.
# These files complete a checkpoint, so they are copied after the files they name.
LAST = re.compile(r"(.*/)?checkpoints/(checkpoint|[^/]*\.index)")

LOCAL = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
NOTE = Schema(
    {
        "type": "object",
        "required": ["tokens", "files"],
        "properties": {
            "tokens": {"type": "array", "items": {"type": "string"}},
            "files": {
                "type": "object",
                "additionalProperties": {
                    "type": "array",
                    "items": [{"type": "string"}, {"oneOf": [LOCAL, {"type": "null"}]}],
                    "minItems": 2,
                    "maxItems": 2,
                },
            },
        },
    }
)
Local = tuple[int, int]  # Size in bytes and time of modification in ns.


class RemoteError(UserError):
    """A store that cannot be reached, or that lacks what was asked for."""


class WriterError(RemoteError):
    """Another process writes to the store."""


@dataclasses.dataclass
class Seen:
    """A file when it was last the same here and in the store.

    Attributes:
        there: Identifies its version in the store; empty for one that we uploaded.
        here: Size and time of the local file; None if it was removed here, but not yet
            in the store.
    """

    there: str
    here: Local | None


class Mirror:
    """The local folder of a URL.

    Args:
        url: URL of a folder, `PROTOCOL://...`.
        reader: Name of a reader that has a copy of its own, beside the machine's.

    Attributes:
        url: The URL, without a slash at the end.
        home: Folder of the local folder, the note and the locks.
        path: The local folder, named after the last part of the URL.
        fs: The store.
        root: The folder's path there.

    Raises:
        RemoteError: There is no such protocol, or a package is missing.
    """

    def __init__(self, url: str, reader: str = ""):
        # Protocols are not case-sensitive, but fsspec knows them in small letters.
        protocol, slashes, place = url.partition("://")
        self.url = f"{protocol.lower()}{slashes}{place}".rstrip("/")
        self.fs, self.root = _connect(self.url)
        # Readable, and different for each URL.
        readable = re.sub(r"\W+", "-", self.url)[:60].strip("-")
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:12]
        self.home = cache.folder() / "remote" / f"{readable}-{digest}{reader}"
        last = re.sub(r"[^\w.-]", "_", self.url.rsplit("/", 1)[1]).lstrip(".")
        self.path = self.home / (last or "folder")
        with atomic.writing(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tokens: list[str] = []
        self._seen: dict[str, Seen] = {}

    # Who works on it.

    @contextlib.contextmanager
    def copying(self) -> Iterator[None]:
        """Waits for other processes of this machine that copy, and reads the note."""
        with locks.locked(self.home / "copying"):
            try:
                note = NOTE.parse((self.home / "note.json").read_bytes())
            except (OSError, ValueError):  # Everything is copied again.
                note = {"tokens": [], "files": {}}
            self._tokens = note["tokens"]
            self._seen = {
                name: Seen(there, here and tuple(here))
                for name, (there, here) in note["files"].items()
            }
            yield

    def writing(self):
        """Keeps other processes of this machine from writing there.

        Raises:
            WriterError: Another process does.
        """
        return locks.locked(
            self.home,
            WriterError(
                f"Another process of this machine uses {self.url}. Wait for it, or "
                "name another URL."
            ),
        )

    def owner(self) -> str | None:
        """Returns the token of the process that writes to the store, or last did."""
        with reaching(self.url):
            try:
                told = self.fs.cat_file(self._there(WRITER))
            except FileNotFoundError:
                return None
        try:
            return str(documents.parse_json(told)["token"])
        except (ValueError, KeyError, TypeError):
            return "damaged"

    def check_not_emptied(self, listing: Mapping[str, str]) -> None:
        """Refuses an empty store to which this machine uploaded files before.

        Raises:
            RemoteError: It is so; the endpoint may be wrong, for example.
        """
        if self._seen and not listing and self.owner() is None:
            raise RemoteError(
                f"There is nothing at {self.url} any more, but {self.path} has the "
                "files that were there. Check the endpoint and the credentials. To "
                f"start again from nothing, remove {self.home} too."
            )

    def claim(self) -> None:
        """Tells all others that this process writes to the store from now on."""
        token, before = uuid.uuid4().hex, self.owner()
        # Both, as this process may be killed before the store has the new one.
        self._tokens = [*filter(None, [before]), token]
        self._write_note()
        told = {"token": token, "host": platform.node(), "process": os.getpid()}
        with reaching(self.url):
            self.fs.pipe_file(self._there(WRITER), json.dumps(told).encode())

    def check_owner(self) -> None:
        """Checks that no other process has claimed the store.

        Raises:
            WriterError: One has.
        """
        if self.owner() not in self._tokens:
            raise WriterError(
                f"Another process writes to {self.url}, or has emptied it, so nothing "
                f"more is uploaded from here. The files of this process are in "
                f"{self.path}. Stop one of the two; each needs a URL of its own."
            )

    # From the store.

    def listing(self, name: str = "") -> dict[str, str]:
        """Returns the files in the store by name, each with a token of its version.

        Args:
            name: Name of a single file; all files by default.

        Returns:
            Empty if there is nothing. If the URL is that of a file, its name is empty.
        """
        from fsspec.utils import tokenize

        found = self._find(self._there(name) if name else self.root)
        prefix = f"{self.root}/"
        if not name and self.root in found:
            return {"": tokenize(found[self.root])}
        # Object stores may have empty objects that stand for folders.
        names = {
            path.removeprefix(prefix): tokenize(info)
            for path, info in found.items()
            if path.startswith(prefix) and not path.endswith("/")
        }
        return {name: there for name, there in names.items() if self._travels(name)}

    def sizes(self, folder: str) -> dict[str, int]:
        """Returns the bytes of all files below one of the URL's folders, by name."""
        prefix = f"{self._there(folder)}/"
        return {
            path.removeprefix(prefix): info["size"]
            for path, info in self._find(prefix.rstrip("/")).items()
            if path.startswith(prefix) and not path.endswith("/")
        }

    def _find(self, place: str) -> dict[str, Any]:
        """Returns what the store says of the files below a place, by path."""
        # By default, a walk skips folders that cannot be read.
        options = {"on_error": "raise"} if foreign.lists_by_walking(self.fs) else {}
        with reaching(self.url):
            self.fs.invalidate_cache()
            try:
                return self.fs.find(place, detail=True, **options)
            except FileNotFoundError:
                if self.fs.exists(place):
                    raise
                return {}

    def refresh(
        self,
        listing: Mapping[str, str],
        wanted: Callable[[str], bool] = lambda name: True,
        exact: bool = False,
    ) -> None:
        """Copies new and changed files of the store, and removes those it has lost.

        If this mirror was the last to write to the store, local changes stay, to be
        uploaded later. Otherwise the store's files replace the local ones. In both
        cases missing files are copied, so that a cleaned cache does not empty the
        store.

        Args:
            listing: The store's files.
            wanted: Tells by name which files matter.
            exact: Also remove files that never were in the store.
        """
        is_ours = self.owner() in self._tokens
        here = self.local()
        if exact and not is_ours:
            self._tokens = []  # If this is interrupted, the files belong to no writer.
            self._write_note()
        names = {*listing, *self._seen, *(here if exact and not is_ours else ())}
        differing = [
            name
            for name in sorted(filter(wanted, names))
            if self._takes(name, listing.get(name), here.get(name), is_ours)
        ]
        self._fetch([name for name in differing if name in listing], listing)
        vanished = [name for name in differing if name not in listing]
        for name in vanished:
            with atomic.writing(self.path / name):
                (self.path / name).unlink(missing_ok=True)
            self._seen.pop(name, None)
        if vanished:
            self._write_note()

    def _takes(self, name: str, there, here, is_ours: bool) -> bool:
        """Returns whether the store's file should replace the local one."""
        seen = self._seen.get(name)
        is_missing = here is None and there is not None
        changed_here = here != (seen and seen.here)
        changed_there = there != (seen and seen.there)
        if not is_ours:
            return is_missing or changed_here or changed_there
        if is_missing:
            return seen is None or seen.here is not None
        is_as_uploaded = seen is not None and not seen.there
        return changed_there and not changed_here and not is_as_uploaded

    def _fetch(self, names: Sequence[str], listing: Mapping[str, str]) -> None:
        incoming = self.home / "incoming"  # Files that are not whole yet.
        for chunk in _chunks(names, f"Fetching {self.path.name}"):
            shutil.rmtree(incoming, ignore_errors=True)
            with atomic.writing(incoming):
                incoming.mkdir()
            with reaching(self.url):
                files = [str(incoming / str(i)) for i in range(len(chunk))]
                self.fs.get([self._there(name) for name in chunk], files)
                for name, file in zip(chunk, files, strict=True):
                    path = self.path / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, path)
                    self._seen[name] = Seen(listing[name], _stat(path))
            shutil.rmtree(incoming, ignore_errors=True)
            self._write_note()

    # To the store.

    def push(self) -> None:
        """Uploads new and changed local files, then removes those that vanished here.

        At every moment the store has a run that can be resumed: a checkpoint counts
        once its index is there, and that is uploaded last.

        Raises:
            WriterError: Another process took over; nothing was uploaded.
            RemoteError: The store cannot be reached; the next push completes it.
        """
        here, seen = self.local(), self._seen
        changed = [x for x in sorted(here) if x not in seen or seen[x].here != here[x]]
        vanished = [name for name in seen if name not in here]
        if not changed and not vanished:
            return
        for name in vanished:
            seen[name].here = None
        self._write_note()
        self.check_owner()
        self._put([name for name in changed if not LAST.fullmatch(name)], here)
        self._put([name for name in changed if LAST.fullmatch(name)], here)
        for name in vanished:
            # One by one, as the names in a list would be taken for patterns.
            with reaching(self.url), contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(self._there(name))
            del seen[name]
        listing = self.listing()
        for name, file in seen.items():
            file.there = file.there or listing.get(name, "")
        self._write_note()

    def _put(self, names: Sequence[str], here: Mapping[str, Local]) -> None:
        from fsspec.implementations.local import LocalFileSystem

        for chunk in _chunks(names, f"Uploading {self.path.name}"):
            files = [str(self.path / name) for name in chunk]
            places = [self._there(name) for name in chunk]
            with reaching(self.url):
                if not isinstance(self.fs, LocalFileSystem):
                    self.fs.put(files, places)
                else:
                    # Stores have a whole file or none, but a disk may have half of one.
                    halves = ["{}/.{}.tmp".format(*x.rsplit("/", 1)) for x in places]
                    self.fs.put(files, halves)
                    for half, place in zip(halves, places, strict=True):
                        self.fs.mv(half, place)
            # As before the upload: a file that grew since then is uploaded again.
            self._seen |= {name: Seen("", here[name]) for name in chunk}
            self._write_note()

    # Names and notes.

    def local(self) -> dict[str, Local]:
        """Returns size and time of the local files that have a place in the store."""
        paths = (
            pathlib.Path(folder, file)
            for folder, _, files in os.walk(self.path)
            for file in files
        )
        names = ((path.relative_to(self.path).as_posix(), path) for path in paths)
        stats = {name: _stat(path) for name, path in names if self._travels(name)}
        return {name: stat for name, stat in stats.items() if stat}

    def _there(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _travels(self, name: str) -> bool:
        """Returns whether a file is not a lock, a temporary file, a cache or a note.

        Raises:
            RemoteError: The name would lead out of the folder.
        """
        parts = name.split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in name:
            raise RemoteError(
                f"{self.url} holds a file whose name is not a path in a folder. "
                f"Received: {name!r}. Remove it."
            )
        is_cache = parts[0] == "packed" or ".packed" in parts
        is_temporary = any(re.fullmatch(r"\..*\.tmp", part) for part in parts)
        return not (is_cache or is_temporary or parts[-1] in (".lock", WRITER))

    def _write_note(self) -> None:
        files = {name: [x.there, x.here] for name, x in self._seen.items()}
        note = {"url": self.url, "tokens": self._tokens, "files": files}
        atomic.write_text(self.home / "note.json", json.dumps(note))


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turns any exception of the store's package into an error that names the URL.

    Raises:
        RemoteError: The block raised an exception that is not a `UserError`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Each package has its own exceptions.
        raise RemoteError(
            f"Cannot copy from or to {url}: {errors.describe(error).rstrip('.')}. "
            "Check the network, the credentials, the name and the free space."
        ) from error


def _connect(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Returns the file system of a URL and the path there."""
    import fsspec

    protocol = url.split("://")[0]
    options = {"auto_mkdir": True} if protocol in ("file", "local") else {}
    try:
        with reaching(url):
            fs, root = fsspec.url_to_fs(url, **options)
    except RemoteError as error:
        cause = error.__cause__
        if isinstance(cause, ImportError) and protocol in EXTRAS:
            hint = f"pip install 'dreamerv2_transfer[{EXTRAS[protocol]}]'"
            raise RemoteError(f"{url} needs another package: {hint}") from cause
        if isinstance(cause, (ImportError, ValueError)):
            raise RemoteError(f"Received: {url}. {cause}.") from cause
        raise
    if not root.strip("/"):
        raise RemoteError(f"The URL names no folder. Received: {url}")
    return fs, root.rstrip("/")


def _stat(path: pathlib.Path) -> Local | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _chunks(names: Sequence[str], title: str) -> Iterator[list[str]]:
    """Yields the files to copy in one call each, with a progress bar if it is slow."""
    if not names:
        return
    with Progress(len(names), 0, title, "file", delay=BAR_DELAY) as bar:
        for start in range(0, len(names), FILES_A_CALL):
            chunk = list(names[start : start + FILES_A_CALL])
            yield chunk
            bar.update(len(chunk))
