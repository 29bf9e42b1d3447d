import numpy as np
import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.porting import observations, pydreamer_config, pydreamer_layout

TINY = {
    "deter_dim": 6,
    "hidden_dim": 4,
    "stoch_dim": 2,
    "stoch_discrete": 3,
    "cnn_depth": 1,
    "action_dim": 3,
}
KINDS = {
    "dense": {
        "image_size": 7,
        "image_channels": 4,
        "image_encoder": "dense",
        "image_encoder_layers": 2,
        "image_decoder": "dense",
        "image_decoder_layers": 2,
        "reward_input": True,
        "gru_type": "gru_layernorm",
    },
    "vectors": {
        "image_encoder": None,
        "image_decoder": None,
        "vecobs_size": 5,
        "gru_layers": 2,
        "actor_dist": "tanh_normal",
        "reward_decoder_categorical": [0.0, 1.0],
    },
    "plain": {"layer_norm": False, "gru_type": "gru_layernorm_dv2", "gru_layers": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_variable_has_one_place_and_comes_back(kind):
    conf = {**pydreamer_config.DEFAULTS, **TINY, **KINDS[kind]}
    units = {f"{k}.units": 5 for k in pydreamer_config.HEADS}
    layers = {"encoder.mlp_layers": [5, 5], "decoder.mlp_layers": [5] * 4}
    config = pydreamer_config.convert(conf, {}).update({**units, **layers})
    obs = pydreamer_config.observations(conf)
    continuous = conf["actor_dist"] != "onehot"
    spaces = observations.make_spaces(obs, 3, not continuous)
    agent = agent_lib.Agent(config.update(jit=False), *spaces, rng=None)
    shapes = {v.path: v.shape for x in agent.components.values() for v in x.variables}
    rules = pydreamer_layout.rules(config, obs, continuous)
    paths = [path for rule in rules for path in rule.ours]
    assert sorted(paths) == sorted(shapes)
    names = [name for rule in rules for name in rule.theirs]
    assert len({*names}) == len(names)
    rng = np.random.default_rng(0)
    for rule in rules:
        ours = [rng.normal(size=shapes[path]) for path in rule.ours]
        theirs = rule.to_theirs(ours)
        assert sum(x.size for x in theirs) == sum(x.size for x in ours) or not ours
        for a, b in zip(rule.to_ours(theirs), ours, strict=True):
            np.testing.assert_array_equal(a, b)


def test_features_and_images_are_reordered():
    conf = {**pydreamer_config.DEFAULTS, **TINY}
    config = pydreamer_config.convert(conf, {})
    places = pydreamer_layout._features(config)
    assert places.tolist() == [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]
    assert pydreamer_layout._channels_last((1, 2, 3)).tolist() == [0, 2, 4, 1, 3, 5]
