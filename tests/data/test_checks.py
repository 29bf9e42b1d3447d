import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common.replay import layout, store
from dreamerv2_transfer.data import checks
from tests import fakes

SPACES = checks.describe(fakes.episode(3))


def test_spaces_are_described_as_episodes_are():
    described = {
        "image": layout.of_space(spaces.Box(0, 1, (10, 10, 10), bool)),
        "action": layout.of_space(spaces.Discrete(6)),
    }
    assert described == {
        "image": {"shape": [10, 10, 10], "dtype": "bool"},
        "action": {"shape": [6], "dtype": "float32", "n": 6},
    }
    assert {k: SPACES[k] for k in described} == described
    assert SPACES["reward"] == {"shape": [], "dtype": "float32"}


def test_keys_for_logging_are_not_described():
    assert "log_a" not in checks.describe(fakes.episode(3) | {"log_a": np.zeros(4)})


def test_spaces_are_those_of_the_first_readable_episode(tmp_path):
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    path = store.save_episode(tmp_path, fakes.episode(3))
    found = checks.spaces_of([str(tmp_path / "damaged.npz"), str(path)])
    # One episode may look one-hot by chance.
    assert found == SPACES | {"action": {"shape": [6], "dtype": "float32"}}
    assert checks.spaces_of([str(tmp_path / "damaged.npz")]) == {}


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
    ],
)
def test_an_episode_that_is_readable_and_wrong_is_named(tmp_path, episode, fault):
    path = store.save_episode(tmp_path, episode)
    ((steps, line, note),) = checks.file_faults([str(path)], SPACES, 1)
    assert line.startswith(str(path)) and fault in line and "\n" not in line
    assert note == ""


@pytest.mark.parametrize(
    ("logged", "oddity"),
    [
        ({"log_a": np.zeros(4)}, "log_a has shape (4,) for 5 transitions"),
        (
            {"log_policy": np.array([-1, 0, 1, 0, 0])},
            "log_policy holds [-1, 0, 1], and there are 1 policies",
        ),
    ],
)
def test_keys_for_logging_that_do_not_fit_are_a_note(tmp_path, logged, oddity):
    path = store.save_episode(tmp_path, fakes.episode(4) | logged)
    note = f"Note: {path} is trained on, but {oddity}."
    assert checks.file_faults([str(path)], SPACES, 1) == [(4, "", note)]


@pytest.mark.parametrize(
    "episode",
    [
        fakes.episode(1),
        flagged("is_terminal"),  # A time limit.
        changed("action", 0, 0),
        fakes.episode(4) | {"log_policy": np.array([-1, 0, 0, 0, 0])},
    ],
)
def test_an_intact_episode_has_no_fault(tmp_path, episode):
    path = store.save_episode(tmp_path, episode)
    steps = store.eplen(episode)
    assert checks.file_faults([str(path)], SPACES, 1) == [(steps, "", "")]


@pytest.mark.parametrize(
    ("acted", "fault"),
    [
        ([-1, 0, 0], ""),
        ([-1, -1, -1], ""),
        ([0, 0, 0], "log_policy holds [0], and there are 1 policies"),
        ([-1, 0, 1], "log_policy holds [-1, 0, 1], and there are 1 policies"),
        ([-2, -1, 0], "log_policy holds [-2, -1, 0], and there are 1 policies"),
        ([-1.0, 0.0, 0.0], "log_policy is float64 of shape (3,)"),
        ([[-1], [0], [0]], "log_policy is int64 of shape (3, 1)"),
    ],
)
def test_policies_have_to_be_listed(acted, fault):
    assert checks.policy_fault({"log_policy": np.array(acted)}, 1) == fault


def test_an_episode_need_not_say_who_acted():
    assert checks.policy_fault(fakes.episode(3), 0) == ""


def test_names_that_are_wrong_or_tell_nothing_are_a_note(tmp_path):
    one, other = (store.save_episode(tmp_path, fakes.episode(i)) for i in (3, 4))
    one = one.rename(one.with_name("20260101T000000-0a-30.npz"))
    other = other.rename(other.with_name("episode.npz"))
    first, (*intact, second) = checks.file_faults([str(one), str(other)], SPACES, 1)
    note = f"Note: {one} is trained on, but it has 3 steps, and its name says 30."
    assert first == (3, "", note) and intact == [4, ""]
    assert str(other) in second and "TIMESTAMP-UUID-LENGTH" in second


def test_a_flipped_bit_of_the_rewards_is_found(tmp_path):
    path = tmp_path / "20260101T000000-0a-9.npz"
    np.savez(path, **fakes.episode(9, 3))  # Not compressed, so that it stays readable.
    data = bytearray(path.read_bytes())
    at = data.index(np.float32(3004).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    ((steps, line, _),) = checks.file_faults([str(path)], SPACES, 1)
    assert line == f"{path} cannot be read: wrong checksum of reward.npy"
    assert steps == 0


@pytest.mark.parametrize("content", [b"", b"PK no archive"])
def test_files_that_are_no_archive_are_named(tmp_path, content):
    path = tmp_path / "20260101T000000-0a-9.npz"
    path.write_bytes(content)
    ((_, line, _),) = checks.file_faults([str(path)], SPACES, 1)
    assert line.startswith(f"{path} cannot be read: BadZipFile")


def test_no_code_of_a_file_is_run(tmp_path):
    path = tmp_path / "20260101T000000-0a-0.npz"
    hostile = np.array([fakes.Touch(tmp_path / "ran")], object)
    np.savez(path, action=hostile)
    ((_, line, _),) = checks.file_faults([str(path)], SPACES, 1)
    assert "cannot be read" in line and not (tmp_path / "ran").exists()
