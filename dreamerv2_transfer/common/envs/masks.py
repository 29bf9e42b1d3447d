"""Which actions an environment allows now, as an observation beside the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.envs import actions
from dreamerv2_transfer.common.envs.wrappers import named, title
from dreamerv2_transfer.common.errors import EnvError

MASK = "action_mask"
# Key of the metadata of environments whose observations have a mask, see `Masked`.
# Others may observe something else of that name.
IS_MASKED = "is_masked"


class Masked(gymnasium.Wrapper):
    """Observes `info["action_mask"]`, or an observation of that name if there is one.

    A mask has the value 1 for each class that may be chosen and 0 for the others, see
    `flatten`. If no class of a choice may be chosen, as after the end of an episode,
    all may. Numbers have the value 1.

    Args:
        env: The environment.

    Raises:
        EnvError: Its actions are numbers alone, of which no mask exists. While playing:
            the mask is missing, or not that of these actions.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        acts, _ = actions.native_actions(env.action_space)
        parts = actions.parts(acts)
        if not any(part.classes for part in parts):
            raise EnvError(
                "Received: obs.action_mask=True and actions without choices, "
                f"{env.action_space}. A mask is for choices; leave it out."
            )
        self._size = sum(part.size for part in parts)
        seen = named(env.observation_space, env.observation_space)
        self._is_observed = MASK in seen
        mask = spaces.Box(0, 1, (self._size,), np.float32)
        self.observation_space = spaces.Dict({**seen, MASK: mask})
        self.metadata = {**env.metadata, IS_MASKED: True}

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._with_mask(obs, info), info

    def step(self, action: Any):
        """Takes an action; see `gymnasium.Env.step`."""
        obs, *rest, info = self.env.step(action)
        return self._with_mask(obs, info), *rest, info

    def _with_mask(self, obs: Any, info: Mapping[str, Any]) -> dict[str, Any]:
        obs = named(self.env.observation_space, obs)
        given = obs if self._is_observed else info
        if MASK not in given:
            raise EnvError(
                f"{title(self)}: obs.action_mask=True, but the info has no {MASK!r}. "
                f"Received: {list(info)}. Return it from reset and step, or leave out "
                "--obs.action_mask."
            )
        try:
            mask = flatten(self.env.action_space, given[MASK])
        except ValueError as error:
            raise self._wrong(f"{given[MASK]!r:.200}") from error
        if len(mask) != self._size or not np.isin(mask, (0, 1)).all():
            raise self._wrong(f"{mask[:20].tolist()} ({len(mask)} values)")
        return {**obs, MASK: mask.astype(np.float32)}

    def _wrong(self, received: str) -> EnvError:
        return EnvError(
            f"{title(self)}: {MASK!r} must hold {self._size} zeros and ones, for "
            f"actions of {self.action_space}. Received: {received}."
        )


def flatten(space: spaces.Space, mask: Any) -> np.ndarray:
    """Returns a mask of native actions as one vector, `(classes + numbers,)`.

    Args:
        space: The actions.
        mask: What `space.sample` takes: an array for each choice, tuples and
            dictionaries of these as in the space, 0, 1 or 2 (either) for each value of
            a `MultiBinary`, and None where all is allowed. Or all of it as one array.

    Raises:
        ValueError: A dictionary has other keys than the space.
    """
    if mask is None:
        parts = actions.parts(actions.native_actions(space)[0])
        return np.ones(sum(part.size for part in parts))
    if isinstance(space, spaces.Dict) and isinstance(mask, Mapping):
        if mask.keys() != space.spaces.keys():
            raise ValueError(f"The keys must be {list(space.spaces)}.")
        nested = [flatten(part, mask[key]) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple) and _has_length(mask, len(space)):
        nested = [flatten(*pair) for pair in zip(space.spaces, mask, strict=True)]
    elif isinstance(space, spaces.MultiBinary) and np.shape(mask) == space.shape:
        value = np.ravel(mask)
        may = np.stack([value != 1, value != 0], -1)
        nested = [np.where(np.isin(value, (0, 1, 2))[:, None], may, -1).reshape(-1)]
    else:
        nested = [*_arrays(mask)]
    return np.concatenate(nested)


def _has_length(value: Any, length: int) -> bool:
    return isinstance(value, tuple | list) and len(value) == length


def _arrays(nested: Any) -> Iterator[np.ndarray]:
    """Yields what nested tuples and lists hold as arrays of one dimension."""
    if isinstance(nested, tuple | list):
        for part in nested:
            yield from _arrays(part)
    else:
        yield np.ravel(nested)
