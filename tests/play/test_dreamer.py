"""A trained model in single steps."""

import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.play import pictures
from dreamerv2_transfer.play.dreamer import ModelDreamer
from dreamerv2_transfer.play.game import Game
from dreamerv2_transfer.play.session import PlayError, Session
from dreamerv2_transfer.trained.model import Model
from tests import models
from tests.trained import small

STEPS = 6


@pytest.fixture(scope="module")
def model():
    return small.make_model()


def start(model, seed=3, task="minatar_freeway"):
    game = Game(task, model.config, seed)
    return Session(ModelDreamer(model, seed), game)


def test_steps_are_those_of_one_call_of_imagine(model):
    session = start(model)
    actions = [2, 4, 0, 2, 2, 1]
    for action in actions:
        session.step(action)
    first, *steps = session.steps
    dream = model.imagine(first.dreamed.state, np.array(actions), seed=3)
    for i, step in enumerate(steps):
        np.testing.assert_allclose(step.dreamed.image, dream["image"][i], atol=1e-5)
        assert step.dreamed.reward == pytest.approx(dream["reward"][i], abs=1e-5)
        assert step.dreamed.discount == pytest.approx(dream["discount"][i], abs=1e-5)
        stoch = dream["latents"]["stoch"][i]
        np.testing.assert_array_equal(step.dreamed.latent == 255, stoch == 1)


def test_action_numbers_need_not_start_at_0():
    config = models.make_config()
    agent = models.make_agent(config)
    played = []
    for first in (0, -1):
        space = spaces.Discrete(6, start=first)
        session = start(Model(agent.wm, agent, space, config, "small"))
        steps = session.step(None), session.step(5, look=True), session.step(0)
        played.append([(step.action, step.dreamed.reward) for step in steps])
    assert played[0] == played[1] and played[0][2][0] == 0


def test_where_the_model_looks_the_states_are_those_of_observe(model):
    session = start(model)
    images = [session.now.seen.obs["image"]]
    for action in (2, 0, 2):
        images.append(session.step(action, look=True).seen.obs["image"])
    dreamer = ModelDreamer(model, 3)
    seen = model.observe(
        {"image": np.array(images)}, np.array([0, 2, 0, 2]), seed=dreamer.look_seed
    )
    for name in ("deter", "stoch"):
        found = np.array([x.dreamed.state[name] for x in session.steps])
        np.testing.assert_allclose(found, seen[name], atol=1e-5)


def test_a_model_may_see_rewards_and_ends():
    model = small.make_model(**{"encoder.reward_planes": True})
    session = start(model, task="minatar_breakout")
    seen, observe = [], model.observe

    def watched(obs, *args, **options):
        seen.append(obs)
        return observe(obs, *args, **options)

    model.observe = watched
    for _ in range(20):
        session.step(0, look=True)
        if session.now.seen.is_terminal:
            break
    assert seen[-1]["is_terminal"].tolist() == [True]
    assert seen[-1]["reward"].shape == (1,)


def test_gaussian_latents_are_a_square():
    session = start(small.make_model(**{"rssm.discrete": 0}))
    step = session.step(2)
    stoch = step.dreamed.state["stoch"]
    height, width = step.dreamed.latent.shape
    assert height == width and (height - 1) ** 2 < stoch.size <= height**2
    expected = np.rint(255 * (0.5 + 0.5 * np.tanh(stoch)))
    found = step.dreamed.latent.ravel()[: stoch.size]
    np.testing.assert_allclose(found, expected, atol=1)


def test_images_of_bytes_are_dreamed_as_they_are_seen():
    config = blocks.load_config(["atari", "debug", "scratch"]).update(jit=False)
    game = Game("atari_pong", config, 0)
    agent = agent_lib.make_agent(config, game.obs_space, game.act_space)
    space = game.act_space["action"]
    session = Session(
        ModelDreamer(Model(agent.wm, agent, space, config, "small"), 0), game
    )
    for step in (session.step(2), session.step(None), session.step(3, look=True)):
        assert step.dream.shape == step.game.shape == (64, 64, 3)
        assert 0 <= step.dreamed.image.min() <= step.dreamed.image.max() <= 1
        shown = pictures.unit(step.game)[..., :1]
        assert step.error == pytest.approx(
            np.square(shown - step.dreamed.image).sum(), rel=1e-5
        )
    assert session.unit == "summed over an image"


def test_another_seed_is_another_dream_and_a_branch_has_the_same_noise(model):
    session, other = start(model), start(model, seed=4)
    step = session.step(2).dreamed
    assert not np.array_equal(step.image, other.step(2).dreamed.image)
    session.rewind(0)
    np.testing.assert_array_equal(session.step(2).dreamed.image, step.image)


def test_the_agent_acts_on_the_dream(model):
    session = start(model)
    action = session.step(None).action
    assert action in range(6)
    session.rewind(0)
    assert session.step(None).action == action
    assert ModelDreamer(model, 0).no_agent == ""


def test_a_model_without_an_agent_says_why():
    model = small.make_model(has_agent=False)
    assert "has no agent: it was pre-trained alone" in ModelDreamer(model, 0).no_agent


def test_rewards_are_squashed_as_the_model_learns_them(model):
    assert model.config.clip_rewards == "tanh"
    assert ModelDreamer(model, 0).squashed(1.0) == pytest.approx(np.tanh(1.0))


def test_a_game_that_the_model_cannot_observe_is_refused(model):
    game = Game("atari_pong", model.config, 0)
    with pytest.raises(PlayError, match=r"cannot play atari_pong: image is \(64, 64"):
        ModelDreamer(model, 0).check(game)
    ModelDreamer(model, 0).check(Game("minatar_breakout", model.config, 0))


def test_a_model_without_images_has_nothing_to_show(model):
    decoder = model.network.heads["decoder"]
    keys, decoder.cnn_keys = decoder.cnn_keys, ()
    try:
        with pytest.raises(PlayError, match="predicts no image"):
            ModelDreamer(model, 0)
    finally:
        decoder.cnn_keys = keys
