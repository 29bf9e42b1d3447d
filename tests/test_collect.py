import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer import collect
from dreamerv2_transfer.common import envs, packed, store

GAMES = ["minatar_breakout", "minatar_seaquest"]


def run(folder, tasks=GAMES, steps=300, **kwargs):
    collect.collect(folder, tasks, **{"steps": steps, "envs": 3, "seed": 5, **kwargs})


def names(folder):
    """What a file is, without when it was written."""
    return sorted(x.name.split("-", 1)[1] for x in folder.rglob("*.npz"))


def fingerprints(folder, tasks=GAMES):
    opened = packed.open_dataset(folder, tasks)
    return {task: x.fingerprint for task, x in opened.items()}


def test_tasks_have_their_steps(tmp_path):
    assert not collect.is_complete(tmp_path, GAMES, 300)
    run(tmp_path)
    assert collect.is_complete(tmp_path, GAMES, 300)
    for task in GAMES:
        lengths = packed.open_task(tmp_path / task).lengths - 1
        assert lengths.sum() >= 300
        episodes, steps = store.count_episodes(tmp_path / task)
        assert (episodes, steps) == (len(lengths), lengths.sum())


def test_episodes_are_whole(tmp_path):
    run(tmp_path, GAMES[:1], steps=60)
    for path in (tmp_path / GAMES[0]).glob("*.npz"):
        episode = store.load_episode(path)
        assert episode["image"].shape[1:] == (10, 10, 10)
        assert episode["image"].dtype == bool
        assert episode["is_first"].tolist().index(True) == 0
        assert episode["is_last"][-1]
        assert episode["is_last"].sum() == episode["is_first"].sum() == 1
        assert not episode["action"][0].any()
        assert (episode["action"][1:].sum(1) == 1).all()


def test_play_is_random_over_all_actions(tmp_path):
    run(tmp_path, GAMES[:1], steps=2000)
    counts = packed.open_task(tmp_path / GAMES[0]).arrays["action"]
    counts = np.bincount(counts, minlength=7)[:6]
    assert (np.abs(counts / counts.sum() - 1 / 6) < 0.04).all()


