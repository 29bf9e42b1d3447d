import errno
import json
import os
import pathlib
import tracemalloc

import numpy as np
import pytest

from dreamerv2_transfer.common.envs import minatar
from dreamerv2_transfer.common.replay import array_file, layout, packed, shards, store
from tests import fakes, names
from tests.replays import same

MIB = 2**20


def fill(folder, episodes):
    folder.mkdir(parents=True, exist_ok=True)
    return [store.save_episode(folder, episode) for episode in episodes]


def some(count=5, **kwargs):
    return [fakes.episode(3 + i, i, **kwargs) for i in range(count)]


def contents(opened):
    return [opened.episode(i) for i in range(len(opened))]


@pytest.mark.parametrize("name", names.ODD)
def test_any_name_of_a_folder_works(tmp_path, name):
    folder, cache = tmp_path / name / "one", tmp_path / name / "cache"
    folder.mkdir(parents=True)
    store.save_episode(folder, fakes.episode(5, 1))
    store.write_manifest(folder, {"task": "one"})
    for _ in range(2):  # The second time from the index of the first.
        opened = packed.open_dataset(
            tmp_path / name, ["one"], cache=cache, memory=2**20
        )
        assert len(opened["one"]) == 1
    assert store.count_episodes(folder) == (1, 5)


def test_episodes_come_out_as_they_went_in(tmp_path):
    fill(tmp_path, some())
    opened = packed.open_task(tmp_path)
    assert (len(opened), opened.steps) == (5, 3 + 4 + 5 + 6 + 7)
    for episode in contents(opened):
        number = int(episode["reward"][0]) // 1000
        assert same(episode, fakes.episode(3 + number, number))


def test_order_depends_on_content_alone(tmp_path):
    fill(tmp_path / "a", some(8))
    fill(tmp_path / "b", some(8)[::-1])
    one, other = packed.open_task(tmp_path / "a"), packed.open_task(tmp_path / "b")
    assert one.fingerprint == other.fingerprint
    pairs = zip(contents(one), contents(other), strict=True)
    assert all(same(a, b) for a, b in pairs)
    fill(tmp_path / "b", [fakes.episode(4, 50)])
    assert packed.open_task(tmp_path / "b").fingerprint != one.fingerprint


def test_index_is_used_without_reading_the_episodes(tmp_path, monkeypatch):
    fill(tmp_path / "a", some())
    before = packed.open_task(tmp_path / "a", cache=tmp_path / "cache")
    monkeypatch.setattr(shards, "parts", None)
    after = packed.open_task(tmp_path / "a", cache=tmp_path / "cache")
    pairs = zip(contents(before), contents(after), strict=True)
    assert all(same(a, b) for a, b in pairs)
    assert after.fingerprint == before.fingerprint
    assert not (tmp_path / "a" / ".packed").exists()


def test_index_beside_the_episodes_is_used(tmp_path, monkeypatch):
    fill(tmp_path, some())
    packed.write_index(tmp_path)
    monkeypatch.setattr(shards, "parts", None)
    assert len(packed.open_task(tmp_path)) == 5


def test_index_of_another_state_of_the_folder_is_rebuilt(tmp_path):
    paths = fill(tmp_path, some())
    packed.write_index(tmp_path)
    fill(tmp_path, [fakes.episode(4, 9)])
    assert len(packed.write_index(tmp_path)) == 6
    paths[0].unlink()
    assert len(packed.write_index(tmp_path)) == 5
    os.utime(paths[1], (0, 0))
    paths[1].write_bytes(b"x" * paths[1].stat().st_size)
    assert len(packed.write_index(tmp_path)) == 4
    assert len(list((tmp_path / ".packed").iterdir())) == 1


