import json
import sys

import h5py
import numpy as np
import pytest
from gymnasium import spaces

minari = pytest.importorskip("minari")

from dreamerv2_transfer.common.replay import store  # noqa: E402
from dreamerv2_transfer.common.replay.store import DatasetError  # noqa: E402
from dreamerv2_transfer.data import checks, folders, imports, minari_io  # noqa: E402
from tests import fakes, replays  # noqa: E402
from tests.replays import save_shard  # noqa: E402

TASK = "minatar_breakout"
GREY = {"image_shape": (64, 64, 1), "dtype": np.uint8}


def dataset(folder, *episodes, **manifest):
    folder.mkdir(parents=True)
    for one in episodes:
        store.save_episode(folder, one)
    number, steps = store.count_episodes(folder)
    told = {"task": folder.name, "episodes": number, "steps": steps, **manifest}
    store.write_manifest(folder, told)
    return folder


def truncated(episode):
    return episode | {"is_terminal": np.zeros(len(episode["reward"]), bool)}


def contents(folder):
    return {
        store.parse_name(path): {
            k: (v.dtype, v.shape, v.tobytes())
            for k, v in replays.load_all(path).items()
        }
        for path in folders.episode_files(folder)
    }


def round_trip(tmp_path, folder):
    minari_io.export_task(folder, folder.name, str(tmp_path / "out"))
    imports.import_minari(tmp_path / "back", tmp_path / "out")
    return tmp_path / "back" / folder.name


def noise(steps, seed):
    made = truncated(fakes.episode(steps, seed, **GREY))
    random = np.random.default_rng(seed)
    made["image"] = random.integers(0, 256, made["image"].shape, np.uint8)
    return made


def policied():
    acted = {"log_policy": np.array([-1, 0, 1, 1], np.int32)}
    odd = {"log_value": np.array([np.nan, 1, 2, 3], np.float32)}
    return fakes.episode(3) | acted | odd


@pytest.mark.parametrize(
    ("task", "episodes"),
    [
        (TASK, [policied(), truncated(fakes.episode(5, 1))]),
        ("atari_pong", [noise(4, 1), noise(3, 2)]),
        ("a", [fakes.episode(4, 3, (5,), np.float32, 2)]),
    ],
)
def test_what_is_exported_comes_back_exactly(tmp_path, task, episodes):
    episodes[0]["reward"][0] = 0.25  # Minari has no place for it, and for an action.
    episodes[0]["action"][0, 1] = 1
    policies = [{"name": "random", "share": 0.2}, {"name": "dqn/a.pt", "share": 0.8}]
    if task == TASK:
        policies = [{**x, "steps": n} for x, n in zip(policies, [1, 2], strict=True)]
    made = {"policies": policies, "versions": {"numpy": "2"}, "recipe": {"seed": 1}}
    made["spaces"] = checks.describe(episodes[0])
    folder = dataset(tmp_path / "d" / task, *episodes, **made)
    back = round_trip(tmp_path, folder)
    assert contents(back) == contents(folder)
    assert store.read_manifest(back) == store.read_manifest(folder)


def test_continuous_actions_come_back_exactly(tmp_path):
    made = fakes.episode(4, actions=2)
    made["action"] = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)
    folder = dataset(tmp_path / "d" / TASK, made)
    assert contents(round_trip(tmp_path, folder)) == contents(folder)


def test_exported_actions_keep_the_games_numbering(tmp_path):
    kinds = checks.describe(fakes.episode(4))
    kinds["action"]["start"] = 5
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(4), spaces=kinds)
    assert contents(round_trip(tmp_path, folder)) == contents(folder)
    storage = minari_io.open_source(tmp_path / "out").storage
    assert storage.action_space == spaces.Discrete(6, start=5)
    taken = fakes.episode(4)["action"][1:].argmax(1)
    found = next(iter(storage.get_episodes([0])))["actions"]
    np.testing.assert_array_equal(found, 5 + taken)


def test_an_older_manifest_and_its_episodes_come_back_exactly(tmp_path):
    policies = {"random": {"seed": 0, "episodes": 1, "steps": 3}}
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3), policies=policies)
    back = round_trip(tmp_path, folder)
    assert contents(back) == contents(folder)
    assert store.read_manifest(back)["policies"] == policies


