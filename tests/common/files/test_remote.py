import contextlib
import json
import os
import pathlib
import shutil

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from dreamerv2_transfer.common import errors
from dreamerv2_transfer.common.files import cache, mirror, remote

URL = "recorded://bucket/logdir/run"
INDEX, STATE = "checkpoints/ckpt-3.index", "checkpoints/checkpoint"
DATA = "checkpoints/ckpt-3.data-00000-of-00001"


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


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fsspec.register_implementation("recorded", Recorded, clobber=True)
    for kept in (Recorded.store, Recorded.calls, Recorded.failing):
        kept.clear()
    return fsspec.filesystem("recorded")


@pytest.fixture
def another_machine(monkeypatch, tmp_path):
    return lambda name="other": monkeypatch.setenv(
        "XDG_CACHE_HOME", str(tmp_path / name)
    )


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


# Paths.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/run", True),
        ("memory://x", True),
        ("file:///x", True),
        ("abfs+x://c@a/x", True),
        ("/home/run", False),
        ("run", False),
        ("C://run", False),
        ("~/a:b", False),
    ],
)
def test_a_url_is_told_from_a_path(path, expected):
    assert remote.is_remote(path) is expected


def test_a_stage_is_in_the_cache_and_called_as_the_folder(tmp_path):
    one, two = remote.stage("memory://a/b-c/run"), remote.stage("memory://a-b/c/run/")
    assert one.name == two.name == "run"
    assert one != two
    assert one == remote.stage("memory://a/b-c/run/")
    assert one.is_relative_to(tmp_path / "cache" / "dreamerv2_transfer" / "remote")
    assert "memory-a-b-c-run" in one.parent.name


def test_the_cache_is_the_home_folders_where_nothing_else_is_said(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert str(cache.folder()) == "/home/ada/.cache/dreamerv2_transfer"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://bucket/run", "nosuch"),
        ("memory://", "names no folder"),
        ("missing://bucket/run", "Install the package nowhere"),
    ],
)
def test_a_url_that_cannot_be_used_is_named(monkeypatch, url, message):
    told = {"class": "no_such_module.Fs", "err": "Install the package nowhere"}
    monkeypatch.setitem(known_implementations, "missing", told)
    with pytest.raises(errors.UserError, match=message) as error:
        remote.fetched(url)
    assert url.rstrip("/") in str(error.value)


def test_a_missing_package_of_ours_is_named(monkeypatch):
    told = {"class": "no_such_module.Fs", "err": "Install s3fs"}
    monkeypatch.setitem(known_implementations, "s3a", told)
    with pytest.raises(
        errors.UserError, match=r"pip install 'dreamerv2_transfer\[s3\]"
    ):
        remote.fetched("s3a://bucket/run")


# Reading.


