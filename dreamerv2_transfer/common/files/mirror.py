"""The local folder of a URL, and the copying between the two.

fsspec knows the stores: S3, Google Cloud Storage and many others. Files are copied as a
whole and nothing is written to a store as if it were a disk, so all other code works on
local folders.

A note beside the stage tells of each file what the store said of it, and the local size
and time, when the two were last the same. So three ways are compared: what the store
has, what is here, and what both were.
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

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import tokenize

from dreamerv2_transfer.common import errors, foreign
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, cache, locks
from dreamerv2_transfer.common.progress import Progress

WRITER = ".writer.json"  # In the store: who writes there.
FILES_A_CALL = 256  # Copied in parallel; a kill loses so many at most.
BAR_DELAY = 5.0  # Seconds; what takes less shows no progress bar.
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # Of our package.
# Behind them a checkpoint counts as there, so they are copied after what they name.
LAST = re.compile(r"(.*/)?checkpoints/(checkpoint|[^/]*\.index)")

Local = tuple[int, int]  # Size in bytes and time of modification in ns.


class RemoteError(UserError):
    """A store that cannot be reached, or does not have what was asked for."""


class WriterError(RemoteError):
    """Another process writes to the store now."""


@dataclasses.dataclass
class Seen:
    """A file when it was last the same here and in the store.

    Attributes:
        there: What tells its versions in the store apart; '' is one of ours.
        here: Of the local file; None if it was removed, which the store has yet to be.
    """

    there: str
    here: Local | None


class Stage:
    """The local folder of a URL.

    Args:
        url: `PROTOCOL://...`, of a folder.
        reader: Who has a stage of its own, if this is not the machine's.

    Attributes:
        url: Without a slash at the end.
        path: The local folder, called as the last part of the URL.

    Raises:
        RemoteError: There is no such protocol, or a package is missing.
    """

    def __init__(self, url: str, reader: str = ""):
        self.url = url.rstrip("/")
        self._fs, self._root = _connect(url)
        self.home = cache.folder() / "remote" / (_home(self.url) + reader)
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
        folder = self.home / "copying"
        with atomic.writing(folder):
            folder.mkdir(exist_ok=True)
        with locks.locked(folder):
            self._read_note()
            yield

    def writing(self):
        """Keeps other processes of this machine from writing there.

        Raises:
            WriterError: One does.
        """
        return locks.locked(
            self.home,
            WriterError(
                f"Another process of this machine uses {self.url}. Wait for it, or "
                "name another URL."
            ),
        )

    def owner(self) -> str | None:
        """The token of the process that writes to the store, or did so last."""
        with reaching(self.url):
            try:
                told = self._fs.cat_file(self._there(WRITER))
            except FileNotFoundError:
                return None
        try:
            return str(json.loads(told)["token"])
        except (ValueError, KeyError, TypeError):
            return "damaged"

    def check_not_emptied(self, listing: Mapping[str, str]) -> None:
        """Refuses a store that has nothing of what was uploaded from here.

        Raises:
            RemoteError: It is so; a wrong endpoint, for example.
        """
        if self._seen and not listing and self.owner() is None:
            raise RemoteError(
                f"There is nothing at {self.url} any more, but {self.path} holds what "
                "was there. See to the endpoint and the credentials. To start anew, "
                f"remove {self.home} too."
            )

    def claim(self) -> None:
        """Tells all others that this process writes to the store from now on."""
        token, before = uuid.uuid4().hex, self.owner()
        # Both, for a kill may come before the store has the new one.
        self._tokens = [*filter(None, [before]), token]
        self._write_note()
        told = {"token": token, "host": platform.node(), "process": os.getpid()}
        with reaching(self.url):
            self._fs.pipe_file(self._there(WRITER), json.dumps(told).encode())

    def check_owner(self) -> None:
        """Refuses to go on where another process took over.

        Raises:
            WriterError: One did.
        """
        if self.owner() not in self._tokens:
            raise WriterError(
                f"Another process writes to {self.url}, or has emptied it, so nothing "
                f"more is uploaded from here. What this one made is in {self.path}. "
                "Stop one of the two; each needs a URL of its own."
            )

    # From the store.

    def listing(self, name: str = "") -> dict[str, str]:
        """What is in the store, by name, with what tells versions apart.

        Args:
            name: Of a single file; else all of them count.

        Returns:
            Nothing where nothing is there. Where the URL is a file's, it has no name.
        """
        place = self._there(name) if name else self._root
        with reaching(self.url):
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(place, detail=True, **_strictly(self._fs))
            except FileNotFoundError:
                if self._fs.exists(place):
                    raise
                return {}
        prefix = f"{self._root}/"
        if not name and self._root in found:
            return {"": tokenize(found[self._root])}
        # Object stores may have empty objects that stand for folders.
        names = {
            path.removeprefix(prefix): tokenize(info)
            for path, info in found.items()
            if path.startswith(prefix) and not path.endswith("/")
        }
        return {name: there for name, there in names.items() if self._travels(name)}

    def refresh(
        self,
        listing: Mapping[str, str],
        wanted: Callable[[str], bool] = lambda name: True,
        exact: bool = False,
    ) -> None:
        """Copies what is new or changed in the store, and removes what vanished there.

        If this stage wrote to the store last, what was changed here stays: it waits for
        being uploaded. Else the store's files take the place of those here. What is
        missing here is copied in both cases, lest a cleaned cache empties the store.

        Args:
            listing: The store's files.
            wanted: Tells by name which of them matter.
            exact: Remove files too that never were in the store.
        """
        is_ours = self.owner() in self._tokens
        here = self.local()
        if exact and not is_ours:
            self._tokens = []  # Should this be cut short, it is nobody's.
            self._write_note()
        names = {*listing, *self._seen, *(here if exact and not is_ours else ())}
        differing = [
            name
            for name in sorted(filter(wanted, names))
            if self._takes(name, listing.get(name), here.get(name), is_ours)
        ]
        self._fetch([name for name in differing if name in listing], listing)
        self._forget([name for name in differing if name not in listing])

    def _takes(self, name: str, there, here, is_ours: bool) -> bool:
        """Whether the store's file is to take the place of the local one."""
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
        for chunk in _chunks(names, f"Fetching {self.path.name}"):
            with self._incoming() as incoming, reaching(self.url):
                files = [str(incoming / str(i)) for i in range(len(chunk))]
                self._fs.get([self._there(name) for name in chunk], files)
                for name, file in zip(chunk, files, strict=True):
                    path = self.path / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(file, path)
                    self._seen[name] = Seen(listing[name], _stat(path))
            self._write_note()

    @contextlib.contextmanager
    def _incoming(self) -> Iterator[pathlib.Path]:
        """An empty folder for what is not whole yet."""
        folder = self.home / "incoming"
        shutil.rmtree(folder, ignore_errors=True)
        with atomic.writing(folder):
            folder.mkdir()
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    def _forget(self, names: Sequence[str]) -> None:
        for name in names:
            with atomic.writing(self.path / name):
                (self.path / name).unlink(missing_ok=True)
            self._seen.pop(name, None)
        if names:
            self._write_note()

    # To the store.

    def push(self) -> None:
        """Uploads what is new or changed here, then removes what vanished here.

        At every moment the store has a run that can be gone on with: a checkpoint
        counts as there when its index is, and that comes after all else.

        Raises:
            WriterError: Another process took over; nothing was uploaded.
            RemoteError: The store cannot be reached; the next push completes it.
        """
        here = self.local()
        changed = [x for x in sorted(here) if self._seen_here(x) != here[x]]
        vanished = [name for name in self._seen if name not in here]
        if not changed and not vanished:
            return
        for name in vanished:
            self._seen[name].here = None
        self._write_note()
        self.check_owner()
        self._put([name for name in changed if not LAST.fullmatch(name)], here)
        self._put([name for name in changed if LAST.fullmatch(name)], here)
        self._remove(vanished)
        listing = self.listing()
        for name, seen in self._seen.items():
            seen.there = seen.there or listing.get(name, "")
        self._write_note()

    def _seen_here(self, name: str) -> Local | None:
        return self._seen[name].here if name in self._seen else None

    def _put(self, names: Sequence[str], here: Mapping[str, Local]) -> None:
        for chunk in _chunks(names, f"Uploading {self.path.name}"):
            with reaching(self.url):
                self._put_whole(chunk)
            # As before the upload: what grew in the meantime is uploaded again.
            self._seen |= {name: Seen("", here[name]) for name in chunk}
            self._write_note()

    def _put_whole(self, names: Sequence[str]) -> None:
        files = [str(self.path / name) for name in names]
        places = [self._there(name) for name in names]
        if not isinstance(self._fs, LocalFileSystem):
            self._fs.put(files, places)
            return
        # Object stores have a file as a whole or not at all, a disk has halves.
        halves = ["{}/.{}.tmp".format(*place.rsplit("/", 1)) for place in places]
        self._fs.put(files, halves)
        for half, place in zip(halves, places, strict=True):
            self._fs.mv(half, place)

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            # One by one, as lists are taken for patterns.
            with reaching(self.url), contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(self._there(name))
            del self._seen[name]

    # Names and notes.

    def local(self) -> dict[str, Local]:
        """The files here that have a place in the store."""
        paths = (
            pathlib.Path(folder, file)
            for folder, _, files in os.walk(self.path)
            for file in files
        )
        names = ((path.relative_to(self.path).as_posix(), path) for path in paths)
        stats = {name: _stat(path) for name, path in names if self._travels(name)}
        return {name: stat for name, stat in stats.items() if stat}

    def _there(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _travels(self, name: str) -> bool:
        """Whether a file is no lock, no temporary file, no cache and no note.

        Raises:
            RemoteError: The name would lead out of the folder.
        """
        parts = name.split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in name:
            raise RemoteError(
                f"{self.url} holds a file whose name is no path in a folder. Received: "
                f"{name!r}. Remove it."
            )
        is_cache = parts[0] == "packed" or ".packed" in parts
        is_temporary = re.fullmatch(r"\..*\.tmp", parts[-1])
        return not (is_cache or is_temporary or parts[-1] in (".lock", WRITER))

    def _read_note(self) -> None:
        try:
            note = json.loads((self.home / "note.json").read_bytes())
        except (OSError, ValueError):  # Then all is copied again.
            note = {"tokens": [], "files": {}}
        self._tokens = note["tokens"]
        self._seen = {
            name: Seen(there, here and tuple(here))
            for name, (there, here) in note["files"].items()
        }

    def _write_note(self) -> None:
        files = {name: [x.there, x.here] for name, x in self._seen.items()}
        note = {"url": self.url, "tokens": self._tokens, "files": files}
        with atomic.atomic_write(self.home / "note.json") as file:
            file.write(json.dumps(note).encode())


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turns whatever the store's package raises into an error that names the URL.

    Raises:
        RemoteError: Where the block raised anything else.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Each package has exceptions of its own.
        raise RemoteError(
            f"Cannot copy from or to {url}: {errors.describe(error).rstrip('.')}. See "
            "to the network, the credentials, the name and the free space."
        ) from error


def _connect(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL and the path there."""
    protocol = url.split("://")[0]
    options = {"auto_mkdir": True} if protocol in ("file", "local") else {}
    try:
        with reaching(url):
            fs, root = fsspec.url_to_fs(url, **options)
    except RemoteError as error:
        cause = error.__cause__
        if isinstance(cause, ImportError) and protocol in EXTRAS:
            hint = f"pip install 'dreamerv2_transfer[{EXTRAS[protocol]}]'"
            raise RemoteError(f"{url} wants another package: {hint}") from cause
        if isinstance(cause, (ImportError, ValueError)):
            raise RemoteError(f"Received: {url}. {cause}.") from cause
        raise
    if not root.strip("/"):
        raise RemoteError(f"The URL names no folder. Received: {url}")
    return fs, root.rstrip("/")


def _strictly(fs: fsspec.AbstractFileSystem) -> dict[str, str]:
    """By default, folders that cannot be read are empty to those who walk."""
    return {"on_error": "raise"} if foreign.lists_by_walking(fs) else {}


def _home(url: str) -> str:
    """A name for a URL that can be read, and that no other URL has."""
    readable = re.sub(r"\W+", "-", url)[:60].strip("-")
    return f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def _stat(path: pathlib.Path) -> Local | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _chunks(names: Sequence[str], title: str) -> Iterator[list[str]]:
    """Files to copy in one call each, with a progress bar if it takes long."""
    if not names:
        return
    with Progress(len(names), 0, title, "file", delay=BAR_DELAY) as bar:
        for start in range(0, len(names), FILES_A_CALL):
            chunk = list(names[start : start + FILES_A_CALL])
            yield chunk
            bar.update(len(chunk))
