import numpy as np
import pytest

from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import checks, verify
from tests import fakes


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


def flagged(key, *times):
    made = fakes.episode(4)
    made[key] = np.isin(np.arange(5), times)
    return made


def changed(key, time, value):
    made = fakes.episode(4)
    made[key] = made[key].copy()
    made[key][time] = value
    return made


@pytest.mark.parametrize(
    ("episode", "fault"),
    [
        (flagged("is_first", 0, 2), "is_first is set at 0, 2"),
        (flagged("is_first"), "is_first is set at no step"),
        (flagged("is_last", 3, 4), "is_last is set at 3, 4"),
        (flagged("is_last"), "is_last is set at no step"),
        (flagged("is_terminal", 2), "is_terminal is set at 2"),
        (changed("action", 2, 0), "action is not one-hot at 2"),
        (changed("action", 2, 1), "action is not one-hot at 2"),
        (changed("action", 0, 0.5), "action is not one-hot at 0"),
        (changed("reward", 2, np.nan), "reward is not finite"),
        (fakes.episode(4, actions=5), "action is float32 (5,), and float32 (6,)"),
        (fakes.episode(4, image_shape=(10, 10, 4)), "image is bool (10, 10, 4)"),
        (fakes.episode(4) | {"ram": np.zeros((5, 2))}, "ram is float32 (2,), and mis"),
        (fakes.episode(4) | {"log_a": np.zeros(4)}, "log_a has shape (4,) for 5"),
        (
            fakes.episode(4) | {"log_policy": np.array([-1, 0, 1, 0, 0])},
            "log_policy holds [-1, 0, 1], and there are 1 policies",
        ),
    ],
)
def test_an_episode_that_is_readable_and_wrong_is_named(tmp_path, episode, fault):
    good, bad = write(tmp_path / "a", [fakes.episode(3), episode])
    found = run(tmp_path)
    assert found.episodes == 1 and found.steps == 3
    (line,) = found.damaged
    assert line.startswith(str(bad)) and fault in line and "\n" not in line


def test_a_time_limit_is_no_fault(tmp_path):
    write(tmp_path / "a", [flagged("is_terminal")])
    assert run(tmp_path).damaged == []


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


def test_a_flipped_bit_of_the_rewards_is_found(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    path = folder / "20260101T000000-0a-9.npz"
    np.savez(path, **fakes.episode(9, 3))  # Not compressed, so that it stays readable.
    data = bytearray(path.read_bytes())
    at = data.index(np.float32(3004).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    (line,) = run(tmp_path).damaged
    assert str(path) in line and "reward" in line


def test_names_that_lie_or_tell_nothing_are_named(tmp_path):
    one, other = write(tmp_path / "a", [fakes.episode(3), fakes.episode(4)])
    one = one.rename(one.with_name("20260101T000000-0a-30.npz"))
    other = other.rename(other.with_name("episode.npz"))
    lines = run(tmp_path).damaged
    assert any("3 steps, and its name says 30" in x and str(one) in x for x in lines)
    assert any("TIMESTAMP-UUID-LENGTH" in x and str(other) in x for x in lines)


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


def test_no_code_of_a_file_is_run(tmp_path):
    (tmp_path / "a").mkdir()
    hostile = np.array([fakes.Touch(tmp_path / "ran")], object)
    np.savez(tmp_path / "a" / "20260101T000000-0a-0.npz", action=hostile)
    (line,) = run(tmp_path).damaged
    assert "cannot be read" in line and not (tmp_path / "ran").exists()


def test_a_folder_without_episodes_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="holds no episode"):
        verify.verify(tmp_path, print)