def test_a_second_import_adds_nothing(tmp_path):
    policies = [{"name": "random"}, {"name": "dqn/a.pt"}]
    dataset(tmp_path / "d" / TASK, policied(), fakes.episode(5, 1), policies=policies)
    back = round_trip(tmp_path, tmp_path / "d" / TASK)
    before = contents(back)
    again = imports.import_minari(tmp_path / "back", tmp_path / "out")
    assert (again.added, again.present) == (0, 2) and contents(back) == before


def test_minari_itself_reads_what_is_exported(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    folder = dataset(tmp_path / "d" / TASK, noise(4, 1), policies=[])
    done = minari_io.export_task(folder, TASK, "games/breakout-v3")
    assert (done.name, done.episodes) == ("games/breakout-v3", 1)
    loaded = minari.load_dataset("games/breakout-v3")
    assert (loaded.total_episodes, loaded.total_steps) == (1, 4)
    (episode,) = loaded
    assert np.array_equal(episode.observations["image"], noise(4, 1)["image"])
    assert episode.rewards.tolist() == [1001, 1002, 1003, 1004]
    assert episode.terminations.tolist() == [False] * 4
    assert episode.truncations.tolist() == [False, False, False, True]
    assert imports.detect("games/breakout-v3") == "minari"
    result = imports.import_minari(tmp_path / "back", "games/breakout-v3", "atari_pong")
    assert result.steps == 4


def test_several_tasks_share_a_target(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3))
    done = minari_io.export_task(folder, TASK, "mine-v0", several=True)
    assert done.name == "mine/minatar_breakout-v0"
    done = minari_io.export_task(folder, TASK, str(tmp_path / "out"), several=True)
    assert done.folder == tmp_path / "out" / TASK


def test_damaged_files_are_named_and_left_out(tmp_path):
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3), fakes.episode(5))
    (bad,) = folder.glob("*-5.npz")
    bad.write_bytes(b"PK")
    done = minari_io.export_task(folder, TASK, str(tmp_path / "out"))
    assert done.episodes == 1 and str(bad) in done.damaged[0]


def test_a_url_is_no_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3))
    with pytest.raises(DatasetError, match="Received: --target s3://bucket/set"):
        minari_io.export_task(folder, TASK, "s3://bucket/set")
    assert [x.name for x in tmp_path.iterdir()] == ["d"]


def test_an_existing_target_is_not_touched(tmp_path):
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3))
    (tmp_path / "out").mkdir()
    with pytest.raises(DatasetError, match="out exists"):
        minari_io.export_task(folder, TASK, str(tmp_path / "out"))


def test_a_failed_export_leaves_nothing_behind(tmp_path):
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3))
    (bad,) = folder.glob("*.npz")
    bad.write_bytes(b"PK")
    with pytest.raises(DatasetError, match="no readable episode"):
        minari_io.export_task(folder, TASK, str(tmp_path / "out" / "x"))
    assert list((tmp_path / "out").iterdir()) == []


def foreign(tmp_path, monkeypatch, observation, action, seen, done, **ended):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    flags = {"terminations": [False, False], "truncations": [False, False]} | ended
    buffer = minari.data_collector.EpisodeBuffer(
        observations=seen, actions=done, rewards=[1.0, 2.0], **flags
    )
    minari.create_dataset_from_buffers(
        "theirs-v0",
        [buffer],
        observation_space=observation,
        action_space=action,
        author="a",
        author_email="a",
        code_permalink="a",
        algorithm_name="a",
        description="a",
        eval_env="CartPole-v1",
    )
    result = imports.import_minari(tmp_path / "d", "theirs-v0", "dmc_any")
    assert (result.added, result.damaged) == (1, [])
    (path,) = folders.episode_files(tmp_path / "d" / "dmc_any")
    return replays.load_all(path)


