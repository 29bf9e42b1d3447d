"""Runs TensorFlow's functions on numpy arrays, in one precision."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

PRECISION = "float32"  # Whatever the run was trained with.
FRAMES = 256  # Computed at once; what is longer takes several turns.


@contextlib.contextmanager
def precision() -> Iterator[None]:
    """Computes in float32 inside the block; each thread has its own setting."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(PRECISION)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


class Graphs:
    """Compiles functions at their first call, each for every size of a batch.

    The axis of time may change: after two lengths, a graph takes any.

    Args:
        jit: Whether to compile; else functions run step by step, for tests.
    """

    def __init__(self, jit: bool = True):
        self._jit = jit
        self._compiled: dict[tuple[Any, int], Callable] = {}

    def run(self, function: Callable, batch: int, *arrays: Any, key: Any = None) -> Any:
        """Calls a function with tensors, and returns its results as numpy arrays.

        Args:
            function: Takes and returns structures of tensors, or None.
            batch: The number of sequences.
            arrays: Its arguments, as numpy arrays.
            key: What tells it from other functions; by default its name.
        """
        key = (key or function.__name__, batch)
        with precision():
            graph = self._compiled.get(key, function)
            if self._jit and key not in self._compiled:
                # TensorFlow counts graphs by the code of their function: it would warn
                # of the second model, or batch size, as of one that compiles too often.
                graph = functools.partial(function)
                graph = tf.function(graph, autograph=False, reduce_retracing=True)
                self._compiled[key] = graph
            results = graph(*tf.nest.map_structure(_tensor, arrays))
            return tf.nest.map_structure(lambda x: x.numpy(), results)


def _tensor(array: np.ndarray | None) -> tf.Tensor | None:
    return None if array is None else tf.constant(array)


def seed_of_step(noise: tf.Tensor | None, step: tf.Tensor) -> tf.Tensor | None:
    """Returns the seed of a step, which depends on its number alone."""
    if noise is None:
        return None
    return tf.random.experimental.stateless_fold_in(noise, step)


def turns(steps: int, batch: int) -> list[tuple[int, int]]:
    """Splits steps into turns of few frames, as pairs of first step and length."""
    most = max(1, FRAMES // batch)
    return [(i, min(most, steps - i)) for i in range(0, steps, most)]


def time_first(array: np.ndarray) -> np.ndarray:
    """Returns `(B, T, ...)` as `(T, B, ...)`, or the other way round."""
    return np.ascontiguousarray(np.swapaxes(array, 0, 1))
