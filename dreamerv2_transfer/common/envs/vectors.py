"""Turns values of any numeric space into vectors of float32, which hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.errors import EnvError

INTEGERS = 2**24  # Below it, float32 holds every integer.


def flatten(key: str, space: spaces.Space, value: Any) -> np.ndarray:
    """Returns a value as a vector of float32.

    Args:
        key: The name of the observation, for the error.
        space: The space of the value: an array's, or tuples and dictionaries of these.
        value: What the environment returned.

    Raises:
        EnvError: It holds an integer of 2^24 or more, where float32 lacks some, or a
            number beyond float32's range.
    """
    if isinstance(space, spaces.Tuple):
        pairs = enumerate(zip(space.spaces, value, strict=True))
        parts = [flatten(f"{key}.{i}", *pair) for i, pair in pairs]
        return np.concatenate(parts)
    if isinstance(space, spaces.Dict):
        named = space.spaces.items()
        return np.concatenate([flatten(f"{key}.{k}", x, value[k]) for k, x in named])
    if not isinstance(space, spaces.Box):
        return np.asarray(spaces.flatten(space, value), np.float32)
    value = np.asarray(value)
    if value.dtype == np.float32 or value.dtype.itemsize <= 2:
        return np.asarray(value, np.float32).reshape(-1)
    with np.errstate(over="ignore"):
        cast = value.astype(np.float32)
    whole = value.dtype.kind in "iu"
    fits = np.abs(cast) < INTEGERS if whole else np.isfinite(cast)
    if not fits.all():
        raise EnvError(
            f"Received: an observation {key!r} with {value[~fits].flat[0]}, of "
            f"{space}, which float32 cannot hold. Scale it, leave it out by "
            "--obs.exclude, or give it a name that begins with log_."
        )
    return cast.reshape(-1)
