"""An agent of pydreamer computes here what it computes there.

Reference values were recorded from pydreamer's own code (see data_pydreamer/README.md),
one folder a configuration. Folders of the directory that PYDREAMER_GOLDEN names are
tested too. Tolerance: 1e-3 of each array's largest magnitude, in float32, eagerly and
in graphs.
"""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import gae
from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.porting import pydreamer, pydreamer_port
from dreamerv2_transfer.transfer import weights
from dreamerv2_transfer.world_model import LOG_SQRT_2PI
from tests.golden.test_golden import error, read

STEPS = 3


def golden_folders() -> list[pathlib.Path]:
    roots = [pathlib.Path(__file__).parent / "data_pydreamer"]
    if os.environ.get("PYDREAMER_GOLDEN"):
        roots.append(pathlib.Path(os.environ["PYDREAMER_GOLDEN"]))
    return [
        f for r in roots for f in sorted(r.iterdir()) if (f / "expected.npz").exists()
    ]


def make_agent(folder: pathlib.Path):
    """As `launch/port_checkpoint.py` makes it, but without noise."""
    theirs = pydreamer.read(folder)
    agent = agent_lib.Agent(theirs.config, *theirs.spaces, rng=None)
    pydreamer_port.fill(agent, theirs)
    return agent, theirs


def make_data(theirs, inputs) -> dict[str, tf.Tensor]:
    """A batch as our replay has it."""
    data = {k: v for k, v in inputs.items() if k in ("action", "reward", "vecobs")}
    if "image" in theirs.obs:
        image = inputs["image"]
        channels = theirs.obs["image"][-1]
        if theirs.conf["image_categorical"]:
            image = image[..., None] == np.arange(channels)
        data["image"] = image
    data["is_first"], data["is_terminal"] = inputs["reset"], inputs["terminal"]
    data["is_last"] = np.roll(inputs["reset"], -1, 1)
    return {k: tf.constant(v) for k, v in data.items()}


def make_update(agent, copies: tf.Variable):
    """Returns an update of an agent that also returns what it computes on its way.

    One function is traced for all values, because tracing takes most of the time.

    Args:
        agent: The agent.
        copies: Whether the update may copy the critic. pydreamer's values are recorded
            outside of an update.
    """
    behavior, values = agent.task_behavior, {}
    train_on, target = agent._train_on, behavior.target
    copy = behavior.update_slow_target

    def recorded_train_on(outputs, data):
        values.update(predictions(agent, outputs))
        return train_on(outputs, data)

    def recorded_target(seq):
        found = target(seq)
        values.update(dreams(agent, seq), imag_target=found[0])
        return found

    def copied():
        copy()
        return True

    agent._train_on, behavior.target = recorded_train_on, recorded_target
    behavior.update_slow_target = lambda: tf.cond(copies, copied, lambda: False)

    def update(data, state):
        state, metrics = agent.update(data, state)
        return state, metrics, dict(values)

    return tfutils.compiled(update, agent.config)


def predictions(agent, outputs) -> dict[str, tf.Tensor]:
    """What the world model, actor and critic say about a batch."""
    wm, behavior, feat = agent.wm, agent.task_behavior, outputs["feat"]
    got = {f"post_{k}": v for k, v in outputs["post"].items()}
    got |= {f"prior_{k}": v for k, v in outputs["prior"].items()}
    got["feat"] = tf.convert_to_tensor(feat)
    for name in ("reward", "terminal"):
        got[f"{name}_mean"] = wm.heads[name](feat).mean()
    for name, dist in wm.heads["decoder"](feat).items():
        got[f"{name}_mean"] = dist.mean()
    if "image_mean" in got:
        got["first_image_mean"] = got["image_mean"][:1, 0]
    losses = {k: tf.reduce_mean(v) for k, v in outputs["losses"].items()}
    constants = wm._constants
    got |= {f"metric_loss_{k}": v - constants.get(k, 0) for k, v in losses.items()}
    got["metric_loss_kl"] = tf.reduce_mean(outputs["kl"])
    actor = behavior.actor(feat)
    got["critic_mean"] = behavior.critic(feat).mean()
    if agent_lib.is_discrete(agent.act_space):
        # Theirs are normalized.
        got["actor_logits"] = tf.nn.log_softmax(actor.logits)
    else:
        got["actor_mode"], got["actor_entropy"] = actor.mode(), actor.entropy()
    return got


def dreams(agent, seq) -> dict[str, tf.Tensor]:
    got = {f"imag_{k}": tf.convert_to_tensor(seq[k]) for k in ("feat", "value")}
    got["imag_reward"] = tf.convert_to_tensor(seq["reward"])
    got["imag_action"] = seq["action"][1:]
    got["imag_terminal"] = agent.wm.heads["terminal"](seq["feat"]).mean()
    got["imag_weight"] = gae.weight(seq, agent.config)
    return got


