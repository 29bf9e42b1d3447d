import json
import os

import numpy as np
import pytest

from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.replay import store
from tests import fakes


def episode(steps=4, **changes):
    time = np.arange(steps + 1)
    made = {
        "image": np.full((steps + 1, 8, 8, 1), 7, np.uint8),
        "action": np.eye(3)[time % 3],
        "reward": time / 4,
        "is_first": time == 0,
        "is_last": time == steps,
        "is_terminal": time == steps,
    }
    return {k: v for k, v in {**made, **changes}.items() if v is not None}


def test_saved_episode_loads_again(tmp_path):
    path = store.save_episode(tmp_path, episode())
    loaded = store.load_episode(path)
    assert sorted(loaded) == sorted(episode())
    assert loaded["reward"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert loaded["reward"].dtype == np.float32
    assert loaded["action"].dtype == np.float32
    assert loaded["image"].dtype == np.uint8
    assert loaded["is_last"].tolist() == [False, False, False, False, True]


def test_file_name_is_the_originals(tmp_path):
    path = store.save_episode(tmp_path, episode(steps=4), identifier="abc123")
    stamp, identifier, length = path.name.split("-")
    assert len(stamp) == len("20210101T120000")
    assert (identifier, length) == ("abc123", "4.npz")
    assert store.parse_name(path) == ("abc123", 4)
    assert store.eplen(episode(steps=4)) == 4
    assert store.save_episode(tmp_path, episode()) != path


def test_episodes_and_steps_are_counted_by_name(tmp_path):
    for steps in (4, 6, 11):
        store.save_episode(tmp_path, episode(steps))
    (tmp_path / "notes.npz").write_bytes(b"")
    (tmp_path / f"20210101T120000-abc-{'9' * 13}.npz").write_bytes(b"")
    assert store.count_episodes(tmp_path) == (3, 21)
    assert store.count_episodes(tmp_path / "missing") == (0, 0)


def test_originals_log_keys_are_left_out(tmp_path):
    path = store.save_episode(tmp_path, episode(log_hits=np.arange(5)))
    assert "log_hits" not in store.load_episode(path)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"reward": None}, "lacks reward"),
        ({"image": None}, "no observation"),
        ({"reward": np.zeros(4)}, "unequal lengths"),
        ({"reward": np.full(5, np.nan)}, "reward is not finite"),
        ({"reward": np.zeros((5, 1))}, r"reward has shape \(5, 1\)"),
        ({"action": np.zeros(5)}, r"action has shape \(5,\)"),
        ({"vector": np.full((5, 2), np.inf)}, "vector is not finite"),
        ({"image": np.array(["a"] * 5)}, "image is of type <U1"),
        ({"image": np.array(3)}, "unequal lengths"),
        ({"is_first": np.zeros(5, bool)}, "is_first is set at no step, not at 0"),
        ({"is_first": np.eye(5, dtype=bool)[0] | np.eye(5, dtype=bool)[3]}, "at 0, 3,"),
        ({"is_first": np.float32([0.5, 0, 0, 0, 0])}, "is_first holds other values"),
        ({"is_last": np.zeros(5, bool)}, r"is_last is set at no step, not at the end"),
        ({"is_last": np.ones(5, bool)}, "is_last is set at 0, 1, 2, 3, 4, not at the"),
        ({"is_terminal": np.eye(5, dtype=bool)[1]}, r"is_terminal is set at 1, before"),
    ],
)
def test_what_is_no_episode_is_named(tmp_path, changes, fault):
    path = tmp_path / "20210101T120000-abc-4.npz"
    np.savez_compressed(path, **episode(**changes))
    with pytest.raises(store.EpisodeError, match=fault) as error:
        store.load_episode(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("length", [0, 1])
def test_an_episode_without_a_step_is_none(tmp_path, length):
    path = tmp_path / "20210101T120000-abc-4.npz"
    np.savez_compressed(path, **{k: v[:length] for k, v in episode().items()})
    with pytest.raises(store.EpisodeError, match="it has no step"):
        store.load_episode(path)


def test_flags_may_be_numbers_and_an_end_need_not_be_terminal(tmp_path):
    changes = {k: episode()[k].astype(float) for k in store.FLAGS}
    changes["is_terminal"] = np.zeros(5, np.uint8)
    path = store.save_episode(tmp_path, episode(**changes))
    loaded = store.load_episode(path)
    assert {loaded[k].dtype for k in store.FLAGS} == {np.dtype(bool)}
    assert loaded["is_last"].tolist() == [False, False, False, False, True]
    assert not loaded["is_terminal"].any()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.arange(3), np.arange(3, dtype=np.int32)),
        (np.array([-(2**31), 2**31 - 1]), np.array([-(2**31), 2**31 - 1], np.int32)),
        (np.arange(3, dtype=np.int8), np.arange(3, dtype=np.int32)),
        (np.array([0.1]), np.array([0.1], np.float32)),
        (np.array([np.inf, 1]), np.array([np.inf, 1], np.float32)),
        (np.array([1, 2], ">u2"), np.array([1, 2], np.uint16)),
        (np.array([2**63], np.uint64), np.array([2**63], np.uint64)),
        # What does not fit stays as it is.
        (np.array([2**31]), np.array([2**31], np.int64)),
        (np.array([1e300]), np.array([1e300], np.float64)),
    ],
)
def test_no_cast_changes_a_number(value, stored):
    found = store.convert(value)
    assert found.dtype == stored.dtype and found.dtype.isnative
    assert found.tolist() == stored.tolist()


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (2**40 + np.arange(5), "stamp holds 1099511627780, which int32 cannot hold"),
        (-(2**40) - np.arange(5), "stamp holds -1099511627780, which int32 cannot"),
        (np.array([0, 1, 1e300, 2, 3]), r"stamp holds 1e\+300, which float32 cannot"),
    ],
)
def test_numbers_that_cannot_be_stored_are_refused_by_name(tmp_path, values, fault):
    path = store.save_episode(tmp_path, episode(stamp=values))
    with pytest.raises(store.EpisodeError, match=f"{path.name} is damaged: {fault}"):
        store.load_episode(path)
    with pytest.raises(store.DatasetError, match=f"cannot be used: {fault}"):
        store.as_loaded(episode(stamp=values))
    path = store.save_episode(tmp_path, episode(log_stamp=values))
    loaded = store.load_episode(path, logs=True)["log_stamp"]
    assert loaded.tolist() == values.tolist()


