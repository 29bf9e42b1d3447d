"""Environments of the package gym, Gymnasium's predecessor, as those of Gymnasium."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from dreamerv2_transfer.common.errors import EnvError


def is_environment(value: Any) -> bool:
    """Whether an object, not a class, is a single environment, of gym or Gymnasium."""
    names = ("reset", "step", "observation_space", "action_space")
    other = isinstance(value, (type, gymnasium.vector.VectorEnv))
    return not other and all(hasattr(value, name) for name in names)


def adapt(env: Any) -> gymnasium.Env:
    """Returns an environment of Gymnasium as it is, and another one in `OldGym`.

    Raises:
        EnvError: It is no environment.
    """
    if isinstance(env, gymnasium.Env):
        return env
    if is_environment(env):
        return OldGym(env)
    raise EnvError(f"Received: {type(env)}. It must be a gymnasium.Env.")


class OldGym(gymnasium.Env):
    """An environment of gym, of any version from 0.10 to 0.26.

    `done` is a time limit if `info` says so by `TimeLimit.truncated`, or, as in the
    original, by `is_terminal`. Observations that the space does not name are left out.

    Args:
        env: The environment.
    """

    def __init__(self, env: Any):
        self._env = env
        inner = getattr(env, "unwrapped", env)
        self.observation_space = converted(env.observation_space)
        self.action_space = converted(env.action_space)
        known = getattr(env, "spec", None)
        self.spec = EnvSpec(id=getattr(known, "id", None) or type(inner).__name__)
        self._seeds_at_reset = _takes_seed(env.reset) and _takes_seed(inner.reset)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        if self._seeds_at_reset:
            result = self._env.reset(seed=seed)
        else:
            if seed is not None and hasattr(self._env, "seed"):
                self._env.seed(seed)
            result = self._env.reset()
        pair = isinstance(result, tuple) and len(result) == 2
        if pair and isinstance(result[1], dict):
            result = result[0]
        return _named(self.observation_space, result), {}

    def step(self, action: Any):
        """Takes an action; see `gymnasium.Env.step`."""
        result = self._env.step(action)
        if not isinstance(result, tuple) or len(result) not in (4, 5):
            return result  # `Checked` says what is wrong with it.
        obs, reward, done, *rest = result
        obs = _named(self.observation_space, obs)
        if len(rest) == 2:
            return obs, reward, done, *rest
        done, info = bool(done), rest[0]
        terminated = info.get("is_terminal", not info.get("TimeLimit.truncated"))
        return obs, reward, done and bool(terminated), done and not terminated, info

    def close(self) -> None:
        """Closes the environment, if it can be closed."""
        getattr(self._env, "close", lambda: None)()


class Unknown(spaces.Space):
    """A space that has no counterpart in Gymnasium; any value lies in it.

    Args:
        old: The space.
    """

    def __init__(self, old: Any):
        super().__init__()
        self._old = old

    def contains(self, x: Any) -> bool:
        return True

    def __repr__(self) -> str:
        return repr(self._old)


def converted(old: Any) -> spaces.Space:
    """Returns a space of gym as one of Gymnasium, or as `Unknown`."""
    if isinstance(old, spaces.Space):
        return old
    kinds = {kind.__name__ for kind in type(old).__mro__}
    if "Box" in kinds:
        return spaces.Box(old.low, old.high, old.shape, np.dtype(old.dtype).type)
    if "Discrete" in kinds:
        return spaces.Discrete(int(old.n), start=int(getattr(old, "start", 0)))
    if "MultiDiscrete" in kinds:
        return spaces.MultiDiscrete(np.array(old.nvec))
    if "MultiBinary" in kinds:
        return spaces.MultiBinary(old.n)
    if "Dict" in kinds:
        return spaces.Dict({k: converted(part) for k, part in old.spaces.items()})
    if "Tuple" in kinds:
        return spaces.Tuple([converted(part) for part in old.spaces])
    return Unknown(old)


def _takes_seed(reset: Any) -> bool:
    parameters = inspect.signature(reset).parameters.values()
    return any(x.name == "seed" or x.kind is x.VAR_KEYWORD for x in parameters)


def _named(space: spaces.Space, value: Any) -> Any:
    """Returns an observation without the keys that its space does not name."""
    if not (isinstance(space, spaces.Dict) and isinstance(value, Mapping)):
        return value
    parts = space.spaces.items()
    return {k: _named(part, value[k]) for k, part in parts if k in value}
