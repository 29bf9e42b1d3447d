import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.trained.dream_env import DreamEnv
from dreamerv2_transfer.trained.model import Model
from tests.trained import small


@pytest.fixture(scope="module")
def model() -> Model:
    return small.make_model()


@pytest.fixture(scope="module")
def env(model) -> DreamEnv:
    return DreamEnv(model, model.initial(), 3, render_mode="rgb_array")


def play(env, seed, actions=(1, 2)):
    first, _ = env.reset(seed=seed)
    return [first["image"].tolist(), *(str(env.step(action)) for action in actions)]


@pytest.mark.parametrize("discrete", [True, False])
def test_gymnasium_has_nothing_to_say_against_it(discrete):
    model = small.make_model(discrete)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(DreamEnv(model, model.initial(), render_mode="rgb_array"))


def test_a_seed_and_the_actions_decide_all(env):
    assert play(env, seed=1) == play(env, seed=1)
    assert play(env, seed=1) != play(env, seed=2)


def test_a_step_is_that_of_a_dream(env, model):
    env.reset(seed=1)
    seen, reward, *_, info = env.step(np.int64(4))
    start = model.initial()
    dream = model.imagine(start, [4], seed=env._seed)
    assert reward == pytest.approx(dream["reward"][0])
    assert info["discount"] == pytest.approx(dream["discount"][0])
    assert (seen["image"] == (dream["image"][0] > 0.5)).all()
    assert seen["image"].dtype == bool


@pytest.mark.parametrize(
    ("discount", "ends"),
    [
        (0.51, [(False, False), (False, False), (False, True)]),
        (0.49, [(True, False)]),
    ],
)
def test_a_dream_ends_where_the_model_expects_it_or_after_its_limit(
    model, env, monkeypatch, discount, ends
):
    imagine = model.imagine

    def expecting(*args, **options):
        return {**imagine(*args, **options), "discount": np.array([discount])}

    env.reset(seed=0)
    monkeypatch.setattr(model, "imagine", expecting)
    assert [env.step(0)[2:4] for _ in ends] == ends


def test_it_is_drawn(env):
    env.reset(seed=0)
    assert env.render().shape == (160, 160, 3)


def test_an_environment_can_be_made_from_its_description(env):
    with gymnasium.make(env.spec) as made:
        assert made.unwrapped.model is env.model


def test_misuse_is_refused(env, model):
    with pytest.raises(ModelError, match="Call reset"):
        DreamEnv(model, model.initial()).step(0)
    env.reset(seed=0)
    with pytest.raises(ModelError, match="Received: an action 6"):
        env.step(6)
    with pytest.raises(ModelError, match="1 or more. Received: 0"):
        DreamEnv(model, time_limit=0)
    with pytest.raises(ModelError, match="Received: 'human'"):
        DreamEnv(model, render_mode="human")
