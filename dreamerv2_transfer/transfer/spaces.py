"""What a world model observes and how it acts, in a line of JSON beside its weights.

    {"image": {"shape": [10, 10, 10], "dtype": "bool"},
     "action": {"shape": [6], "dtype": "float32", "n": 6}}

As in the manifest of a dataset, `n` stands where actions are one-hot; the bounds of
other actions are in `low` and `high`, with null for infinity. `start` is the number of
the first discrete action, if it is not 0, and `parts` those of joined actions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.envs import Joined
from dreamerv2_transfer.common.files.documents import Schema, SchemaError
from dreamerv2_transfer.common.replay import layout, manifest

Spaces = dict[str, spaces.Space]
INFINITE = {"low": -math.inf, "high": math.inf}
MOST_NUMBERS = 2**24  # Of an observation or an action; a space holds its bounds.
LIMITS = {"type": "array", "items": {"type": ["number", "null"]}}
SCHEMA = Schema(
    {
        "type": "object",
        "required": ["action"],
        "additionalProperties": {
            **manifest.SPACE,
            "properties": {
                **manifest.SPACE["properties"],
                **dict.fromkeys(INFINITE, LIMITS),
            },
        },
    }
)


def describe(obs_space: Mapping[str, spaces.Space], act_space: spaces.Space) -> str:
    """Returns the text for some spaces.

    Args:
        obs_space: The space of each key of an observation.
        act_space: The space of an action.
    """
    found = layout.of_spaces({**obs_space, "action": act_space})
    if isinstance(act_space, spaces.Box):
        for name in INFINITE:
            limits = getattr(act_space, name).tolist()
            found["action"][name] = [x if math.isfinite(x) else None for x in limits]
    return json.dumps(found)


def parse(text: str) -> tuple[Spaces, Spaces]:
    """Returns the spaces that a text describes: of observations, and of the action.

    Raises:
        ValueError: It is no such text.
    """
    return of_layout(SCHEMA.parse(text))


def of_layout(written: layout.Layout) -> tuple[Spaces, Spaces]:
    """Returns the spaces that a layout describes, see `parse`.

    Raises:
        ValueError: A space is too large.
    """
    boxes: Spaces = {}
    for key, found in written.items():
        if math.prod(found["shape"]) > MOST_NUMBERS:
            raise SchemaError(
                f"{key} has the shape {found['shape']}, which is too large"
            )
        if key != "action":
            boxes[key] = _box(found)
    flag = spaces.Box(0, 1, (), bool)  # type: ignore[arg-type]
    return {**boxes, "is_first": flag}, {"action": _action(written["action"])}


def _box(found: Mapping[str, Any]) -> spaces.Box:
    dtype = np.dtype(found["dtype"])
    low, high = {"b": (0, 1), "u": (0, 255)}.get(dtype.kind, (-math.inf, math.inf))
    return spaces.Box(low, high, tuple(found["shape"]), dtype)


def _action(found: Mapping[str, Any]) -> spaces.Space:
    if "n" in found:
        return spaces.Discrete(found["n"], start=found.get("start", 0))
    low, high = -np.ones(found["shape"]), np.ones(found["shape"])  # Of a dataset.
    if "low" in found:
        low, high = (
            np.array([infinite if x is None else x for x in found[name]])
            for name, infinite in INFINITE.items()
        )
    if "parts" in found:
        return _joined(found, *((low, high) if "low" in found else (None, 1)))
    return spaces.Box(low.astype(np.float32), high.astype(np.float32))


def _joined(found: Mapping[str, Any], low: Any, high: Any) -> Joined:
    size = sum(count * (classes or 1) for count, classes in found["parts"])
    if [size] != found["shape"]:
        raise SchemaError(f"{found['parts']} are the parts of another action")
    return Joined(found["parts"], low, high)
