import numpy as np
import pytest

from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import folders, imports, verify
from tests import replays

TASKS = ["minatar_asterix", "minatar_breakout"]
BREAKOUT = TASKS[1:]


def episode(steps, first=0, game=0, terminal=True, cells=3):
    """As pydreamer's generator has it; the reward at time t is first + t."""
    time = np.arange(steps + 1)
    action = np.zeros((steps + 1, 6))
    action[time[1:], time[1:] % 6] = 1
    image = np.zeros((steps + 1, 10, 10), int)
    image[time, time % 10, 0] = 1 + time % cells
    return {
        "image": image,
        "action": action,
        "reward": np.where(time, first + time, 0.0),
        "terminal": (time == steps) & terminal,
        "reset": time == 0,
        "env_id": np.full(steps + 1, game),
        "policy_value": np.full(steps + 1, np.nan),
    }


def colored(steps):
    """An Atari episode; the image at time t has the value t, and 99 in row 2."""
    made = episode(steps)
    image = np.zeros((steps + 1, 64, 64, 1), np.uint8)
    image += np.arange(steps + 1, dtype=np.uint8)[:, None, None, None]
    image[:, 2, 5] = 99
    made["image_t"] = image.transpose(1, 2, 3, 0)
    del made["image"]
    return made


def joined(*episodes):
    axis = {"image_t": 3}
    return {
        k: np.concatenate([x[k] for x in episodes], axis.get(k, 0)) for k in episodes[0]
    }


def cut(data, start, stop):
    return {
        k: v[..., start:stop] if k == "image_t" else v[start:stop]
        for k, v in data.items()
    }


def save(folder, name, data):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / name, **data)
    return folder / name


def run(tmp_path, source, tasks=BREAKOUT, **kwargs):
    return imports.import_pydreamer(tmp_path / "d", source, tasks, **kwargs)


def read(tmp_path, task=BREAKOUT[0]):
    """All episodes, the shortest first."""
    assert verify.verify(tmp_path / "d" / task, print).damaged == []
    found = map(replays.load_all, folders.episode_files(tmp_path / "d" / task))
    return sorted(found, key=lambda x: len(x["reward"]))


def test_a_file_is_split_where_episodes_start(tmp_path):
    data = joined(episode(3, 10), episode(5, 20, terminal=False))
    save(tmp_path / "s" / "0", "ep000000_000001-0-r-12-8.npz", data)
    result = run(tmp_path, tmp_path / "s")
    assert (result.added, result.steps, result.damaged) == (2, 8, [])
    one, other = read(tmp_path)
    assert one["reward"].tolist() == [0, 11, 12, 13]
    assert one["is_first"].tolist() == [True, False, False, False]
    assert one["is_last"].tolist() == [False, False, False, True]
    assert one["is_terminal"].tolist() == [False, False, False, True]
    assert one["action"].dtype == np.float32
    assert one["action"].argmax(1).tolist() == [0, 1, 2, 3]
    assert one["action"][0].sum() == 0
    assert other["is_last"].tolist() == [False] * 5 + [True]
    assert not other["is_terminal"].any()
    assert one.keys() == {
        *("image", "action", "reward", "is_first", "is_last", "is_terminal"),
        "log_policy",
    }


def test_categories_become_planes_and_the_loss_is_noted(tmp_path):
    save(tmp_path / "s", "ep000000-r0-3.npz", episode(3))
    result = run(tmp_path, tmp_path / "s")
    (one,) = read(tmp_path)
    assert one["image"].shape == (4, 10, 10, 10) and one["image"].dtype == bool
    # Category k is plane k - 1; 0 is empty.
    assert np.argwhere(one["image"]).tolist() == [
        [0, 0, 0, 0],
        [1, 1, 0, 1],
        [2, 2, 0, 2],
        [3, 3, 0, 0],
    ]
    (note,) = result.notes
    assert "planes overlapped" in note


def test_transposed_images_are_turned_back(tmp_path):
    save(tmp_path / "s", "ep000000_000000-0-r0-4.npz", colored(4))
    result = run(tmp_path, tmp_path / "s", ["atari_pong"])
    (one,) = read(tmp_path, "atari_pong")
    assert one["image"].shape == (5, 64, 64, 1) and one["image"].dtype == np.uint8
    assert one["image"][:, 7, 9, 0].tolist() == [0, 1, 2, 3, 4]
    assert one["image"][3, 2, 5, 0] == 99 and one["image"][3, 5, 2, 0] == 3
    assert result.notes == []


@pytest.mark.parametrize("make", [episode, colored])
def test_chunks_of_a_long_episode_are_joined(tmp_path, make):
    data, task = make(30), "minatar_breakout" if make is episode else "atari_pong"
    for number, (start, stop) in enumerate([(0, 11), (11, 21), (21, 31)]):
        name = f"ep000004_000004-{number}-r5-{stop - start}.npz"
        save(tmp_path / "s", name, cut(data, start, stop))
    result = run(tmp_path, tmp_path / "s", [task])
    assert (result.added, result.steps) == (1, 30)
    (one,) = read(tmp_path, task)
    assert one["reward"].tolist() == list(range(31))


def test_more_than_ten_chunks_follow_each_other_by_number(tmp_path):
    data = episode(24)
    for number in range(12):
        start, stop = (2 * number + 1, 2 * number + 3) if number else (0, 3)
        save(tmp_path / "s", f"ep000004-{number}-r5-2.npz", cut(data, start, stop))
    run(tmp_path, tmp_path / "s")
    (one,) = read(tmp_path)
    assert one["reward"].tolist() == list(range(25))


