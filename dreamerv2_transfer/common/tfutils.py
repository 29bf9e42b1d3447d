"""Helpers for TensorFlow: dtypes and shapes, graphs, seeds, variables, loops."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common.distributed import replicas

_building_for_gpu = contextvars.ContextVar("building_for_gpu", default=False)


def compute_dtype() -> tf.DType:
    """Returns the dtype of matrix products under the global Keras policy."""
    return tf.as_dtype(keras.mixed_precision.dtype_policy().compute_dtype)


def lead(x: tf.Tensor, event_dims: int) -> list:
    """Returns the leading dimensions, as numbers where the graph knows them."""
    count = len(x.shape) - event_dims
    if x.shape[:count].is_fully_defined():
        return list(x.shape[:count])
    dynamic = tf.shape(x)
    return [x.shape[i] or dynamic[i] for i in range(count)]


def on_gpu() -> bool:
    """Whether graphs are built for a GPU: there is one, or `for_gpu` asks for it."""
    return _building_for_gpu.get() or bool(tf.config.list_physical_devices("GPU"))


@contextlib.contextmanager
def for_gpu() -> Iterator[None]:
    """Builds the graphs of a GPU inside the block, on a machine without one."""
    token = _building_for_gpu.set(True)
    try:
        yield
    finally:
        _building_for_gpu.reset(token)


def compiled(fn, config, xla: bool = False):
    """Returns the graph of a function: with XLA on a GPU, plain on a CPU.

    Args:
        fn: Takes and returns tensors.
        config: The run's configuration; without `jit` the function is returned as is.
        xla: Whether to use XLA on a CPU too: for many small operations, which take
            TensorFlow longer to start than to compute.
    """
    if not config.jit:
        return fn
    # XLA cannot compile a graph in which replicas exchange something.
    xla = xla or (config.strategy == "none" and on_gpu())
    return tf.function(fn, jit_compile=xla or None, autograph=False)


@contextlib.contextmanager
def reseeded(rng: tf.random.Generator | None, seed: int) -> Iterator[None]:
    """Draws from `seed` inside the block, and restores the generator after it."""
    if rng is None:
        yield
        return
    before = rng.state.numpy()
    rng.reset_from_seed(seed)
    try:
        yield
    finally:
        rng.state.assign(before)


def make_seeds(rng: tf.random.Generator | None, count: int) -> list:
    """Draws `count` independent seeds of shape `(2,)`, int32, from the generator.

    Without a generator every seed is None, which means "no noise" (see `dists`).
    """
    if rng is None:
        return [None] * count
    seeds = replicas.once(lambda: rng.make_seeds(count))
    return tf.unstack(tf.cast(seeds, tf.int32), axis=1)


def split_seed(seed: tf.Tensor | None, count: int) -> list:
    """Returns `count` independent seeds derived from one; Nones for None."""
    if seed is None:
        return [None] * count
    return tf.unstack(tf.random.split(seed, count))


def step_seeds(seed: tf.Tensor | None, length: int) -> dict[str, tf.Tensor]:
    """Returns a seed for each time step, as an input of `scan`; {} without a seed."""
    if seed is None:
        return {}
    return {
        "seed": tf.random.stateless_uniform([length, 2], seed, None, None, tf.int32)
    }


def variables(values):
    """Returns a structure of variables that hold the tensors of a structure."""
    return tf.nest.map_structure(lambda x: tf.Variable(x, trainable=False), values)


def with_values(targets, values) -> keras.StatelessScope:
    """Returns a scope in which Keras variables have the given values."""
    return keras.StatelessScope(list(zip(targets, values, strict=True)))


def not_finite(variables: Mapping[str, tf.Variable]) -> list[str]:
    """Returns the names of the variables that hold NaN or infinity."""
    floats = {k: v for k, v in variables.items() if v.dtype.is_floating}
    # One wait for the device, not one for each variable.
    finite = [tf.reduce_all(tf.math.is_finite(v)) for v in floats.values()]
    return [k for k, fine in zip(floats, np.array(finite), strict=True) if not fine]


def assign(targets, values) -> None:
    """Assigns the values of a structure to variables in the same order."""
    pairs = zip(tf.nest.flatten(targets), tf.nest.flatten(values), strict=True)
    for variable, value in pairs:
        variable.assign(value)


def scan(fn, inputs, start, length: int):
    """Applies `fn(previous, inputs[t])` over time and stacks the results.

    It is a while-loop, not an unrolled graph: it compiles several times faster and runs
    as fast. Eagerly it calls `fn` step by step.

    Args:
        fn: Takes the previous structure and one step of the inputs, returns the next.
        inputs: A structure of `(length, ...)` tensors, possibly empty.
        start: The structure before the first step.
        length: Number of steps.

    Returns:
        The structure of `start` with a leading dimension of time.
    """
    # With the range there is something to loop over even without inputs.
    elems = (inputs, tf.range(length))
    return tf.scan(lambda previous, now: fn(previous, now[0]), elems, start)


def scan_back(fn, inputs, end, like):
    """Applies `fn(later, inputs[t])` from the last step to the first.

    Only outputs are stacked; what passes from step to step is not. XLA knows how often
    this loop runs, unlike that of `tf.scan(..., reverse=True)`: on a GPU the host would
    ask after each step whether to go on.

    Args:
        fn: Takes what passes from step to step and one step of the inputs; returns the
            same for the step before, and outputs.
        inputs: A structure of `(length, ...)` tensors.
        end: What the last step takes.
        like: A structure of tensors of the shapes and types of all steps' outputs.

    Returns:
        What the first step returned, and the outputs `(length, ...)`.
    """
    length = tf.nest.flatten(inputs)[0].shape[0]
    reads = [
        tf.TensorArray(x.dtype, length, element_shape=x.shape[1:]).unstack(x)
        for x in tf.nest.flatten(inputs)
    ]
    writes = [
        tf.TensorArray(x.dtype, length, element_shape=x.shape[1:])
        for x in tf.nest.flatten(like)
    ]

    def step(turn, later, writes):
        at = length - 1 - turn
        now = tf.nest.pack_sequence_as(inputs, [x.read(at) for x in reads])
        later, outputs = fn(later, now)
        pairs = zip(writes, tf.nest.flatten(outputs), strict=True)
        return turn + 1, later, [array.write(at, x) for array, x in pairs]

    _, first, writes = tf.while_loop(
        lambda turn, *_: turn < length, step, (tf.constant(0), end, writes)
    )
    return first, tf.nest.pack_sequence_as(like, [x.stack() for x in writes])
