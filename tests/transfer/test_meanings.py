"""Weights that mean something else in another run."""

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.transfer import meanings
from tests import models


def make_config():
    return blocks.load_config(["minatar", "debug", "finetune"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rssm.act": "silu"}, "The rssm in .* rssm.act=elu. Received: silu"),
        ({"encoder.symlog": True}, "encoder.symlog=False. Received: True"),
        ({"reward_head.dist": "symlog_mse"}, "dist=mse. Received: symlog_mse"),
        ({"reward_head.support": (0.0, 2.0)}, "head.support=.* Received: .*2.0"),
        ({"decoder.cnn_dist": "auto"}, "cnn_dist=mse. Received: binary"),
    ],
)
def test_weights_of_another_meaning_are_refused(changes, message):
    config = make_config()
    with pytest.raises(ConfigError, match=message):
        meanings.check(config.update(changes), config, models.obs_space())


@pytest.mark.parametrize(
    ("key", "part"), [("discount", "discount"), ("clip_rewards", "reward")]
)
def test_a_fixed_head_predicts_what_it_was_trained_to(key, part):
    config = make_config()
    changed = config.update({key: {"discount": 0.5, "clip_rewards": "sign"}[key]})
    meanings.check(changed, config, models.obs_space())  # It learns the new meaning.
    for fixed in ({"wm_steps": 0}, {f"freeze.{part}": True}):
        with pytest.raises(ConfigError, match=f"The {part} in .* with {key}="):
            meanings.check(changed.update(fixed), config, models.obs_space())
    ends = {"wm_steps": 0, "pred_discount": False, "pred_terminal": True}
    if key == "discount":
        meanings.check(changed.update(ends), config, models.obs_space())


def test_what_is_not_loaded_may_have_another_meaning():
    config = make_config()
    changed = config.update({"critic.act": "silu", "rssm.unimix": 0.01})
    meanings.check(changed, config, models.obs_space())


@pytest.mark.parametrize(
    ("adapted", "changes"),
    [
        ("image", {"minatar_view": "collapsed"}),
        ("image", {"encoder.symlog": True, "decoder.mlp_dist": "symlog_mse"}),
        ("actions", {"actor.dist": "trunc_normal"}),
    ],
)
def test_what_starts_fresh_may_have_another_meaning(adapted, changes):
    names = ("encoder", "rssm", "decoder", "actor")
    config = make_config().update({"init.components": names})
    changed = config.update({**changes, "init.adapt": (adapted,)})
    meanings.check(changed, config, models.obs_space())
    deeper = changed.update({"encoder.act": "silu"})
    with pytest.raises(ConfigError, match="encoder.act=elu. Received: silu"):
        meanings.check(deeper, config, models.obs_space())
