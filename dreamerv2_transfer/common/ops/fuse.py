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

    It is for operations without a gradient, or whose gradient is given by other means,
    such as `recomputed`.
    """
    compiled = tf.function(fn, jit_compile=True, autograph=False)

    @functools.wraps(fn)
    def call(*args):
        return compiled(*args) if on() else fn(*args)

    return call


def recomputed(fn: Callable) -> Callable:
    """As `fused`, for a function of tensors to one tensor that has a gradient.

    Between both directions only the arguments are kept; what the function has in
    between is computed again. TensorFlow's own gradient of a compiled function keeps
    all of it, and within other compiled functions it does not compile.
    """
    forward = fused(fn)

    @fused
    def backward(wanted, *args):
        with tf.GradientTape() as tape:
            tape.watch(args)
            result = fn(*args)
        return tape.gradient(result, args, wanted)

    @tf.custom_gradient
    def compiled(*args):
        return forward(*args), lambda wanted: backward(wanted, *args)

    @functools.wraps(fn)
    def call(*args):
        return compiled(*args) if on() else fn(*args)

    return call
