import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamerv2_transfer.common.replay import rewards
from dreamerv2_transfer.common.replay.law import Law
from tests import replays


def exactly(law, steps, totals):
    """Probability of each piece (episode, start, length), by writing the law down."""
    weights = law.weights(np.array(totals))
    found = collections.Counter()
    for episode, total in enumerate(totals):
        for shorter in range(law.minlen):
            longest = min(total, law.maxlen or total)
            length = max(longest - shorter, law.minlen)
            starts = total - length + 1 + law.ends
            for drawn in range(starts):
                piece = episode, min(drawn, total - length), length
                chance = weights[episode] / weights.sum() / law.minlen / starts
                found[piece] += chance
    return found


def holding(pieces, steps, totals):
    """The pieces among them that hold a reward, and their probability given that."""
    bases = np.cumsum(totals) - totals
    counts = {
        (episode, start, length): sum(
            bases[episode] + start <= x < bases[episode] + start + length for x in steps
        )
        for episode, start, length in pieces
    }
    held = {piece: pieces[piece] for piece, count in counts.items() if count}
    total = sum(held.values())
    return {piece: chance / total for piece, chance in held.items()}, total, counts


def drawn(law, steps, totals, count=40_000):
    made = rewards.Rewards(law, np.array(steps), np.array(totals))
    found = made.draw(np.zeros(count, int), np.random.default_rng(0))
    counts = collections.Counter(zip(*(x.tolist() for x in found), strict=True))
    return made, {piece: number / count for piece, number in counts.items()}


def test_pieces_that_hold_a_reward_are_equally_likely():
    """An episode of 6 with rewards at 1 and 2, one of 2 without, one of 3 at its end.

    Pieces of 2: of the first, those from 0, 1 and 2; of the last, that from 1.
    """
    made, found = drawn(Law(maxlen=2), [1, 2, 10], [6, 2, 3])
    assert made.totals == pytest.approx([3 / 5 + 1 / 2])
    expected = {(0, x, 2): 2 / 11 for x in range(3)} | {(2, 1, 2): 5 / 11}
    assert found.keys() == expected.keys()
    assert all(abs(found[x] - expected[x]) < 0.01 for x in expected)


LAWS = [
    Law(maxlen=3),
    Law(minlen=2, maxlen=4),
    Law(minlen=3, maxlen=4, prioritize_ends=True),
    Law(minlen=3),
    Law(minlen=2, maxlen=2, prioritize_ends=True, draw="steps"),
    Law(minlen=2, maxlen=5, draw="steps"),
]


@pytest.mark.parametrize("law", LAWS)
def test_pieces_are_the_laws_given_that_they_hold_a_reward(law):
    totals, steps = [4, 9, 3, 7], [0, 3, 4, 5, 12, 16, 22]
    made, found = drawn(law, steps, totals)
    expected, chance, _ = holding(exactly(law, steps, totals), steps, totals)
    assert made.totals / law.weights(np.array(totals)).sum() == pytest.approx([chance])
    assert found.keys() <= expected.keys()
    for piece, probability in expected.items():
        assert found.get(piece, 0) == pytest.approx(probability, abs=0.01)


def test_rewards_are_drawn_in_their_group():
    totals, steps = np.array([5, 5, 5]), np.array([2, 12, 14])
    made = rewards.Rewards(Law(maxlen=1), steps, totals, [1, 0, 2])
    assert made.totals == pytest.approx([1 / 5, 0, 2 / 5])
    episode, start, _ = made.draw(np.array([0, 2] * 500), np.random.default_rng(0))
    assert episode.tolist() == [0, 2] * 500
    assert {*start[::2]} == {2} and {*start[1::2]} == {2, 4}


@given(st.data())
def test_the_share_of_rewards_is_that_of_all_pieces(data):
    totals = data.draw(st.lists(st.integers(4, 12), min_size=1, max_size=4))
    steps = sorted(data.draw(st.sets(st.integers(0, sum(totals) - 1), min_size=1)))
    minlen = data.draw(st.integers(1, 4))
    law = Law(
        minlen,
        data.draw(st.sampled_from([0, minlen, minlen + 2])),
        data.draw(st.booleans()),
        data.draw(st.sampled_from(["episodes", "steps"])),
        data.draw(st.sampled_from([0.0, 0.25, 1.0])),
    )
    pieces = exactly(law, steps, totals)
    held, _, counts = holding(pieces, steps, totals)
    mixed = {
        x: (1 - law.rewarded) * chance + law.rewarded * held.get(x, 0)
        for x, chance in pieces.items()
    }
    number = sum(chance * counts[x] for x, chance in mixed.items())
    length = sum(chance * x[2] for x, chance in mixed.items())
    made = rewards.Rewards(law, np.array(steps), np.array(totals))
    assert made.presented() == pytest.approx(number / length)


def test_long_episodes_with_rewards_are_presented_less_often_than_they_are_there():
    """9 episodes of 10 without a reward, and one of 210 with 3 of them in its middle.

    Pieces of 10; 201 starts, of which 10 hold each reward: 1/10 * 3 * 10/201 a piece.
    """
    totals, steps = np.array([10] * 9 + [210]), np.array([190, 191, 192])
    for law, share in {
        Law(maxlen=10): 3 / 2010,
        Law(maxlen=10, draw="steps"): 0.7 * 3 / 201,
        Law(maxlen=10, rewarded=1.0): 30 / 12 / 10,  # Of the 12 pieces that hold one.
        Law(maxlen=10, rewarded=0.5): 0.5 * 3 / 2010 + 0.5 * 30 / 12 / 10,
    }.items():
        made = rewards.Rewards(law, steps, totals)
        assert made.presented() == pytest.approx(share)
    assert rewards.Rewards(Law(), steps[:0], totals).presented() == 0


def test_the_steps_with_a_reward_are_found():
    # Rewards of `fakes` are 1000 * number + time: all but the very first are some.
    packed = replays.pack([3, 2])
    assert rewards.rewarded_steps(packed).tolist() == [
        x for x in range(7) if packed.arrays["reward"][x]
    ]
    assert len(rewards.rewarded_steps(packed)) == 6
