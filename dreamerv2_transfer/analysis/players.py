"""Who plays the episodes that are analysed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gymnasium.vector import VectorEnv

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.analysis.models import Models
from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.driver import Policy, episode_seed
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.data import policies
from dreamerv2_transfer.dqn import actors, agents


class PlayerError(UserError):
    """A policy that does not exist."""


class Player(NamedTuple):
    """Who plays, in the terms of `Driver`.

    Attributes:
        policy: Chooses the actions.
        seeds: Returns the seed of an environment's next episode, given its number.
        name: What a person calls it.
    """

    policy: Policy
    seeds: Callable[[int], int]
    name: str


def choose(
    choice: str, seed: int, config: Config, env: VectorEnv, task: str, models: Models
) -> Player:
    """Returns who plays.

    Args:
        choice: `random`, `actor`, or the path of a DQN player or of a folder of them;
            or `auto`: the run's actor if it has one, else random play.
        seed: Seed of the episodes and of all draws.
        config: The run's configuration.
        env: The environments of the game.
        task: The game.
        models: The run's models.

    Raises:
        PlayerError: There is no such policy, or it cannot play here.
        ConfigError: A DQN player would not see what its network expects.
        DqnError: A DQN player cannot be used.
    """
    if choice == "auto":
        choice = "actor" if models.agent else "random"
    if choice == "random":
        return random(env, task, seed)
    if choice != "actor":
        return dqn(choice, env, task, seed, config)
    if not models.agent:
        raise PlayerError(
            "The run has no actor (actor_critic.weights.h5); use --policy random or "
            f"the path of a DQN player. Received: --policy {choice}"
        )
    models.agent.rng.reset_from_seed(seed)
    return actor(agent_lib.acting(models.agent, "train"), seed)


def random(env: VectorEnv, task: str, seed: int) -> Player:
    """Returns random play."""
    return _taking_turns(env, task, seed, [None], [1.0], "random play")


def actor(policy: Policy, seed: int) -> Player:
    """Returns the run's own actor, given as a policy."""
    counter = itertools.count()

    def seeds(worker: int) -> int:
        return episode_seed(next(counter), seed, "analyze")

    return Player(policy, seeds, "the run's actor")


def dqn(path: str, env: VectorEnv, task: str, seed: int, config: Config) -> Player:
    """Returns DQN players, which play as in `collect`.

    Args:
        path: The file of one player. Or a folder of players: those of the game and
            random play take turns, by the shares of `config.policies`; if it has none
            for the game, random play alone.
        env: The environments of the game.
        task: The game.
        seed: Seed of the episodes and of the turns.
        config: The run's configuration, with `policies` and `dqn`.

    Raises:
        PlayerError: There is no such file or folder, or its players are of Atari.
        ConfigError: Players would see categories instead of planes.
        DqnError: A player cannot be used.
    """
    source = remote.fetched(path, *actors.FILES)
    if not source.exists():
        raise PlayerError(
            "--policy is auto, random, actor, or the path of a DQN player or of a "
            f"folder of them. Received: {path}"
        )
    if source.is_file():
        agents.load(source, task)
        files, shares, name = [source], [0.0, 1.0], f"the player {source.name}"
    else:
        try:
            files = agents.find(source, task)
            name = f"players of {source.name} and random play"
        except agents.DqnError as error:
            print(f"{error} So {task} is played at random.", flush=True)
            files, name = [], "random play"
        for file in files:  # A bad one must fail before anything is played.
            agents.load(file, task)
        shares = policies.shares(config.policies, files)
    advice = "Use --policy actor or --policy random."
    if files and task.startswith("atari_"):
        raise PlayerError(
            "DQN players of Atari see four raw screens, and play only in collect. "
            f"Received: --policy {path} for {task}. {advice}"
        )
    if files:
        agents.check_view(config, task, advice)
    size = envs.act_size(env.single_action_space)
    acting = [None, *(actors.Player(file, task, size) for file in files)]
    turns = config.dqn.interval, config.dqn.epsilon
    return _taking_turns(env, task, seed, acting, shares, name, *turns)


def _taking_turns(
    env: VectorEnv,
    task: str,
    seed: int,
    acting: Sequence[Any],
    shares: Sequence[float],
    name: str,
    interval: int = 1,
    epsilon: float = 0.0,
) -> Player:
    key = (seed, *task.encode(), *b"analyze")
    schedule = policies.Schedule(tuple(shares), interval, key)
    start = [(0, 0)] * env.num_envs
    policy = policies.MixedPolicy(env, schedule, acting, start, epsilon)
    return Player(policy, policy.start, name)
