"""Environments that Gymnasium knows by an id, or that a function makes."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.envs import atari, old_gym
from dreamerv2_transfer.common.envs.masks import Masked
from dreamerv2_transfer.common.envs.wrappers import NEVER, Checked, Make, adapt
from dreamerv2_transfer.common.errors import EnvError, describe


def wrap(
    maker: Make, task: str = "", exclude: str = NEVER, mask: bool = False
) -> gymnasium.Env:
    """Makes an environment in our form, which is checked at each step.

    Args:
        maker: Makes any `gymnasium.Env`, or an environment of the older gym.
        task: Name of the task for error messages; by default the function's name.
        exclude: Pattern of the keys of observations that are left out.
        mask: Whether to observe which actions are allowed, see `masks.Masked`.

    Raises:
        EnvError: It could not be made, or its spaces cannot be used.
        gymnasium.error.UnregisteredEnv: Gymnasium does not know the task's id.
    """
    try:
        env = maker()
    except Exception as error:
        if task and isinstance(error, gymnasium.error.UnregisteredEnv):
            raise
        name = task or getattr(maker, "__name__", repr(maker))
        raise EnvError(f"{name} could not be made: {describe(error)}") from error
    env = old_gym.adapt(env)
    return adapt(Checked(Masked(env) if mask else env, task), exclude)


# The suite.


def tasks() -> tuple[str, ...]:
    """Returns the ids that are registered; an id may name a module with others."""
    register()
    return tuple(gymnasium.registry)


def register() -> None:
    """Registers the ids of installed packages that Gymnasium does not find itself."""
    atari.games()
    foreign.register_minatar()


def make(name: str, exclude: str = NEVER, mask: bool = False) -> gymnasium.Env:
    """Makes an environment by its id; for the errors see `wrap`."""
    if name not in gymnasium.registry:
        register()
    # `Checked` does more than Gymnasium's checker, which only warns.
    maker = functools.partial(gymnasium.make, name, disable_env_checker=True)
    return wrap(maker, f"gym_{name}", exclude, mask)


def settings(config: Any) -> dict[str, Any]:
    """Returns no options, as the id says everything."""
    return {}
