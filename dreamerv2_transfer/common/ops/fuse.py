"""Compiles groups of small operations with XLA, within TensorFlow's graphs on a CPU.

TensorFlow starts each operation on its own and passes results through memory; a group
that XLA compiles is one operation.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

import tensorflow as tf

from dreamerv2_transfer.common import tfutils

_allowed = contextvars.ContextVar("allowed", default=True)


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Uses TensorFlow's own operations inside the block, for graphs that travel."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


def on() -> bool:
    """Whether fusing helps: in graphs on a CPU, outside of `unfused`.

    On a GPU, XLA compiles the whole step anyway; eagerly, there are no graphs.
    """
    if tf.executing_eagerly() or not _allowed.get():
        return False
    return not tfutils.on_gpu()


def fused(fn: Callable) -> Callable:
    """Decorates a function of tensors: XLA compiles it wherever fusing helps.

    The function must need no gradient or get it by other means, as by `recomputed`.
    """
    compiled = tf.function(fn, jit_compile=True, autograph=False)

    @functools.wraps(fn)
    def call(*args):
        return compiled(*args) if on() else fn(*args)

    return call


def recomputed(fn: Callable) -> Callable:
    """As `fused`, for a function from tensors to one tensor that needs its gradient.

    Only the arguments are kept for the backward pass, which computes the function
    again (gradient checkpointing). TensorFlow's own gradient of a compiled function
    keeps all intermediate results, and does not compile within other compiled
    functions.
    """
    forward = fused(fn)

    @fused
    def backward(upstream, *args):
        with tf.GradientTape() as tape:
            tape.watch(args)
            result = fn(*args)
        return tape.gradient(result, args, upstream)

    @tf.custom_gradient
    def both(*args):
        return forward(*args), lambda upstream: backward(upstream, *args)

    @functools.wraps(fn)
    def call(*args):
        return both(*args) if on() else fn(*args)

    return call
