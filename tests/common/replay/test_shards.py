import numpy as np
import pytest

from dreamerv2_transfer.common.envs import wrappers
from dreamerv2_transfer.common.replay import npz, packed, shards, store
from tests import fakes
from tests.replays import save_shard


def episodes(*steps):
    return [fakes.episode(x, number) for number, x in enumerate(steps)]


def assert_same(one, other):
    assert {*one} == {*other}
    for key, value in one.items():
        assert np.array_equal(value, other[key]) and value.dtype == other[key].dtype


def test_a_shard_holds_its_episodes(tmp_path):
    wanted = episodes(4, 1, 9)
    path = shards.save(tmp_path, shards.join(wanted), "abc")
    assert path.name.endswith("-abc-14x3.npz")
    assert store.name_of(path) == ("abc", 14, 3)
    assert store.count_episodes(tmp_path) == (3, 14)
    with np.load(path) as file:
        assert file[shards.OFFSETS].tolist() == [0, 5, 7, 17]
        assert len(file["reward"]) == 17
    parts = shards.parts(path)
    assert [x.identifier for x in parts] == ["abcn0", "abcn1", "abcn2"]
    assert [x.fault for x in parts] == [""] * 3
    assert parts[1].origin == f"{path}, episode 1"
    for part, episode in zip(parts, wanted, strict=True):
        assert_same(part.episode, store.as_loaded(episode))
    assert_same(shards.load(path, 2), store.as_loaded(wanted[2]))
    assert shards.lengths(path) == [4, 1, 9]


def test_one_episode_is_a_file_of_the_original(tmp_path):
    (wanted,) = episodes(4)
    path = shards.save(tmp_path, shards.join([wanted]), "abc")
    assert store.parse_name(path) == ("abc", 4)
    assert_same(store.load_episode(path), store.as_loaded(wanted))
    (part,) = shards.parts(path)
    assert (part.origin, part.identifier) == (str(path), "abc")
    assert_same(part.episode, store.as_loaded(wanted))


def test_a_damaged_episode_is_named_and_the_others_are_read(tmp_path):
    wanted = episodes(4, 5, 6)
    wanted[1]["reward"][2] = np.nan
    path = save_shard(tmp_path, wanted, "abc")
    parts = shards.parts(path)
    assert [bool(x.fault) for x in parts] == [False, True, False]
    assert parts[1].fault == f"{path}, episode 1 is damaged: reward is not finite."
    with pytest.raises(store.EpisodeError, match="episode 1 is damaged"):
        shards.load(path, 1)
    opened = packed.open_task(tmp_path)
    assert (len(opened), opened.steps) == (2, 10)
    assert opened.damaged == (f"{path.name}, episode 1",)


def test_a_file_with_wrong_bytes_is_one_damaged_part(tmp_path):
    path = save_shard(tmp_path, episodes(4, 5), "abc")
    path.write_bytes(path.read_bytes()[:-40])
    (part,) = shards.parts(path)
    assert str(path) in part.fault and not part.episode


@pytest.mark.parametrize(
    "offsets", [[0, 5], [1, 5, 11], [0, 6, 5, 11], [0, 5, 12], [0.0, 5.0, 11.0], [[0]]]
)
def test_offsets_that_do_not_fit_are_a_fault_of_the_file(tmp_path, offsets):
    arrays = shards.join(episodes(4, 5)) | {shards.OFFSETS: np.array(offsets)}
    path = tmp_path / "20200101T000000-abc-9x2.npz"
    path.write_bytes(npz.encode(arrays))
    (part,) = shards.parts(path)
    assert "shard_offsets" in part.fault


def test_shards_and_single_episodes_pack_the_same(tmp_path):
    wanted = episodes(4, 1, 9, 3)
    for name, groups in [("a", [wanted[:3], wanted[3:]]), ("b", [[x] for x in wanted])]:
        (tmp_path / name).mkdir()
        for number, group in enumerate(groups):
            save_shard(tmp_path / name, group, f"id{number}")
    one, other = (packed.open_task(tmp_path / x) for x in "ab")
    assert one.fingerprint == other.fingerprint and one.steps == 17
    capped = packed.open_task(tmp_path / "a", tmp_path / "index", 2**24)
    assert capped.fingerprint == one.fingerprint
    assert np.array_equal(capped.arrays["reward"][0:21], one.arrays["reward"])


def test_no_observation_can_have_the_name_of_the_offsets():
    assert shards.OFFSETS in wrappers.TAKEN


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("reward", np.nan, "reward is not finite"),
        ("is_last", True, "is_last is set at 2, 5"),
        ("is_first", True, "is_first is set at 0, 2"),
        ("is_terminal", True, "is_terminal is set at 2, 5"),
    ],
)
def test_an_episode_that_would_not_load_is_not_written(key, value, said):
    wrong = episodes(4, 5, 6)
    wrong[1][key][2] = value
    with pytest.raises(store.DatasetError, match=said):
        shards.join(wrong)


def test_episodes_are_packed_as_one_by_one():
    made = [x | {"log_policy": np.zeros(len(x["reward"]))} for x in episodes(4, 5)]
    packed_at_once = shards.pack(shards.join(made), "")
    for number, episode in enumerate(made):
        alone = packed.PackedEpisodes.from_episode(store.as_loaded(episode), "")
        assert np.array_equal(packed_at_once.digests[number], alone.digests[0])
        assert_same(packed_at_once.episode(number), alone.episode(0))