def test_actions_beyond_the_last_are_refused():
    assert store.onehot(np.array([1, 0]), 2).tolist() == [[0, 1], [1, 0]]
    for index in (-1, 2):
        with pytest.raises(store.EpisodeError, match=f"There are 2 actions.*{index}"):
            store.onehot(np.array([index]), 2)


def test_damaged_bytes_are_named(tmp_path):
    path = store.save_episode(tmp_path, episode(300))
    content = path.read_bytes()
    middle = len(content) // 3
    for damaged in (
        b"",
        b"garbage",
        content[:middle],
        content[:-1],
        content[:middle] + bytes(40) + content[middle + 40 :],
    ):
        path.write_bytes(damaged)
        with pytest.raises(store.EpisodeError, match=path.name):
            store.load_episode(path)


def test_a_file_tells_what_it_takes_unpacked(tmp_path):
    path = store.save_episode(tmp_path, episode(1000))
    values = sum(x.nbytes for x in store.load_episode(path).values())
    assert values < store.unpacked_bytes(path) < values + 6 * 200  # Headers.
    path.write_bytes(b"damaged")
    assert store.unpacked_bytes(path) == 0


def test_no_code_of_a_file_runs(tmp_path):
    trace = tmp_path / "trace"
    path = tmp_path / "20210101T120000-abc-4.npz"
    image = np.array([fakes.Touch(trace)] * 5, dtype=object)
    np.savez_compressed(path, **episode(image=image))
    with pytest.raises(store.EpisodeError):
        store.load_episode(path)
    assert not trace.exists()


def test_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(atomic.OutputError, match="No space left"):
        store.save_episode(tmp_path, episode())
    assert not list(tmp_path.iterdir())


def test_leftovers_are_removed_and_episodes_stay(tmp_path):
    path = store.save_episode(tmp_path, episode())
    (tmp_path / f".{path.name}.123.tmp").write_bytes(b"half")
    atomic.temporary_for(path).write_bytes(b"half")
    atomic.temporary_for(tmp_path / "manifest.json").write_bytes(b"half")
    store.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_no_other_temporary_file_than_ours_is_removed(tmp_path):
    names = (
        ".notes.tmp",
        ".a.npz.tmp",
        ".notes.txt.12.tmp",
        ".a.npz.x-12.tmp",
        "a.tmp",
    )
    for name in names:
        (tmp_path / name).write_text("mine")
    assert store.leftovers(tmp_path) == []
    store.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names}


def test_manifest(tmp_path):
    assert store.read_manifest(tmp_path) is None
    store.write_manifest(tmp_path, {"task": "minatar_breakout", "steps": 12})
    assert store.read_manifest(tmp_path) == {"task": "minatar_breakout", "steps": 12}
    assert json.loads((tmp_path / "manifest.json").read_text())["steps"] == 12


@pytest.mark.parametrize("content", ['{"task": ', "[1]", ""])
def test_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(store.DatasetError, match="manifest.json"):
        store.read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("task", "folder"),
    [
        ("minatar_breakout", "minatar_breakout"),
        ("gym_ALE/Pong-v5", "gym_ALE@Pong-v5"),
        ("gym_module:Space/Game-v1", "gym_module:Space@Game-v1"),
    ],
)
def test_every_task_has_a_folder_of_its_own_in_a_dataset(task, folder):
    assert store.folder_name(task) == folder
    assert store.task_name(folder) == task


def test_folders_that_users_named_keep_their_names():
    assert store.task_name("mine@home") == "mine@home"


def test_a_name_cannot_promise_more_episodes_than_a_file_may_have():
    assert store.name_of("T-abc-7x99999.npz").episodes == 99_999
    assert store.name_of("T-abc-7x999999999.npz") is None
