"""A store in memory for tests of URLs, which records what is done to it."""

import contextlib

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from dreamerv2_transfer.common.files import mirror, remote

URL = "recorded://bucket/logdir/run"


class Recorded(MemoryFileSystem):
    """A store in memory that tells what is done to it, and fails when it is told to."""

    protocol = "recorded"
    store: dict = {}
    pseudo_dirs = [""]
    calls: list = []
    failing: set = set()  # Ends of names; '' is everything.

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("recorded://", "memory://"))

    def record(self, call, path):
        name = self._strip_protocol(path).removeprefix("/bucket/logdir/run").lstrip("/")
        if any(name.endswith(end) for end in self.failing):
            raise ConnectionError("no network")
        self.calls.append((call, name))

    def get_file(self, rpath, lpath, **kwargs):
        self.record("get", rpath)
        super().get_file(rpath, lpath, **kwargs)

    def put_file(self, lpath, rpath, **kwargs):
        self.record("put", rpath)
        super().put_file(lpath, rpath, **kwargs)

    def rm_file(self, path):
        self.record("rm", path)
        super().rm_file(path)

    def find(self, path, *args, **kwargs):
        self.record("find", path)
        return super().find(path, *args, **kwargs)

    def cat_file(self, path, *args, **kwargs):
        self.record("cat", path)
        return super().cat_file(path, *args, **kwargs)

    def done(self, *kinds):
        """Names of what was copied or removed since the last question."""
        names = [name for call, name in self.calls if call in kinds]
        self.calls.clear()
        return names


def empty():
    """The store, with nothing in it and nothing recorded."""
    fsspec.register_implementation("recorded", Recorded, clobber=True)
    for kept in (Recorded.store, Recorded.calls, Recorded.failing):
        kept.clear()
    return fsspec.filesystem("recorded")


def put(store, **files):
    for name, text in files.items():
        store.pipe_file(f"/bucket/logdir/run/{name}", text.encode())
    store.calls.clear()


def there(store):
    """Names and contents in the store."""
    paths = {k: v for k, v in store.store.items() if not k.endswith(mirror.WRITER)}
    root = "/bucket/logdir/run/"
    return {k.removeprefix(root): v.getvalue().decode() for k, v in paths.items()}


def write(folder, **files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


@contextlib.contextmanager
def killed(url=URL):
    """Opens a folder and ends as a killed process does: without a last word."""
    manager = remote.opened(url)
    folder = manager.__enter__()
    yield folder
    assert not manager.__exit__(remote.WriterError, remote.WriterError(), None)
