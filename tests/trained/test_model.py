import numpy as np
import pytest

from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.common.files import memory
from dreamerv2_transfer.trained.dream_env import DreamEnv
from dreamerv2_transfer.trained.model import Model
from tests.trained import small

ACTIONS = np.array([1, 2, 3, 4])


@pytest.fixture(scope="module")
def model() -> Model:
    return small.make_model()


@pytest.fixture(scope="module")
def seen(model):
    return model.observe({"image": small.images(4)}, ACTIONS, seed=0)


def test_a_single_sequence_gives_single_states(model, seen):
    assert seen["deter"].shape == (4, 16)
    assert seen.steps == 4
    dream = model.imagine(seen, ACTIONS[:3], seed=1)
    assert dream["image"].shape == (3, 10, 10, 10)
    assert dream["reward"].shape == dream["discount"].shape == (3,)
    assert dream["action"].tolist() == [1, 2, 3]
    assert dream["latents"]["deter"].shape == (3, 16)
    assert dream["image"].min() >= 0 and dream["image"].max() <= 1


def test_a_batch_gives_batches(model):
    seen = model.observe(small.images(2, 3), np.zeros((2, 3), int))
    assert seen["deter"].shape == (2, 3, 16)
    dream = model.imagine(seen, np.zeros((2, 5, 6)))
    assert dream["image"].shape == (2, 5, 10, 10, 10)
    assert dream["action"].shape == (2, 5)


def test_each_sequence_of_a_batch_is_observed_as_if_alone(model):
    images, actions = small.images(2, 3), np.array([[1, 2, 3], [4, 5, 0]])
    both = model.observe(images, actions, sample=False)
    alone = model.observe(images[1], actions[1], sample=False)
    np.testing.assert_allclose(both["deter"][1], alone["deter"], atol=1e-6)


def test_a_model_that_sees_rewards_is_given_them_as_in_training():
    model = small.make_model(**{"encoder.reward_planes": True, "clip_rewards": "tanh"})
    assert {*model.observation_space} == {"image", "reward", "is_terminal"}
    images, actions = small.images(3), np.array([1, 2, 3])

    def observe(reward, end=False):
        seen = {"image": images, "reward": np.array([0, reward, 0])}
        seen["is_terminal"] = np.array([False, end, False])
        return model.observe(seen, actions, sample=False)

    # They are squashed, so that 50 is 60.
    assert small.same(observe(50.0), observe(60.0))
    one, other, ended = (x["logit"] for x in (observe(0), observe(1), observe(0, True)))
    for changed in ((one != x).any((1, 2)).tolist() for x in (other, ended)):
        assert changed[:2] == [False, True]
    dream = model.imagine(observe(1), actions)
    assert dream["reward"].shape == (3,) and dream["reward"].dtype == np.float32
    first = {"image": images[0], "reward": 0, "is_terminal": False}
    assert model.agent.act(first)[0] in range(6)
    with pytest.raises(ModelError, match="'is_terminal', 'reward': pass a dict"):
        model.observe(images, actions)
    dreams = DreamEnv(model, "minatar_breakout")
    assert [*dreams.reset(seed=0)[0]] == ["image"]


def test_a_state_starts_a_batch_of_dreams(model, seen):
    dream = model.imagine(seen, np.zeros((3, 2), int))
    assert dream["reward"].shape == (3, 2)


def test_a_seed_decides_all(model, seen):
    one = model.imagine(seen, ACTIONS, seed=1)
    assert small.same(one["latents"], model.imagine(seen, ACTIONS, seed=1)["latents"])
    other = model.imagine(seen, ACTIONS, seed=2)["latents"]
    assert not small.same(one["latents"], other)
    again = [small.reseeded(model, 3).imagine(seen, ACTIONS) for _ in range(2)]
    assert small.same(*(x["latents"] for x in again))


def test_the_likeliest_latents_need_no_seed(model, seen):
    dreams = [model.imagine(seen, ACTIONS, sample=False) for _ in range(2)]
    assert small.same(*(x["latents"] for x in dreams))


def test_a_dream_goes_on_as_if_in_one_call(model, seen):
    whole = model.imagine(seen, ACTIONS, seed=1)
    first = model.imagine(seen, ACTIONS[:1], seed=1)
    rest = model.imagine(first["latents"], ACTIONS[1:], seed=1, first_step=1)
    assert whole["latents"]["stoch"][1:].tolist() == rest["latents"]["stoch"].tolist()


