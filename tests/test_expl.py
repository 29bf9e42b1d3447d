import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import expl
from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.config import ConfigError
from tests import models

SIZE = 4 * 4 + 16  # Of the features.


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def make_config(behavior="Plan2Explore", **changes):
    config = blocks.load_config(["minatar", "debug", "scratch"])
    small = {"imag_horizon": 2, "jit": False, "disag_models": 2}
    return config.update({**small, "expl_behavior": behavior, **changes})


def train(agent, discrete=True, steps=1):
    """The metrics of the last of some updates."""
    batch, state = models.make_batch(discrete), agent.wm.rssm.initial(models.BATCH)
    for _ in range(steps):
        state, metrics = agent.train(batch, state)
    return {k: float(v) for k, v in metrics.items()}


def always_predict(network, value):
    """Makes a network's mode the same for all inputs."""
    for variable in network.variables:
        variable.assign(tf.zeros_like(variable.value))
    bias = network.out.out.bias
    bias.assign(tf.zeros_like(bias.value) + value)


def make_seq(steps=2, number=3):
    return {
        "feat": tf.random.normal([steps, number, SIZE]),
        "action": tf.zeros([steps, number, 6]),
    }


def test_greedy_explores_by_the_behavior_for_the_task():
    agent = models.make_agent(make_config("greedy"))
    assert agent.expl_behavior is agent.task_behavior
    assert not [k for k in train(agent) if k.startswith("expl_")]


def test_random_actions_are_uniform():
    feat = tf.zeros([6000, SIZE])
    actor = models.make_agent(make_config("Random")).expl_behavior.actor
    action = actor(feat).sample([1, 2])
    np.testing.assert_allclose(action.numpy().mean(0), 1 / 6, atol=0.02)


def test_random_vectors_are_uniform_between_the_bounds():
    actor = models.make_agent(make_config("Random"), discrete=False).expl_behavior.actor
    action = actor(tf.zeros([5, 1000, SIZE])).sample(seed=[1, 2]).numpy()
    assert action.shape == (5, 1000, 2) and np.abs(action).max() <= 1
    np.testing.assert_allclose(action.mean((0, 1)), 0, atol=0.03)
    np.testing.assert_allclose(action.std((0, 1)), 3**-0.5, atol=0.02)


def test_random_choices_and_numbers_are_uniform():
    space = {"action": envs.Joined([(2, 4), (1, 0)])}
    drawn = expl.Random(None, space).actor(tf.zeros([2000, SIZE])).sample([1, 2])
    assert drawn.shape == (2000, 9)
    means, numbers = drawn[:, :8].numpy().mean(0), drawn[:, 8].numpy()
    np.testing.assert_allclose(means, 1 / 4, atol=0.04)
    np.testing.assert_allclose([numbers.mean(), numbers.std()], [0, 3**-0.5], atol=0.04)


def test_random_learns_nothing_and_keeps_nothing():
    agent = models.make_agent(make_config("Random"))
    assert not [k for k in train(agent) if k.startswith("expl_")]
    assert "expl_actor" not in agent.components


@pytest.mark.parametrize(
    ("behavior", "jit"),
    [("Random", True), ("Plan2Explore", False), ("ModelLoss", False)],
)
@pytest.mark.parametrize("discrete", [True, False])
def test_exploration_acts(behavior, discrete, jit):
    agent = models.make_agent(make_config(behavior, jit=jit), discrete)
    obs = models.make_obs(discrete)
    output, state = agent.policy(obs, agent.initial(models.BATCH), "explore")
    output, _ = agent.policy(obs, state, "explore")
    action = output["action"].numpy()
    assert action.shape == (models.BATCH, 6 if discrete else 2)
    assert np.abs(action).max() <= 1
    if discrete:
        np.testing.assert_allclose(action.sum(-1), 1, rtol=1e-5)


def test_exploration_acts_only_to_explore():
    agent = models.make_agent(make_config())
    for actor, action in (
        (agent.task_behavior.actor, 1),
        (agent.expl_behavior.actor, 3),
    ):
        always_predict(actor, 50 * tf.one_hot(action, 6))
    obs = models.make_obs()
    chosen = {}
    for mode in ("train", "explore", "eval"):
        output, _ = agent.policy(obs, agent.initial(models.BATCH), mode)
        chosen[mode] = np.argmax(output["action"], -1).tolist()
    assert chosen == {"train": [1, 1, 1], "explore": [3, 3, 3], "eval": [1, 1, 1]}


def test_the_reward_is_the_disagreement_of_the_networks():
    explorer = models.make_agent(make_config(expl_intr_scale=0.5)).expl_behavior
    for network, value in zip(explorer.networks, (1.0, 5.0), strict=True):
        always_predict(network, value)
    np.testing.assert_allclose(explorer.disagreement(make_seq()), np.full((2, 3), 2.0))
    np.testing.assert_allclose(explorer.intr_reward(make_seq()), np.full((2, 3), 1.0))


