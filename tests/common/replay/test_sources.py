import numpy as np
import pytest

from dreamerv2_transfer.common.replay import sources
from dreamerv2_transfer.common.replay.store import DatasetError
from tests import fakes


def ongoing(steps, number=0):
    episode = fakes.episode(50, number)
    made = [{k: v[i] for k, v in episode.items()} for i in range(steps + 1)]
    return sources.Ongoing(number, "name", made)


def stored(steps, number=0, **kwargs):
    episode = fakes.episode(steps, number, **kwargs)
    return sources.Stored("name", sources.pack(episode, f"episode {number}"))


@pytest.mark.parametrize("make", [ongoing, stored])
def test_a_piece_is_taken_step_by_step(make):
    source = make(20, 3)
    assert source.length == 21
    piece = source.cut(4, 12)
    taken = []
    for steps in (3, 1, 4):
        batch = sources.gather([piece.take(steps)], (1, steps))
        taken += batch["reward"][0].tolist()
        assert piece.next == taken[-1] - 3000 + 1
    assert taken == list(range(3004, 3012))
    assert piece.left == 0


def test_of_an_episode_in_progress_only_the_piece_is_packed():
    piece = ongoing(20).cut(4, 12)
    assert piece.packed.offsets.tolist() == [0, 8]


def test_an_episode_in_progress_becomes_arrays():
    made, whole = ongoing(20, 2).episode(), fakes.episode(50, 2)
    for key, values in whole.items():
        assert np.array_equal(made[key], values[:21])
        assert made[key].dtype == values.dtype
    assert ongoing(20).steps == 20


def test_parts_are_gathered_row_by_row():
    pieces = [stored(9, 1).cut(2, 6), stored(9, 2).cut(0, 4)]
    parts = [pieces[0].take(4), pieces[1].take(2), pieces[1].take(2)]
    batch = sources.gather(parts, (2, 4))
    expected = [[1002, 1003, 1004, 1005], [2000, 2001, 2002, 2003]]
    assert batch["reward"].tolist() == expected
    digits = batch["image"].reshape(2, 4, -1)[..., :16]
    assert (digits @ (1 << np.arange(16))).tolist() == expected


def test_continuous_actions_that_look_discrete_stay_what_they_are():
    one, other = fakes.episode(5, 0), fakes.episode(5, 1)
    other["action"] = np.linspace(-1, 1, 36, dtype=np.float32).reshape(6, 6)
    packed = [sources.pack(x, "some source") for x in (one, other)]
    assert [x.fields["action"].coding for x in packed] == ["onehot", "plain"]
    parts = [sources.Part(x, slice(0, 6)) for x in packed]
    action = sources.gather(parts, (2, 6))["action"]
    assert np.array_equal(action, [one["action"], other["action"]])


def test_flags_are_booleans_and_log_keys_are_left_out():
    episode = fakes.episode(3)
    episode |= {"log_score": np.arange(4), "is_last": np.array([0, 0, 0, 1])}
    packed = sources.pack(episode, "some source")
    assert packed.fields["is_last"].dtype == "bool"
    assert {*packed.fields} == {"image", "action", "reward", "is_last", "is_terminal"}
    assert packed.source == "some source"


def test_other_shapes_do_not_fit():
    one, other = stored(3), stored(3, 1, image_shape=(10, 10, 4))
    with pytest.raises(DatasetError, match="episode 0 does not fit episode 1"):
        sources.fit(other.packed, one.packed)
