"""Playing, and reading the game in each frame."""

import contextlib

import numpy as np

from dreamerv2_transfer.analysis import frames, players
from dreamerv2_transfer.common import envs


def play(task="minatar_breakout", number=200, seed=0):
    with contextlib.closing(envs.make_vector_env(task, 3)) as env:
        player = players.random(env, task, seed)
        return frames.play(env, player.policy, number, player.seeds)


def test_variables_are_those_of_the_same_frame():
    played = play()
    ball = played.data["image"][..., 1]  # MinAtar's plane of the ball.
    rows, columns = np.argmax(ball.any(2), 1), np.argmax(ball.any(1), 1)
    np.testing.assert_array_equal(played.variables["ball_x"], columns)
    np.testing.assert_array_equal(played.variables["ball_y"], rows)
    paddle = played.data["image"][:, 9, :, 0].argmax(1)
    np.testing.assert_array_equal(played.variables["player_x"], paddle)


def test_episodes_are_whole_or_cut_at_the_end_and_none_is_dropped():
    played = play()
    assert 200 <= len(played) <= 202
    first = played.data["is_first"]
    assert (np.cumsum(first) - 1 == played.episode).all()
    # All but the three that were going on have an end.
    ends = played.data["is_last"].sum()
    assert played.episode[-1] + 1 - ends <= 3
    np.testing.assert_array_equal(played.events["episode_ends"], played.data["is_last"])


def test_every_game_has_reward_score_and_step():
    played = play()
    for number in range(played.episode[-1] + 1):
        rows = played.episode == number
        reward = played.variables["reward"][rows]
        np.testing.assert_array_equal(played.variables["score"][rows], reward.cumsum())
        step = played.variables["step"][rows]
        np.testing.assert_array_equal(step, range(rows.sum()))
    np.testing.assert_array_equal(
        played.events["reward"], played.variables["reward"] > 0
    )


def test_a_game_without_names_keeps_what_every_game_has():
    played = play("gym_CartPole-v1", 60)
    assert list(played.variables) == ["reward", "score", "step"]
    assert list(played.events) == ["reward", "loss", "episode_ends"]


def test_a_seed_gives_the_same_frames_and_another_others():
    ours, same, other = play(seed=1), play(seed=1), play(seed=2)
    np.testing.assert_array_equal(ours.data["image"], same.data["image"])
    assert not np.array_equal(ours.data["action"][:150], other.data["action"][:150])