def test_the_disagreement_is_the_mean_over_what_is_predicted():
    explorer = models.make_agent(make_config()).expl_behavior
    first, second = explorer.networks
    always_predict(first, 0.0)
    always_predict(second, np.arange(16))  # Standard deviations 0, 0.5, ..., 7.5.
    np.testing.assert_allclose(explorer.disagreement(make_seq()), np.full((2, 3), 3.75))


def test_the_logarithm_of_the_disagreement():
    explorer = models.make_agent(make_config(disag_log=True)).expl_behavior
    for network, value in zip(explorer.networks, (1.0, 1.0 + 2 * np.e), strict=True):
        always_predict(network, value)
    reward = explorer.intr_reward(make_seq())
    np.testing.assert_allclose(reward, np.full((2, 3), 1.0), rtol=1e-6)


def test_the_norm_divides_by_the_running_magnitude():
    changes = {"expl_reward_norm.momentum": 0.75}
    explorer = models.make_agent(make_config(**changes)).expl_behavior
    for network, value in zip(explorer.networks, (1.0, 5.0), strict=True):
        always_predict(network, value)
    # 0.75 * 1 + 0.25 * 2, and again.
    for mag in (1.25, 1.4375):
        np.testing.assert_allclose(explorer.intr_reward(make_seq())[0, 0], 2 / mag)
    assert float(explorer.extr_rewnorm.mag) == 1


@pytest.mark.parametrize(
    ("behavior", "wanted"), [("Plan2Explore", 9), ("ModelLoss", 13)]
)
def test_the_rewards_of_the_task_can_be_added(behavior, wanted):
    agent = models.make_agent(
        make_config(behavior, expl_intr_scale=2, expl_extr_scale=0.5)
    )
    explorer = agent.expl_behavior
    for number, network in enumerate(explorer.networks):
        always_predict(network, 4.0 + 4 * number)
    always_predict(agent.wm.heads["reward"], 10.0)
    # The networks differ by 4, so the deviation is 2; the head of ModelLoss says 4.
    reward = explorer.intr_reward(make_seq())
    np.testing.assert_allclose(reward, np.full((2, 3), wanted), rtol=1e-6)


@pytest.mark.parametrize(("offset", "shown"), [(0, 4), (1, 3), (3, 1)])
def test_what_the_ensemble_sees_and_what_it_predicts(offset, shown):
    agent = models.make_agent(make_config(disag_offset=offset), seed=None)
    batch = models.make_batch()
    _, _, outputs, _ = agent.wm.loss(batch)
    inputs, target = agent.expl_behavior.examples(outputs["post"], outputs, batch)
    assert inputs.shape == (3, shown, SIZE + 6) and target.shape == (3, shown, 16)
    np.testing.assert_array_equal(inputs[..., :SIZE], outputs["feat"][:, :shown])
    np.testing.assert_array_equal(inputs[..., SIZE:], batch["action"][:, :shown])
    stoch = np.reshape(outputs["post"]["stoch"], (3, 4, 16))
    np.testing.assert_array_equal(target, stoch[:, offset:])


@pytest.mark.parametrize("discrete", [4, 0])
@pytest.mark.parametrize("target", ["embed", "stoch", "deter", "feat"])
def test_every_target_has_its_size(target, discrete):
    changes = {"rssm.discrete": discrete, "disag_action_cond": False}
    agent = models.make_agent(make_config(disag_target=target, **changes))
    stoch = 16 if discrete else 4
    sizes = {"embed": 64, "stoch": stoch, "deter": 16, "feat": stoch + 16}
    for network in agent.expl_behavior.networks:
        assert network.denses[0].kernel.shape == (stoch + 16, 16)
        assert network.out.out.kernel.shape == (16, sizes[target])
    batch = models.make_batch()
    _, _, outputs, _ = agent.wm.loss(batch)
    examples = agent.expl_behavior.examples(outputs["post"], outputs, batch)
    metrics = agent.expl_behavior.train_networks(*examples)
    assert np.isfinite(metrics["expl_loss"])


@pytest.mark.parametrize("behavior", ["Plan2Explore", "ModelLoss"])
def test_the_networks_learn(behavior):
    agent = models.make_agent(make_config(behavior, **{"expl_opt.lr": 1e-2}), seed=None)
    batch = models.make_batch()
    _, _, outputs, _ = agent.wm.loss(batch)
    examples = agent.expl_behavior.examples(outputs["post"], outputs, batch)
    learn = agent.expl_behavior.train_networks
    losses = [float(learn(*examples)["expl_loss"]) for _ in range(40)]
    # A Normal of unit variance has a loss of 0.919 a value where it is exact.
    least = 2 * 16 * 0.919 if behavior == "Plan2Explore" else 0.919
    assert least < losses[-1] < least + 0.3 * (losses[0] - least)


def test_the_head_of_model_loss_predicts_the_divergence():
    agent = models.make_agent(make_config("ModelLoss"), seed=None)
    _, _, outputs, _ = agent.wm.loss(models.make_batch())
    behavior, batch = agent.expl_behavior, models.make_batch()
    inputs, target = behavior.examples(outputs["post"], outputs, batch)
    np.testing.assert_array_equal(inputs, outputs["feat"])
    np.testing.assert_array_equal(target, outputs["kl"])


