"""Who plays the episodes that are analysed."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable

from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.driver import Policy, episode_seed
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.data import policies
from dreamerv2_transfer.dqn import actors, agents

Player = tuple[Policy, Callable[[int], int], str]  # Policy, seeds, and who it is.


class PlayerError(UserError):
    """There is nobody of that name to play."""


def random(env: VectorEnv, task: str, seed: int) -> Player:
    """Random play."""
    return (*_taking_turns(env, task, seed, [None], [1.0]), "random play")


def actor(policy: Policy, seed: int) -> Player:
    """The run's own actor, given as a `Driver` takes it."""
    counter = itertools.count()
    seeds = lambda worker: episode_seed(next(counter), seed, "analyze")  # noqa: E731
    return policy, seeds, "the run's actor"


def dqn(path: str, env: VectorEnv, task: str, seed: int, settings) -> Player:
    """Agents from files, as `collect` has them play.

    Args:
        path: of one agent; or a folder of agents, where those of the game and random
            play take turns, by the shares of `settings.policies`. Random play alone
            where the folder has none for the game.
        env: what they play.
        task: its name.
        seed: of the episodes and of the turns.
        settings: the run's configuration; `policies` and `dqn`.

    Raises:
        PlayerError: there is no such file or folder.
        DqnError: an agent cannot be used.
    """
    source = remote.fetched(path, *actors.FILES)
    if not source.exists():
        raise PlayerError(
            "--policy is auto, random, actor, or the path of a DQN agent or of a "
            f"folder of them. Received: {path}"
        )
    size = envs.act_size(env.single_action_space)
    if source.is_file():
        agents.load(source, task)
        files, shares = [source], [0.0, 1.0]
    else:
        files = [source / name for name, _ in _described(source, task)]
        shares = policies.shares(settings.policies, files)
    acting = [None, *(actors.Player(file, task, size) for file in files)]
    turns = settings.dqn.interval, settings.dqn.epsilon
    who = f"agents of {source.name} and random play" if files else "random play"
    who = f"the agent {source.name}" if source.is_file() else who
    return (*_taking_turns(env, task, seed, acting, shares, *turns), who)


def _described(folder: pathlib.Path, task: str) -> list[tuple[str, str]]:
    try:
        agents.find(folder, task)
    except agents.DqnError as error:
        print(f"{error} So {task} is played at random.", flush=True)
        return []
    return actors.describe(str(folder), task)


def _taking_turns(
    env: VectorEnv, task: str, seed: int, acting, shares, interval=1, epsilon=0.0
) -> tuple[Policy, Callable[[int], int]]:
    key = (seed, *task.encode(), *b"analyze")
    schedule = policies.Schedule(tuple(shares), interval, key)
    start = [(0, 0)] * env.num_envs
    policy = policies.MixedPolicy(env, schedule, acting, start, epsilon)
    return policy, policy.start
