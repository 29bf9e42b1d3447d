import numpy as np
import pytest

from dreamerv2_transfer.common.files import locks
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import folders
from dreamerv2_transfer.data.importing import Result, importing
from tests import fakes, replays

TASK = "minatar_breakout"
RANDOM, PLAYER = {"name": "random"}, {"name": "dqn/a.pt", "file": "a.pt"}


def add(directory, *episodes, policies=(RANDOM,), source=None, **kwargs):
    result = Result()
    manifest = {"policies": list(policies), **(source or {})}
    with importing(directory, TASK, manifest, result) as importer:
        for number, episode in enumerate(episodes):
            importer.add(episode, f"episode {number}", **kwargs)
    return result


def acted(*policies):
    return {"log_policy": np.array([-1, *policies], np.int32)}


def written(directory):
    """All episodes of the folder, the shortest first."""
    found = map(replays.load_all, folders.episode_files(directory / TASK))
    return sorted(found, key=store.eplen)


def manifest(directory):
    return store.read_manifest(directory / TASK)


def test_each_content_is_added_once(tmp_path):
    one, other = fakes.episode(3), fakes.episode(4, 1)
    result = add(tmp_path, one, one, other)
    assert (result.added, result.present, result.steps) == (2, 1, 7)
    again = add(tmp_path, other, fakes.episode(5, 2))
    assert (again.added, again.present) == (1, 1)
    assert [store.eplen(x) for x in written(tmp_path)] == [3, 4, 5]


def test_files_are_named_after_their_content(tmp_path):
    for name in "ab":
        add(tmp_path / name, fakes.episode(3), identifier="abc")
    names = [store.parse_name(x) for x in tmp_path.rglob("*.npz")]
    assert names[0] == names[1] and names[0][0] != "abc"


def test_an_identifier_is_kept_if_asked_for(tmp_path):
    add(tmp_path, fakes.episode(3), identifier="abc", keep=True)
    (path,) = (tmp_path / TASK).glob("*.npz")
    assert store.parse_name(path) == ("abc", 3)
    assert add(tmp_path, fakes.episode(3), identifier="abc").present == 1


def test_another_episode_of_the_same_identifier_is_added(tmp_path):
    """As of two runs of one seed, whose episodes are called alike."""
    add(tmp_path, fakes.episode(3), identifier="abc", keep=True)
    for added in (1, 0):
        found = add(tmp_path, fakes.episode(9), identifier="abc", keep=True)
        assert (found.added, found.present) == (added, 1 - added)
    assert [store.eplen(x) for x in written(tmp_path)] == [3, 9]


@pytest.mark.parametrize("keep", [True, False])
def test_an_episode_whose_file_is_damaged_is_imported_again(tmp_path, keep):
    add(tmp_path, fakes.episode(3), identifier="abc", keep=keep)
    (path,) = (tmp_path / TASK).glob("*.npz")
    path.write_bytes(b"damaged")
    assert add(tmp_path, fakes.episode(3), identifier="abc", keep=keep).added == 1
    assert add(tmp_path, fakes.episode(3), identifier="abc", keep=keep).present == 1


def test_the_manifest_counts_what_was_added(tmp_path):
    add(tmp_path, fakes.episode(3) | acted(0, 0, 1), policies=[RANDOM, PLAYER])
    add(tmp_path, fakes.episode(4) | acted(0, 0, 0, 0), policies=[PLAYER])
    found = manifest(tmp_path)
    assert (found["task"], found["episodes"], found["steps"]) == (TASK, 2, 7)
    assert found["policies"] == [{**RANDOM, "steps": 2}, {**PLAYER, "steps": 5}]
    assert found["spaces"]["action"]["n"] == 6
    assert "dreamerv2_transfer" in found["versions"]


def test_policies_are_numbered_as_in_the_folder(tmp_path):
    add(tmp_path, fakes.episode(2) | acted(0, 0), policies=[PLAYER])
    add(tmp_path, fakes.episode(3) | acted(0, 1, 1), policies=[RANDOM, PLAYER])
    found = [x["log_policy"].tolist() for x in written(tmp_path)]
    assert found == [[-1, 0, 0], [-1, 1, 0, 0]]


def test_the_only_policy_of_a_source_acted_in_all_steps(tmp_path):
    add(tmp_path, fakes.episode(3))
    assert written(tmp_path)[0]["log_policy"].tolist() == [-1, 0, 0, 0]


@pytest.mark.parametrize(
    ("policies", "source"),
    [
        ([RANDOM, PLAYER], {}),
        ([{**RANDOM, "steps": 2}], {"steps": 3}),  # The other step is a training's.
    ],
)
def test_otherwise_nobody_is_known_to_have_acted(tmp_path, policies, source):
    add(tmp_path, fakes.episode(3), policies=policies, source=source)
    assert written(tmp_path)[0]["log_policy"].tolist() == [-1] * 4


def test_a_kept_episode_with_the_same_policies_is_not_changed(tmp_path):
    add(tmp_path, fakes.episode(3), identifier="abc", keep=True)
    assert "log_policy" not in written(tmp_path)[0]


@pytest.mark.parametrize(
    ("episode", "fault"),
    [
        ({"reward": np.zeros(4)}, "it lacks action"),
        (fakes.episode(0), "it has no step"),
        (fakes.episode(3, actions=5), "action is float32 (5,), and float32 (6,)"),
        (fakes.episode(3) | acted(0, 1, 0), "log_policy holds [-1, 0, 1]"),
        (fakes.episode(3) | {"is_last": np.zeros(4)}, "is_last is set at no step"),
    ],
)
def test_what_is_no_episode_is_named(tmp_path, episode, fault):
    result = add(tmp_path, fakes.episode(4), episode)
    assert result.added == 1
    (line,) = result.damaged
    assert line.startswith("episode 1 is no episode: ") and fault in line


def test_nothing_is_written_without_an_episode(tmp_path):
    result = add(tmp_path, {"reward": np.zeros(4)})
    assert result.summary() == (
        "Imported 0 episodes of 0 steps; 0 were there already, 1 are damaged."
    )
    assert not list((tmp_path / TASK).glob("[!.]*"))


def test_a_killed_import_leaves_its_policies(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        importing(tmp_path, TASK, {"policies": [RANDOM]}, Result()) as importer,
    ):
        importer.add(fakes.episode(3), "one")
        importer.close = lambda: None  # As if the process were gone.
        raise KeyboardInterrupt
    assert manifest(tmp_path)["policies"] == [RANDOM]


def test_a_collection_that_goes_on_takes_no_other_policies(tmp_path):
    (tmp_path / TASK).mkdir()
    listed = {"recipe": {"seed": 0}, "policies": [RANDOM]}
    store.write_manifest(tmp_path / TASK, listed)
    with pytest.raises(DatasetError, match=r"\(dqn/a.pt\). Import into another"):
        add(tmp_path, fakes.episode(4, 1), policies=[PLAYER])
    assert folders.episode_files(tmp_path / TASK) == []
    assert add(tmp_path, fakes.episode(4, 1), policies=[RANDOM]).added == 1


def test_a_dataset_that_is_written_to_is_left_alone(tmp_path):
    (tmp_path / TASK).mkdir()
    with (
        locks.locked(tmp_path / TASK, DatasetError()),
        pytest.raises(DatasetError, match="Another process writes to"),
    ):
        add(tmp_path, fakes.episode(3))


def test_a_note_is_made_once():
    result = Result()
    for text in ("one", "other", "one"):
        result.note(text)
    assert result.notes == ["one", "other"]