def test_a_path_is_expanded_and_untouched(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert str(remote.fetched("~/run")) == "/home/ada/run"


def test_what_is_new_or_changed_is_copied_once(store):
    put(store, **{"a": "1", "b/c": "2"})
    folder = remote.fetched(URL)
    assert read(folder) == {"a": "1", "b/c": "2"}
    assert store.done("get") == ["a", "b/c"]
    remote.fetched(URL)
    assert store.done("get") == []
    put(store, a="3", d="4")  # Of the same size.
    assert read(remote.fetched(URL)) == {"a": "3", "b/c": "2", "d": "4"}
    assert store.done("get") == ["a", "d"]


def test_a_folder_is_listed_once(store):
    put(store, **{str(i): "x" for i in range(50)})
    remote.fetched(URL)
    assert store.done("find") == [""]


def test_what_vanished_is_removed_and_what_is_local_stays(store):
    put(store, a="1", b="2")
    folder = remote.fetched(URL)
    write(folder, mine="3")
    store.rm_file("/bucket/logdir/run/b")
    assert read(remote.fetched(URL)) == {"a": "1", "mine": "3"}


def test_what_is_missing_or_spoiled_here_is_copied_again(store):
    put(store, a="1", b="2")
    folder = remote.fetched(URL)
    (folder / "a").unlink()
    write(folder, b="spoiled")
    assert read(remote.fetched(URL)) == {"a": "1", "b": "2"}
    (folder.parent / "note.json").write_text("{")
    assert read(remote.fetched(URL)) == {"a": "1", "b": "2"}


def test_patterns_choose_files(store):
    put(store, **{"x.weights.h5": "1", "config.yaml": "2", "d/e.npz": "3"})
    folder = remote.fetched(URL, *remote.WEIGHTS)
    assert read(folder) == {"x.weights.h5": "1", "config.yaml": "2"}


def test_the_url_of_a_file_is_that_file(store):
    put(store, **{"metrics.jsonl": "1", "other": "2"})
    path = remote.fetched(f"{URL}/metrics.jsonl")
    assert path.read_text() == "1"
    assert path == remote.stage(URL) / "metrics.jsonl"
    assert store.done("get") == ["metrics.jsonl"]


def test_nothing_at_a_url_is_named():
    with pytest.raises(remote.RemoteError, match=f"nothing at {URL}"):
        remote.fetched(URL)


def test_errors_of_the_network_name_the_url_and_what_happened(store):
    put(store, a="1")
    store.failing.add("")
    with pytest.raises(errors.UserError, match=f"{URL}.*ConnectionError: no network"):
        remote.fetched(URL)


def test_a_copy_that_was_cut_short_goes_on(store, monkeypatch):
    monkeypatch.setattr(mirror, "FILES_A_CALL", 1)
    put(store, a="1", b="2", c="3")
    store.failing.add("c")
    with pytest.raises(remote.RemoteError):
        remote.fetched(URL)
    store.failing.clear()
    store.calls.clear()
    assert read(remote.fetched(URL)) == {"a": "1", "b": "2", "c": "3"}
    assert store.done("get") == ["c"]


@pytest.mark.parametrize("name", ["../outside", "a/../../b"])
def test_no_name_leads_out_of_the_stage(store, name):
    path = f"/bucket/logdir/run/{name}"
    store.pipe_file("/bucket/logdir/run/a", b"")
    store.store[path] = store.store.pop("/bucket/logdir/run/a")
    with pytest.raises(remote.RemoteError, match="no path in a folder"):
        remote.fetched(URL)


def test_locks_caches_and_leftovers_do_not_travel(store):
    names = ["run/.lock", "packed/x/a.npy", "x/.packed/a", ".a.12.tmp"]
    put(store, a="1", **{name: "no" for name in names})
    assert read(remote.fetched(URL)) == {"a": "1"}
    with remote.opened(URL) as folder:
        write(folder.path, b="2", **{name: "no" for name in ["c/.lock", "packed/d"]})
    assert {"a": "1", "b": "2"}.items() <= there(store).items()
    assert not {"c/.lock", "packed/d"} & {*there(store)}


# Writing.


def test_a_plain_folder_is_itself(tmp_path):
    with remote.opened(tmp_path / "run") as folder:
        assert folder.path == tmp_path / "run"
        folder.push()


def test_what_is_new_changed_or_gone_here_is_so_in_the_store(store):
    with remote.opened(URL) as folder:
        write(folder.path, **{"a": "1", "b": "2", "d/c": "3"})
        folder.push()
        assert there(store) == {"a": "1", "b": "2", "d/c": "3"}
        store.calls.clear()
        with open(folder.path / "a", "a") as file:
            file.write("+")
        (folder.path / "b").unlink()
        folder.push()
        assert store.calls[1:3] == [("put", "a"), ("rm", "b")]
        store.calls.clear()
        folder.push()
        assert store.calls == []
        write(folder.path, e="4")
    assert there(store) == {"a": "1+", "d/c": "3", "e": "4"}


def test_only_what_came_from_here_or_was_seen_is_removed_there(store):
    with remote.opened(URL) as folder:
        put(store, stranger="1")
        write(folder.path, a="2")
    assert there(store) == {"stranger": "1", "a": "2"}


def test_a_checkpoint_counts_as_there_after_all_else(store):
    with remote.opened(URL) as folder:
        write(folder.path, **{INDEX: "", STATE: "", DATA: "", "metrics.jsonl": ""})
        write(folder.path, old="")
        folder.push()
        order = [DATA, "metrics.jsonl", "old", STATE, INDEX]
        assert store.done("put") == order
        write(folder.path, **{INDEX: "1", "world_model.weights.h5": "1"})
        (folder.path / "old").unlink()
        folder.push()
        changes = store.done("put", "rm")
        assert changes == ["world_model.weights.h5", INDEX, "old"]


def test_what_is_uploaded_is_not_fetched_again(store):
    with remote.opened(URL) as folder:
        write(folder.path, a="1")
    remote.fetched(URL)
    with remote.opened(URL):
        pass
    assert store.done("get") == []


def test_a_killed_upload_is_completed_from_the_same_stage(store, monkeypatch):
    monkeypatch.setattr(mirror, "FILES_A_CALL", 1)
    with killed() as folder:
        write(folder.path, **{"metrics.jsonl": "1", DATA: "1", INDEX: "1"})
        folder.push()
        write(folder.path, **{"metrics.jsonl": "12", DATA: "2", INDEX: "2"})
        store.failing.add("metrics.jsonl")
        folder.push()
    assert there(store) == {"metrics.jsonl": "1", DATA: "2", INDEX: "1"}
    store.failing.clear()
    store.calls.clear()
    with remote.opened(URL) as folder:
        assert store.done("get") == []
        assert read(folder.path) == {"metrics.jsonl": "12", DATA: "2", INDEX: "2"}
    assert there(store) == {"metrics.jsonl": "12", DATA: "2", INDEX: "2"}


def test_of_another_machines_work_only_what_changed_is_fetched(store, another_machine):
    with remote.opened(URL) as folder:
        write(folder.path, a="1", b="2")
    another_machine()
    with remote.opened(URL) as folder:
        write(folder.path, b="3")
    another_machine("cache")
    store.calls.clear()
    with remote.opened(URL) as folder:
        assert read(folder.path) == {"a": "1", "b": "3"}
    assert store.done("get") == ["b"]


def test_what_was_removed_while_the_network_was_away_stays_so(store):
    with killed() as folder:
        write(folder.path, a="1", b="2")
        folder.push()
        (folder.path / "a").unlink()
        store.failing.add("")
        folder.push()
        store.failing.clear()
    with remote.opened(URL) as folder:
        assert read(folder.path) == {"b": "2"}
    assert there(store) == {"b": "2"}


def test_another_machine_goes_on_from_what_the_store_has(store, another_machine):
    with killed() as folder:
        write(folder.path, **{"metrics.jsonl": "1", INDEX: "1"})
        folder.push()
        write(folder.path, **{"metrics.jsonl": "12", "checkpoints/ckpt-6.index": "2"})
        store.failing.add("ckpt-6.index")
        folder.push()
        store.failing.clear()
    first = folder.path
    another_machine()
    with remote.opened(URL) as folder:
        assert read(folder.path) == {"metrics.jsonl": "12", INDEX: "1"}
        write(folder.path, **{"metrics.jsonl": "1x"})
        (folder.path / INDEX).unlink()
    another_machine("cache")  # Back to the first, whose work another one took up.
    with remote.opened(URL) as folder:
        assert folder.path == first
        assert read(folder.path) == {"metrics.jsonl": "1x"}
    assert there(store) == {"metrics.jsonl": "1x"}


def test_a_cleaned_cache_does_not_empty_the_store(store):
    with remote.opened(URL) as folder:
        write(folder.path, a="1", b="2")
    (folder.path / "a").unlink()
    with remote.opened(URL) as folder:
        assert read(folder.path) == {"a": "1", "b": "2"}
    shutil.rmtree(folder.path.parent)
    with remote.opened(URL) as folder:
        assert read(folder.path) == {"a": "1", "b": "2"}
    assert there(store) == {"a": "1", "b": "2"}


def test_an_emptied_store_empties_no_stage(store):
    with remote.opened(URL) as folder:
        write(folder.path, a="1")
    store.store.clear()
    emptied = pytest.raises(remote.RemoteError, match="remove .*-run-")
    with emptied, remote.opened(URL):
        pass
    assert read(folder.path) == {"a": "1"}
    shutil.rmtree(folder.path.parent)
    with remote.opened(URL) as folder:
        assert read(folder.path) == {}


def test_files_that_others_put_beside_ours_are_seen(store):
    with remote.opened(URL) as folder:
        write(folder.path, a="1", b="2")
    put(store, a="3", by_hand="4")
    assert read(remote.fetched(URL)) == {"a": "3", "b": "2", "by_hand": "4"}


def test_reading_does_not_spoil_what_waits_for_its_upload(store):
    with killed() as folder:
        write(folder.path, a="1")
        folder.push()
        write(folder.path, a="12")
    put(store, a="13")  # As by an upload of which no note was taken.
    assert read(remote.fetched(URL)) == {"a": "12"}


def test_another_writer_is_noticed_and_nothing_is_uploaded(store, another_machine):
    noticed = pytest.raises(remote.WriterError, match="Another process writes to")
    with noticed, remote.opened(URL) as folder:
        write(folder.path, a="1")
        folder.push()
        another_machine()
        with remote.opened(URL) as theirs:
            write(theirs.path, a="theirs")
        write(folder.path, a="mine", b="mine")
        folder.push()
    assert there(store) == {"a": "theirs"}


def test_one_process_of_a_machine_writes_and_others_read_along(store, capsys):
    with remote.opened(URL) as folder:
        refused = pytest.raises(remote.WriterError, match="of this machine")
        with refused, remote.opened(URL):
            pass
        put(store, a="1")
        write(folder.path, a="12")
        assert remote.fetched(URL) == folder.path
        assert read(folder.path) == {"a": "12"}
    assert "being written from here" in capsys.readouterr().out


def test_a_lost_network_ends_no_run(store, capsys):
    with remote.opened(URL) as folder:
        write(folder.path, a="1")
        store.failing.add("")
        folder.push()
        assert there(store) == {}
        store.failing.clear()
        write(folder.path, b="2")
        folder.push()
        assert there(store) == {"a": "1", "b": "2"}
    out = capsys.readouterr().out
    assert out.count("Not uploaded yet") == 1 and "no network" in out


def test_what_cannot_be_uploaded_in_the_end_is_said_and_kept(store):
    told = pytest.raises(remote.RemoteError, match="the same command")
    with told as error, remote.opened(URL) as folder:
        write(folder.path, a="1")
        store.failing.add("")
    assert str(folder.path) in str(error.value)
    store.failing.clear()
    with remote.opened(URL) as folder:
        assert read(folder.path) == {"a": "1"}
    assert there(store) == {"a": "1"}


def test_a_run_that_fails_is_uploaded_and_fails_as_it_did(store):
    with pytest.raises(KeyError), remote.opened(URL) as folder:
        write(folder.path, a="1")
        raise KeyError("x")
    assert there(store) == {"a": "1"}


def test_a_refused_folder_leaves_the_store_as_it_is(store):
    def refuse(path):
        raise errors.UserError("no")

    put(store, a="1")
    with pytest.raises(errors.UserError, match="no"), remote.opened(URL, refuse):
        pass
    assert list(store.store) == ["/bucket/logdir/run/a"]


def test_the_store_tells_who_writes(store):
    with remote.opened(URL):
        pass
    told = json.loads(store.cat_file(f"/bucket/logdir/run/{mirror.WRITER}"))
    assert told["process"] == os.getpid() and told["host"]


def test_a_follower_has_a_copy_of_its_own(store):
    with remote.opened(URL) as folder:
        assert read(remote.followed(URL, "worker1")) == {}
        write(folder.path, **{INDEX: "1", "dataset/a.npz": "2", "config.yaml": "3"})
        folder.push()
        path = remote.followed(URL, "worker1")
        assert path != folder.path
        assert read(path) == {INDEX: "1", "config.yaml": "3"}


def test_folders_of_a_disk_are_stores_too(tmp_path):
    url = (tmp_path / "store" / "run").as_uri()
    with remote.opened(url) as folder:
        write(folder.path, **{"a": "1", "b/c": "2"})
    assert {"a": "1", "b/c": "2"}.items() <= read(tmp_path / "store" / "run").items()
    shutil.rmtree(folder.path.parent)
    assert read(remote.fetched(url)) == {"a": "1", "b/c": "2"}


def cut_short(source, target):
    pathlib.Path(target).write_text("")
    raise OSError("cut short")


def test_a_disk_has_no_half_of_a_file_after_a_kill(tmp_path, monkeypatch):
    url = (tmp_path / "store").as_uri()
    with killed(url) as folder:
        write(folder.path, a="1")
        folder.push()
        write(folder.path, a="12")
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfile", cut_short)
            folder.push()
    assert (tmp_path / "store" / "a").read_text() == "1"
