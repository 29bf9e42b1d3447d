"""Weights of one game, in an agent for a game of other actions or observations."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.transfer import adapt, weights
from tests import models

MODEL = ("encoder", "rssm", "decoder", "reward", "discount")
STOCH = 4 * 4  # Rows of the latents in img_in's kernel, before those of the action.


def make_agent(actions=6, planes=10, **changes):
    space = models.obs_space()
    space["image"] = gymnasium.spaces.Box(0, 1, (10, 10, planes), bool)
    if changes.get("obs.action_mask"):
        space["action_mask"] = gymnasium.spaces.Box(0, 1, (actions,))
    act_space = {"action": gymnasium.spaces.Discrete(actions)}
    rng = tf.random.Generator.from_seed(0)
    return agent_lib.Agent(models.make_config(**changes), space, act_space, rng)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    source = make_agent()
    weights.save_agent(folder, source)
    arrays = weights.read_weights(folder / "world_model.weights.h5")
    arrays |= weights.read_weights(folder / "actor_critic.weights.h5")
    return folder, arrays


def values(agent) -> dict:
    return {v.path: v.numpy() for c in agent.components.values() for v in c.variables}


def initialize(agent, saved, names, adapted):
    """Returns what was said, and the values before and after."""
    before = values(agent)
    loaded = weights.initialize(saved[0], agent.components, names, adapted)
    return loaded.text, before, values(agent)


def test_rows_of_actions_are_fresh_and_all_else_is_loaded(saved):
    agent = make_agent(actions=3)
    said, before, after = initialize(agent, saved, MODEL, ("actions",))
    kernel = "rssm/img_in/kernel"
    assert saved[1][kernel].shape[0] == STOCH + 6
    assert after[kernel].shape[0] == STOCH + 3
    np.testing.assert_array_equal(after[kernel][:STOCH], saved[1][kernel][:STOCH])
    np.testing.assert_array_equal(after[kernel][STOCH:], before[kernel][STOCH:])
    for name in {x for x in after if x.split("/")[0] in MODEL} - {kernel}:
        np.testing.assert_array_equal(after[name], saved[1][name], name)
    assert f"rssm/img_in/kernel from row {STOCH} on" in said


@pytest.mark.parametrize("actions", [3, 6])
def test_a_predicted_mask_starts_fresh_for_other_actions(tmp_path, actions):
    masks = {"obs.action_mask": True}
    source = make_agent(**masks)
    weights.save_agent(tmp_path, source)
    agent = make_agent(actions, **masks)
    before, names = values(agent), (*MODEL, "action_mask")
    weights.initialize(tmp_path, agent.components, names, ("actions",))
    after, saved = values(agent), values(source)
    head = {x for x in after if x.startswith("action_mask/")}
    fresh = {x for x in head if x.startswith("action_mask/out/")}
    for name in head:
        expected = before if name in fresh else saved
        np.testing.assert_array_equal(after[name], expected[name], name)
    assert fresh and head - fresh


def test_the_actor_keeps_its_hidden_layers_for_other_actions(saved):
    agent = make_agent(actions=3)
    names = (*MODEL, "actor", "critic")
    _, before, after = initialize(agent, saved, names, ("actions",))
    for name in {x for x in after if x.startswith(("actor/", "critic/"))}:
        expected = before if name.startswith("actor/out/") else saved[1]
        np.testing.assert_array_equal(after[name], expected[name], name)


def test_first_and_last_convolutions_are_fresh_for_other_planes(saved):
    agent = make_agent(planes=4)
    _, before, after = initialize(agent, saved, MODEL, ("image",))
    last = agent.wm.heads["decoder"].convs[-1].name
    edges = {f"{x}/{y}" for x in ("encoder/conv0", f"decoder/{last}") for y in PARTS}
    for name in {x for x in after if x.split("/")[0] in MODEL}:
        expected = before if name in edges else saved[1]
        np.testing.assert_array_equal(after[name], expected[name], name)


PARTS = ("kernel", "bias")


def test_rows_of_the_embedding_are_fresh_where_its_size_differs(saved):
    agent = make_agent(**{"encoder.cnn_depth": 8})
    name = "rssm/obs_out/kernel"
    _, before, after = initialize(agent, saved, MODEL, ("image",))
    deter = agent.wm.rssm.feat_size - agent.wm.rssm.stoch_size
    assert after[name].shape != saved[1][name].shape
    np.testing.assert_array_equal(after[name][:deter], saved[1][name][:deter])
    np.testing.assert_array_equal(after[name][deter:], before[name][deter:])


def test_rows_of_the_embedding_that_could_not_learn_are_refused(saved):
    flags = {"encoder.cnn_depth": 8, "freeze.rssm.obs_out": True}
    agent = make_agent(**flags)
    before = values(agent)
    with pytest.raises(ConfigError, match=r"rssm.obs_out fresh.*rssm.obs_out=True"):
        initialize(agent, saved, MODEL, ("image",))
    np.testing.assert_equal(values(agent), before)
    same_size = make_agent(**{"freeze.rssm.obs_out": True}, planes=4)
    initialize(same_size, saved, MODEL, ("image",))


def test_shrunk_weights_lie_between_the_loaded_and_fresh_ones(saved):
    agent = make_agent(actions=3)
    before = values(agent)
    loaded = weights.initialize(saved[0], agent.components, MODEL, ("actions",), 0.75)
    after = values(agent)
    assert "(0.75 of each weight)" in loaded.text
    whole = {x for x in after if x.split("/")[0] in MODEL} - {"rssm/img_in/kernel"}
    assert loaded.paths == whole
    name = "rssm/cell/layer/kernel"
    expected = 0.75 * saved[1][name] + 0.25 * before[name]
    np.testing.assert_allclose(after[name], expected, atol=1e-7)
    fresh = before["rssm/img_in/kernel"][STOCH:]
    np.testing.assert_allclose(after["rssm/img_in/kernel"][STOCH:], fresh, atol=1e-7)


def test_what_is_not_adapted_must_fit(saved):
    agent = make_agent(actions=3)
    with pytest.raises(CheckpointError, match=r"--init.adapt actions"):
        initialize(agent, saved, MODEL, ("none",))
    with pytest.raises(CheckpointError, match=r"img_in/kernel has shape \(22, "):
        initialize(agent, saved, MODEL, ("image",))
    deeper = make_agent(actions=3, **{"rssm.stoch": 5})
    with pytest.raises(CheckpointError, match=r"img_dist_0/bias has shape \(16,\)"):
        initialize(deeper, saved, MODEL, ("actions",))


def test_corrections_start_fresh_and_are_merged_where_there_are_none(saved, tmp_path):
    agent = make_agent(**RANK)
    said, before, after = initialize(agent, saved, MODEL, ("none",))
    assert said.endswith("left fresh: actor, critic, target_critic, rssm/adapter.*.")
    names = [x for x in after if x.startswith("rssm/adapter.")]
    assert len(names) == 13
    for name in after:
        expected = before if name.split("/")[0] not in MODEL or name in names else None
        np.testing.assert_array_equal(after[name], (expected or saved[1])[name], name)
    for variable in agent.wm.rssm.up:
        variable.assign(np.ones(variable.shape))
    weights.save_agent(tmp_path, agent)
    again, plain = make_agent(**RANK), make_agent()
    for other in (again, plain):
        said = weights.initialize(tmp_path, other.components, MODEL).text
        assert "rssm" not in said.partition("left fresh")[2]
    up = "rssm/adapter.img_in.up"
    np.testing.assert_array_equal(values(again)[up], values(agent)[up])
    kernel, down = (values(agent)[f"rssm/{x}"] for x in ("img_in/kernel", DOWN))
    np.testing.assert_allclose(
        values(plain)["rssm/img_in/kernel"],
        kernel + 0.5 * down.sum(1, keepdims=True),
        rtol=1e-6,
    )
    with pytest.raises(CheckpointError, match="rssm/adapter.cell.layer.down has shape"):
        weights.load_weights(tmp_path / "world_model.weights.h5", plain.wm.components)


RANK, DOWN = {"adapter.rank": 2, "adapter.scale": 0.5}, "adapter.img_in.down"


def test_actions_are_mixtures_of_known_ones(saved):
    agent = make_agent(actions=3, **{"adapter.actions": 6})
    names = (*MODEL, "actor")
    said, before, after = initialize(agent, saved, names, ("actions",))
    kernel, align = "rssm/img_in/kernel", "rssm/adapter.align"
    np.testing.assert_array_equal(after[kernel], saved[1][kernel])
    assert after[align].shape == (3, 6) and not after[align].any()
    assert "rssm/adapter.*" in said and "img_in" not in said
    with pytest.raises(CheckpointError, match="adapter.actions"):
        initialize(make_agent(actions=3, **{"adapter.actions": 5}), saved, MODEL, ())


def test_only_discrete_actions_can_be_mixed():
    config = models.make_config(**{"adapter.actions": 6})
    with pytest.raises(ValueError, match="Only discrete actions can be mixtures"):
        models.make_agent(config, discrete=False)


def test_corrections_need_a_world_model_that_learns():
    config = blocks.load_config(["minatar", "finetune"]).update(RANK)
    adapt.check(config)
    with pytest.raises(ConfigError, match="adapter.rank=2, .* wm_steps=0"):
        adapt.check(config.update(wm_steps=0))
    with pytest.raises(ConfigError, match="adapter.rank=2, .* model_opt.lr_by.rssm=0"):
        adapt.check(config.update({"model_opt.lr_by.rssm": 0.0}))


def test_a_mask_that_could_not_be_learned_is_refused():
    changes = {"obs.action_mask": True, "wm_steps": 0}
    config = blocks.load_config(["minatar", "finetune"]).update(changes)
    with pytest.raises(ConfigError, match="action_mask that is not loaded would never"):
        adapt.check(config)
    adapt.check(config.update({"init.components": (*MODEL, "action_mask")}))
    adapt.check(config.update(wm_steps=1))


@pytest.mark.parametrize("stage", ["finetune", "offline"])
@pytest.mark.parametrize("part", ["encoder", "rssm", "reward", "discount"])
def test_a_fixed_model_needs_each_part_that_dreams_are_made_of(stage, part):
    parts = tuple(name for name in MODEL if name != part)
    changes = {"init.components": parts, "wm_steps": 0, "init.path": "a"}
    config = blocks.load_config(["minatar", stage]).update(changes)
    with pytest.raises(ConfigError, match=f"an? {part} that is not loaded would never"):
        adapt.check(config)
    if part == "discount":
        adapt.check(config.update(pred_discount=False))
    adapt.check(config.update(wm_steps=1))


@pytest.mark.parametrize(
    ("part", "flag"),
    [
        ("reward", "reward"),
        ("discount", "discount"),
        ("encoder", "encoder"),
        ("decoder", "decoder"),
        ("rssm", "rssm.obs_out"),
    ],
)
def test_a_frozen_part_has_to_be_loaded(part, flag):
    parts = tuple(name for name in MODEL if name != part)
    config = blocks.load_config(["minatar", "finetune"])
    config = config.update({"init.components": parts, f"freeze.{flag}": True})
    message = f"With freeze.{flag}=True, an? {part} that is not loaded would never"
    with pytest.raises(ConfigError, match=message):
        adapt.check(config)
    adapt.check(config.update({f"freeze.{flag}": False}))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"wm_steps": 0}, "encoder .* wm_steps=0"),
        ({"model_opt.lr_by.decoder": 0.0}, "decoder .* model_opt.lr_by.decoder=0"),
        ({"freeze.rssm.cell": True}, "rssm .* freeze.rssm.cell=True"),
    ],
)
def test_shrunk_weights_that_could_not_recover_are_refused(changes, fault):
    config = blocks.load_config(["minatar", "finetune"]).update(changes)
    adapt.check(config)
    with pytest.raises(ConfigError, match=f"the weights of {fault}"):
        adapt.check(config.update({"init.shrink": 0.8}))
    actor = {"init.shrink": 0.8, "init.components": (*MODEL, "actor")}
    adapt.check(blocks.load_config(["minatar", "finetune"]).update(actor))


@pytest.mark.parametrize(
    "changes, part",
    [
        ({"init.adapt": ("actions",), "freeze.rssm.img_in": True}, "rssm.img_in"),
        ({"init.adapt": ("image",), "freeze.decoder": True}, "decoder"),
        ({"init.adapt": ("image", "actions"), "wm_steps": 0}, "encoder"),
    ],
)
def test_fresh_weights_that_could_not_learn_are_refused(changes, part):
    config = blocks.load_config(["minatar", "finetune"]).update(changes)
    with pytest.raises(ConfigError, match=f"weights of {part} fresh"):
        adapt.check(config)
    if part == "rssm.img_in":
        adapt.check(config.update({"adapter.actions": 6}))
    adapt.check(blocks.load_config(["minatar", "finetune", "freeze_rssm"]))
