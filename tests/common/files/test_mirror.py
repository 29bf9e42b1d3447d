import json
import os
import pathlib
import shutil

import pytest
from fsspec.registry import known_implementations

from dreamerv2_transfer.common import errors
from dreamerv2_transfer.common.files import mirror, remote
from tests.stores import URL, killed, put, read, there, write

INDEX, STATE = "checkpoints/ckpt-3.index", "checkpoints/checkpoint"
DATA = "checkpoints/ckpt-3.data-00000-of-00001"


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
def test_no_name_leads_out_of_the_mirror(store, name):
    path = f"/bucket/logdir/run/{name}"
    store.pipe_file("/bucket/logdir/run/a", b"")
    store.store[path] = store.store.pop("/bucket/logdir/run/a")
    with pytest.raises(remote.RemoteError, match="not a path in a folder"):
        remote.fetched(URL)


def test_locks_caches_and_leftovers_do_not_travel(store):
    names = ["run/.lock", "packed/x/a.npy", "x/.packed/a", ".a.12.tmp"]
    put(store, a="1", **{name: "no" for name in names})
    assert read(remote.fetched(URL)) == {"a": "1"}
    with remote.opened(URL) as folder:
        write(folder.path, b="2", **{name: "no" for name in ["c/.lock", "packed/d"]})
    assert {"a": "1", "b": "2"}.items() <= there(store).items()
    assert not {"c/.lock", "packed/d"} & {*there(store)}


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


def test_a_killed_upload_is_completed_from_the_same_mirror(store, monkeypatch):
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


def test_an_emptied_store_empties_no_mirror(store):
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


def test_the_store_tells_who_writes(store):
    with remote.opened(URL):
        pass
    told = json.loads(store.cat_file(f"/bucket/logdir/run/{mirror.WRITER}"))
    assert told["process"] == os.getpid() and told["host"]


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


def test_sizes_are_those_of_all_files_below_a_folder(store):
    put(store, **{"a/x.npz": "123", "a/.packed/i": "4", "ab/y": "5", "z": "6"})
    assert mirror.Mirror(URL).sizes("a") == {"x.npz": 3, ".packed/i": 1}
    assert mirror.Mirror(URL).sizes("nothing") == {}
