"""Which actions an environment allows now, as an observation beside the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.envs import actions
from dreamerv2_transfer.common.envs.wrappers import is_image, title
from dreamerv2_transfer.common.errors import EnvError

MASK = "action_mask"


class Masked(gymnasium.Wrapper):
    """Observes `info["action_mask"]`, or an observation of that name if there is one.

    A mask has the value 1 for each class that may be chosen and 0 for the others: an
    array, or, for actions with parts, nested arrays in the order of the parts. If no
    class of a choice may be chosen, as after the end of an episode, all may.

    Args:
        env: The environment.

    Raises:
        EnvError: Its actions are numbers, of which no mask exists. While playing: the
            mask is missing, or not that of these actions.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        acts, _ = actions.native_actions(env.action_space)
        parts = actions.parts(acts)
        if not all(part.classes for part in parts):
            raise EnvError(
                "Received: obs.action_mask=True and actions with numbers, "
                f"{env.action_space}. A mask is for choices; leave it out."
            )
        self._size = sum(part.size for part in parts)
        seen, self._key = env.observation_space, ""
        if not isinstance(seen, spaces.Dict):
            self._key = "image" if is_image(seen) else "vector"
            seen = spaces.Dict({self._key: seen})
        self._is_observed = MASK in seen.spaces
        mask = spaces.Box(0, 1, (self._size,), np.float32)
        self.observation_space = spaces.Dict({**seen.spaces, MASK: mask})

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._with_mask(obs, info), info

    def step(self, action: Any):
        """Takes an action; see `gymnasium.Env.step`."""
        obs, *rest, info = self.env.step(action)
        return self._with_mask(obs, info), *rest, info

    def _with_mask(self, obs: Any, info: Mapping[str, Any]) -> dict[str, Any]:
        obs = {self._key: obs} if self._key else obs
        given = obs if self._is_observed else info
        if MASK not in given:
            raise EnvError(
                f"{title(self)}: obs.action_mask=True, but the info has no {MASK!r}. "
                f"Received: {list(info)}. Return it from reset and step, or leave out "
                "--obs.action_mask."
            )
        flat = np.array([*_flat(given[MASK])])
        if len(flat) != self._size or not np.isin(flat, (0, 1)).all():
            raise EnvError(
                f"{title(self)}: {MASK!r} must hold {self._size} zeros and ones, for "
                f"actions of {self.action_space}. Received: {flat[:20].tolist()} "
                f"({len(flat)} values)."
            )
        return {**obs, MASK: flat.astype(np.float32)}


def _flat(nested: Any) -> Iterator[Any]:
    """Yields the numbers of nested dictionaries, tuples and arrays, in their order."""
    if isinstance(nested, Mapping):
        nested = tuple(nested.values())
    if isinstance(nested, tuple):
        for part in nested:
            yield from _flat(part)
    else:
        yield from np.ravel(nested)
