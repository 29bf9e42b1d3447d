"""Who plays, and what is said of it."""

import contextlib

import pytest

from dreamerv2_transfer.analysis import frames, players
from dreamerv2_transfer.analysis.models import Models
from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.errors import UserError
from tests import dqn_files, runs

DQN = runs.ROOT / "results" / "minatar_dqn"
CONFIG = blocks.load_config(["minatar", "debug", "pretrain"])
NO_AGENT = Models(None, None)


def play(choice, task="minatar_breakout", number=60, config=CONFIG):
    """Plays frames; returns them, and who played."""
    with contextlib.closing(envs.make_vector_env(task, 3)) as env:
        player = players.choose(str(choice), 0, config, env, task, NO_AGENT)
        return frames.play(env, player.policy, number, player.seeds), player.name


def test_a_run_without_an_actor_is_played_at_random():
    assert play("auto")[1] == play("random")[1] == "random play"


def test_an_actor_that_is_not_there_is_named():
    with pytest.raises(UserError, match="Received: --policy actor"):
        play("actor")


def test_a_player_survives_longer_than_random_play():
    played, name = play(DQN / "breakout" / "model_1000000.weights.h5", number=600)
    assert played.episode[-1] < 15 and name == "the player model_1000000.weights.h5"
    assert play("random", number=600)[0].episode[-1] > 30


def test_players_of_a_folder_take_turns_with_random_play():
    assert play(DQN)[1] == "players of minatar_dqn and random play"


def test_games_that_a_folder_has_no_players_for_are_played_at_random(tmp_path, capsys):
    (tmp_path / "breakout").symlink_to(DQN / "breakout")
    played, name = play(tmp_path, "minatar_space_invaders", 50)
    assert len(played) >= 50 and name == "random play"
    assert "played at random" in capsys.readouterr().out


def test_players_do_not_play_a_run_that_sees_categories(tmp_path):
    collapsed = CONFIG.update(minatar_view="collapsed")
    file = DQN / "breakout" / "model_1000000.weights.h5"
    for path in DQN, file:
        with pytest.raises(UserError, match="minatar_view=collapsed .* --policy actor"):
            play(path, config=collapsed)
    assert play("random", config=collapsed)[1] == "random play"
    (tmp_path / "breakout").symlink_to(DQN / "breakout")
    assert play(tmp_path, "minatar_asterix", 50, collapsed)[1] == "random play"


def test_players_of_atari_are_refused_before_they_play(tmp_path):
    file = tmp_path / "atari_pong" / "model_1.gz"
    file.parent.mkdir()
    dqn_files.write_torch(file, dqn_files.atari_state(actions=6))
    for path in tmp_path, file:
        message = f"play only in collect. Received: --policy {path} for atari_pong"
        with pytest.raises(players.PlayerError, match=message):
            play(path, "atari_pong")


def test_a_policy_that_is_not_there_is_named():
    with pytest.raises(UserError, match="Received: /nowhere"):
        play("/nowhere")


def test_the_actors_episodes_have_seeds_of_their_own():
    ours, theirs, other = (players.actor(None, seed) for seed in (0, 0, 1))
    drawn = [ours.seeds(worker) for worker in (0, 1, 0)]
    assert drawn == [theirs.seeds(worker) for worker in (2, 2, 2)]
    assert len({*drawn, other.seeds(0)}) == 4
