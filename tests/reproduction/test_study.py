"""What a study runs, and where."""

import pathlib

import pytest

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.reproduction import study

CONFIG = blocks_lib.load_config(["minatar", "small"])
NEW = "minatar_space_invaders"
GAMES = [f"minatar_{x}" for x in ("seaquest", "asterix", "breakout", "freeway")]


@pytest.mark.parametrize("game", ["asterix", "minatar_asterix"])
def test_a_game_is_left_out_by_its_short_name_or_its_long_one(game):
    assert study.new_games(CONFIG, game) == ("minatar_asterix",)


def test_the_papers_new_game_is_left_out_by_default():
    assert study.new_games(CONFIG, "") == (NEW,)
    assert study.new_games(CONFIG, "all") == (*GAMES, NEW)


def test_another_game_is_an_error():
    with pytest.raises(ConfigError, match="Received: pong"):
        study.new_games(CONFIG, "pong")


def test_sublayers_are_those_of_the_rssm():
    assert study.sublayers(["", "obs_out"]) == ("obs_out",)
    with pytest.raises(ConfigError, match="Received: obs_in"):
        study.sublayers(["", "obs_in"])


def test_each_new_game_has_its_folders_and_learned_games():
    made = study.Study(("minatar",), CONFIG, pathlib.Path("/study"), 1, (NEW,))
    assert made.folder(NEW) == pathlib.Path("/study/space_invaders")
    assert made.beyond_folder(NEW) == pathlib.Path("/study/space_invaders_beyond")
    assert made.learned(NEW) == GAMES


def test_figures_are_smoothed_over_a_twentieth_of_the_updates():
    config = CONFIG.update({"reproduce.train": 1000})
    made = study.Study(("minatar",), config, pathlib.Path("/study"), 1, (NEW,))
    assert made.smoothing == ("--smooth", "50")
