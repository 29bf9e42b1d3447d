import numpy as np
import pytest

from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.law import Law
from dreamerv2_transfer.data import inspect
from tests import fakes
from tests.replays import save_shard


def rewarded(*rewards, acted=None):
    made = fakes.episode(len(rewards))
    made["reward"] = np.array([0, *rewards], np.float32)
    if acted is not None:
        made["log_policy"] = np.array([-1, *acted], np.int32)
    return made


def fill(folder, *episodes, **manifest):
    folder.mkdir()
    for one in episodes:
        store.save_episode(folder, one)
    if manifest:
        store.write_manifest(folder, manifest)


def test_returns_lengths_and_policies_are_counted(tmp_path):
    fill(
        tmp_path / "minatar_breakout",
        rewarded(1, 0, 2, acted=[0, 1, 1]),
        rewarded(0.5, acted=[1]),
        policies=[{"name": "random"}, {"name": "dqn/a.pt"}],
        recipe={"seed": 3},
        versions={"minatar": "1.0.15"},
    )
    (found,) = inspect.info(tmp_path)
    assert found.name == "minatar_breakout"
    assert sorted(found.returns) == [0.5, 3] and sorted(found.lengths) == [1, 3]
    assert found.policies == {"random": 1, "dqn/a.pt": 3}
    assert found.seeds == (3,) and found.damaged == ()
    assert found.size == 2 * 4096
    table = found.table()
    assert table.startswith("minatar_breakout: 2 episodes, 4 steps\n")
    assert "mean 1.75  min 0.5" in table
    assert "75.0%" in table and "minatar 1.0.15" in table
    assert table.endswith("\n  disk     8.0 KiB, 2,048 bytes a step")


def test_an_older_manifest_tells_who_acted_in_all_episodes(tmp_path):
    told = {"random": {"seed": 7, "episodes": 1, "steps": 2}}
    fill(tmp_path / "a", rewarded(1, 1), policies=told)
    (found,) = inspect.info(tmp_path)
    assert found.policies == {"random": 2} and found.seeds == (7,)


def test_what_a_training_added_to_random_play_is_not_random(tmp_path):
    told = {"random": {"seed": 7, "episodes": 1, "steps": 2}}
    fill(tmp_path / "a", rewarded(1, 1), rewarded(1, 1, 1), policies=told)
    (found,) = inspect.info(tmp_path)
    assert found.policies == {"random": 2, "?": 3}


def test_steps_of_nobody_are_not_given_to_a_policy(tmp_path):
    fill(
        tmp_path / "a",
        rewarded(1, 1, acted=[1, 1]),
        rewarded(1),
        policies=[{"name": "random"}, {"name": "dqn/a.pt"}],
    )
    (found,) = inspect.info(tmp_path)
    assert found.policies == {"dqn/a.pt": 2, "?": 1}


def test_a_single_task_folder_is_a_dataset_too(tmp_path):
    fill(tmp_path / "minatar_freeway", rewarded(1))
    (found,) = inspect.info(tmp_path / "minatar_freeway")
    assert found.name == "minatar_freeway" and len(found.returns) == 1


def test_damaged_files_are_named_and_counted(tmp_path):
    fill(tmp_path / "a", rewarded(1, 1, 1), rewarded(2))
    bad = tmp_path / "a" / "20260101T000000-0a-9.npz"
    bad.write_bytes(b"PK no archive")
    (tmp_path / "a" / "manifest.json").write_text("{")
    (found,) = inspect.info(tmp_path)
    assert len(found.returns) == 2
    manifest, episode = found.damaged
    assert "manifest.json" in manifest and str(bad) in episode
    assert "damaged  2" in found.table()


def test_a_folder_of_damaged_files_alone_is_no_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "20260101T000000-0a-9.npz").write_bytes(b"")
    (found,) = inspect.info(tmp_path)
    assert "no readable episode" in found.table()


def test_rewards_are_told_as_they_are_and_as_training_draws_them(tmp_path):
    """Episodes of 2 and 8 transitions; in pieces of 2, the latter has 7.

    The first reward of the latter is in one of them, the second one in two.
    """
    fill(tmp_path / "a", rewarded(0), rewarded(0, 0, 0, 0, 0.5, 0, -1))
    for law, presented in {
        Law(maxlen=2): (1 / 2 * 3 / 7) / 2,
        Law(maxlen=2, draw="steps"): (8 / 10 * 3 / 7) / 2,
        Law(maxlen=2, rewarded=1.0): 1 / 2,
        # A piece of 8 with both, and six times as often one of 7 with 1.5 of them.
        Law(minlen=7): 11 / 50,
    }.items():
        (found,) = inspect.info(tmp_path, law)
        assert found.rewarded == 0.2
        assert found.presented == pytest.approx(presented), law
    (found,) = inspect.info(tmp_path, Law(maxlen=2))
    assert "rewards  at 0.2 of the steps, 0.11 of those that are dr" in found.table()
    (found,) = inspect.info(tmp_path, Law(minlen=8, maxlen=8))
    assert found.presented is None and "steps, no step of those" in found.table()


def test_episodes_of_a_shard_are_counted_one_by_one(tmp_path):
    (tmp_path / "a").mkdir()
    episodes = [rewarded(1, 0, 2), rewarded(0, 5)]
    save_shard(tmp_path / "a", episodes, "abc")
    (tmp_path / "b").mkdir()
    for episode in episodes:
        store.save_episode(tmp_path / "b", episode)
    (one, _), (other, _) = (inspect.outline(tmp_path / x) for x in "ab")
    assert sorted((x.steps, x.total) for x in one) == sorted(
        (x.steps, x.total) for x in other
    )
    assert len(one) == 2
