import math
import shutil

import pytest

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.replay import packed
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import disk
from dreamerv2_transfer.data.collection import SHARD_STEPS, Collection, Recipe

GAME = "minatar_seaquest"


def check(directory, steps, limit=0.0):
    missing, settings = {GAME: steps, "done": 0}, {GAME: {}, "done": {}}
    disk.check(directory, missing, settings, limit, envs.make_vector_env)


def test_files_take_whole_blocks(tmp_path):
    for size in (1, 4096, 4097):
        (tmp_path / f"{size}.npz").write_bytes(bytes(size))
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "x.npy").write_bytes(bytes(1))
    assert disk.used(tmp_path, "*.npz") == 4096 + 4096 + 8192
    assert disk.used(tmp_path) == disk.used(tmp_path, "*.npz") + 4096 + _folder(
        tmp_path
    )


def _folder(path):
    return math.ceil((path / "inside").stat().st_size / 4096) * 4096


def test_a_limit_is_looked_at_before_anything_is_played(tmp_path):
    with pytest.raises(DatasetError, match="raise collect.disk.*collect.disk=1e-06"):
        check(tmp_path / "new", 10_000, 1e-6)
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_there_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "bytes_per_step", lambda *args: 1000.0)
    (tmp_path / "x").write_bytes(bytes(6_000_000))
    check(tmp_path, 3000, 0.01)
    with pytest.raises(DatasetError, match="only 0.0044 GiB"):
        check(tmp_path, 5000, 0.01)


def test_free_space_is_a_limit(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(disk, "bytes_per_step", lambda *args: 1000.0)
    check(tmp_path, 1900)
    with pytest.raises(DatasetError, match="would take about 0.002 GiB more"):
        check(tmp_path, 2100, 99)


def test_without_missing_steps_nothing_is_said(tmp_path, capsys):
    check(tmp_path / "new", 0, 1e-9)
    assert capsys.readouterr().out == "" and not (tmp_path / "new").exists()


def test_estimate_is_near_what_it_takes(tmp_path, capsys):
    check(tmp_path, 5000)
    said = float(capsys.readouterr().out.split("about ")[1].split(" GiB")[0])
    made = Collection(tmp_path, GAME, Recipe(envs=3), shard_steps=SHARD_STEPS)
    made.fill(5000, envs.make_vector_env)
    packed.write_index(tmp_path)
    assert 0.5 < said / (disk.used(tmp_path) / 2**30) < 2


def test_short_episodes_share_files():
    long, short = (
        disk.bytes_per_step(GAME, settings, envs.make_vector_env)
        for settings in ({}, {"time_limit": 3})
    )
    assert 0 < long < short < 2 * long


def test_a_dataset_over_its_limit_is_stopped(tmp_path, monkeypatch):
    asked = []
    limit = disk.Limit(tmp_path, 4096 / 2**30, lambda: bool(asked))
    (tmp_path / "x").write_bytes(bytes(4096))
    monkeypatch.setattr(limit, "_due", 0.0)
    assert not limit()
    limit.check()
    (tmp_path / "y").write_bytes(b"1")
    assert not limit()  # It has just looked.
    limit._due = 0.0
    assert limit() and limit()
    with pytest.raises(DatasetError, match="raise collect.disk") as error:
        limit.check()
    assert str(tmp_path) in str(error.value)


def test_a_person_stops_a_dataset_without_a_limit(tmp_path):
    asked = []
    limit = disk.Limit(tmp_path, 0.0, lambda: bool(asked))
    assert not limit()
    asked.append(None)
    assert limit()
    limit.check()
