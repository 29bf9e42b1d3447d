import types

import numpy as np
import pytest

from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.trained.model import Model
from tests.trained import small


@pytest.fixture(scope="module")
def model() -> Model:
    return small.make_model()


def test_an_action_is_what_an_environment_takes(model):
    action, state = model.agent.act({"image": small.images()})
    assert isinstance(action, int) and 0 <= action < 6
    assert state["deter"].shape == (16,)
    assert state["action"].tolist() == np.eye(6)[action].tolist()


def test_a_batch_acts_at_once(model):
    actions, state = model.agent.act(small.images(3))
    assert actions.shape == (3,)
    again, _ = model.agent.act(small.images(3), state)
    assert again.shape == (3,)


def test_the_state_is_what_was_observed_with_its_actions(model):
    images = small.images(2)
    first, state = model.agent.act(images[0], seed=1)
    _, state = model.agent.act(images[1], state, seed=2)
    seen = model.observe(images[:1], [0], seed=1).at(-1)
    assert seen["deter"].shape == state["deter"].shape
    # The first action leads to the second observation.
    start = model.agent.act(images[0], seed=1)[1]
    expected = model.observe(images[1:], [first], start, seed=2)
    np.testing.assert_allclose(state["deter"], expected["deter"][0], atol=1e-6)


def test_an_episode_starts_anew_where_it_is_said(model):
    image = small.images()
    _, state = model.agent.act(image, seed=1)
    fresh, one = model.agent.act({"image": image, "is_first": True}, state, seed=1)
    _, other = model.agent.act(image, seed=1)
    np.testing.assert_allclose(one["deter"], other["deter"], atol=1e-6)


def test_a_seed_decides_a_sampled_action(model):
    image = small.images()
    found = [model.agent.act(image, seed=1, sample=True)[0] for _ in range(2)]
    assert found[0] == found[1]
    drawn = {model.agent.act(image, sample=True)[0] for _ in range(8)}
    assert len(drawn) > 1


def test_a_dream_starts_from_the_state_of_an_agent(model):
    _, state = model.agent.act(small.images())
    assert model.imagine(state, [1, 2])["reward"].shape == (2,)


def test_an_observation_of_another_shape_is_refused(model):
    with pytest.raises(ModelError, match=r"\(\.\.\., 10, 10, 10\) or \(B, "):
        model.agent.act(np.zeros((1, 1, 10, 10, 10), bool))


def test_weights_that_diverged_are_noticed(model):
    broken = small.make_model(discrete=False)
    for variable in broken.agent.network.task_behavior.actor.variables:
        variable.assign(np.full(variable.shape, np.nan))
    with pytest.raises(ModelError, match="not a number"):
        broken.agent.act(small.images())


def test_each_agent_has_graphs_of_its_own():
    keys = []

    class Graphs:
        def run(self, *_, key):
            keys.append(key)

    for seed in (0, 1):
        agent = small.make_model(seed=seed).agent
        agent.dream(types.SimpleNamespace(follow=print), Graphs(), {"deter": [0]})
        assert agent in keys[-1]  # A number may be that of another agent later.
    assert keys[0] != keys[1]
