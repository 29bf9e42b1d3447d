"""Creates the networks whose kind depends on the configuration and the spaces."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium

from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.nets.adapter import AdaptedRSSM
from dreamerv2_transfer.common.nets.heads import MLP
from dreamerv2_transfer.common.nets.rssm import EnsembleRSSM
from dreamerv2_transfer.common.nets.task_embed import ConditionedRSSM


def rssm_of(config, act_space: gymnasium.Space) -> EnsembleRSSM:
    """Creates the RSSM of a configuration.

    Args:
        config: The resolved configuration.
        act_space: The space of an action.

    Raises:
        ValueError: Actions that are not discrete are to be mixtures of known ones.
    """
    known = config.adapter.actions
    if known and not isinstance(act_space, gymnasium.spaces.Discrete):
        raise ValueError(
            "Only discrete actions can be mixtures of known ones. Received: "
            f"adapter.actions={known} and actions of {act_space}. Leave "
            "adapter.actions at 0."
        )
    embed = config.task_embed
    if not embed.size:
        return make_rssm(config.rssm, config.adapter)
    learned = () if embed.freeze else blocks.games_of_batches(config)
    games = {"games": embed.games, "size": embed.size, "game": config.task}
    return make_rssm(config.rssm, config.adapter, {**games, "learned": learned})


def make_rssm(
    options: Mapping, adapter: Mapping, task_embed: Mapping | None = None
) -> EnsembleRSSM:
    """Creates an RSSM, of the class that the other arguments ask for.

    Args:
        options: `rssm` of a configuration.
        adapter: `adapter` of a configuration.
        task_embed: What `ConditionedRSSM` takes besides; None for no games.
    """
    if task_embed:
        return ConditionedRSSM(**task_embed, **adapter, **options)
    if adapter["rank"] or adapter["actions"]:
        return AdaptedRSSM(**adapter, **options)
    return EnsembleRSSM(**options)


def mask_head(config, obs_space: Mapping, act_space: gymnasium.Space) -> MLP:
    """Creates the network that predicts which classes of actions are allowed.

    Raises:
        ValueError: Nothing tells it what is allowed.
    """
    if envs.MASK not in obs_space:
        raise ValueError(
            "Received: obs.action_mask=True, but there is no 'action_mask' beside "
            f"{', '.join(obs_space)}. Only gym_ tasks, scripts' environments and their "
            "episodes have masks; leave it out."
        )
    options = {**config.discount_head, "dist": "binary"}
    return MLP(envs.act_size(act_space), **options, name=envs.MASK)