def test_a_long_dream_is_computed_in_turns(model, seen, monkeypatch):
    whole = model.imagine(seen, ACTIONS, seed=1)
    monkeypatch.setattr("dreamerv2_transfer.trained.graphs.FRAMES", 3)
    parts = model.imagine(seen, ACTIONS, seed=1)
    assert whole["latents"]["stoch"].tolist() == parts["latents"]["stoch"].tolist()


def test_observing_goes_on_from_a_state(model):
    images = small.images(4)
    whole = model.observe(images, ACTIONS, seed=1)
    first = model.observe(images[:2], ACTIONS[:2], seed=1)
    rest = model.observe(images[2:], ACTIONS[2:], first, seed=1, first_step=2)
    np.testing.assert_allclose(rest["deter"], whole["deter"][2:], atol=1e-6)


def test_the_state_starts_anew_where_an_episode_does(model):
    images = small.images(2)
    both = {"image": images, "is_first": [True, True]}
    again = model.observe(both, [1, 2], sample=False)
    alone = model.observe(images[1:], [0], sample=False)
    np.testing.assert_allclose(again["deter"][1], alone["deter"][0], atol=1e-6)


def test_an_agent_acts_in_a_dream(model, seen):
    dream = model.imagine(seen, model.agent, seed=1)
    assert len(dream["action"]) == model.config.imag_horizon == 3
    along = model.imagine(seen, dream["action"], sample=False)
    assert along["reward"].shape == (3,)
    assert small.same(
        dream["latents"], model.imagine(seen, model.agent, 3, seed=1)["latents"]
    )


def test_a_function_acts_in_a_dream(model, seen):
    steps = []

    def policy(step):
        steps.append(step)
        return 4

    dream = model.imagine(seen, policy, 2, seed=1)
    assert dream["action"].tolist() == [4, 4]
    assert steps[0]["image"].shape == (10, 10, 10)
    np.testing.assert_allclose(steps[1]["reward"], dream["reward"][0], rtol=1e-5)
    along = model.imagine(seen, [4, 4], seed=1)
    assert small.same(along["latents"], dream["latents"])


def test_continuous_actions_are_vectors():
    model = small.make_model(discrete=False)
    seen = model.observe(small.images(2), np.zeros((2, 2)))
    dream = model.imagine(seen, model.agent, 2)
    assert dream["action"].shape == (2, 2)
    action, _ = model.agent.act(small.images())
    assert action.shape == (2,) and action.dtype == np.float32


def test_states_can_be_decoded_again(model, seen):
    dream = model.imagine(seen, ACTIONS, seed=1)
    shown = model.decode(dream["latents"])
    np.testing.assert_allclose(shown["image"], dream["image"], atol=1e-6)
    assert model.decode(model.initial())["image"].shape == (10, 10, 10)


def test_a_model_without_an_agent_says_so():
    model = small.make_model(has_agent=False)
    assert not model.has_agent
    with pytest.raises(ModelError, match="small has no agent"):
        _ = model.agent


def test_a_dream_longer_than_memory_is_refused(model, seen, monkeypatch):
    monkeypatch.setattr(memory, "free_and_total", lambda: (10**6, 10**6))
    with pytest.raises(ModelError, match=r"takes about 8\d\.. GB, but 0.0 GB"):
        model.imagine(seen, model.agent, 10**7)


@pytest.mark.parametrize(
    ("actions", "steps", "message"),
    [
        ([1, 2], 3, "steps=3 and 2 actions"),
        (np.zeros(0, int), None, "at least one step"),
        (np.zeros((2, 6)), 0, "steps=0 and 2 actions"),
    ],
)
def test_steps_and_actions_must_agree(model, seen, actions, steps, message):
    with pytest.raises(ModelError, match=message):
        model.imagine(seen, actions, steps)


def test_each_state_needs_actions(model):
    with pytest.raises(ModelError, match=r"Each of 2 states needs its actions"):
        model.imagine(model.initial(2), [1, 2, 3])
    with pytest.raises(ModelError, match=r"Each of 2 states needs its actions"):
        model.imagine(model.initial(2), np.zeros((3, 2), int))