def test_damaged_index_is_rebuilt(tmp_path, capsys):
    fill(tmp_path, some())
    packed.write_index(tmp_path)
    (folder,) = (tmp_path / ".packed").iterdir()
    for name in ("index.json", "offsets.npy", "key-image.npy", "key-action.npy"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        assert len(packed.write_index(tmp_path)) == 5
        assert "is damaged" in capsys.readouterr().out
        assert (folder / name).read_bytes() == content


def test_dataset_that_cannot_be_written_to_opens(tmp_path, capsys):
    fill(tmp_path / "a", some())
    (tmp_path / "file").write_text("")
    assert len(packed.open_task(tmp_path / "a", cache=tmp_path / "file" / "x")) == 5
    assert "no packed index" in capsys.readouterr().out


def test_damaged_files_are_named_skipped_and_counted(tmp_path, capsys):
    paths = fill(tmp_path / "a", some())
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    paths[3].write_bytes(b"garbage")
    for _ in range(2):  # Read, then from the index.
        opened = packed.open_task(tmp_path / "a", tmp_path / "cache")
        assert sorted(opened.damaged) == sorted([paths[1].name, paths[3].name])
        assert len(opened) == 3
        said = capsys.readouterr().out
        assert "2 damaged" in said
        assert paths[1].name in said


def test_many_files_are_read_by_several_processes(tmp_path, monkeypatch):
    fill(tmp_path, some(9))
    alone = packed.open_task(tmp_path)
    monkeypatch.setattr(packed, "PARALLEL_FROM", 1)
    monkeypatch.setattr(packed, "FILES_A_CHUNK", 4)
    together = packed.open_task(tmp_path)
    assert together.fingerprint == alone.fingerprint
    pairs = zip(contents(together), contents(alone), strict=True)
    assert all(same(a, b) for a, b in pairs)


def test_dataset_opens_its_tasks(tmp_path):
    fill(tmp_path / "one", some())
    fill(tmp_path / "two", some(3))
    opened = packed.open_dataset(tmp_path, ["two", "one"], cache=tmp_path / "cache")
    assert {task: len(x) for task, x in opened.items()} == {"two": 3, "one": 5}
    assert (tmp_path / "cache" / "two").is_dir()


@pytest.mark.parametrize("memory", [0, 2**20])
def test_planes_are_opened_as_the_model_expects_them(tmp_path, memory):
    fill(tmp_path / "one", some(2))
    expected = {"image": ((10, 10, 11), "bool")}
    given = dict(cache=tmp_path / "cache", memory=memory)
    planes = packed.open_dataset(tmp_path, ["one"], **given)["one"]
    seen = packed.open_dataset(tmp_path, ["one"], expected=expected, **given)["one"]
    image = minatar.collapsed(planes.episode(1)["image"])
    np.testing.assert_array_equal(seen.episode(1)["image"], image)
    expected = {"image": ((10, 10, 12), "bool")}
    with pytest.raises(packed.DatasetError, match="image is bool .10, 10, 10. in the"):
        packed.open_dataset(tmp_path, ["one"], expected=expected, **given)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(packed.DatasetError, match="nowhere is no folder"):
        packed.open_dataset(tmp_path / "nowhere", ["one"])
    with pytest.raises(packed.DatasetError, match="no task folder one.*there: none"):
        packed.open_dataset(tmp_path, ["one"])
    fill(tmp_path / "two", some())
    with pytest.raises(packed.DatasetError, match="no task folder one.*there: two"):
        packed.open_dataset(tmp_path, ["two", "one"])
    (tmp_path / "one").mkdir()
    with pytest.raises(packed.DatasetError, match="one holds no episode"):
        packed.open_dataset(tmp_path, ["one"])


def test_a_task_folder_given_as_dataset_gets_a_hint(tmp_path):
    fill(tmp_path, some())
    with pytest.raises(packed.DatasetError, match="into a folder one inside it"):
        packed.open_dataset(tmp_path, ["one"])


def test_no_readable_episode_is_an_error(tmp_path):
    paths = fill(tmp_path, some(2))
    for path in paths:
        path.write_bytes(b"garbage")
    with pytest.raises(packed.DatasetError, match="2 are damaged") as error:
        packed.open_task(tmp_path, cache=tmp_path / "cache")
    assert min(paths).name in str(error.value)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"image_shape": (10, 10, 4)},
            r"image is bool \(10, 10, 4\).*bool \(10, 10, 10\)",
        ),
        ({"dtype": np.uint8}, r"image is uint8 .*bool"),
        ({"actions": 18}, r"action is float32 \(18,\).*float32 \(6,\)"),
    ],
)
def test_tasks_that_do_not_fit_are_named(tmp_path, kwargs, message):
    fill(tmp_path / "one", some())
    fill(tmp_path / "two", some(**kwargs))
    with pytest.raises(packed.DatasetError, match=message) as error:
        packed.open_dataset(tmp_path, ["one", "two"])
    assert str(tmp_path / "one") in str(error.value)
    assert str(tmp_path / "two") in str(error.value)


