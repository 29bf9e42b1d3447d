"""The port computes what the original DreamerV2 computes.

Reference values were recorded from the original code (see data/README.md), one folder
a configuration. Folders of the directory that DREAMERV2_GOLDEN names are tested too.
Tolerance: 1e-3 of each array's largest magnitude, in float32, eagerly and in graphs.
"""

import os
import pathlib

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.transfer import port

FLAGS = ("is_first", "is_last", "is_terminal")


def golden_folders() -> list[pathlib.Path]:
    roots = [pathlib.Path(__file__).parent / "data"]
    if os.environ.get("DREAMERV2_GOLDEN"):
        roots.append(pathlib.Path(os.environ["DREAMERV2_GOLDEN"]))
    return [
        f for r in roots for f in sorted(r.iterdir()) if (f / "expected.npz").exists()
    ]


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(path) as data:
        return {k: data[k] for k in data.files}


def make_agent(folder, inputs, expected):
    config, _ = config_lib.load_old(folder / "config.json")
    box = gymnasium.spaces.Box
    bounds = {"float32": (-np.inf, np.inf), "uint8": (0, 255), "bool": (0, 1)}
    obs_space = {
        k: box(*bounds[v.dtype.name], v.shape[2:], v.dtype)
        for k, v in inputs.items()
        if k != "action"
    }
    size = inputs["action"].shape[-1]
    if "actor_logits" in expected:
        act_space = gymnasium.spaces.Discrete(size)
    else:
        act_space = gymnasium.spaces.Box(-1, 1, (size,))
    agent = agent_lib.Agent(config, obs_space, {"action": act_space}, rng=None)
    values = port.load_variables(folder / "variables.pkl")
    port.assign(port.original_order(agent), values)
    return agent


def compute_world_model(agent, data) -> dict:
    wm = agent.wm
    obs = wm.preprocess(data)
    embed = wm.encoder(obs)
    post, prior = wm.rssm.observe(embed, obs["action"], obs["is_first"])
    feat = wm.rssm.get_feat(post)
    kl_loss, kl_value = wm.rssm.kl_loss(post, prior, **agent.config.kl)
    got = dict(embed=embed, feat=feat, kl_loss=kl_loss, kl_value=kl_value)
    got.update({f"post_{k}": v for k, v in post.items()})
    got.update({f"prior_{k}": v for k, v in prior.items()})
    decoded = wm.heads["decoder"](feat)
    got.update({f"decoder_{k}": dist.mean() for k, dist in decoded.items()})
    for name in set(wm.heads) - {"decoder"}:
        got[f"{name}_mean"] = wm.heads[name](feat).mean()
    got["model_loss"], _, _, metrics = wm.loss(data)
    got.update({f"wm_metric_{k}": v for k, v in metrics.items()})
    return got


def compute_behavior(agent, data) -> dict:
    wm, behavior = agent.wm, agent.task_behavior
    _, _, outputs, _ = wm.loss(data)
    actor = behavior.actor(outputs["feat"])
    got = {"critic_mean": behavior.critic(outputs["feat"]).mean()}
    if agent_lib.is_discrete(agent.act_space):
        got["actor_logits"] = actor.logits
    else:
        normal = actor.distribution
        got["actor_mode"], got["actor_entropy"] = actor.mode(), actor.entropy()
        got["actor_loc"], got["actor_scale"] = normal.loc, normal.scale
    seq = wm.imagine(
        behavior.actor, outputs["post"], data["is_terminal"], agent.config.imag_horizon
    )
    seq["reward"] = wm.heads["reward"](seq["feat"]).mode()
    seq["value"] = behavior.target_critic(seq["feat"]).mode()
    target, _ = behavior.target(seq)
    got.update({f"imag_{k}": v for k, v in {**seq, "target": target}.items()})
    got["actor_loss"], _ = behavior.actor_loss(seq, target)
    got["critic_loss"], _ = behavior.critic_loss(seq, target)
    return got


def compute_policy(agent, data) -> dict:
    batch, length = data["reward"].shape
    state, actions = agent.initial(batch), []
    for t in range(length):
        obs = {k: v[:, t] for k, v in data.items() if k != "action"}
        output, state = agent.policy(obs, state, mode="eval")
        actions.append(output["action"])
    return {"policy_eval_action": tf.stack(actions, 1)}


def compute_training(agent, data, steps: int) -> dict:
    got, state = {}, agent.wm.rssm.initial(data["reward"].shape[0])
    for i in range(steps):
        state, metrics = agent.train(data, state)
        got.update({f"train{i}_{k}": v for k, v in metrics.items()})
    return got


@pytest.fixture(scope="module", params=golden_folders(), ids=lambda folder: folder.name)
def folder(request):
    return request.param


@pytest.fixture(scope="module", params=["eager", "graph"])
def results(request, folder):
    """What the port computes, what the original computed, and the variables."""
    inputs, expected = read(folder / "inputs.npz"), read(folder / "expected.npz")
    tf.config.run_functions_eagerly(request.param == "eager")
    try:
        agent = make_agent(folder, inputs, expected)
        before = [v.numpy() for v in port.original_order(agent)]
        data = {k: tf.constant(v) for k, v in inputs.items()}
        world_model = tf.function(lambda data: compute_world_model(agent, data))
        behavior = tf.function(lambda data: compute_behavior(agent, data))
        got = {**world_model(data), **behavior(data), **compute_policy(agent, data)}
        steps = 1 + max(int(k[5]) for k in expected if k.startswith("train"))
        got.update(compute_training(agent, data, steps))
        after = [v.numpy() for v in port.original_order(agent)]
    finally:
        tf.config.run_functions_eagerly(False)
    got = {k: np.asarray(v) for k, v in got.items()}
    return got, expected, before, after


def error(got: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest magnitude."""
    assert got.shape == expected.shape, (got.shape, expected.shape)
    difference = np.abs(got.astype(np.float64) - expected.astype(np.float64)).max()
    return float(difference / max(np.abs(expected).max(), 1e-12))


def test_every_expected_array(results):
    got, expected, _, _ = results
    errors = {k: error(got[k], v) for k, v in expected.items()}
    assert not {k: e for k, e in errors.items() if not e <= 1e-3}


def test_variables_after_training(results, folder):
    _, _, _, after = results
    expected = list(read(folder / "variables_after_3_steps.npz").values())
    assert len(after) == len(expected)
    errors = [error(a, e) for a, e in zip(after, expected, strict=True)]
    assert not [(i, e) for i, e in enumerate(errors) if not e <= 1e-3]


def test_updates_of_variables(results, folder):
    """Weights are far larger than three updates, so the updates are compared too."""
    _, _, before, after = results
    expected = list(read(folder / "variables_after_3_steps.npz").values())
    compared = 0
    for old, new, wanted in zip(before, after, expected, strict=True):
        change = wanted.astype(np.float64) - old
        if np.abs(change).max() > 1e-5:
            assert error(new.astype(np.float64) - old, change) <= 1e-2
            compared += 1
    assert compared  # How many depends on the configuration: members of an ensemble.
