import types

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import gae
from dreamerv2_transfer.common.config import ConfigError, check_ranges
from tests import models

CHANGES = {
    "behavior": "pydreamer",
    "pred_discount": False,
    "pred_terminal": True,
    "grad_heads": ["decoder", "reward", "terminal"],
    "rssm.cell": "gru",
    "imag_horizon": 2,
}


@pytest.fixture(scope="module")
def agent():
    return models.make_agent(models.make_config(**CHANGES), seed=None)


def test_targets_begin_with_the_reward_of_the_next_state(agent):
    """Discount 0.99, lambda 0.95."""
    seq = {
        "reward": tf.constant([[100.0], [1.0], [2.0]]),
        "discount": tf.constant([[0.0], [0.5], [0.8]]),
        "value": tf.constant([[7.0], [3.0], [5.0]]),
    }
    target, _ = agent.task_behavior.target(seq)
    last = 2.0 + 0.8 * 5.0
    first = 1.0 + 0.5 * (0.05 * 3.0 + 0.95 * last)
    np.testing.assert_allclose(target, [[first], [last]], rtol=1e-6)


def test_a_weight_counts_its_own_state_and_leaves_out_the_discount():
    seq = {"discount": tf.constant([[0.9], [0.45], [0.0]])}
    config = types.SimpleNamespace(discount=0.9)
    np.testing.assert_allclose(gae.weight(seq, config), [[1.0], [0.5]], rtol=1e-6)


def test_the_actor_learns_from_the_first_state_to_the_last_action(agent):
    behavior, wm = agent.task_behavior, agent.wm
    data = models.make_batch()
    start = wm.loss(data)[2]["post"]
    seq = wm.imagine(behavior.actor, start, None, 2)
    seq["reward"] = seq["value"] = tf.zeros(seq["discount"].shape)
    target = tf.random.stateless_normal([2, 12], [0, 1])
    loss, _ = behavior.actor_loss(seq, target)
    policy = behavior.actor(seq["feat"][:-1])
    objective = policy.log_prob(seq["action"][1:]) * target
    objective += agent.config.actor_ent * policy.entropy()
    wanted = -tf.reduce_mean(gae.weight(seq, agent.config) * objective)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_the_discount_is_outside_of_the_terminal_head(agent):
    feat = tf.ones([3, agent.wm.rssm.feat_size])
    ends = agent.wm.heads["terminal"](feat).mean()
    wanted = agent.config.discount * (1 - ends)
    np.testing.assert_allclose(agent.wm.predicted_discount(feat), wanted, rtol=1e-6)
    assert "terminal" in agent.wm.components
    assert "discount" not in agent.wm.components


@pytest.mark.parametrize("actor_grad", ["reinforce", "dynamics"])
def test_one_update_changes_everything_once(actor_grad):
    config = models.make_config(**CHANGES, actor_grad=actor_grad)
    agent = models.make_agent(config)
    behavior = agent.task_behavior
    critic = [v.numpy() for v in behavior.critic.variables]
    parts = {**agent.components}
    before = {k: [v.numpy() for v in x.variables] for k, x in parts.items()}
    agent.train(models.make_batch(), agent.wm.rssm.initial(models.BATCH))
    # The slow critic was copied before the update, so it is what the critic was.
    for slow, old in zip(behavior.target_critic.variables, critic, strict=True):
        np.testing.assert_array_equal(slow.numpy(), old)
    for name, layer in parts.items():
        changed = [
            np.any(v.numpy() != old)
            for v, old in zip(layer.variables, before[name], strict=True)
        ]
        assert any(changed), name


def test_a_horizon_of_one_step_has_a_loss_here_alone():
    config = models.make_config(**{**CHANGES, "imag_horizon": 1})
    check_ranges(config)
    with pytest.raises(ConfigError, match="imag_horizon must be at least 2"):
        check_ranges(config.update(behavior="dreamerv2"))
    assert agent_lib.gae.is_chosen(config)
