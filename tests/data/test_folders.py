import numpy as np
import pytest

from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError, EpisodeError
from dreamerv2_transfer.data import folders
from tests import fakes, replays


def save(folder, *episodes):
    folder.mkdir(parents=True, exist_ok=True)
    return [store.save_episode(folder, x) for x in episodes]


def test_task_folders_are_those_with_episodes(tmp_path):
    for name in ("b", "a", ".packed"):
        save(tmp_path / name, fakes.episode(3))
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "x.npz").mkdir()
    assert folders.task_folders(tmp_path) == {"a": tmp_path / "a", "b": tmp_path / "b"}


def test_a_task_folder_is_a_dataset_of_one_task(tmp_path):
    save(tmp_path / "a", fakes.episode(3))
    assert folders.task_folders(tmp_path / "a") == {"a": tmp_path / "a"}


def test_folders_without_episodes_are_named(tmp_path):
    with pytest.raises(DatasetError, match="holds no episode"):
        folders.task_folders(tmp_path)
    with pytest.raises(DatasetError, match="nowhere is no folder"):
        folders.task_folders(tmp_path / "nowhere")


def test_the_oldest_file_comes_first(tmp_path):
    names = ["20260102T000000-a-3.npz", "20260101T000000-b-3.npz"]
    for name, path in zip(names, save(tmp_path, *[fakes.episode(3)] * 2), strict=True):
        path.rename(tmp_path / name)
    found = [str(tmp_path / name) for name in names[::-1]]
    assert folders.episode_files(tmp_path) == found


def test_keys_for_logging_are_read_and_told_apart(tmp_path):
    (path,) = save(tmp_path, fakes.episode(3) | {"log_score": np.arange(4.0)})
    episode = replays.load_all(path)
    assert episode["log_score"].tolist() == [0, 1, 2, 3]
    assert episode["log_score"].dtype == np.float32
    assert folders.without_logs(episode).keys() == fakes.episode(3).keys()


def test_a_damaged_key_for_logging_is_named(tmp_path):
    path = tmp_path / "20260101T000000-a-3.npz"
    hostile = np.array([fakes.Touch(tmp_path / "ran")], object)
    np.savez(path, **fakes.episode(3), log_score=hostile)
    with pytest.raises(EpisodeError, match=path.name):
        replays.load_all(path)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_manifest_is_one_line(tmp_path):
    assert folders.manifest_or_fault(tmp_path) == ({}, "")
    store.write_manifest(tmp_path, {"task": "a"})
    assert folders.manifest_or_fault(tmp_path) == ({"task": "a"}, "")
    (tmp_path / "manifest.json").write_text("{")
    manifest, fault = folders.manifest_or_fault(tmp_path)
    assert manifest == {}
    assert str(tmp_path / "manifest.json") in fault and "\n" not in fault