def test_number_of_environments_does_not_matter(tmp_path):
    run(tmp_path / "a", envs=1)
    run(tmp_path / "b", envs=7)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_another_seed_makes_other_episodes(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", seed=6)
    assert not set(names(tmp_path / "a")) & set(names(tmp_path / "b"))
    assert fingerprints(tmp_path / "a") != fingerprints(tmp_path / "b")


def test_more_steps_keep_what_is_there(tmp_path):
    run(tmp_path / "a", steps=100)
    first = {x.name for x in (tmp_path / "a").rglob("*.npz")}
    run(tmp_path / "a", steps=300)
    assert first < {x.name for x in (tmp_path / "a").rglob("*.npz")}
    run(tmp_path / "b", steps=300)
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_written_episodes_are_not_played_again(tmp_path, monkeypatch):
    run(tmp_path, GAMES[:1], steps=100)
    written, _ = store.count_episodes(tmp_path / GAMES[0])
    start, played = collect.RandomPlay.start, []

    def record(play, worker):
        seed = start(play, worker)
        played.append(play.numbers[worker])
        return seed

    monkeypatch.setattr(collect.RandomPlay, "start", record)
    run(tmp_path, GAMES[:1], steps=300)
    assert played == list(range(written, written + len(played)))


def test_complete_collection_plays_nothing(tmp_path):
    run(tmp_path)
    run(tmp_path, make_vector_env=None)


def test_missing_episodes_are_made_again(tmp_path):
    run(tmp_path)
    before, complete = names(tmp_path), fingerprints(tmp_path)
    for task in GAMES:
        lost = sorted((tmp_path / task).glob("*.npz"), key=lambda x: x.name[16:])[:3]
        for path in lost:
            path.unlink()
        (tmp_path / task / ".half.npz.99.tmp").write_bytes(b"half")
    assert names(tmp_path) != before
    run(tmp_path)
    assert names(tmp_path) == before
    assert fingerprints(tmp_path) == complete
    assert not list(tmp_path.rglob("*.tmp"))


def test_killed_collection_goes_on_as_if_nothing_had_happened(tmp_path):
    code = (
        "import sys; from dreamerv2_transfer.collect import collect;"
        "collect(sys.argv[1], sys.argv[2:], steps=3000, envs=3, seed=5)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a"), *GAMES]
    root = pathlib.Path(collect.__file__).parents[1]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(names(tmp_path)) < 20 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_at = len(names(tmp_path))
    run(tmp_path / "a", steps=3000)
    run(tmp_path / "b", steps=3000)
    assert 20 <= killed_at < len(names(tmp_path / "b"))
    assert names(tmp_path / "a") == names(tmp_path / "b")
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_interrupted_collection_leaves_no_half_file(tmp_path, monkeypatch):
    save, saved = store.save_episode, []

    def interrupt(*args):
        saved.append(save(*args))
        if len(saved) == 4:
            raise KeyboardInterrupt
        return saved[-1]

    monkeypatch.setattr(store, "save_episode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert len(packed.open_task(tmp_path / GAMES[0])) == 4
    monkeypatch.undo()
    run(tmp_path)
    run(tmp_path / "b")
    assert fingerprints(tmp_path) == fingerprints(tmp_path / "b")


def test_full_disk_is_named_and_the_command_goes_on(tmp_path, monkeypatch):
    replace = os.replace

    def full(source, target):
        if store.count_episodes(pathlib.Path(target).parent)[0] == 5:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(packed.DatasetError, match="No space left") as error:
        run(tmp_path)
    assert str(tmp_path / GAMES[0]) in str(error.value)
    assert "5 episodes there are intact" in str(error.value)
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    run(tmp_path)
    run(tmp_path / "b")
    assert fingerprints(tmp_path) == fingerprints(tmp_path / "b")


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(packed.DatasetError, match="file"):
        run(tmp_path / "file")


def test_manifest_tells_what_was_collected(tmp_path):
    run(tmp_path, GAMES[:1], settings={"sticky": 0.25})
    manifest = store.read_manifest(tmp_path / GAMES[0])
    episodes, steps = store.count_episodes(tmp_path / GAMES[0])
    assert manifest["task"] == "minatar_breakout"
    assert (manifest["episodes"], manifest["steps"]) == (episodes, steps)
    assert manifest["policies"]["random"]["seed"] == 5
    assert manifest["settings"] == {"sticky": 0.25}
    assert manifest["spaces"]["image"] == {"shape": [10, 10, 10], "dtype": "bool"}
    assert manifest["spaces"]["action"]["n"] == 6
    assert "gymnasium" in manifest["versions"]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 6}, "seed=5"), ({"settings": {"sticky": 0.0}}, "settings=")],
)
def test_folder_of_another_collection_is_refused(tmp_path, change, named):
    run(tmp_path, settings={"sticky": 0.1})
    with pytest.raises(packed.DatasetError, match=named) as error:
        run(tmp_path, **{"steps": 600, "settings": {"sticky": 0.1}, **change})
    assert str(tmp_path / GAMES[0]) in str(error.value)


def test_dataset_opens_from_its_index(tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr(store, "load_episode", None)
    assert len(fingerprints(tmp_path)) == 2


def test_actions_without_bounds_are_drawn_as_the_agents():
    low = np.array([-np.inf, 0, -1, 2], np.float32)
    high = np.array([np.inf, np.inf, 1, 4], np.float32)
    space = spaces.Box(low, high, dtype=np.float32)
    vector = envs.make_vector_env(lambda: envs.Dummy(space), 1)
    # What has bounds on both sides arrives rescaled to -1 and 1.
    play = collect.RandomPlay(vector, "any", 5, lambda number: False)
    play.start(0)
    actions = np.concatenate([play.policy({}, None)[0]["action"] for _ in range(500)])
    assert actions.shape == (500, 4)
    assert (np.abs(actions) <= 1).all()
    assert np.abs(actions.mean(0)).max() < 0.1
    assert np.abs(actions.std(0) - 3**-0.5).max() < 0.05


@pytest.mark.parametrize("task", ["dummy_discrete", "dummy_continuous"])
def test_environments_come_from_a_factory(tmp_path, task):
    def factory(name, number, **settings):
        return envs.make_vector_env(task, number, **settings)

    run(tmp_path, ["any"], 45, make_vector_env=factory, settings={"time_limit": 7})
    opened = packed.open_task(tmp_path / "any")
    assert opened.lengths.tolist() == [8] * 7
    assert opened.episode(0)["vector"][:, 0].tolist() == list(range(8))
    assert len({opened.episode(i)["action"].tobytes() for i in range(7)}) == 7


def test_progress_and_result_are_said(tmp_path, capsys):
    run(tmp_path, GAMES[:1])
    said = capsys.readouterr()
    assert "Collecting minatar_breakout: 0 of 300 steps" in said.out
    assert "Collected minatar_breakout:" in said.out
    assert "step/s" in said.err
