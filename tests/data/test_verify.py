import numpy as np
import pytest

from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import checks, verify
from tests import fakes
from tests.replays import save_shard


def write(folder, episodes):
    folder.mkdir(exist_ok=True)
    paths = [store.save_episode(folder, one) for one in episodes]
    episode = fakes.episode(3)
    episodes, steps = store.count_episodes(folder)
    told = {"spaces": checks.describe(episode), "episodes": episodes, "steps": steps}
    store.write_manifest(folder, {**told, "policies": [{"name": "random"}]})
    return paths


def run(directory):
    lines = []
    found = verify.verify(directory, lines.append)
    assert lines == found.damaged + found.notes
    return found


def test_an_intact_dataset_has_no_fault(tmp_path):
    acted = {"log_policy": np.array([-1, 0, 0, 0], np.int32)}
    write(tmp_path / "a", [fakes.episode(3) | acted, fakes.episode(5, 1)])
    write(tmp_path / "b", [fakes.episode(4, 2)])
    found = run(tmp_path)
    assert found.summary() == (
        "3 intact episodes of 12 steps in 2 task folders; none is damaged."
    )
    assert found.damaged == [] and found.notes == []


def test_an_episode_that_is_readable_and_wrong_is_named(tmp_path):
    wrong = fakes.episode(4) | {"is_last": np.zeros(5, bool)}
    good, bad = write(tmp_path / "a", [fakes.episode(3), wrong])
    found = run(tmp_path)
    assert found.episodes == 1 and found.steps == 3
    (line,) = found.damaged
    assert (
        line
        == f"{bad} is damaged: is_last is set at no step, not at the end (4) alone."
    )


def test_every_damaged_file_is_named_whatever_the_damage(tmp_path):
    paths = write(tmp_path / "a", [fakes.episode(40, i) for i in range(4)])
    data = paths[0].read_bytes()
    paths[0].write_bytes(data[: len(data) // 2])
    flipped = bytearray(paths[1].read_bytes())
    flipped[flipped.index(b"image.npy") + 40] ^= 0xFF
    paths[1].write_bytes(flipped)
    paths[2].write_bytes(b"")
    found = run(tmp_path)
    assert found.episodes == 1 and len(found.damaged) == 3
    for path in paths[:3]:
        assert sum(str(path) in line for line in found.damaged) == 1


def test_missing_files_are_a_fault_and_later_ones_a_note(tmp_path):
    one, _ = write(tmp_path / "a", [fakes.episode(3), fakes.episode(4)])
    store.save_episode(tmp_path / "a", fakes.episode(5))
    found = run(tmp_path)
    assert found.damaged == [] and "older than 1 of the episodes" in found.notes[0]
    for path in [one, *(tmp_path / "a").glob("*-5.npz")]:
        path.unlink()
    (line,) = run(tmp_path).damaged
    assert "lists 2 episodes with 7 steps, and there are 1 with 4" in line


def test_an_episode_that_another_took_the_place_of_is_missing(tmp_path):
    one, _ = write(tmp_path / "a", [fakes.episode(3), fakes.episode(4)])
    one.unlink()
    store.save_episode(tmp_path / "a", fakes.episode(9))
    (line,) = run(tmp_path).damaged
    assert "lists 2 episodes with 7 steps, and there are 2 with 13" in line


def test_leftovers_and_a_missing_manifest_do_no_harm(tmp_path):
    write(tmp_path / "a", [fakes.episode(3)])
    (tmp_path / "a" / ".x.npz.12.tmp").write_bytes(b"half")
    (tmp_path / "a" / "manifest.json").unlink()
    found = run(tmp_path)
    assert found.damaged == []
    assert any(".x.npz.12.tmp" in note for note in found.notes)


def test_a_damaged_manifest_is_a_damaged_file(tmp_path):
    write(tmp_path / "a", [fakes.episode(3)])
    (tmp_path / "a" / "manifest.json").write_text("{")
    (line,) = run(tmp_path).damaged
    assert "manifest.json" in line


def test_a_folder_without_episodes_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="holds no episode"):
        verify.verify(tmp_path, print)


def test_episodes_of_a_shard_are_looked_at_one_by_one(tmp_path):
    write(tmp_path / "a", [fakes.episode(3)])
    wrong = fakes.episode(4, 2) | {"is_last": np.zeros(5, bool)}
    bad = save_shard(tmp_path / "a", [fakes.episode(5, 1), wrong], "abc")
    good = save_shard(tmp_path / "a", [fakes.episode(x, x) for x in (6, 7)], "def")
    odd = good.with_name("29990101T000000-ghi-12x2.npz")
    good.rename(odd)
    found = run(tmp_path)
    assert (found.episodes, found.steps) == (4, 21)
    fault = f"{bad}, episode 1 is damaged: is_last is set at no step"
    assert found.damaged[0].startswith(fault)
    assert [x for x in found.notes if "its name says 12" in x] == [
        f"Note: {odd}, episode {i} is trained on, but it has 13 steps, and its name "
        "says 12."
        for i in range(2)
    ]
