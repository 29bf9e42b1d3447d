import numpy as np
import pytest

from dreamerv2_transfer.common.errors import EnvError, ModelError
from dreamerv2_transfer.trained import starts
from dreamerv2_transfer.trained.latents import Latents
from tests.trained import small


@pytest.fixture(scope="module")
def model():
    return small.make_model()


def drawn(start, seed=0):
    return start(np.random.default_rng(seed))


def test_a_dream_begins_in_one_of_the_given_states(model):
    seen = model.observe(small.images(2, 3), np.zeros((2, 3), int))
    start = starts.choose(model, seen)
    rows = seen["deter"].reshape(6, -1).tolist()
    found = [rows.index(drawn(start, seed)["deter"].tolist()) for seed in range(20)]
    assert len(set(found)) > 3


def test_a_dream_begins_with_the_first_observation_of_a_game(model):
    start = starts.choose(model, "minatar_breakout")
    one, other = drawn(start), drawn(start)
    assert one["deter"].shape == (16,)
    assert small.same(one, other)


def test_it_begins_with_any_of_the_games_of_training_by_default(model, monkeypatch):
    games = []
    monkeypatch.setattr(starts, "make_game", lambda task, _: games.append(task))
    monkeypatch.setattr(starts, "from_games", lambda *_: "games")
    assert starts.choose(model, None) == "games"
    assert games == list(model.tasks)


def test_the_first_observation_is_dreamed_where_no_game_can_be_made(monkeypatch):
    model = small.make_model(stage="finetune", task="gym_evil:Game-v0")
    state = drawn(starts.choose(model, None))
    assert state["stoch"].any()


def test_states_and_games_of_other_kinds_are_refused(model):
    with pytest.raises(ModelError, match="another model's"):
        starts.choose(model, Latents({"deter": np.zeros(3)}))
    with pytest.raises(EnvError, match="Unknown task"):
        starts.choose(model, "minatar_pong")
    with pytest.raises(ModelError, match="The game has other actions"):
        starts.choose(model, "gym_CartPole-v1")
