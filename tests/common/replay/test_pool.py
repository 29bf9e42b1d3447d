import numpy as np
import pytest

from dreamerv2_transfer.common.replay.law import Law
from dreamerv2_transfer.common.replay.pool import Chances, Pool
from dreamerv2_transfer.common.replay.sources import Ongoing, Stored, pack
from tests import fakes


def rewarded(steps, *rewards):
    made = fakes.episode(steps)
    made["reward"] = np.isin(np.arange(steps + 1), rewards).astype(np.float32)
    return made


def stored(name, *args):
    return Stored(name, pack(rewarded(*args), name))


def ongoing(name, *args):
    made, episode = Ongoing(0, name), rewarded(*args)
    for time in range(args[0] + 1):
        made.add({key: value[time] for key, value in episode.items()})
    return made


EPISODES = stored("a", 9), stored("b", 19, 3, 4), stored("c", 29, 29)


def pool(law, episodes=EPISODES, progress=()):
    rng = np.random.default_rng(0)
    return Pool([*episodes], progress, Chances(law, episodes), rng)


def shares(drawn):
    names, counts = np.unique([piece.identifier for piece in drawn], return_counts=True)
    return dict(zip(names.tolist(), counts / len(drawn), strict=True))


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (Law(maxlen=2), {"a": 1 / 4, "b": 1 / 4, "c": 1 / 4, "d": 1 / 4}),
        (
            Law(maxlen=2, draw="steps"),
            {"a": 10 / 75, "b": 20 / 75, "c": 30 / 75, "d": 15 / 75},
        ),
        # 3 of 19 pieces of 2, 1 of 29, and 2 of 14.
        (
            Law(maxlen=2, rewarded=1.0),
            {"b": 0.471, "c": 0.103, "d": 0.426},
        ),
        # 20 times the first, 30 times the second, 15 times the third.
        (
            Law(maxlen=2, rewarded=1.0, draw="steps"),
            {"b": 0.499, "c": 0.163, "d": 0.338},
        ),
    ],
)
def test_episodes_are_drawn_by_their_chances(law, expected):
    made = pool(law, progress=[ongoing("d", 14, 6)])
    found = shares([made.draw() for _ in range(6000)])
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=0.02)


def test_a_piece_with_a_reward_is_one():
    made = pool(Law(minlen=2, maxlen=4, rewarded=1.0), progress=[ongoing("d", 14, 6)])
    for _ in range(100):
        piece = made.draw()
        steps = piece.take(piece.left)
        assert 3 <= steps.steps.stop - steps.steps.start <= 4
        assert steps.packed.arrays["reward"][steps.steps].any()


def test_nothing_is_kept_for_the_originals_law():
    chances = Chances(Law(), EPISODES)
    chances.drop_oldest()
    assert chances.tables([]) == (None, None)
    assert not pool(Law()).lacks_rewards


def test_chances_leave_with_their_episodes():
    chances = Chances(Law(maxlen=2, draw="steps", rewarded=0.5), EPISODES)
    chances.drop_oldest()
    chances.append(stored("d", 14, 6))
    weights, rewards = chances.tables([])
    assert weights.totals == pytest.approx([(20 + 30 + 15) / 2])
    assert rewards.totals == pytest.approx([10 * 3 / 19 + 15 / 29 + 7.5 * 2 / 14])


def test_without_a_reward_none_is_drawn():
    made = pool(Law(maxlen=2, rewarded=1.0), EPISODES[:1])
    assert made.lacks_rewards and made.draw().identifier == "a"
    assert not pool(Law(rewarded=1.0)).lacks_rewards
