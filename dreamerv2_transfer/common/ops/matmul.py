"""Matrix products with one-hot inputs, and gradients attached to known products.

A product with one-hot inputs is a sum of a few of the kernel's rows. Where the value of
a product is already known, only its gradient is attached: `attach_gradient` and its
kin return their first argument unchanged, and TensorFlow differentiates it as if the
product had been computed there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from dreamerv2_transfer.common.ops.fuse import fused

# Rows of gradients that are added at a time, so that they stay in a CPU's cache.
CACHED_ROWS = 1024


@fused
def one_hot_classes(stoch: tf.Tensor) -> tf.Tensor:
    """Returns the classes of one-hot vectors `(..., C)` as int32; -1 for all zeros."""
    stoch = tf.cast(stoch, tf.float32)
    classes = tf.range(stoch.shape[-1], dtype=tf.float32)
    found = tf.cast(tf.reduce_sum(stoch * classes, -1), tf.int32)
    return tf.where(tf.reduce_max(stoch, -1) > 0, found, -1)


# XLA adds the rows as it reads them, on all cores. TensorFlow's own operations gather
# them first, 32 times the size of the result, or add on one core. One sum over the
# latents would take four times as long as one addition after the other, which XLA
# computes for several columns at once.
@fused
def one_hot_dense(
    index: tf.Tensor, kernel: tf.Tensor, offset: tf.Tensor, act: Callable
) -> tf.Tensor:
    """Returns `act(stoch @ kernel + offset)` for one-hot latents, without a gradient.

    Of L latents with C classes each, L of the L * C inputs are 1 and all others 0.

    Args:
        index: `(N, L)` int32: the class of each latent; -1 where all of it is 0.
        kernel: `(L * C, m)`.
        offset: `(N, m)`, the bias and other inputs' share of the same product.
        act: Applied to the sum.

    Returns:
        `(N, m)` in the dtype of `offset`; the sum is in float32.
    """
    size, latents = kernel.shape[0], index.shape[-1]
    # -1 reads a row of zeros after the last one.
    rows = tf.pad(tf.cast(kernel, tf.float32), [[0, 1], [0, 0]])
    index = tf.where(index < 0, size, index + tf.range(latents) * (size // latents))
    result = tf.cast(offset, tf.float32)
    # One operation for all columns: constants of slices are most of a trace.
    axis = tf.constant(0)
    for column in tf.unstack(index, axis=1):
        result += tf.gather(rows, column, axis=axis)
    return tf.cast(act(result), offset.dtype)


def attach_gradient(
    value: tf.Tensor, inputs: tf.Tensor, kernel: tf.Tensor
) -> tf.Tensor:
    """Returns `value` unchanged and attaches the gradients of `inputs @ kernel`.

    Args:
        value: `(N, m)`. The gradient passes through to it as well.
        inputs: `(N, n)`.
        kernel: `(n, m)`.
    """

    @tf.custom_gradient
    def attach(value, inputs, kernel):
        def gradient(upstream):
            grad_x = _times_transposed(upstream, kernel)
            grad_kernel = tf.linalg.matmul(inputs, upstream, transpose_a=True)
            return upstream, grad_x, tf.cast(grad_kernel, kernel.dtype)

        return tf.identity(value), gradient

    return attach(value, inputs, kernel)


def attach_one_hot_gradient(
    value: tf.Tensor, index: tf.Tensor, kernel: tf.Tensor, stoch: tf.Tensor | None
) -> tf.Tensor:
    """Returns `value` unchanged and attaches the gradients of `stoch @ kernel`.

    Args:
        value: `(N, m)`. The gradient passes through to it as well.
        index: As `one_hot_dense` takes it.
        kernel: `(L * C, m)`.
        stoch: `(N, L * C)`, gets the gradient of the full product, which
            straight-through gradients need. None where no gradient is needed.
    """
    classes = kernel.shape[0] // index.shape[-1]

    @tf.custom_gradient
    def attach(value, kernel, *stoch):
        def gradient(upstream):
            grad_kernel = tf.cast(_sum_rows(index, upstream, classes), kernel.dtype)
            grad_x = [_times_transposed(upstream, kernel)] if stoch else []
            return upstream, grad_kernel, *grad_x

        return tf.identity(value), gradient

    return attach(value, kernel, *([] if stoch is None else [stoch]))


def attach_bias_gradient(value: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns `value` `(N, m)` unchanged and attaches the gradient of `bias` `(m,)`.

    On a CPU, TensorFlow sums the gradient of `bias_add` in bfloat16, which stops
    growing at 256 times an entry, and that of `+` in float16, which stops at 2048.
    """

    @tf.custom_gradient
    def attach(value, bias):
        def gradient(upstream):
            # A matrix product sums in float32.
            ones = tf.ones([1, tf.shape(upstream)[0]], upstream.dtype)
            grad_bias = tf.linalg.matmul(ones, upstream)[0]
            return upstream, tf.cast(grad_bias, bias.dtype)

        return tf.identity(value), gradient

    return attach(value, bias)


def add_bias(images: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns `images + bias`, with a bias gradient that is right in float16 as well.

    It does not use `attach_bias_gradient`, which would stop TensorFlow from fusing the
    activation that follows.
    """
    if images.dtype != tf.float16:
        return images + bias
    total = tf.cast(images, tf.float32) + tf.cast(bias, tf.float32)
    return tf.cast(total, images.dtype)


def _times_transposed(upstream: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    kernel = tf.cast(kernel, upstream.dtype)
    return tf.linalg.matmul(upstream, kernel, transpose_b=True)


@fused
def _sum_rows(index: tf.Tensor, upstream: tf.Tensor, classes: int) -> tf.Tensor:
    """Returns the kernel's gradient: for each class, the sum of the rows that used it.

    Args:
        index: `(N, L)`.
        upstream: `(N, m)`.
        classes: Number of classes C.

    Returns:
        `(L * C, m)` in float32.
    """
    (count, latents), units = index.shape, upstream.shape[-1]
    chunks = math.gcd(count, max(1, round(count / CACHED_ROWS)))
    index = tf.transpose(tf.reshape(index, [chunks, -1, latents]), [0, 2, 1])
    signature = tf.TensorSpec([classes, units], tf.float32)

    def add(sums, chunk):
        upstream, index = chunk
        upstream = tf.cast(upstream, tf.float32)

        def sum_latent(index):
            return tf.math.unsorted_segment_sum(upstream, index, classes)

        # A loop over the latents: unrolled, it takes a second more to compile.
        return sums + tf.map_fn(sum_latent, index, fn_output_signature=signature)

    sums = tf.zeros([latents, classes, units])
    chunked = tf.reshape(upstream, [chunks, -1, units])
    sums = tf.foldl(add, (chunked, index), sums)
    return tf.reshape(sums, [-1, units])
