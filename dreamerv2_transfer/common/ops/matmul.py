"""Matrix products that need not be computed in full, with their gradients.

Of one-hot inputs with a kernel, which is a sum of few of its rows; of inputs whose
product is known already.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from dreamerv2_transfer.common.ops.fuse import fused

# Rows of gradients that are added at a time, so that they stay in a CPU's cache.
CACHED_ROWS = 1024


@fused
def index(stoch: tf.Tensor) -> tf.Tensor:
    """The classes of one-hot vectors `(..., C)` as int32; -1 where all are 0."""
    stoch = tf.cast(stoch, tf.float32)
    classes = tf.range(stoch.shape[-1], dtype=tf.float32)
    found = tf.cast(tf.reduce_sum(stoch * classes, -1), tf.int32)
    return tf.where(tf.reduce_max(stoch, -1) > 0, found, -1)


def one_hot(
    stoch: tf.Tensor | None, index: tf.Tensor, kernel: tf.Tensor, offset: tf.Tensor
) -> tf.Tensor:
    """`stoch @ kernel + offset`, where `stoch` consists of one-hot latents.

    Of L latents with C classes each, L of L * C inputs are 1 and all others 0.

    Args:
        stoch: `(N, L * C)`; its gradient is that of the full product, as
            straight-through gradients need it. None where no gradient is wanted.
        index: `(N, L)` int32: the classes that are 1; -1 where all of a latent are 0.
        kernel: `(L * C, m)`.
        offset: `(N, m)`, other inputs' share of the same product.

    Returns:
        `(N, m)` in the dtype of `offset`; the sum is in float32.
    """

    rows = tf.stop_gradient(kernel)

    @tf.custom_gradient
    def add(offset):
        return add_rows(index, rows, offset, tf.identity), lambda wanted: wanted

    return known_one_hot(add(offset), stoch, index, kernel)


def known_one_hot(
    value: tf.Tensor, stoch: tf.Tensor | None, index: tf.Tensor, kernel: tf.Tensor
) -> tf.Tensor:
    """`value`, known to be `one_hot(stoch, index, kernel)` and more, with gradients."""
    classes = kernel.shape[0] // index.shape[-1]

    @tf.custom_gradient
    def known(value, kernel, *stoch):
        def gradient(wanted):
            rows = tf.cast(_row_gradients(index, wanted, classes), kernel.dtype)
            back = (_times_transposed(wanted, kernel),) if stoch else ()
            return wanted, rows, *back

        return tf.identity(value), gradient

    return known(value, kernel, *(() if stoch is None else (stoch,)))


def known(value: tf.Tensor, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`value`, known to be `inputs @ kernel` and more, with the gradients of both.

    Args:
        value: `(N, m)`. Its own gradient is passed on.
        inputs: `(N, n)`.
        kernel: `(n, m)`.
    """

    @tf.custom_gradient
    def known(value, inputs, kernel):
        def gradient(wanted):
            rows = tf.linalg.matmul(inputs, wanted, transpose_a=True)
            back = _times_transposed(wanted, kernel)
            return wanted, back, tf.cast(rows, kernel.dtype)

        return tf.identity(value), gradient

    return known(value, inputs, kernel)


def known_bias(value: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """`value` `(N, m)`, known to contain `bias` `(m,)`, with the gradient of both.

    On a CPU TensorFlow's gradient of `bias_add` is added up in bfloat16, and stops
    growing at 256 times an entry; that of `+` in float16, where it stops at 2048.
    """

    @tf.custom_gradient
    def known(value, bias):
        def gradient(wanted):
            # A product adds up in float32.
            ones = tf.ones([1, tf.shape(wanted)[0]], wanted.dtype)
            return wanted, tf.cast(tf.linalg.matmul(ones, wanted)[0], bias.dtype)

        return tf.identity(value), gradient

    return known(value, bias)


def add_bias(images: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """`images + bias`, with gradients that are right in 16 bits, see `known_bias`.

    Not by `known_bias`, as TensorFlow could not fuse the activation after it.
    """
    if images.dtype != tf.float16:
        return images + bias
    total = tf.cast(images, tf.float32) + tf.cast(bias, tf.float32)
    return tf.cast(total, images.dtype)


def _times_transposed(wanted: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    kernel = tf.cast(kernel, wanted.dtype)
    return tf.linalg.matmul(wanted, kernel, transpose_b=True)


# XLA adds the rows as it reads them, on all cores. TensorFlow's own operations gather
# them first, 32 times the size of the result, or add on one core. One sum over the
# latents would take four times as long as one addition after the other, which XLA
# computes for several columns at once.
@fused
def add_rows(
    index: tf.Tensor, kernel: tf.Tensor, offset: tf.Tensor, act: Callable
) -> tf.Tensor:
    """`act` of what `one_hot` returns, without a gradient."""
    size, latents = kernel.shape[0], index.shape[-1]
    # What is -1 reads a row of zeros after the last.
    rows = tf.pad(tf.cast(kernel, tf.float32), [[0, 1], [0, 0]])
    index = tf.where(index < 0, size, index + tf.range(latents) * (size // latents))
    result = tf.cast(offset, tf.float32)
    for latent in range(latents):
        result += tf.gather(rows, index[:, latent])
    return tf.cast(act(result), offset.dtype)


@fused
def _row_gradients(index: tf.Tensor, wanted: tf.Tensor, classes: int) -> tf.Tensor:
    """The gradient of the kernel: what is wanted of the results that a row is in."""
    (count, latents), units = index.shape, wanted.shape[-1]
    chunks = math.gcd(count, max(1, round(count / CACHED_ROWS)))
    index = tf.transpose(tf.reshape(index, [chunks, -1, latents]), [0, 2, 1])
    signature = tf.TensorSpec([classes, units], tf.float32)

    def add(rows, now):
        wanted, index = now
        wanted = tf.cast(wanted, tf.float32)
        latent = lambda i: tf.math.unsorted_segment_sum(wanted, i, classes)  # noqa: E731
        # A loop: unrolled, it takes a second more to compile.
        return rows + tf.map_fn(latent, index, fn_output_signature=signature)

    rows = tf.zeros([latents, classes, units])
    rows = tf.foldl(add, (tf.reshape(wanted, [chunks, -1, units]), index), rows)
    return tf.reshape(rows, [-1, units])