@pytest.mark.parametrize("memory", [0, MIB])
def test_episodes_of_a_task_that_do_not_fit_are_named_and_skipped(
    tmp_path, capsys, memory
):
    (path,) = fill(tmp_path / "a", [fakes.episode(3, image_shape=(10, 10, 4))])
    fill(tmp_path / "a", some(2))
    opened = packed.open_task(tmp_path / "a", tmp_path / "cache", memory)
    assert (len(opened), opened.damaged) == (2, (path.name,))
    assert path.name in capsys.readouterr().out


def test_a_manifest_tells_what_episodes_must_hold(tmp_path, capsys):
    (path,) = fill(tmp_path, some(1))
    others = fill(tmp_path, some(3, image_shape=(10, 10, 4)))
    store.write_manifest(tmp_path, {"spaces": layout.describe(fakes.episode(3))})
    opened = packed.open_task(tmp_path)
    assert opened.damaged == tuple(sorted(x.name for x in others))
    assert len(opened) == 1
    store.write_manifest(tmp_path, {"spaces": {"image": {"shape": [10, 10, 10]}}})
    assert packed.open_task(tmp_path).damaged == (path.name,)


def test_actions_that_are_not_one_hot_are_skipped_without_a_manifest_too(tmp_path):
    episodes = some(3)
    episodes[1]["action"] = episodes[1]["action"].copy()
    episodes[1]["action"][2] = 1
    paths = fill(tmp_path, episodes)
    opened = packed.open_task(tmp_path)
    assert opened.damaged == (paths[1].name,)
    assert opened.fields["action"].coding == "onehot"


@pytest.mark.parametrize("told", [{}, {"spaces": layout.describe(fakes.episode(3))}])
def test_an_index_that_was_built_without_the_law_is_rebuilt(tmp_path, capsys, told):
    twice = fakes.episode(4, 7)
    twice["action"] = twice["action"].copy()
    twice["action"][2] = 1
    *_, path = fill(tmp_path, [*some(), twice])
    store.write_manifest(tmp_path, told)
    packed.write_index(tmp_path)
    (folder,) = (tmp_path / ".packed").iterdir()
    header = json.loads((folder / "index.json").read_text())
    earlier = {"fields": header["fields"], "damaged": []}
    (folder / "index.json").write_text(json.dumps(earlier))
    capsys.readouterr()
    assert packed.write_index(tmp_path).damaged == (path.name,)
    assert "its index is older" in capsys.readouterr().out
    assert packed.write_index(tmp_path).damaged == (path.name,)
    assert "its index is older" not in capsys.readouterr().out


def test_an_index_that_another_manifest_told_is_rebuilt(tmp_path):
    fill(tmp_path, some(image_shape=(10, 10, 4)))
    paths = fill(tmp_path, some(2))
    assert len(packed.write_index(tmp_path)) == 5
    store.write_manifest(tmp_path, {"spaces": layout.describe(fakes.episode(3))})
    assert len(packed.write_index(tmp_path)) == len(paths) == 2


def test_other_shapes_than_expected_are_named(tmp_path):
    fill(tmp_path / "one", some())
    expected = packed.kinds(packed.open_task(tmp_path / "one"))
    packed.open_dataset(tmp_path, ["one"], expected=expected)
    expected["action"] = ((18,), "float32")
    with pytest.raises(packed.DatasetError, match=r"action .*\(6,\).*\(18,\)"):
        packed.open_dataset(tmp_path, ["one"], expected=expected)