@pytest.mark.filterwarnings("ignore")
def test_discrete_actions_and_vectors_of_others(tmp_path, monkeypatch):
    seen = np.array([[1, 2], [3, 4], [5, 6]], np.float64)
    one = foreign(
        tmp_path,
        monkeypatch,
        spaces.Box(-9, 9, (2,), np.float64),
        spaces.Discrete(3, start=1),
        seen,
        np.array([3, 1]),
        terminations=[False, True],
    )
    assert one["vector"].dtype == np.float32
    assert one["vector"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert one["action"].tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert one["reward"].tolist() == [0, 1, 2]
    assert one["is_terminal"].tolist() == [False, False, True]
    assert one["log_policy"].tolist() == [-1, 0, 0]
    told = store.read_manifest(tmp_path / "d" / "dmc_any")["spaces"]["action"]
    assert told == {"shape": [3], "dtype": "float32", "n": 3, "start": 1}


@pytest.mark.filterwarnings("ignore")
def test_bounded_actions_and_images_of_others(tmp_path, monkeypatch):
    space = {
        "a": spaces.Dict({"image": spaces.Box(0, 255, (4, 5), np.uint8)}),
        "n": spaces.Discrete(2),
    }
    image = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    one = foreign(
        tmp_path,
        monkeypatch,
        spaces.Dict(space),
        spaces.Box(np.array([0, -np.inf]), np.array([4, np.inf]), (2,), np.float64),
        {"a": {"image": image}, "n": np.array([0, 1, 1])},
        np.array([[1.0, 7.0], [4.0, -2.0]]),
    )
    assert np.array_equal(one["a.image"], image[..., None])
    assert one["n"].tolist() == [[1, 0], [0, 1], [0, 1]]
    # From 0 to 4 becomes from -1 to 1; what has no bounds stays.
    assert one["action"].tolist() == [[0, 0], [-0.5, 7], [1, -2]]
    # The collector was stopped: the episode is cut there.
    assert one["is_last"].tolist() == [False, False, True]
    assert not one["is_terminal"].any()


def test_no_environment_of_a_file_is_made(tmp_path):
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3))
    minari_io.export_task(folder, TASK, str(tmp_path / "out"))
    path = tmp_path / "out" / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["action_space"]
    metadata["env_spec"] = json.dumps({"id": "x-v0", "entry_point": "os:abort"})
    path.write_text(json.dumps(metadata))
    with pytest.raises(DatasetError, match="does not say its action_space"):
        imports.import_minari(tmp_path / "back", tmp_path / "out")


def test_a_hostile_identifier_writes_to_no_other_place(tmp_path):
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3))
    (path,) = folder.glob("*.npz")
    minari_io.export_task(folder, TASK, str(tmp_path / "out"))
    storage = minari_io.open_source(tmp_path / "out").storage
    storage.update_episode_metadata([{"identifier": "/../../x"}])
    imports.import_minari(tmp_path / "back", tmp_path / "out")
    (there,) = (tmp_path / "back").rglob("*.npz")
    assert there.parent == tmp_path / "back" / TASK


def test_damage_is_named(tmp_path):
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3), fakes.episode(4, 1))
    minari_io.export_task(folder, TASK, str(tmp_path / "out"))
    file = tmp_path / "out" / "data" / "main_data.hdf5"
    with h5py.File(file, "a") as opened:
        del opened["episode_0/rewards"]
    result = imports.import_minari(tmp_path / "back", tmp_path / "out")
    assert result.added == 1 and "episode 0" in result.damaged[0]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DatasetError, match="out"):
        imports.import_minari(tmp_path / "back2", tmp_path / "out")
    with pytest.raises(DatasetError, match="is no Minari dataset"):
        imports.import_minari(tmp_path / "back", tmp_path / "none")


def test_without_minari_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    folder = dataset(tmp_path / "d" / TASK, fakes.episode(3))
    monkeypatch.setitem(sys.modules, "minari.dataset.minari_storage", None)
    with pytest.raises(DatasetError, match=r"dreamerv2_transfer\[minari\]"):
        minari_io.export_task(folder, TASK, str(tmp_path / "out"))


def test_keys_with_a_slash_come_back(tmp_path):
    made = fakes.episode(4, 3, (5,), np.float32, 2)
    made["walker/height"] = made.pop("image")
    made["log_score/all"] = np.array([np.nan, 1, 2, 3, 4], np.float32)
    folder = dataset(tmp_path / "a", made)
    assert contents(round_trip(tmp_path, folder)) == contents(folder)


def test_episodes_of_a_shard_are_exported(tmp_path):
    made = [fakes.episode(x, x) for x in (3, 4)]
    folder = dataset(tmp_path / TASK, fakes.episode(5))
    broken = fakes.episode(4, 9) | {"reward": np.full(5, np.nan, np.float32)}
    path = save_shard(folder, [*made, broken], "abc")
    exported = minari_io.export_task(folder, folder.name, str(tmp_path / "out"))
    assert exported.episodes == 3
    assert exported.damaged == [f"{path}, episode 2 is damaged: reward is not finite."]
    imports.import_minari(tmp_path / "back", tmp_path / "out")
    back = contents(tmp_path / "back" / TASK)
    assert {("abcn0", 3), ("abcn1", 4)} < {*back}
    assert back["abcn1", 4]["image"][2] == made[1]["image"].tobytes()