def test_a_missing_chunk_cuts_an_episode_in_two(tmp_path):
    data = episode(30)
    save(tmp_path / "s", "ep000004_000004-0-r5-11.npz", cut(data, 0, 11))
    save(tmp_path / "s", "ep000004_000004-2-r5-10.npz", cut(data, 21, 31))
    result = run(tmp_path, tmp_path / "s")
    later, earlier = read(tmp_path)
    assert earlier["reward"].tolist() == list(range(11))
    assert not earlier["is_terminal"].any()
    # What led to the first observation that is left belongs to what is missing.
    assert later["reward"].tolist() == [0, *range(22, 31)]
    assert later["action"][0].sum() == 0 and later["is_terminal"][-1]
    assert any(
        "-2-r5-10.npz" in note and "lacks its start" in note for note in result.notes
    )


def test_a_damaged_chunk_is_named_and_not_joined_over(tmp_path):
    data = episode(30)
    for number, (start, stop) in enumerate([(0, 11), (11, 21), (21, 31)]):
        name = f"ep000004_000004-{number}-r5-10.npz"
        save(tmp_path / "s", name, cut(data, start, stop))
    bad = tmp_path / "s" / "ep000004_000004-1-r5-10.npz"
    bad.write_bytes(b"PK")
    result = run(tmp_path, tmp_path / "s")
    assert [len(x["reward"]) for x in read(tmp_path)] == [10, 11]
    (line,) = result.damaged
    assert str(bad) in line


def test_chunks_of_other_shapes_are_not_joined(tmp_path):
    save(tmp_path / "s", "ep000004_000004-0-r5-10.npz", cut(episode(20), 0, 11))
    other = colored(20)
    save(tmp_path / "s", "ep000004_000004-1-r5-10.npz", cut(other, 11, 21))
    result = run(tmp_path, tmp_path / "s")
    assert (result.added, len(result.damaged)) == (1, 1)
    assert "image is uint8 (64, 64, 1), and bool (10, 10, 10)" in result.damaged[0]


def test_chunks_of_two_writers_are_not_mixed_up(tmp_path):
    for worker in "01":
        data = episode(20, 100 * int(worker))
        folder = tmp_path / "s" / worker
        save(folder, "ep000004_000004-0-r5-10.npz", cut(data, 0, 11))
        save(folder, "ep000004_000004-1-r5-10.npz", cut(data, 11, 21))
    run(tmp_path, tmp_path / "s")
    found = [x["reward"][[1, 20]].tolist() for x in read(tmp_path)]
    assert sorted(found) == [[1, 20], [101, 120]]


def test_chunks_of_one_number_in_one_folder_are_not_joined(tmp_path):
    for writer, chunks in ((1, 3), (2, 2)):
        data = episode(30, 100 * writer)
        for number, start in enumerate([0, 11, 21][:chunks]):
            name = f"ep000004_000004-{number}-r{writer}-10.npz"
            save(tmp_path / "s", name, cut(data, start, 11 + 10 * number))
    result = run(tmp_path, tmp_path / "s")
    assert [len(x["reward"]) for x in read(tmp_path)] == [10, 10, 10, 11, 11]
    assert sum("lacks its start" in note for note in result.notes) == 3


def test_several_games_have_to_be_told_apart(tmp_path):
    data = joined(episode(3, 10), episode(5, 20, game=1))
    file = save(tmp_path / "s", "ep000000_000001-0-r0-8.npz", data)
    with pytest.raises(DatasetError, match="numbers: 0, 1.*--tasks.*--env_id"):
        run(tmp_path, file)
    assert run(tmp_path, file, env_id=1).steps == 5
    assert not (tmp_path / "d" / "minatar_asterix").exists()
    both = run(tmp_path, file, TASKS)
    assert (both.added, both.present) == (1, 1)
    (asterix,) = read(tmp_path, "minatar_asterix")
    assert asterix["reward"].tolist() == [0, 11, 12, 13]
    with pytest.raises(DatasetError, match="games 0, 1. Received: env_id=2"):
        run(tmp_path, file, env_id=2)


def test_the_wrong_game_is_noticed_by_its_planes(tmp_path):
    save(tmp_path / "s", "ep000000-r0-9.npz", episode(9, cells=7))
    with pytest.raises(DatasetError, match="another game.*4 planes.*cells from 0 to 7"):
        run(tmp_path, tmp_path / "s")
    with pytest.raises(DatasetError, match="is of MinAtar"):
        run(tmp_path, tmp_path / "s", ["atari_pong"])


@pytest.mark.parametrize("key", ["action", "reward", "terminal", "reset", "image"])
def test_a_file_that_lacks_a_key_is_named(tmp_path, key):
    data = episode(3)
    del data[key]
    save(tmp_path / "s", "ep000000-r0-3.npz", data)
    with pytest.raises(DatasetError, match=f"ep000000-r0-3.npz.*{key}"):
        run(tmp_path, tmp_path / "s")


def test_a_second_import_adds_nothing(tmp_path):
    save(tmp_path / "s", "ep000000-r0-3.npz", joined(episode(3), episode(4)))
    assert run(tmp_path, tmp_path / "s").added == 2
    again = run(tmp_path, tmp_path / "s")
    assert (again.added, again.present) == (0, 2)
