"""TensorFlow set-up, seeds and the optimizer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from dreamerv2_transfer.common.distributed import replicas


def compute_dtype() -> tf.DType:
    """The dtype of matrix products under the global Keras policy."""
    return tf.as_dtype(keras.mixed_precision.dtype_policy().compute_dtype)


def lead(x: tf.Tensor, event_dims: int) -> list:
    """The leading dimensions, as numbers where the graph knows them."""
    count = len(x.shape) - event_dims
    if x.shape[:count].is_fully_defined():
        return list(x.shape[:count])
    dynamic = tf.shape(x)
    return [x.shape[i] or dynamic[i] for i in range(count)]


def compiled(fn, config, xla: bool = False):
    """The graph of a function: with XLA on a GPU, plain on a CPU.

    Args:
        fn: Takes and returns tensors.
        config: Of the run; without `jit` the function stays as it is.
        xla: Use XLA on a CPU too: for many small operations, which take less time than
            TensorFlow takes to start them.
    """
    if not config.jit:
        return fn
    # XLA compiles no graph that replicas reduce something in.
    gpu = config.strategy == "none" and tf.config.list_physical_devices("GPU")
    xla = xla or bool(gpu)
    return tf.function(fn, jit_compile=xla or None, autograph=False)


@contextlib.contextmanager
def reseeded(rng: tf.random.Generator | None, seed: int) -> Iterator[None]:
    """Draws from `seed` inside the block and goes on as before after it."""
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

    Without a generator every seed is None, which stands for "no noise" (see `dists`).
    """
    if rng is None:
        return [None] * count
    seeds = replicas.once(lambda: rng.make_seeds(count))
    return tf.unstack(tf.cast(seeds, tf.int32), axis=1)


def split_seed(seed: tf.Tensor | None, count: int) -> list:
    """Independent seeds from one; Nones from None."""
    if seed is None:
        return [None] * count
    return tf.unstack(tf.random.split(seed, count))


def step_seeds(seed: tf.Tensor | None, length: int) -> dict[str, tf.Tensor]:
    """One seed a time step, as an input for `other.scan`; empty without a seed."""
    if seed is None:
        return {}
    return {
        "seed": tf.random.stateless_uniform([length, 2], seed, None, None, tf.int32)
    }


def variables(values):
    """A structure of variables that hold these tensors."""
    return tf.nest.map_structure(lambda x: tf.Variable(x, trainable=False), values)


def with_values(variables, values) -> keras.StatelessScope:
    """A scope in which Keras variables have the given values."""
    return keras.StatelessScope(list(zip(variables, values, strict=True)))


def assign(variables, values) -> None:
    """Gives variables the values of a structure that is flattened alike."""
    pairs = zip(tf.nest.flatten(variables), tf.nest.flatten(values), strict=True)
    for variable, value in pairs:
        variable.assign(value)


def scan(fn, inputs, start, length: int):
    """Applies `fn(previous, inputs[t])` over time and stacks what it returns.

    A while-loop rather than an unrolled graph: it compiles several times faster and
    runs as fast.

    Args:
        fn: Takes the previous structure and one step of the inputs, returns the next.
        inputs: A structure of `(length, ...)` tensors, possibly empty.
        start: The structure before the first step.
        length: Number of steps.

    Returns:
        The structure of `start` with a leading dimension of time.
    """
    # The range makes the loop independent of whether there are inputs.
    elems = (inputs, tf.range(length))
    return tf.scan(lambda previous, now: fn(previous, now[0]), elems, start)
