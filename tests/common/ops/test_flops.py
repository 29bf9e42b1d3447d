import gymnasium
import numpy as np
import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.ops import flops

PLANES = {"image": (10, 10, 10), "reward": (), "is_first": ()}


def test_operations_of_the_minatar_block():
    config = blocks.load_config(["minatar", "pretrain"])
    world_model = flops.world_model_step(config, PLANES, actions=6)
    assert world_model / 1e9 == pytest.approx(35.1, rel=0.005)
    whole = world_model + flops.behavior_step(config, actions=6)
    assert whole / 1e9 == pytest.approx(487.5, rel=0.005)


def test_dense_products_are_counted_from_the_layers_themselves():
    shapes = {"position": (3,), "speed": (2,), "reward": ()}
    config = blocks.load_config(["dmc_proprio", "debug"])
    config = config.update({"encoder.mlp_layers": [7, 8], "rssm.ensemble": 2})
    config = config.update({"reward_head.dist": "symlog_twohot"})
    space = {k: gymnasium.spaces.Box(-1, 1, v) for k, v in shapes.items()}
    act_space = {"action": gymnasium.spaces.Box(-1, 1, (4,))}
    wm = agent_lib.WorldModel(config, space, act_space, None)
    macs = flops.world_model_macs(config, shapes, actions=4)
    for name, component in wm.components.items():
        kernels = [v for v in component.variables if len(v.shape) == 2]
        assert macs[name] == sum(int(np.prod(v.shape)) for v in kernels), name


def test_convolutions_are_counted_where_they_are_applied():
    config = blocks.load_config(["minatar"])
    macs, embed = flops.encoder_macs(config.encoder, PLANES)
    wanted = (
        8 * 8 * 9 * 10 * 8 + 6 * 6 * 9 * 8 * 16 + 16 * 9 * 16 * 32 + 4 * 9 * 32 * 64
    )
    assert (macs, embed) == (wanted, 256)
    transposed = (
        1 * 4 * 256 * 32 + 4 * 9 * 32 * 16 + 16 * 16 * 16 * 8 + 49 * 16 * 8 * 10
    )
    assert flops.decoder_macs(config.decoder, PLANES, 1280) == 1280 * 256 + transposed


def test_the_peak_is_a_speed():
    # Any machine that runs this is between a thousandth and a million GFLOP/s.
    assert 1e6 < flops.measure_peak("float32", seconds=0.01, size=64) < 1e15
