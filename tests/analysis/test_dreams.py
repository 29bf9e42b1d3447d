"""Open-loop predictions and their errors."""

import numpy as np
import pytest

from dreamerv2_transfer.analysis import dreams

EPISODE = np.repeat(np.arange(40), 12)


def draw(context=3, horizon=4, most=100, episode=EPISODE):
    return dreams.sequences(episode, context, horizon, most, np.random.default_rng(0))


def test_sequences_lie_within_an_episode_and_do_not_overlap():
    pieces = draw(context=2, horizon=4)
    assert pieces.index.shape == (80, 6) and pieces.horizon == 4
    assert len(np.unique(pieces.index)) == 480
    assert (EPISODE[pieces.index] == pieces.episode[:, None]).all()
    assert (np.diff(pieces.index) == 1).all()


def test_there_are_no_more_than_wanted():
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


def test_the_error_counts_wrong_cells():
    true = np.zeros((1, 2, 3, 3, 2), np.float32)
    true[0, 1, 0, 0, 0] = 1
    wrong = np.zeros_like(true)
    wrong[0, 1, 2, 2, 1] = 1
    assert dreams.error(true, wrong).tolist() == [[0, 2]]
    assert dreams.error(true, np.full_like(true, 0.5)).tolist() == [[4.5, 4.5]]


def test_baselines_are_the_last_frame_seen_and_the_mean():
    true = np.arange(12, dtype=np.float32).reshape(2, 6, 1, 1, 1)
    made = dreams.baselines(true, context=3)
    assert made["last frame repeated"].ravel().tolist() == [2, 8]
    assert made["mean of all frames"].ravel().tolist() == [5.5]


def test_a_curve_draws_episodes_not_sequences():
    errors = np.repeat([[0.0], [10.0]], 50, 0)  # Two episodes of 50 sequences.
    found = dreams.curve(errors, np.repeat([0, 1], 50), np.random.default_rng(0))
    assert found["mean"] == [5.0]
    assert found["low"] == [0.0] and found["high"] == [10.0]
    alone = dreams.curve(errors, np.arange(100), np.random.default_rng(0))
    assert 3.5 < alone["low"][0] < 4.5 and 5.5 < alone["high"][0] < 6.5


def test_the_steps_at_which_the_model_is_better_count_from_one():
    assert dreams.better({"mean": [1, 5, 2]}, {"mean": [2, 4, 3]}) == [1, 3]


@pytest.mark.parametrize(("dtype", "most"), [(bool, 1.0), (np.uint8, 1.0)])
def test_the_truth_is_between_zero_and_one(dtype, most):
    from dreamerv2_transfer.analysis.frames import Frames

    image = np.zeros((480, 2, 2, 1), dtype)
    image[5] = np.iinfo(dtype).max if dtype is np.uint8 else True
    frames = Frames({"image": image}, {}, {}, EPISODE)
    found = dreams.truth(frames, draw(), "image")
    assert found.dtype == np.float32 and found.max() == most and found.min() == 0
