import numpy as np
import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.trained.dream_env import DreamEnv
from dreamerv2_transfer.trained.latents import Latents
from dreamerv2_transfer.trained.states import States
from tests import models
from tests.trained import small


@pytest.fixture(scope="module")
def states() -> States:
    world_model = models.make_agent().wm
    return States(world_model, models.act_space()["action"], seed=0)


def test_the_first_state_is_zeros(states):
    assert not any(value.any() for value in states.initial(None).values())
    assert states.initial(3)["deter"].shape[0] == 3


def test_a_seed_gives_the_same_noise_each_time(states):
    assert states.noise(5).tolist() == states.noise(5).tolist()
    assert states.noise(None).tolist() != states.noise(None).tolist()
    assert states.noise(5, sample=False) is None


@pytest.mark.parametrize("seed", [-1, 0.5, True, "a", 2**63])
def test_a_seed_is_a_whole_number(states, seed):
    with pytest.raises(ModelError, match="whole number from 0"):
        states.noise(seed)


def test_the_state_of_another_model_is_refused(states):
    with pytest.raises(ModelError, match="another model's"):
        states.last(Latents({"deter": np.zeros(3)}))
    with pytest.raises(ModelError, match="Received: ndarray"):
        states.last(np.zeros(3))


def test_a_state_that_is_not_finite_is_refused(states):
    parts = {k: np.full_like(v, np.nan) for k, v in states.zeros.items()}
    with pytest.raises(ModelError, match="is not a number"):
        states.last(Latents(parts))


def test_each_sequence_needs_a_state(states):
    with pytest.raises(ModelError, match="2 states for 3 sequences"):
        states.start(states.initial(2), 3)
    with pytest.raises(ModelError, match="2 states for a single sequence"):
        states.start(states.initial(2), None)


def test_a_model_of_several_games_is_told_which():
    games = ("minatar_asterix", "minatar_breakout")
    embed = {"size": 3, "games": games}
    model = small.make_model(tasks=games, task_embed=embed)
    with pytest.raises(
        ModelError, match="minatar_asterix, minatar_breakout, or a list"
    ):
        model.observe(small.images(2), [0, 1])
    with pytest.raises(ModelError, match="for 3 sequences"):
        model.initial(3, game=games)
    with pytest.raises(ConfigError, match="no vector of minatar_freeway"):
        model.initial(game="minatar_freeway")
    assert model.initial(2, game=games)["game_index"].tolist() == [0, 1]
    for vector, value in zip(
        model.network.rssm.task_embed.vectors.values(), np.eye(3), strict=False
    ):
        vector.assign(value)
    images, actions = small.images(1, 2).repeat(2, 0), np.zeros((2, 2), int)
    seen = model.observe(images, actions, sample=False, game=games)
    assert seen["game_index"].tolist() == [[0, 0], [1, 1]]
    assert not np.allclose(seen["deter"][0], seen["deter"][1])
    one = model.observe(images[1], actions[1], sample=False, game=games[1])
    np.testing.assert_allclose(one["deter"], seen["deter"][1], atol=1e-6)
    dream = model.imagine(seen, model.agent, 2, sample=False)
    assert dream["latents"]["game_index"].tolist() == [[0, 0], [1, 1]]
    _, state = model.agent.act(images[0, 0], game=games[0])
    _, state = model.agent.act(images[0, 1], state)
    assert state["game_index"] == 0
    env = DreamEnv(model, games[1])
    env.reset(seed=0)
    env.step(0)
    assert env.state["game_index"] == 1


def test_an_agent_of_one_game_need_not_be_told():
    embed = {"size": 3, "games": ["a", "b"]}
    model = small.make_model(stage="finetune", task="b", task_embed=embed)
    assert model.initial()["game_index"] == 1
    assert model.initial(game="a")["game_index"] == 0
