import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks
from tests import fakes

PARTS = ("img_in", "cell", "img_out", "img_dist", "obs_out", "obs_dist")


def make_config(*names, **changes):
    config = blocks.load_config(["minatar", "debug", "finetune", *names])
    small = {"imag_horizon": 3, "dataset.batch": 2, "dataset.length": 5}
    return config.update({**small, **changes})


def make_agent(config):
    box = gymnasium.spaces.Box
    flag = box(0, 1, (), bool)
    obs_space = {
        "image": box(0, 1, (10, 10, 10), bool),
        "reward": box(-np.inf, np.inf, (), np.float32),
        "is_first": flag,
        "is_last": flag,
        "is_terminal": flag,
    }
    spaces = obs_space, {"action": gymnasium.spaces.Discrete(6)}
    return agent_lib.make_agent(config, *spaces)


def batch():
    steps = fakes.episode(4)
    steps["reward"] = steps["reward"] % 2
    return {k: tf.convert_to_tensor(np.stack([v, v])) for k, v in steps.items()}


def values(agent) -> dict[str, np.ndarray]:
    components = {**agent.wm.components, "actor": agent.task_behavior.actor}
    variables = [v for c in components.values() for v in c.variables]
    return {v.path: v.numpy() for v in variables}


def changed(agent, updates=2) -> dict[str, bool]:
    """Whether each weight differs after some updates, in any bit."""
    before = values(agent)
    state = agent.wm.rssm.initial(2)
    for _ in range(updates):
        state, _ = agent.train(batch(), state)
    return {k: not np.array_equal(v, before[k]) for k, v in values(agent).items()}


def is_part(path: str, part: str) -> bool:
    return path.startswith((f"rssm/{part}/", f"rssm/{part}_"))


@pytest.mark.parametrize("name", [*(f"rssm.{p}" for p in PARTS), "decoder", "reward"])
def test_a_flag_freezes_its_weights_and_no_others(name):
    agent = make_agent(make_config(**{f"freeze.{name}": True, "rssm.norm": "layer"}))
    part = name.removeprefix("rssm.")
    for path, is_changed in changed(agent).items():
        frozen = is_part(path, part) if "." in name else path.startswith(f"{name}/")
        assert is_changed != frozen, path


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_the_rssm_preset_holds_in_each_precision_with_weight_decay(precision, policy):
    precision(policy)
    config = make_config("freeze_rssm", **{"model_opt.wd": 0.1})
    result = changed(make_agent(config))
    assert not any(result[k] for k in result if k.startswith("rssm/"))
    assert all(result[k] for k in result if k.startswith(("encoder/", "actor/")))


def test_the_world_model_preset_leaves_actor_and_critic_to_learn():
    agent = make_agent(make_config("freeze_world_model"))
    result = changed(agent)
    assert {k.split("/")[0] for k, v in result.items() if v} == {"actor"}
    assert not agent.wm.trainable_variables


def test_corrections_of_a_frozen_rssm_learn():
    agent = make_agent(make_config("freeze_world_model", **{"adapter.rank": 2}))
    result = changed(agent)
    learned = {k for k, v in result.items() if v and not k.startswith("actor/")}
    ends = (".up", ".down")
    assert learned == {k for k in result if k.startswith("rssm/") and k.endswith(ends)}
    assert len(learned) == 12


def test_frozen_weights_have_no_slots():
    def slots(config):
        return {v.path for v in make_agent(config).wm.model_opt.variables}

    free, frozen = slots(make_config()), slots(make_config("freeze_rssm"))
    assert any("rssm" in path for path in free)
    assert not any("rssm" in path for path in frozen)
    assert any("encoder" in path for path in frozen)
    # Step count and learning rate are all that is left.
    assert len(slots(make_config("freeze_world_model"))) == 2


def test_a_frozen_encoder_changes_nothing_in_graphs_either():
    agent = make_agent(make_config(jit=True, **{"freeze.encoder": True}))
    result = changed(agent)
    assert not any(result[k] for k in result if k.startswith("encoder/"))
    assert result["rssm/img_in/kernel"]


def test_a_flag_of_a_head_that_does_not_exist_has_no_effect():
    config = make_config(
        pred_discount=False,
        grad_heads=["decoder", "reward"],
        **{"freeze.discount": True},
    )
    assert make_agent(config).wm.trainable_variables
