import itertools

import numpy as np
import pytest

from dreamerv2_transfer.common.replay.law import Law, Weighted
from dreamerv2_transfer.common.replay.store import DatasetError


@pytest.mark.parametrize(
    "limits", [{"minlen": 0}, {"minlen": 5, "maxlen": 4}, {"minlen": -1, "maxlen": 3}]
)
def test_impossible_limits_are_refused(limits):
    named = f"minlen={limits['minlen']}, maxlen={limits.get('maxlen', 0)}"
    with pytest.raises(DatasetError, match=named):
        Law(**limits)


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(share):
    with pytest.raises(DatasetError, match=f"dataset.rewarded.* rewarded={share}"):
        Law(rewarded=share)


def test_only_episodes_and_steps_can_be_drawn():
    with pytest.raises(DatasetError, match="episodes, steps. Received: draw=rows"):
        Law(draw="rows")


def test_episodes_are_equally_likely_by_default():
    law = Law(minlen=2, maxlen=3)
    assert law.is_original and law.weights(np.array([3, 600])).tolist() == [1, 1]
    assert not Law(draw="steps").is_original and not Law(rewarded=0.1).is_original


def test_each_episode_has_its_share_of_the_steps():
    """Pieces of up to 4: of 3 and 6 transitions a piece has 3, or 4."""
    assert Law(maxlen=4, draw="steps").weights(np.array([3, 6])).tolist() == [1, 1.5]
    # Without a limit, pieces are whole episodes.
    assert Law(draw="steps").weights(np.array([3, 6])).tolist() == [1, 1]
    # 4, 3 or 2 steps of the former, 5, 4 or 3 of the latter.
    law = Law(minlen=2, maxlen=5, draw="steps")
    assert law.weights(np.array([4, 700])).tolist() == [4 / 3.5, 700 / 4.5]


@pytest.mark.parametrize(
    ("minlen", "maxlen"), [*itertools.product([1, 2, 3, 5], [0, 5, 7])]
)
def test_lengths_and_their_means_are_those_of_the_pieces(minlen, maxlen):
    law, totals = Law(minlen=minlen, maxlen=maxlen), np.arange(5, 15)
    each = np.array([law.length(totals, shorter) for shorter in range(minlen)])
    assert np.allclose(law.mean_length(totals), each.mean(0))
    shorter, chances = law.shortenings(totals)
    expected = chances @ law.length(totals, shorter[:, None])
    assert chances.sum() == pytest.approx(1) and np.allclose(expected, each.mean(0))
    rng = np.random.default_rng(0)
    _, length = law.cut(np.repeat(totals, 5000), rng, (50_000,))
    assert np.allclose(length.reshape(10, -1).mean(1), each.mean(0), atol=0.1)


def test_entries_are_drawn_by_weight_in_their_group():
    table = Weighted(np.array([1.0, 3, 0, 0, 0.5, 0]), [3, 1, 2])
    assert table.totals.tolist() == [4, 0, 0.5]
    drawn = table.draw(np.repeat([0, 2], 10_000), np.random.default_rng(0), (20_000,))
    assert np.bincount(drawn[:10_000]) / 10_000 == pytest.approx([0.25, 0.75], abs=0.02)
    assert (drawn[10_000:] == 4).all()


def test_rounding_reaches_no_other_entry():
    class Largest:
        def random(self, shape):
            return 1 - 2.0**-53

    table = Weighted(np.array([1e9, 1e-9, 0, 7]), [3, 1])
    assert table.draw(0, Largest()) in (0, 1)
    assert table.draw(1, Largest()) == 3


@pytest.mark.parametrize("shape", [None, (4000,)])
def test_single_pieces_and_arrays_of_them_follow_one_law(shape):
    """An episode of 3 transitions, and one of 6, in pieces of 2 or 3."""
    law, totals = Law(minlen=2, maxlen=3), np.array([3, 6])
    rng = np.random.default_rng(0)
    times = 1 if shape else 4000
    draws = []
    for _ in range(times):
        number = rng.integers(2, size=shape)
        draws.append((number, *law.cut(totals[number], rng, shape)))
    episode, start, length = (np.ravel(x) for x in zip(*draws, strict=True))
    assert len(episode) == 4000
    for values, lowest, shares in [
        (episode, 0, [1 / 2, 1 / 2]),
        (length, 2, [1 / 2, 1 / 2]),
        (start[(episode == 0) & (length == 2)], 0, [1 / 2, 1 / 2]),
        (start[(episode == 1) & (length == 3)], 0, [1 / 4] * 4),
        (start[(episode == 1) & (length == 2)], 0, [1 / 5] * 5),
    ]:
        counts = np.bincount(values - lowest)
        assert np.allclose(counts / len(values), shares, atol=0.06)
    assert (start[(episode == 0) & (length == 3)] == 0).all()
