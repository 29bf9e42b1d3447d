"""Playing, and reading the game in each frame."""

import contextlib

import numpy as np
import pytest

from dreamerv2_transfer.analysis import frames, players
from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.errors import UserError
from tests import runs

DQN = runs.ROOT / "results" / "minatar_dqn"


def play(task="minatar_breakout", number=200, seed=0, make=players.random):
    with contextlib.closing(envs.make_vector_env(task, 3)) as env:
        policy, seeds, _ = make(env, task, seed)
        return frames.play(env, policy, number, seeds)


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


def dqn(path):
    settings = blocks.load_config(["minatar", "debug", "pretrain"])
    return lambda env, task, seed: players.dqn(str(path), env, task, seed, settings)


def test_an_agent_survives_longer_than_random_play():
    path = f"{DQN}/breakout/model_1000000.weights.h5"
    assert play(number=600, make=dqn(path)).episode[-1] < 15
    assert play(number=600).episode[-1] > 30


def test_games_that_a_folder_has_no_agents_for_are_played_at_random(capsys):
    played = play("minatar_space_invaders", 50, make=dqn(DQN))
    assert len(played) >= 50
    assert "played at random" in capsys.readouterr().out


def test_a_policy_that_is_not_there_is_named():
    with pytest.raises(UserError, match="Received: /nowhere"):
        play(make=dqn("/nowhere"))
