import numpy as np
import pytest

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.replay import layout, store
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import folders, imports, inspect, verify
from tests import fakes, replays
from tests.replays import save_shard

TASK = "minatar_breakout"


def train_episodes(folder, *episodes):
    """Files as the original writes them."""
    folder.mkdir(exist_ok=True)
    for number, episode in enumerate(episodes):
        name = f"20210101T00000{number}-{number:032x}-{store.eplen(episode)}.npz"
        np.savez_compressed(folder / name, **episode)
    return folder


def read(folder):
    """All episodes of a task's folder, by the number that their rewards spell."""
    found = map(replays.load_all, folders.episode_files(folder))
    return {int(x["reward"][0]) // 1000: x for x in found}


def test_train_episodes_are_copied_with_types_and_a_manifest(tmp_path):
    old = [fakes.episode(3 + i, i) for i in range(3)]
    source = train_episodes(tmp_path / "train_episodes", *old)
    result = imports.import_dreamerv2(tmp_path / "d", source, TASK)
    assert result.summary() == (
        "Imported 3 episodes of 12 steps; 0 were there already, 0 are damaged."
    )
    there = read(tmp_path / "d" / TASK)
    for number, episode in enumerate(old):
        for key, value in episode.items():
            assert there[number][key].dtype == value.dtype
            assert np.array_equal(there[number][key], value)
        acted = there[number]["log_policy"]
        assert acted.tolist() == [-1] + [0] * (3 + number)
    manifest = store.read_manifest(tmp_path / "d" / TASK)
    assert manifest["task"] == TASK
    assert (manifest["episodes"], manifest["steps"]) == (3, 12)
    (policy,) = manifest["policies"]
    assert (policy["name"], policy["steps"]) == ("imported", 12)
    assert manifest["spaces"]["action"] == {"shape": [6], "dtype": "float32", "n": 6}
    assert verify.verify(tmp_path / "d", print).damaged == []


def test_a_second_import_adds_nothing_but_what_is_new(tmp_path):
    first, second = fakes.episode(3), fakes.episode(4, 1)
    source = train_episodes(tmp_path / "s", first, first)
    assert imports.import_dreamerv2(tmp_path / "d", source, TASK).added == 1
    train_episodes(tmp_path / "s", first, first, second)
    again = imports.import_dreamerv2(tmp_path / "d", source, TASK)
    assert (again.added, again.present) == (1, 2)
    (policy,) = store.read_manifest(tmp_path / "d" / TASK)["policies"]
    assert policy["steps"] == 7


def test_a_single_file_is_a_source(tmp_path):
    source = train_episodes(tmp_path / "s", fakes.episode(3), fakes.episode(4, 1))
    file = sorted(source.glob("*.npz"))[1]
    assert imports.import_dreamerv2(tmp_path / "d", file, TASK).steps == 4


def test_keys_that_are_no_observations_here_are_kept_for_logging(tmp_path):
    more = {"ram": np.ones((4, 128), np.uint8), "discount": np.ones(4)}
    source = train_episodes(tmp_path / "s", fakes.episode(3) | more)
    imports.import_dreamerv2(tmp_path / "d", source, TASK)
    (path,) = folders.episode_files(tmp_path / "d" / TASK)
    assert "ram" not in store.load_episode(path)
    there = replays.load_all(path)
    assert there["log_ram"].sum() == 4 * 128 and there["log_discount"].sum() == 4


def test_observations_of_an_unknown_suite_are_kept(tmp_path):
    more = {"position": np.ones((4, 2)), "discount": np.ones(4)}
    source = train_episodes(tmp_path / "s", fakes.episode(3) | more)
    imports.import_dreamerv2(tmp_path / "d", source, "dmc_walker_walk")
    (path,) = folders.episode_files(tmp_path / "d" / "dmc_walker_walk")
    assert {"image", "position"} < store.load_episode(path).keys()
    assert "discount" not in store.load_episode(path)


def test_damaged_files_are_named_and_the_others_imported(tmp_path):
    cut = fakes.episode(5, 2)
    cut["is_last"] = np.zeros(6, bool)
    source = train_episodes(tmp_path / "s", fakes.episode(3), fakes.episode(4, 1), cut)
    broken = sorted(source.glob("*.npz"))[0]
    broken.write_bytes(b"PK")
    result = imports.import_dreamerv2(tmp_path / "d", source, TASK)
    assert result.added == 1 and len(result.damaged) == 2
    assert str(broken) in result.damaged[0]
    assert "is_last is set at no step" in result.damaged[1]


def test_other_shapes_than_the_folder_has_are_no_episodes(tmp_path):
    source = train_episodes(tmp_path / "s", fakes.episode(3))
    imports.import_dreamerv2(tmp_path / "d", source, TASK)
    other = train_episodes(tmp_path / "o", fakes.episode(3, 1, actions=3))
    with pytest.raises(DatasetError, match=r"action is float32 \(3,\), and float32"):
        imports.import_dreamerv2(tmp_path / "d", other, TASK)


def test_a_task_folder_brings_its_policies_along(tmp_path):
    acted = {"log_policy": np.array([-1, 0, 1, 1], np.int32)}
    source = train_episodes(tmp_path / "s", fakes.episode(3) | acted)
    policies = [{"name": "random"}, {"name": "dqn/a.pt", "file": "a.pt"}]
    store.write_manifest(source, {"policies": policies})
    other = train_episodes(tmp_path / "o", fakes.episode(2, 1))
    imports.import_dreamerv2(tmp_path / "d", other, TASK)
    imports.import_dreamerv2(tmp_path / "d", source, TASK)
    (found,) = inspect.info(tmp_path / "d")
    assert found.policies == {"imported": 2, "random": 1, "dqn/a.pt": 2}
    assert read(tmp_path / "d" / TASK)[0]["log_policy"].tolist() == [-1, 1, 2, 2]


@pytest.mark.parametrize(
    "told",
    [
        {"shape": [6], "dtype": "float32", "n": 6, "start": 5},
        {"shape": [6], "dtype": "float32", "parts": [[2, 3]]},
    ],
)
def test_a_task_folder_tells_what_episodes_do_not_tell_of_actions(tmp_path, told):
    one = fakes.episode(4)
    if "parts" in told:
        one["action"][1:] = [1, 0, 0, 0, 1, 0]
    source = train_episodes(tmp_path / "theirs", one)
    spaces = {**layout.describe(one), "action": told}
    store.write_manifest(source, {"task": TASK, "spaces": spaces})
    imports.import_dreamerv2(tmp_path / "d", source, TASK)
    manifest = store.read_manifest(tmp_path / "d" / TASK)
    assert manifest["spaces"]["action"] == told


def test_what_a_training_added_to_random_play_is_nobodys(tmp_path):
    source = train_episodes(tmp_path / "s", fakes.episode(3), fakes.episode(4, 1))
    random = {"seed": 0, "episodes": 1, "steps": 3}
    store.write_manifest(source, {"policies": {"random": random}})
    imports.import_dreamerv2(tmp_path / "d", source, TASK)
    assert read(tmp_path / "d" / TASK)[0]["log_policy"].tolist() == [-1] * 4
    random["steps"] = 7
    store.write_manifest(source, {"policies": {"random": random}})
    imports.import_dreamerv2(tmp_path / "e", source, TASK)
    assert read(tmp_path / "e" / TASK)[0]["log_policy"].tolist() == [-1, 0, 0, 0]


def test_bad_sources_and_tasks_are_named(tmp_path):
    source = train_episodes(tmp_path / "train_episodes", fakes.episode(3))
    with pytest.raises(DatasetError, match="Name one of .*train_episodes"):
        imports.import_dreamerv2(tmp_path / "d", tmp_path, TASK)
    with pytest.raises(DatasetError, match="no file and no folder"):
        imports.import_dreamerv2(tmp_path / "d", tmp_path / "none", TASK)
    with pytest.raises(envs.EnvError, match="Did you mean minatar_breakout"):
        imports.import_dreamerv2(tmp_path / "d", source, "minatar_breakot")
    for task in ("", "../x", "a/b", ".hidden"):
        with pytest.raises(DatasetError, match="Name what is played"):
            imports.import_dreamerv2(tmp_path / "d", source, task)
    assert not (tmp_path / "d").exists()


def test_the_files_of_an_mlflow_run_are_its_episodes(tmp_path):
    for name in ("params", "metrics", "artifacts/episodes/0", "artifacts/d2_wm_dream"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "meta.yaml").touch()
    episode = tmp_path / "artifacts/episodes/0/ep000000_000001-0-r2-1001.npz"
    for path in (episode, tmp_path / "artifacts/d2_wm_dream/0000001.npz"):
        path.touch()
    assert imports.npz_files(tmp_path, deep=True) == [str(episode)]


def test_formats_are_told_apart_by_their_keys(tmp_path):
    source = train_episodes(tmp_path / "s", fakes.episode(3))
    assert imports.detect(source) == "dreamerv2"
    deep = tmp_path / "p" / "episodes" / "0"
    deep.mkdir(parents=True)
    np.savez(deep / "ep000000_000001-0-r1-3.npz", reset=[True], reward=[0])
    assert imports.detect(tmp_path / "p") == "pydreamer"
    np.savez(tmp_path / "other.npz", images=[1])
    with pytest.raises(DatasetError, match="keys images"):
        imports.detect(tmp_path / "other.npz")


def test_episodes_of_a_shard_are_imported_once(tmp_path):
    source = tmp_path / TASK
    source.mkdir()
    episodes = [fakes.episode(3 + i, i) for i in range(3)]
    broken = fakes.episode(4, 9) | {"reward": np.full(5, np.nan, np.float32)}
    save_shard(source, [*episodes, broken], "abc")
    result = imports.import_dreamerv2(tmp_path / "d", source, TASK)
    assert (result.added, result.steps, len(result.damaged)) == (3, 12, 1)
    assert "episode 3 is no episode: reward is not finite" in result.damaged[0]
    there = read(tmp_path / "d" / TASK)
    for number, episode in enumerate(episodes):
        assert np.array_equal(there[number]["image"], episode["image"])
    again = imports.import_dreamerv2(tmp_path / "d", source, TASK)
    assert (again.added, again.present) == (0, 3)
    # The episodes of a shard in the target are known too.
    result = imports.import_dreamerv2(tmp_path, source, TASK)
    assert (result.added, result.present) == (0, 3)
