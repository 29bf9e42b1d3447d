"""The order itself; that it is the original's, `test_port` and `golden` show."""

import types

from dreamerv2_transfer.porting import order

AGENT = [
    "actor",
    "critic",
    "decoder",
    "encoder",
    "reward",
    "reward_mag",
    "rssm",
    "target_critic",
    "target_updates",
    "tfstep",
]
EXPLORER = [
    "disag0",
    "disag1",
    "expl_actor",
    "expl_critic",
    "expl_extr_mag",
    "expl_head",
    "expl_intr_mag",
    "expl_reward_mag",
    "expl_target_critic",
    "expl_target_updates",
]


def ordered(names, **config) -> list[str]:
    settings = {"slow_target": True, "expl_behavior": "greedy", "disag_models": 2}
    return order.order(types.SimpleNamespace(**settings | config), names)


def test_the_order_of_an_agent_without_a_slow_target():
    names = ["rssm/img_in/bias", "rssm/img_in/kernel", "rssm/cell/norm/beta"]
    names += ["rssm/cell/norm/gamma", "critic/out/out/kernel", "actor/dense0/bias"]
    names += ["reward/dense1/kernel", "reward/dense0/kernel", "tfstep", "reward_mag"]
    names += ["encoder/conv0/kernel", "decoder/convin/kernel", "target_updates", "rng"]
    assert ordered(names, slow_target=False) == [
        "tfstep",
        "critic/out/out/kernel",
        "actor/dense0/bias",
        "reward_mag",
        "encoder/conv0/kernel",
        "decoder/convin/kernel",
        "reward/dense0/kernel",
        "reward/dense1/kernel",
        "rssm/cell/norm/gamma",
        "rssm/cell/norm/beta",
        "rssm/img_in/kernel",
        "rssm/img_in/bias",
    ]


def test_the_order_of_an_agent_with_a_slow_target():
    assert ordered(AGENT) == [
        "tfstep",
        "target_updates",
        "target_critic",
        "actor",
        "critic",
        "reward_mag",
        "encoder",
        "decoder",
        "reward",
        "rssm",
    ]


def test_the_networks_of_plan2explore_come_first():
    assert ordered(AGENT + EXPLORER, expl_behavior="Plan2Explore")[:11] == [
        "tfstep",
        "disag0",
        "disag1",
        "expl_target_updates",
        "expl_target_critic",
        "expl_critic",
        "expl_reward_mag",
        "expl_actor",
        "expl_extr_mag",
        "expl_intr_mag",
        "target_updates",
    ]


def test_the_head_of_model_loss_comes_after_its_actor():
    assert ordered(AGENT + EXPLORER, expl_behavior="ModelLoss")[4:8] == [
        "expl_reward_mag",
        "expl_actor",
        "expl_head",
        "target_updates",
    ]


def test_what_the_original_does_not_keep_is_omitted():
    assert ordered(["tfstep", "rng", *EXPLORER]) == ["tfstep"]