def test_dataset_is_only_read(tmp_path):
    fill(tmp_path / "data" / "one", some())
    before = sorted(pathlib.Path(tmp_path / "data").rglob("*"))
    packed.open_dataset(tmp_path / "data", ["one"], cache=tmp_path / "cache")
    assert sorted(pathlib.Path(tmp_path / "data").rglob("*")) == before


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"image_shape": (64, 64, 1), "dtype": np.uint8}, {"dtype": np.float32}],
)
def test_index_is_the_same_under_a_memory_cap(tmp_path, kwargs):
    fill(tmp_path / "data", some(7, **kwargs))
    free = packed.open_task(tmp_path / "data", tmp_path / "a")
    capped = packed.open_task(tmp_path / "data", tmp_path / "b", memory=MIB)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert capped.fingerprint == free.fingerprint
    assert (capped.steps, capped.nbytes) == (free.steps, free.nbytes)
    pairs = zip(contents(capped), contents(free), strict=True)
    assert all(same(a, b) for a, b in pairs)
    assert {type(x) for x in capped.arrays.values()} == {array_file.ArrayFile}


def test_opening_stays_under_the_memory_cap(tmp_path):
    frames = {"image_shape": (64, 64, 1), "dtype": np.uint8}
    fill(tmp_path / "data", [fakes.episode(49, i, **frames) for i in range(20)])

    def peak(**kwargs):
        tracemalloc.start()
        packed.open_task(tmp_path / "data", **kwargs)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak() > 20 * 50 * 4096
    # An episode is 200 KiB; the dataset is 4 MiB.
    assert peak(cache=tmp_path / "cache", memory=MIB) < MIB
    assert peak(cache=tmp_path / "cache", memory=MIB) < MIB // 4  # From the index.


