"""Checks the numpy arrays that a script hands to a model, and says what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.errors import ModelError


class Observed(NamedTuple):
    """Checked observations.

    Attributes:
        arrays: Arrays by key, each `(*lead, *shape)`.
        lead: The leading axes that all of them share, such as `(B, T)`.
        is_first: `(*lead)` bool, or None if it was not given.
    """

    arrays: dict[str, np.ndarray]
    lead: tuple[int, ...]
    is_first: np.ndarray | None


def observations(
    given: Any, space: Mapping[str, spaces.Space], axes: Mapping[int, str]
) -> Observed:
    """Checks observations, in the shapes and types of the model's spaces.

    Args:
        given: Arrays by key; or one array, if the model observes a single key. Other
            keys are ignored, but for `is_first`.
        space: The space of each key that the model observes.
        axes: The numbers of leading axes that are allowed, each with its name for the
            error, such as `{1: "(T, ...)"}`.

    Raises:
        ModelError: A key is missing, or its shape, type or a value is not possible.
    """
    if not isinstance(given, Mapping):
        if len(space) > 1:
            raise ModelError(
                f"This model observes {_listed(space)}: pass a dictionary with these "
                f"keys. Received: {type(given).__name__}."
            )
        given = {next(iter(space)): given}
    if missing := [key for key in space if key not in given]:
        raise ModelError(
            f"The observation lacks {missing[0]!r}: this model observes "
            f"{_listed(space)}. Received: {', '.join(map(str, given)) or 'no keys'}."
        )
    arrays = {key: _observation(key, given[key], space[key], axes) for key in space}
    leads = {
        key: value.shape[: value.ndim - len(space[key].shape or ())]
        for key, value in arrays.items()
    }
    lead = next(iter(leads.values()))
    is_first = given.get("is_first")
    if is_first is not None:
        is_first = np.asarray(is_first)
        leads["is_first"] = is_first.shape
        is_first = is_first.astype(bool)
    if other := [key for key, found in leads.items() if found != lead]:
        raise ModelError(
            f"All observations need the same leading axes. Received: {lead} of "
            f"{next(iter(leads))!r} and {leads[other[0]]} of {other[0]!r}."
        )
    if 0 in lead:
        raise ModelError(f"There is nothing to observe. Received: axes {lead}.")
    return Observed(arrays, lead, is_first)


def _observation(
    key: str, given: Any, space: spaces.Space, axes: Mapping[int, str]
) -> np.ndarray:
    value, shape = np.asarray(given), tuple(space.shape or ())
    lead = value.ndim - len(shape)
    if lead not in axes or value.shape[lead:] != shape:
        wanted = " or ".join(
            f"{name[:-1]}, {', '.join(map(str, shape))})" if shape else f"{name[:-1]})"
            for name in axes.values()
        ).replace("(, ", "(")
        raise ModelError(
            f"The observation {key!r} must have the shape {wanted}. Received: "
            f"{value.shape}."
        )
    dtype = np.dtype(space.dtype or np.float32)
    fits = value.dtype.kind in "biuf" if dtype.kind == "f" else value.dtype == dtype
    if not fits:
        hint = {
            "b": "planes of True and False",
            "u": "bytes from 0 to 255",
            "f": "numbers",
        }.get(dtype.kind, "such values")
        raise ModelError(
            f"The observation {key!r} must be {hint}, {dtype}. Received: {value.dtype}."
        )
    return _finite(f"The observation {key!r}", value.astype(dtype, copy=False))


def actions(
    given: Any, space: spaces.Space, lead: tuple[int, ...] | None = None
) -> np.ndarray:
    """Checks actions and returns them as vectors, float32 `(*lead, actions)`.

    Args:
        given: Of discrete actions their numbers `(*lead)`, of an integer type, or
            one-hot vectors `(*lead, n)` of floats; zeros stand for no action. Of
            continuous and joined actions vectors `(*lead, n)`.
        space: The space of one action.
        lead: The leading axes that are needed; None for `(T,)` or `(B, T)`.

    Raises:
        ModelError: The number of actions, their shape, type or a value is not possible.
    """
    value = np.asarray(given)
    if value.dtype.kind not in "biuf":
        raise ModelError(f"Actions must be numbers. Received: {value.dtype}.")
    discrete = isinstance(space, spaces.Discrete)
    size = int(space.n) if discrete else int((space.shape or (1,))[0])  # type: ignore
    if discrete and value.dtype.kind in "iu":
        value = _onehot(value - space.start, size, int(space.start))  # type: ignore
    wanted = f"{lead} actions" if lead is not None else "(T,) or (B, T) actions"
    fits = value.shape[:-1] == lead if lead is not None else value.ndim in (2, 3)
    if not value.ndim or not fits or value.shape[-1] != size:
        first = int(space.start) if discrete else 0  # type: ignore[attr-defined]
        kinds = f"numbers from {first} to {first + size - 1}, or " if discrete else ""
        raise ModelError(
            f"This model needs {wanted}: {kinds}vectors of {size} floats. Received: "
            f"shape {np.shape(given)}, {np.asarray(given).dtype}."
        )
    value = _finite("An action", value.astype(np.float32, copy=False))
    if discrete:
        if not (np.isin(value, (0, 1)).all() and (value.sum(-1) <= 1).all()):
            raise ModelError(
                "Vectors of discrete actions must be one-hot, or all zeros for none. "
                f"Received: {_first_bad(value)}."
            )
    elif not (
        (value >= space.low).all() and (value <= space.high).all()  # type: ignore
    ):
        raise ModelError(
            f"Actions must lie in {space}. Received: values from {value.min():g} to "
            f"{value.max():g}."
        )
    elif isinstance(space, envs.Joined):
        _check_choices(value, space)
    return value


def _check_choices(value: np.ndarray, space: envs.Joined) -> None:
    wrong = ~(space.is_onehot(value) | ~value.any(-1))
    if wrong.any():
        raise ModelError(
            f"Each choice in a vector of {space} must be one-hot, or all of the vector "
            f"zeros for no action. Received: {value[wrong][0].tolist()}."
        )


def _onehot(index: np.ndarray, size: int, start: int) -> np.ndarray:
    if index.size and not (index.min() >= 0 and index.max() < size):
        raise ModelError(
            f"This model has {size} actions, {start} to {start + size - 1}. Received: "
            f"an action {start + (index.min() if index.min() < 0 else index.max())}."
        )
    return np.eye(size, dtype=np.float32)[index]


def shown(
    observation: Mapping[str, Any], reward: float = 0.0, is_terminal: bool = False
) -> dict[str, Any]:
    """Returns an observation with what some models see besides it."""
    more = {"reward": np.float32(reward), "is_terminal": np.bool_(is_terminal)}
    return {**more, **observation}


def native(vectors: np.ndarray, space: spaces.Space) -> np.ndarray:
    """Returns action vectors as an environment takes them: discrete ones as numbers."""
    if isinstance(space, spaces.Discrete):
        return vectors.argmax(-1) + space.start
    return vectors


def _first_bad(value: np.ndarray) -> list[float]:
    rows = value.reshape(-1, value.shape[-1])
    bad = ~np.isin(rows, (0, 1)).all(-1) | (rows.sum(-1) > 1)
    return rows[bad][0].tolist()


def _finite(name: str, value: np.ndarray) -> np.ndarray:
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        at = np.argwhere(~np.isfinite(value))[0].tolist()
        raise ModelError(f"{name} is not a number (NaN or infinity) at {at}.")
    return value


def _listed(keys: Collection[str]) -> str:
    return ", ".join(repr(key) for key in keys)
