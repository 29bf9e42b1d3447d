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
from dreamerv2_transfer.porting import pydreamer, pydreamer_port
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


def compute_world_model(agent, data) -> dict:
    wm = agent.wm
    obs = wm.preprocess(data)
    post, prior = wm.rssm.observe(wm.encoder(obs), obs["action"], obs["is_first"])
    feat = wm.rssm.get_feat(post)
    got = {f"post_{k}": v for k, v in post.items()}
    got |= {f"prior_{k}": v for k, v in prior.items()}
    got["feat"] = feat
    for name in ("reward", "terminal"):
        got[f"{name}_mean"] = wm.heads[name](feat).mean()
    for name, dist in wm.heads["decoder"](feat).items():
        got[f"{name}_mean"] = dist.mean()
    if "image_mean" in got:
        got["first_image_mean"] = got["image_mean"][:1, 0]
    with tf.GradientTape() as tape:
        _, _, outputs, metrics = wm.loss(data)
        loss = metrics["model_error"]  # Without constants, as theirs.
    variables = [v.value for v in wm.trainable_variables]
    gradients = tape.gradient(loss, variables)
    losses = {k: tf.reduce_mean(v) for k, v in outputs["losses"].items()}
    constants = wm._constants
    got |= {f"metric_loss_{k}": v - constants.get(k, 0) for k, v in losses.items()}
    got |= {"loss_model": loss, "metric_loss_model": loss}
    got["metric_loss_kl"] = tf.reduce_mean(outputs["kl"])
    got["metric_entropy_prior"] = metrics["prior_ent"]
    got["metric_entropy_post"] = metrics["post_ent"]
    named = zip(wm.trainable_variables, gradients, strict=True)
    return {**got, **{f"gradient/{v.path}": g for v, g in named}}


def compute_behavior(agent, data) -> dict:
    wm, behavior = agent.wm, agent.task_behavior
    _, _, outputs, _ = wm.loss(data)
    actor = behavior.actor(outputs["feat"])
    got = {"critic_mean": behavior.critic(outputs["feat"]).mean()}
    if agent_lib.is_discrete(agent.act_space):
        # Theirs are normalized.
        got["actor_logits"] = tf.nn.log_softmax(actor.logits)
    else:
        got["actor_mode"], got["actor_entropy"] = actor.mode(), actor.entropy()
    horizon = agent.config.imag_horizon
    seq = wm.imagine(behavior.actor, outputs["post"], None, horizon)
    seq["reward"] = wm.heads["reward"](seq["feat"]).mode()
    seq["value"] = behavior.target_critic(seq["feat"]).mode()
    target, _ = behavior.target(seq)
    got["imag_action"] = seq["action"][1:]
    got["imag_terminal"] = wm.heads["terminal"](seq["feat"]).mean()
    got["imag_weight"] = weight = gae.weight(seq, agent.config)
    names = ("feat", "reward", "value")
    got |= {f"imag_{k}": tf.convert_to_tensor(seq[k]) for k in names}
    got["imag_target"] = target
    got["loss_actor"], actor_metrics = behavior.actor_loss(seq, target)
    critic_loss, _ = behavior.critic_loss(seq, target)
    got["loss_critic"] = critic_loss - LOG_SQRT_2PI * tf.reduce_mean(weight)
    got["imag_metric_policy_entropy"] = actor_metrics["actor_ent"]
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


def compute_training(agent, data) -> dict:
    got, state = {}, agent.wm.rssm.initial(data["reward"].shape[0])
    for i in range(STEPS):
        state, metrics = agent.train(data, state)
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
        world_model = tf.function(lambda data: compute_world_model(agent, data))
        behavior = tf.function(lambda data: compute_behavior(agent, data))
        got = {**world_model(data), **behavior(data), **compute_policy(agent, data)}
        got |= compute_training(agent, data)
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