def test_the_actor_of_the_exploration_learns_to_be_rewarded():
    """Where the action alone decides, it comes to choose the best one."""
    config = make_config("ModelLoss", actor_ent=0.0, **{"actor_opt.lr": 1e-2})
    agent = models.make_agent(config)
    explorer, batch = agent.expl_behavior, models.make_batch()
    explorer.intr_reward = lambda seq: seq["action"][..., 2]
    _, _, outputs, _ = agent.wm.loss(batch)
    learn = tf.function(lambda: explorer.train(outputs["post"], outputs, batch))
    probs = [explorer.actor(outputs["feat"]).mean()[..., 2].numpy().mean()]
    for _ in range(40):
        learn()
    probs.append(explorer.actor(outputs["feat"]).mean()[..., 2].numpy().mean())
    assert probs[0] < 0.3 and probs[1] > 0.6


@pytest.mark.parametrize(
    ("behavior", "dist"), [("Plan2Explore", "mse"), ("ModelLoss", "symlog_twohot")]
)
def test_exploration_learns_and_changes_nothing_else(behavior, dist):
    agent = models.make_agent(make_config(behavior, **{"expl_head.dist": dist}))
    _, _, outputs, _ = agent.wm.loss(models.make_batch())
    before = {k: c.variables[0].numpy() for k, c in agent.components.items()}
    agent.expl_behavior.train(outputs["post"], outputs, models.make_batch())
    after = {k: c.variables[0].numpy() for k, c in agent.components.items()}
    same = {k for k in before if np.array_equal(before[k], after[k])}
    task = {"actor", "critic", "target_critic"}
    assert same == {"encoder", "rssm", "decoder", "reward", "discount", *task}


def test_exploration_learns_where_the_world_model_does_not():
    agent = models.make_agent(make_config("ModelLoss"))
    _, metrics = agent.train_behavior(
        models.make_batch(), agent.wm.rssm.initial(models.BATCH)
    )
    assert {"actor_loss", "expl_actor_loss", "expl_expl_loss"} < metrics.keys()
    assert "model_grad_norm" not in metrics


def explore_afresh(behavior, discrete=True, jit=False, precision="float32"):
    """The metrics of one update of a fresh agent's exploration."""
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_dtype_policy(precision)
    changes = {"expl_extr_scale": 1.0, "expl_reward_norm.momentum": 0.9}
    agent = models.make_agent(make_config(behavior, **changes), discrete)
    batch = models.make_batch(discrete)
    _, _, outputs, _ = agent.wm.loss(batch)
    explore = functools.partial(
        agent.expl_behavior.train, outputs["post"], outputs, batch
    )
    explore = tf.function(explore, autograph=False) if jit else explore
    return {k: float(v) for k, v in explore().items()}


def test_graph_and_eager_train_alike():
    """With gradients through the rewards, as actions are continuous."""
    eager, graph = (explore_afresh("Plan2Explore", False, jit) for jit in (False, True))
    assert eager.keys() == graph.keys() and "expl_loss" in eager
    for name, value in eager.items():
        assert graph[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize(
    ("behavior", "precision"),
    [("Plan2Explore", "mixed_float16"), ("ModelLoss", "mixed_bfloat16")],
)
def test_mixed_precision_is_close_to_float32(behavior, precision):
    full = explore_afresh(behavior)
    mixed = explore_afresh(behavior, precision=precision)
    assert mixed["expl_loss"] == pytest.approx(full["expl_loss"], rel=0.03)
    # The first gradients may overflow float16, until the loss scale has adapted.
    losses = [v for k, v in mixed.items() if k.endswith("_loss")]
    assert np.isfinite(losses).all()
    assert ("expl_loss_scale" in mixed) == (precision == "mixed_float16")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"behavior": "plan2explore"}, "expl_behavior .*The nearest is Plan2Explore"),
        ({"behavior": "Plan2Explor"}, "Received: Plan2Explor.*nearest is Plan2Explore"),
        ({"disag_target": "logit"}, "disag_target is one of embed, .* Received: logit"),
        ({"disag_offset": -1}, "disag_offset must be at least 0. Received: -1"),
        ({"disag_offset": 10}, "disag_offset .* dataset.length. Received: 10 and 10"),
        ({"expl_head.dist": "symlog_twohot"}, "expl_head.dist .* predict vectors"),
        ({"disag_models": 1}, "disag_models must be at least 2. Received: 1"),
        (
            {"behavior": "ModelLoss", "expl_model_loss": "image"},
            "expl_model_loss is one of kl. Received: image",
        ),
    ],
)
def test_what_does_not_exist_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        expl.check(make_config(**changes))


def test_an_agent_is_not_made_with_what_does_not_exist():
    with pytest.raises(ConfigError, match="Received: Plan2Explor"):
        models.make_agent(make_config("Plan2Explor"))


def test_what_is_not_used_is_not_checked():
    expl.check(make_config("greedy", disag_models=1, disag_target="logit"))
