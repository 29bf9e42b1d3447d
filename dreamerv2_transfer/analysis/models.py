"""The models of an analysis: a run's own, and one that has learned nothing."""

from __future__ import annotations

import dataclasses
import pathlib

from gymnasium.vector import VectorEnv

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.agent import Agent, WorldModel
from dreamerv2_transfer.common import envs, machine
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.transfer import sources, weights


@dataclasses.dataclass(frozen=True)
class Models:
    """What is analysed, and what it is compared with.

    Attributes:
        trained: The run's world model.
        untrained: The same with fresh weights of another seed.
        agent: The run's agent, if it has an actor; its world model is `trained`.
    """

    trained: WorldModel
    untrained: WorldModel
    agent: Agent | None = None


def load(config: Config, logdir: pathlib.Path, env: VectorEnv) -> Models:
    """Loads a run's model and its actor, if there is one.

    Args:
        config: The run's configuration.
        logdir: The run's folder.
        env: Environments that the model can observe.

    Raises:
        UserError: There are no weights, or they do not suit the environments.
    """
    world_model = weights.find_weights(logdir)
    print(machine.setup(config), flush=True)
    spaces = envs.obs_space(env), envs.act_space(env)
    fresh = config.update(seed=(config.seed + 1) % 2**32)
    untrained = agent_lib.make_world_model(fresh, *spaces)
    actor_critic = sources.in_folder(logdir, weights.ACTOR_CRITIC)
    if actor_critic is None:
        trained = agent_lib.make_world_model(config, *spaces)
        weights.load_weights(world_model, trained.components)
        return Models(trained, untrained)
    agent = agent_lib.make_agent(config, *spaces)
    weights.load_weights(world_model, agent.wm.components)
    weights.load_weights(actor_critic, agent.task_behavior.components)
    return Models(agent.wm, untrained, agent)
