import contextlib
import json
import shutil
import threading

import numpy as np
import pytest

from dreamerv2_transfer.common.files import cache, remote
from dreamerv2_transfer.common.replay import (
    array_file,
    layout,
    packed,
    store,
    streamed,
    streamed_array,
)
from dreamerv2_transfer.common.replay.store import DatasetError
from tests import fakes, stores
from tests.replays import dataset, on_disk, same
from tests.stores import URL, put

TASKS = ["short", "long"]


@pytest.fixture(autouse=True)
def at(monkeypatch, tmp_path):
    """The store, which holds the episodes of two games and their indices."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "writer"))
    monkeypatch.setattr(array_file, "BLOCK", 512)  # 4 steps of images.
    monkeypatch.setattr(streamed_array, "PART_BYTES", 2048)
    monkeypatch.setattr(streamed_array, "RANGE_BYTES", 1024)
    monkeypatch.setattr(streamed, "WAITS", (0, 0))
    at = stores.empty()
    on_disk(tmp_path / "data", 0)
    with remote.opened(URL) as folder:
        shutil.rmtree(tmp_path / "data" / "0")  # An index for the cache.
        shutil.copytree(tmp_path / "data", folder.path, dirs_exist_ok=True)
        for task in TASKS:
            store.write_manifest(folder.path / task, manifest(task))
    write_index()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "reader"))
    at.calls.clear()
    return at


@pytest.fixture
def alone(monkeypatch):
    """Nothing is copied but what is asked for."""
    monkeypatch.setattr(streamed, "_complete", lambda arrays: None)
    monkeypatch.setattr(streamed_array.Streamed, "_ask", lambda self, blocks: None)


@pytest.fixture
def local(tmp_path):
    return packed.open_dataset(tmp_path / "data", TASKS)


def manifest(task, **extra):
    spaces = layout.describe(fakes.episode(3, 0))
    more = {key: {"shape": shape, "dtype": "float32"} for key, shape in extra.items()}
    return {"task": task, "spaces": spaces | more}


def write_index():
    folder = remote.local_folder(URL)
    for task in TASKS:
        packed.write_index(folder / task)
        streamed.upload(URL, task)


def open_url(**kwargs):
    return streamed.open_dataset(URL, TASKS, **kwargs)


def objects(at, end):
    return sorted(name for name in at.store if name.endswith(end))


def ranges(at):
    """How many ranges of arrays were read since the last question."""
    return len([name for name in at.done("cat") if ".npy.0" in name])


def equal(one, two):
    return all(
        same(one[task].episode(i), two[task].episode(i))
        for task in TASKS
        for i in range(len(two[task]))
    )


@pytest.mark.parametrize("memory", [0, 2**20])
def test_batches_and_states_are_those_of_local_episodes(local, memory):
    ours, theirs = dataset(open_url(memory=memory)), dataset(local)
    for _ in range(3):
        assert same(ours.next(), theirs.next())
    other = dataset(local)
    other.load_state(ours.state())
    assert same(other.next(), ours.next())
    other = dataset(open_url(memory=memory))
    other.load_state(theirs.state())
    assert same(other.next(), theirs.next())


def test_a_batch_reads_its_blocks_alone(at, alone, local):
    opened, theirs = dataset(open_url()), dataset(local)
    assert at.done("get") == [] and ranges(at) == 0
    assert same(opened.next(), theirs.next())
    assert 0 < ranges(at) < len(objects(at, ".npz")) * 4


def part(at, number):
    (name,) = [x for x in objects(at, f"key-image.npy.{number:05}") if "/long/" in x]
    return name.removeprefix("/bucket/logdir/run/")


def test_the_rest_is_copied_meanwhile(at, local, monkeypatch):
    done = threading.Event()
    complete = streamed._complete

    def completing(arrays):
        complete(arrays)
        if "long" in str(arrays[0]._path):
            done.set()

    monkeypatch.setattr(streamed, "_complete", completing)
    opened = open_url()
    assert done.wait(10)
    at.failing.add("")
    assert all(
        np.array_equal(array[:], local["long"].arrays[key][:])
        for key, array in opened["long"].arrays.items()
    )


def test_a_disk_is_not_filled_by_what_is_not_needed_yet(at, monkeypatch, capsys):
    usage = shutil.disk_usage(".")
    free = usage._replace(free=streamed.KEPT_FREE)
    monkeypatch.setattr(streamed.shutil, "disk_usage", lambda path: free)
    monkeypatch.setattr(streamed, "_complete", lambda arrays: pytest.fail("copied"))
    assert len(open_url()["long"].arrays["image"].take(np.arange(3))) == 3
    assert "only that, as the disk lacks room for all" in capsys.readouterr().out


def test_a_killed_process_leaves_nothing_that_lies(at, alone, local):
    opened = open_url()["long"].arrays["image"]
    opened.take(np.arange(0, 24))
    (file,) = cache.folder().rglob("long/*/key-image.npy")
    content = bytearray(file.read_bytes())
    size = len(content) - local["long"].arrays["image"].nbytes
    content[size + 9 : size + 12] = b"?!?"  # Of the first block, of which half came.
    file.write_bytes(content)
    at.calls.clear()
    again = open_url()["long"].arrays["image"]
    assert np.array_equal(again.take(np.arange(24)), opened.take(np.arange(24)))
    assert ranges(at) == 1


@pytest.mark.parametrize("kind", ["changed", "shorter", "gone"])
def test_a_damaged_object_is_named_and_survived(at, alone, local, kind, capsys):
    opened = open_url()
    name = f"/bucket/logdir/run/{part(at, 1)}"
    content = at.store[name].getvalue()
    if kind == "gone":
        at.rm_file(name)
    else:
        changed = content[::-1] if kind == "changed" else content[:-1]
        at.pipe_file(name, changed)
    assert equal(opened, local)
    printed = capsys.readouterr().out
    assert printed.count("Warning: ") == 1 and "key-image.npy.00001" in printed
    assert f"The episodes of {URL}/long are fetched instead" in printed
    assert len(at.done("get")) == 6  # Episodes and manifest of this game, once.


def test_no_damage_is_survived_where_the_episodes_are_others(at, alone):
    opened = open_url()
    for name in objects(at, "key-image.npy.00000"):
        at.rm_file(name)
    at.rm_file([x for x in objects(at, ".npz") if "/long/" in x][0])
    with pytest.raises(DatasetError, match="others than it was made of. Restore them"):
        opened["long"].episode(0)


def test_a_network_that_fails_for_a_while_is_survived(at, alone, monkeypatch, local):
    opened, failed = open_url(), []

    def cat_file(path, *args, cat=at.cat_file, **kwargs):
        if len(failed) < 2:
            failed.append(path)
            raise ConnectionError("no network")
        return cat(path, *args, **kwargs)

    monkeypatch.setattr(at, "cat_file", cat_file)
    assert same(opened["long"].episode(0), local["long"].episode(0))
    assert len(failed) == 2 and at.done("get") == []


def test_the_manifest_is_read_and_has_to_fit(at, local, capsys):
    opened = open_url()["long"]
    told = layout.listed(store.read_manifest(opened.source))
    assert told == layout.describe(local["long"].episode(0)) and at.done("get") == []
    put(at, **{"long/manifest.json": json.dumps(manifest("long", vector=[3]))})
    with pytest.raises(DatasetError, match="vector is missing"):
        open_url()
    assert "an older version or manifest" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["index.json", "offsets.npy", "digests.npy"])
def test_an_index_that_cannot_be_used_is_named(at, name, local, capsys):
    (place,) = [x for x in objects(at, name) if "/long/" in x]
    at.pipe_file(place, at.store[place].getvalue()[:-9])
    assert equal(open_url(), local)
    assert "long/.packed/" in capsys.readouterr().out
    assert len(at.done("get")) > 10


def test_the_index_of_other_episodes_is_not_used(at, tmp_path):
    store.save_episode(tmp_path, fakes.episode(7, 90))
    (new,) = tmp_path.glob("*.npz")
    at.put_file(str(new), f"/bucket/logdir/run/long/{new.name}")
    assert open_url()["long"].steps == 307
    assert not list(cache.folder().rglob(".ranges"))


def test_episodes_that_are_here_are_not_read_by_ranges(at):
    remote.fetched(URL)
    at.calls.clear()
    open_url()
    assert ranges(at) == 0 and not list(cache.folder().rglob(".ranges"))


def test_an_index_replaces_that_of_other_episodes(at, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "writer"))
    before = objects(at, "index.json")
    with remote.opened(URL) as folder:
        store.save_episode(folder.path / "long", fakes.episode(7, 90))
    with pytest.raises(DatasetError, match="have no packed index there. Wait until"):
        streamed.upload(URL, "long")
    write_index()
    after = objects(at, "index.json")
    assert len(before) == len(after) == 2 and len({*before, *after}) == 3


def test_states_of_other_episodes_leave_the_cache(at, alone, monkeypatch, tmp_path):
    open_url()
    test_an_index_replaces_that_of_other_episodes(at, monkeypatch, tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "reader"))
    assert open_url()["long"].steps == 307
    assert len([*cache.folder().rglob(".ranges/long/*/index.json")]) == 1


def test_a_slow_fetch_says_how_not_to_wait(at, monkeypatch, capsys):
    monkeypatch.setattr(streamed, "HINT_AFTER", -1.0)
    for name in objects(at, "index.json"):
        at.rm_file(name)
    with contextlib.suppress(DatasetError):
        open_url()
    assert f"dataset.py index {URL} lets training start before" in (
        capsys.readouterr().out
    )
