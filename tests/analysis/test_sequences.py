"""Parts of episodes over which a model dreams."""

import numpy as np

from dreamerv2_transfer.analysis import sequences

EPISODE = np.repeat(np.arange(40), 12)


def draw(context=3, horizon=4, most=100, episode=EPISODE):
    return sequences.draw(episode, context, horizon, most, np.random.default_rng(0))


def test_sequences_lie_within_an_episode_and_do_not_overlap():
    pieces = draw(context=2, horizon=4)
    assert pieces.index.shape == (80, 6) and pieces.horizon == 4
    assert len(np.unique(pieces.index)) == 480
    assert (EPISODE[pieces.index] == pieces.episode[:, None]).all()
    assert (np.diff(pieces.index) == 1).all()


def test_there_are_no_more_than_asked_for():
    assert len(draw(most=7)) == 7


def test_a_horizon_that_few_episodes_have_is_shortened():
    assert draw(horizon=50).index.shape == (40, 12)
    # 5 of 40 episodes are longer, which is too few to go by.
    episode = np.repeat(np.arange(40), [30] * 5 + [8] * 35)
    assert draw(horizon=20, episode=episode).horizon == 5


def test_a_single_long_episode_is_better_than_nothing():
    assert draw(episode=np.zeros(9, int), horizon=20).index.shape == (1, 9)


def test_episodes_that_end_in_the_context_leave_nothing():
    assert draw(context=12) is None


def test_some_sequences_keep_their_episodes_and_context():
    pieces = draw(context=2, horizon=4)
    some = pieces.some(np.array([3, 5]))
    assert len(some) == 2 and (some.context, some.horizon) == (2, 4)
    assert (some.index == pieces.index[[3, 5]]).all()
    assert (some.episode == pieces.episode[[3, 5]]).all()
