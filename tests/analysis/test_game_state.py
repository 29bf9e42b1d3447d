"""Named variables of MinAtar games."""

import math

import gymnasium
import numpy as np
import pytest

from dreamerv2_transfer.analysis import game_state
from dreamerv2_transfer.common import envs


def made(game):
    env = envs.make_env(f"minatar_{game}", time_limit=100)
    env.reset(seed=0)
    return env, env.unwrapped.game.env


def test_asterix_tells_enemies_from_gold():
    env, game = made("asterix")
    game.player_x, game.player_y = 2, 3
    game.entities[0] = [9, 1, False, False]
    game.entities[4] = [4, 5, True, False]
    game.entities[2] = [1, 3, True, True]
    state = game_state.read(env)
    assert (state["player_x"], state["player_y"]) == (2, 3)
    assert (state["enemies"], state["gold"]) == (2, 1)
    # The nearest is 2 columns and 2 rows away.
    assert (state["enemy_x"], state["enemy_y"]) == (4, 5)
    assert (state["enemy_distance"], state["enemy_dx"]) == (4, 1)
    assert (state["gold_x"], state["gold_y"], state["gold_distance"]) == (1, 3, 1)


def test_what_is_not_there_is_nan():
    env, _ = made("asterix")
    state = game_state.read(env)
    assert state["enemies"] == 0
    assert math.isnan(state["enemy_x"]) and math.isnan(state["enemy_distance"])


def test_breakout_tells_where_the_ball_flies():
    env, game = made("breakout")
    before = game_state.read(env)
    assert before["player_x"] == 4 and before["bricks"] == 30
    env.step(0)
    after = game_state.read(env)
    assert after["ball_x"] - before["ball_x"] == before["ball_dx"]
    assert after["ball_y"] - before["ball_y"] == before["ball_dy"] == 1


@pytest.mark.parametrize("direction", range(4))
def test_breakouts_directions_are_those_of_its_ball(direction):
    env, game = made("breakout")
    game.ball_x, game.ball_y, game.ball_dir = 5, 6, direction
    state = game_state.read(env)
    game.act(0)
    assert game.ball_x - 5 == state["ball_dx"]
    assert game.ball_y - 6 == state["ball_dy"]


def test_seaquest_counts_fish_and_submarines_together():
    env, game = made("seaquest")
    game.sub_x, game.sub_y, game.sub_or = 3, 4, True
    game.e_fish = [[9, 4, False, 5]]
    game.e_subs = [[3, 6, True, 5, 10]]
    game.divers = [[0, 4, True, 5]]
    game.f_bullets, game.diver_count, game.oxygen = [[5, 4, True]], 2, 77
    state = game_state.read(env)
    assert state["enemies"] == 2 and state["enemy_y"] == 6
    assert state["divers"] == 1 and state["diver_distance"] == 3
    assert state["friendly_bullets"] == 1 and state["friendly_bullet_x"] == 5
    assert state["enemy_bullets"] == 0 and math.isnan(state["enemy_bullet_x"])
    assert (state["divers_carried"], state["oxygen"], state["player_dx"]) == (2, 77, 1)


def test_space_invaders_reads_columns_and_rows_of_its_maps():
    env, game = made("space_invaders")
    game.alien_map[:] = 0
    game.alien_map[1, 7] = 1
    game.e_bullet_map[8, 2] = 1
    state = game_state.read(env)
    assert (state["enemies"], state["enemy_x"], state["enemy_y"]) == (1, 7, 1)
    assert (state["enemy_bullet_x"], state["enemy_bullet_y"]) == (2, 8)
    assert state["enemy_dx"] == -1 and state["player_y"] == 9


def test_freeways_player_moves_in_one_column():
    env, game = made("freeway")
    game.pos = 6
    state = game_state.read(env)
    assert (state["player_x"], state["player_y"], state["enemies"]) == (4, 6, 8)


@pytest.mark.parametrize("game", envs.MINATAR_GAMES)
def test_names_stay_and_the_game_is_not_disturbed(game):
    env, _ = made(game)
    other, _ = made(game)
    names = list(game_state.read(env))
    for action in np.random.default_rng(0).integers(6, size=40):
        assert list(game_state.read(env)) == names
        ours, theirs = env.step(action), other.step(action)
        np.testing.assert_array_equal(ours[0]["image"], theirs[0]["image"])
        if ours[2]:
            env.reset(seed=1), other.reset(seed=1)


def test_a_game_without_names_has_none():
    assert game_state.read(gymnasium.make("CartPole-v1")) == {}


def test_an_event_is_a_change_within_an_episode():
    bricks = np.array([30, 30, 29, 28, 27, 27], np.float32)
    episode = np.array([0, 0, 0, 1, 1, 1])
    found = game_state.events({"bricks": bricks}, episode)
    assert list(found) == ["brick_breaks"]
    assert found["brick_breaks"].tolist() == [0, 0, 1, 0, 1, 0]


def test_an_enemy_is_near_from_two_cells_on():
    distance = np.array([3, 2, np.nan], np.float32)
    found = game_state.events({"enemy_distance": distance}, np.zeros(3, int))
    assert found["enemy_is_near"].tolist() == [False, True, False]
