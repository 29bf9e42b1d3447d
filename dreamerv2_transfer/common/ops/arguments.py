"""Describes arrays by what fills one like them, in a few bytes; needs numpy alone.

values        all numbers, of a small array
value         the number that all of them are
one_hot       one number of the last axis is 1, the others are 0
choices       two numbers, the second with the probability `share`
range         integers between two, inclusive
mean, std     floats of a Normal
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

FEW = 16  # Numbers that are kept as they are.
Description = dict[str, Any]


def describe(array: np.ndarray) -> Description:
    """Returns `shape`, `dtype` and what the array is filled with.

    Args:
        array: Of numbers or bools.
    """
    array = np.asarray(array)
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        **_content(array),
    }


def fill(description: Description, rng: np.random.Generator) -> np.ndarray:
    """Returns an array like the one described.

    Args:
        description: What `describe` returned.
        rng: Draws what the description leaves open.
    """
    shape, dtype = description["shape"], _dtype(description["dtype"])
    if "values" in description:
        return np.array(description["values"]).astype(dtype).reshape(shape)
    if "value" in description:
        return np.full(shape, description["value"]).astype(dtype)
    if "one_hot" in description:
        classes = rng.integers(shape[-1], size=shape[:-1])
        return np.eye(shape[-1])[classes].astype(dtype)
    if "choices" in description:
        second = rng.random(shape) < description["share"]
        return np.array(description["choices"])[second.astype(int)].astype(dtype)
    if "range" in description:
        low, high = description["range"]
        return rng.integers(low, high, shape, endpoint=True).astype(dtype)
    noise = rng.standard_normal(shape, np.float32)
    return (noise * description["std"] + description["mean"]).astype(dtype)


def _content(array: np.ndarray) -> Description:
    if array.size <= FEW and array.ndim:
        return {"values": array.ravel().tolist()}
    low, high = array.min(), array.max()
    if low == high:
        return {"value": low.item()}
    if np.all((array == low) | (array == high)):
        wide = array.astype(np.float64)
        if (low, high) == (0, 1) and np.all(wide.sum(-1) == 1):
            return {"one_hot": True}
        share = float(np.mean(array == high))
        return {"choices": [low.item(), high.item()], "share": share}
    if np.issubdtype(array.dtype, np.integer):
        return {"range": [low.item(), high.item()]}
    wide = array.astype(np.float64)
    return {"mean": float(wide.mean()), "std": float(wide.std())}


def _dtype(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