def compute_values(agent, data, update, state) -> dict:
    """What an update computes from the initial weights, and its gradients."""
    _, metrics, got = update(data, state)
    # Theirs are without constants.
    got["loss_model"] = got["metric_loss_model"] = metrics["model_error"]
    got["metric_entropy_prior"] = metrics["prior_ent"]
    got["metric_entropy_post"] = metrics["post_ent"]
    got["loss_actor"] = metrics["actor_loss"]
    weight = tf.reduce_mean(got["imag_weight"])
    got["loss_critic"] = metrics["critic_loss"] - LOG_SQRT_2PI * weight
    got["imag_metric_policy_entropy"] = metrics["actor_ent"]
    # After the first update, Adam's first moments are a tenth of the clipped gradients.
    clip = agent.config.model_opt.clip
    factor = 10 * max(1.0, float(metrics["model_grad_norm"]) / clip)
    for name, moment in agent.wm.model_opt.moments.items():
        if name.startswith("m/"):
            got[f"gradient/{name.removeprefix('m/')}"] = factor * moment
    return got


def compute_policy(agent, data) -> dict:
    batch, length = data["reward"].shape
    state, actions = agent.initial(batch), []
    for t in range(length):
        # pydreamer takes the previous action from the observation.
        state = (state[0], data["action"][:, t])
        obs = {k: v[:, t] for k, v in data.items() if k != "action"}
        output, state = agent.policy(obs, state, mode="eval")
        actions.append(output["action"])
    return {"policy_action": tf.stack(actions, 1)}


def compute_training(agent, data, update, state) -> dict:
    got = {}
    for i in range(STEPS):
        state, metrics, _ = update(data, state)
        for ours, theirs in {
            "model_error": "loss_model",
            "actor_loss": "loss_actor",
            "model_grad_norm": "grad_norm",
            "actor_grad_norm": "grad_norm_actor",
            "critic_grad_norm": "grad_norm_critic",
            "actor_ent": "policy_entropy",
        }.items():
            got[f"train{i}_{theirs}"] = metrics[ours]
    return got


def compute_all(agent, data) -> dict:
    got = compute_policy(agent, data)
    layers = agent.components.values()
    variables = [v.value for x in layers for v in x.variables]
    variables += [*agent.state.values(), *weights.moments(agent).values()]
    initial = [v.numpy() for v in variables]
    copies = tf.Variable(False)
    update = make_update(agent, copies)
    state = agent.wm.rssm.initial(data["reward"].shape[0])
    got |= compute_values(agent, data, update, state)
    got = {k: np.asarray(v) for k, v in got.items()}
    for variable, value in zip(variables, initial, strict=True):
        variable.assign(value)
    copies.assign(True)
    return got | compute_training(agent, data, update, state)


@pytest.fixture(scope="module", params=golden_folders(), ids=lambda folder: folder.name)
def folder(request):
    return request.param


@pytest.fixture(scope="module", params=["eager", "graph"])
def results(request, folder):
    """What the port computes, and its variables, under pydreamer's names."""
    tf.config.run_functions_eagerly(request.param == "eager")
    try:
        agent, theirs = make_agent(folder)
        data = make_data(theirs, read(folder / "inputs.npz"))
        got = compute_all(agent, data)
    finally:
        tf.config.run_functions_eagerly(False)
    got = {k: np.asarray(v) for k, v in got.items()}
    gradients = {
        k.removeprefix("gradient/"): got.pop(k)
        for k in [*got]
        if k.startswith("gradient/")
    }
    layers = agent.components.values()
    after = {v.path: np.asarray(v.value) for x in layers for v in x.variables}
    rules = pydreamer_port.rules(theirs)
    return got, gradients, after, rules, theirs.arrays


def their_names(rules, arrays) -> dict[str, np.ndarray]:
    """Arrays by pydreamer's names, of the rules that these arrays suffice for."""
    named = {}
    for rule in rules:
        if rule.ours and all(path in arrays for path in rule.ours):
            converted = rule.to_theirs([arrays[path] for path in rule.ours])
            named |= dict(zip(rule.theirs, converted, strict=True))
    return named


def test_every_expected_array(results, folder):
    got = results[0]
    expected = read(folder / "expected.npz")
    # Their logging alone.
    skipped = [
        k
        for k in expected
        if k not in got and (k.startswith("train") or "_metric_" in k)
    ]
    errors = {k: error(got[k], v) for k, v in expected.items() if k not in skipped}
    assert not {k: e for k, e in errors.items() if not e <= 1e-3}
    assert len(errors) > 40


def test_gradients_of_the_world_model(results, folder):
    _, gradients, _, rules, _ = results
    expected = read(folder / "gradients.npz")
    got = their_names(rules, gradients)
    wanted = {k: v for k, v in expected.items() if k.startswith("wm.")}
    assert {*got} == {*wanted}
    errors = {k: error(got[k], v) for k, v in wanted.items()}
    assert not {k: e for k, e in errors.items() if not e <= 1e-3}


def test_variables_after_training(results, folder):
    _, _, after, rules, before = results
    constant = {name for rule in rules if not rule.ours for name in rule.theirs}
    expected = read(folder / "after_3_steps.npz")
    expected = {k: v for k, v in expected.items() if k not in constant}
    got = their_names(rules, after)
    errors = {k: error(got[k], v) for k, v in expected.items() if k in got}
    assert {*got} == {*expected}
    assert not {k: e for k, e in errors.items() if not e <= 1e-3}
    # Weights are far larger than three updates, so the updates are compared too.
    for name, value in expected.items():
        change = value.astype(np.float64) - before[name]
        if np.abs(change).max() > 1e-5:
            assert error(got[name].astype(np.float64) - before[name], change) <= 1e-2
