"""The model that is played with, and the tables of the tabs."""

import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.errors import EnvError
from dreamerv2_transfer.play.session import PlayError
from dreamerv2_transfer.play.tables import Tables
from tests.trained import small

LEARNED = ("minatar_asterix", "minatar_breakout", "minatar_freeway", "minatar_seaquest")


@pytest.fixture(scope="module")
def model():
    return small.make_model(has_agent=False)


def test_games_are_those_of_the_model_and_the_others_of_minatar(model):
    assert model.tasks == LEARNED
    games = Tables(model).games
    assert games == {**dict.fromkeys(LEARNED, True), "minatar_space_invaders": False}
    first = next(iter(Tables(model, "minatar_space_invaders").games))
    assert first == "minatar_space_invaders"


def test_a_tab_plays_at_once(model):
    table = Tables(model, "minatar_freeway", seed=5).new()
    hello = table.greet()
    assert hello["name"] == "small" and "pre-trained alone" in hello["no_agent"]
    started = table.answer('{"type": "start"}')
    assert (started["task"], started["seed"]) == ("minatar_freeway", 5)
    assert table.answer('{"type": "step", "action": 2}')["step"] == 1
    table.close()


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        ("minatar_brekout", EnvError, "Did you mean minatar_breakout"),
        ("atari_pong", PlayError, "cannot play atari_pong"),
        ("gym_Pendulum-v1", EnvError, "numbered"),
    ],
)
def test_a_game_that_cannot_be_played_is_told_before_a_page_opens(
    model, task, error, message
):
    with pytest.raises(error, match=message):
        Tables(model, task)


def test_a_file_does_not_make_it_import_a_module():
    model = small.make_model(has_agent=False, tasks=("gym_evil_module:Game-v0",))
    with pytest.raises(ConfigError, match="runs the code of the Python module"):
        Tables(model)
    with pytest.raises(ConfigError, match="runs the code of the Python module"):
        Tables(model, "minatar_freeway")
