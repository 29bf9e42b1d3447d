"""Whether weights mean the same in a run as where they were trained."""

from __future__ import annotations

from typing import Any

from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.transfer import adapt

REWARD_BINS = ("reward_head.bin_limit", "reward_head.support")
# By component, the keys that change what its weights mean, but not their shapes.
MEANINGS = {
    "encoder": ("encoder.act", "encoder.symlog", "minatar_view"),
    "rssm": ("rssm.act", "rssm.cell", "rssm.std_act"),
    "decoder": ("decoder.act", "decoder.cnn_dist", "decoder.mlp_dist"),
    "reward": ("reward_head.act", "reward_head.dist", *REWARD_BINS),
    "discount": ("discount_head.act", "discount_head.dist"),
    "terminal": ("discount_head.act", "discount_head.dist"),
    "actor": ("actor.act", "actor.dist"),
    "critic": ("critic.act", "critic.dist", "critic.bin_limit", "behavior"),
}
# By value of `init.adapt`, keys that matter only to the layers that it leaves fresh.
ADAPTED: dict[str, tuple[str, ...]] = {
    "actions": ("actor.dist",),
    "image": (
        *("encoder.symlog", "minatar_view"),
        *("decoder.cnn_dist", "decoder.mlp_dist"),
    ),
}


def check(config: Config, theirs: Config, obs_space: dict[str, Any]) -> None:
    """Checks that weights mean the same here as where they were trained.

    Args:
        config: The configuration of this run.
        theirs: That of the run whose weights `init` names.
        obs_space: The spaces of the observations.

    Raises:
        ConfigError: One of `MEANINGS` differs for a component that is to be loaded, or
            what one predicts that keeps its weights.
    """
    from dreamerv2_transfer.agent import image_dist

    theirs, ours = (
        x.update({"decoder.cnn_dist": image_dist(x, obs_space)})
        for x in (theirs, config)
    )
    adapted = [key for name in config.init.adapt for key in ADAPTED.get(name, ())]
    # Terminal heads predict the end of an episode, whatever a reward later is worth.
    predicted = {"reward": ["clip_rewards"], "discount": ["discount"]}
    if not config.pred_discount:
        del predicted["discount"]
    for name in config.init.components:
        kept = predicted.get(name, []) if adapt.fixed_by(config, name) else []
        for key in (*MEANINGS.get(name, ()), *kept):
            if key not in adapted and theirs[key] != ours[key]:
                raise ConfigError(
                    f"The {name} in {config.init.path} was trained with {key}="
                    f"{theirs[key]}. Received: {ours[key]}. Use the same, or leave the "
                    f"{name} out of --init.components."
                )
