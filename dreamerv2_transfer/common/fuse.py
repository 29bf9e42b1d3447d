"""Small operations that XLA compiles to one, within TensorFlow's graphs on a CPU.

TensorFlow reads and writes memory for each of them, and starts each by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf


def on() -> bool:
    """Whether it helps: in graphs on a CPU.

    Not on a GPU, where XLA compiles the whole step. Nor without graphs.
    """
    return not (tf.executing_eagerly() or tf.config.list_physical_devices("GPU"))


def fused(fn: Callable) -> Callable:
    """Decorates a function of tensors that is compiled by XLA where it helps.

    Its results are the only ones that are written to memory, so it is for operations
    that have no gradient, or whose gradient is given by other means: that of a compiled
    function keeps all values in between.
    """
    compiled = tf.function(fn, jit_compile=True, autograph=False)

    @functools.wraps(fn)
    def call(*args):
        return compiled(*args) if on() else fn(*args)

    return call
