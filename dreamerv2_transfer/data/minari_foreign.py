"""Converts episodes of Minari datasets that others made to our form.

The form is that of the environments here: images `(H, W, C)` of bytes or booleans,
vectors of float32, discrete actions one-hot, bounded ones rescaled to [-1, 1].
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.envs import wrappers
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError, EpisodeError

LEAVE_OUT = "Leave it out by --obs.exclude, a pattern of keys."
_NUMERIC = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def converted(
    data: Mapping[str, Any], storage, exclude: str = wrappers.NEVER
) -> dict[str, Any]:
    """Converts the observations and actions of an episode to arrays of our form.

    An episode that neither terminates nor is truncated (its collector was stopped) is
    truncated at its end.

    Args:
        data: Observations, actions, rewards, terminations and truncations, as Minari
            reads them.
        storage: Minari's own object, which knows the spaces.
        exclude: Pattern of the keys of observations that are left out.

    Returns:
        The same keys; observations by key [steps + 1, ...], actions [steps, size].

    Raises:
        DatasetError: A space does not consist of numbers, or a key is reserved or used
            twice; names it.
        EpisodeError: There is no such action, or an integer that float32 rounds.
    """
    truncations = np.array(data["truncations"], bool)
    truncations[-1] |= not np.array(data["terminations"])[-1]
    space, actions = storage.action_space, np.array(data["actions"])
    if isinstance(space, spaces.Discrete):
        actions = store.onehot(actions - space.start, int(space.n))
    elif isinstance(space, spaces.Box) and len(space.shape) == 1:
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        bounded &= space.high > space.low
        low = np.where(bounded, space.low, -1).astype(float)
        high = np.where(bounded, space.high, 1).astype(float)
        actions = (2 * (actions - low) / (high - low) - 1).astype(np.float32)
    else:
        raise DatasetError(f"The actions of {space} are neither discrete nor a vector.")
    seen: dict[str, np.ndarray] = {}
    found = _observations(
        data["observations"], storage.observation_space, "", re.compile(exclude)
    )
    for key, value in found:
        fault = "another one has it too" if key in seen else wrappers.name_fault(key)
        if fault:
            raise DatasetError(
                f"An observation has the key {key!r}: {fault}. {LEAVE_OUT}"
            )
        seen[key] = value
    return {
        **data,
        "observations": seen,
        "actions": actions,
        "truncations": truncations,
    }


def _observations(
    values: Any, space: spaces.Space, key: str, exclude: re.Pattern
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields arrays by key; joins the keys of nested dictionaries with dots."""
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            joined = f"{key}.{name}" if key else name
            yield from _observations(values[name], part, joined, exclude)
    elif key and exclude.match(key):
        return
    elif wrappers.is_image(space):
        yield key or "image", np.stack([wrappers.as_image(x) for x in values])
    elif wrappers.is_bytes(space):
        yield key or "vector", np.asarray(values)
    elif isinstance(space, _NUMERIC):
        flat = np.array([spaces.flatten(space, value) for value in values])
        vector = flat.astype(np.float32)
        if flat.dtype.kind in "iu" and not np.array_equal(flat, vector):
            raise EpisodeError(
                f"The observation {key!r} holds integers up to {flat.max()}, which "
                "float32 cannot hold."
            )
        yield key or "vector", vector
    else:
        raise DatasetError(
            f"The observation {key!r} of {space} is no vector. {LEAVE_OUT}"
        )