def test_many_files_are_packed_by_several_processes_under_a_cap(tmp_path, monkeypatch):
    fill(tmp_path / "data", some(9))
    free = packed.open_task(tmp_path / "data")
    for name, value in dict(
        PARALLEL_FROM=1, FILES_A_CHUNK=4, PROCESS_BYTES=MIB
    ).items():
        monkeypatch.setattr(packed, name, value)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    capped = packed.open_task(tmp_path / "data", tmp_path / "cache", memory=2 * MIB)
    pairs = zip(contents(capped), contents(free), strict=True)
    assert all(same(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("count", "memory", "processes"),
    [(1999, 0, 1), (9999, 0, 8), (9999, 2**28, 1), (9999, 2**31, 4), (9999, 2**40, 8)],
)
def test_processes_fit_under_the_cap(monkeypatch, count, memory, processes):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert packed.count_processes(["x"] * count, memory) == processes


def test_index_serves_with_and_without_a_cap(tmp_path, monkeypatch):
    fill(tmp_path / "one", some())
    fill(tmp_path / "two", some())
    packed.write_index(tmp_path / "one")
    packed.write_index(tmp_path / "two", memory=MIB)
    monkeypatch.setattr(shards, "parts", None)
    capped = packed.open_task(tmp_path / "one", memory=MIB)
    free = packed.open_task(tmp_path / "two")
    pairs = zip(contents(capped), contents(free), strict=True)
    assert all(same(a, b) for a, b in pairs)
    assert {type(x) for x in capped.arrays.values()} == {array_file.ArrayFile}
    assert {type(x) for x in free.arrays.values()} == {np.ndarray}


def test_equal_episodes_are_all_there_under_a_cap(tmp_path):
    episodes = [fakes.episode(3, 1), fakes.episode(4, 2), fakes.episode(3, 1)]
    fill(tmp_path, episodes)
    opened = packed.write_index(tmp_path, memory=MIB)
    firsts = sorted(int(x["reward"][0]) for x in contents(opened))
    assert firsts == [1000, 1000, 2000]
    assert all(
        same(x, fakes.episode(len(x["reward"]) - 1, int(x["reward"][0]) // 1000))
        for x in contents(opened)
    )


def test_continuous_actions_are_kept_under_a_cap(tmp_path):
    episodes = some(3, actions=2)
    episodes[1]["action"] = np.full((5, 2), 0.25, np.float32)
    fill(tmp_path, episodes)
    opened = packed.write_index(tmp_path, memory=MIB)
    assert opened.fields["action"].coding == "plain"
    for episode in contents(opened):
        number = int(episode["reward"][0]) // 1000
        assert np.array_equal(episode["action"], episodes[number]["action"])


def test_damaged_files_are_skipped_under_a_cap(tmp_path, capsys):
    paths = fill(tmp_path, some())
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    opened = packed.write_index(tmp_path, memory=MIB)
    assert (len(opened), opened.damaged) == (4, (paths[1].name,))
    assert paths[1].name in capsys.readouterr().out


def test_damaged_index_is_rebuilt_under_a_cap(tmp_path, capsys):
    fill(tmp_path, some())
    packed.write_index(tmp_path)
    (folder,) = (tmp_path / ".packed").iterdir()
    for name in ("index.json", "offsets.npy", "key-image.npy", "key-action.npy"):
        content = (folder / name).read_bytes()
        for damaged in (content[: len(content) // 2], b""):
            (folder / name).write_bytes(damaged)
            assert len(packed.write_index(tmp_path, memory=MIB)) == 5
            assert "is damaged" in capsys.readouterr().out
            assert (folder / name).read_bytes() == content


def test_a_cap_needs_a_folder_for_the_index(tmp_path):
    fill(tmp_path / "data", some())
    (tmp_path / "file").write_text("")
    with pytest.raises(packed.DatasetError, match="no packed index.*dataset.memory"):
        packed.open_task(tmp_path / "data", memory=MIB)
    with pytest.raises(packed.DatasetError, match="file.*dataset.memory"):
        packed.open_task(tmp_path / "data", tmp_path / "file" / "x", memory=MIB)


def test_a_full_disk_leaves_no_part_of_an_index(tmp_path, monkeypatch):
    fill(tmp_path / "data", some())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(packed.DatasetError, match="No space left.*dataset.memory"):
            packed.open_task(tmp_path / "data", tmp_path / "cache", memory=MIB)
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(packed.open_task(tmp_path / "data", tmp_path / "cache", memory=MIB)) == 5


@pytest.mark.parametrize("memory", [1, MIB])
def test_an_episode_larger_than_the_cap_is_named(tmp_path, memory):
    fill(tmp_path, some())
    large = fakes.episode(300, image_shape=(64, 64, 1), dtype=np.uint8)
    path = fill(tmp_path, [large])[0]
    with pytest.raises(packed.DatasetError, match="dataset.memory") as error:
        packed.write_index(tmp_path, memory=memory)
    assert str(tmp_path) in str(error.value)
    assert memory < MIB or path.name in str(error.value)


def test_a_dataset_larger_than_the_memory_is_named(tmp_path, monkeypatch):
    fill(tmp_path, some())
    size = packed.open_task(tmp_path).nbytes
    monkeypatch.setattr(packed, "free_and_total", lambda: (2 * size, MIB))
    assert len(packed.open_task(tmp_path)) == 5
    monkeypatch.setattr(packed, "free_and_total", lambda: (2 * size - 1, MIB))
    with pytest.raises(packed.DatasetError, match="free. Set --dataset.memory"):
        packed.open_task(tmp_path)
    assert len(packed.write_index(tmp_path, memory=MIB)) == 5


def test_an_episode_that_changes_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    paths = fill(tmp_path, some())
    load, seen = shards.parts, []

    def changing(path):
        seen.append(path)
        again = seen.count(path) > 1 and path == str(paths[2])
        return [shards.Part(path, "", fakes.episode(5, 9))] if again else load(path)

    monkeypatch.setattr(shards, "parts", changing)
    with pytest.raises(packed.DatasetError, match="changed while they were read"):
        packed.write_index(tmp_path, memory=MIB)
    assert list((tmp_path / ".packed").iterdir()) == []


def test_dataset_opens_its_tasks_under_a_cap(tmp_path):
    fill(tmp_path / "one", some())
    fill(tmp_path / "two", some(3))
    cache = tmp_path / "cache"
    opened = packed.open_dataset(tmp_path, ["two", "one"], cache, memory=MIB)
    assert {task: len(x) for task, x in opened.items()} == {"two": 3, "one": 5}
    for path in (tmp_path / "two").glob("*.npz"):
        path.unlink()
    fill(tmp_path / "two", some(1, actions=18))
    with pytest.raises(packed.DatasetError, match=r"action is float32 .*\(18,\)"):
        packed.open_dataset(tmp_path, ["two", "one"], cache, memory=MIB)
