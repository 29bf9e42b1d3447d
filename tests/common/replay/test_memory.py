import pytest

from dreamerv2_transfer.common.replay.memory import Memory
from dreamerv2_transfer.common.replay.sources import Stored, pack
from dreamerv2_transfer.common.replay.store import DatasetError
from tests import fakes, replays


def stored(steps, number=0, **kwargs):
    episode = fakes.episode(steps, number, **kwargs)
    return Stored(f"{number}", pack(episode, f"episode {number}"))


def names(memory):
    return [x.identifier for x in memory.episodes]


def test_episodes_are_counted():
    memory = Memory(0, [stored(3)], 5, 100, ["0", "1"])
    memory.add(stored(8, 7))
    assert replays.counts(memory.stats) == (108, 6, 11, 2)
    assert memory.known == {"0", "1"}


def test_the_oldest_leave_beyond_the_capacity():
    memory = Memory(20, [], 0, 0, [])
    for number in range(4):
        memory.add(stored(8, number))
    assert names(memory) == ["2", "3"]
    assert replays.counts(memory.stats) == (32, 4, 16, 2)


def test_the_newest_stays_whatever_its_length():
    memory = Memory(20, [stored(8)], 1, 8, [])
    memory.add(stored(50, 1))
    assert names(memory) == ["1"]


def test_episodes_share_the_description_of_their_keys():
    memory = Memory(0, [stored(3)], 1, 3, [])
    memory.add(stored(5, 1))
    one, other = memory.episodes
    assert one.packed.fields is other.packed.fields


def test_other_shapes_are_refused():
    memory = Memory(0, [stored(3)], 1, 3, [])
    other = stored(5, 1, image_shape=(10, 10, 4))
    with pytest.raises(DatasetError, match="episode 0 does not fit episode 1"):
        memory.add(other)
    assert replays.counts(memory.stats) == (3, 1, 3, 1)
