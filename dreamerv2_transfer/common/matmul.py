"""Matrix products that need not be computed in full, with their gradients.

Of one-hot inputs with a kernel, which is a sum of few of its rows; of inputs whose
product is known already.
"""

from __future__ import annotations

import tensorflow as tf


def use_index() -> bool:
    """Whether products with one-hot vectors are better computed from their classes.

    Not on a GPU, whose cores for full products are faster than its memory. Nor without
    graphs, where XLA cannot help.
    """
    return not (tf.executing_eagerly() or tf.config.list_physical_devices("GPU"))


@tf.function(jit_compile=True, autograph=False)
def index(stoch: tf.Tensor) -> tf.Tensor:
    """The classes of one-hot vectors `(..., C)` as int32; -1 where all are 0."""
    stoch = tf.cast(stoch, tf.float32)
    classes = tf.range(stoch.shape[-1], dtype=tf.float32)
    found = tf.cast(tf.reduce_sum(stoch * classes, -1), tf.int32)
    return tf.where(tf.reduce_max(stoch, -1) > 0, found, -1)


def one_hot(
    stoch: tf.Tensor | None, index: tf.Tensor, kernel: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """`stoch @ kernel`, where `stoch` consists of one-hot latents.

    Of L latents with C classes each, L of L * C inputs are 1 and all others 0.

    Args:
        stoch: `(N, L * C)`; its gradient is that of the full product, as
            straight-through gradients need it. None where no gradient is wanted.
        index: `(N, L)` int32: the classes that are 1; -1 where all of a latent are 0.
        kernel: `(L * C, m)`.
        dtype: Of the result; sums are in float32.

    Returns:
        `(N, m)`.
    """
    # What is -1 reads a row of zeros after the last.
    rows = tf.pad(tf.stop_gradient(kernel), [[0, 1], [0, 0]])
    value = _row_sums(index, rows, tf.as_dtype(dtype).name)
    return known_one_hot(value, stoch, index, kernel)


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
    """`value` `(N, m)`, known to contain `bias` `(m,)`, with the gradient of both."""

    @tf.custom_gradient
    def known(value, bias):
        def gradient(wanted):
            return wanted, tf.cast(tf.reduce_sum(wanted, 0), bias.dtype)

        return tf.identity(value), gradient

    return known(value, bias)


def _times_transposed(wanted: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    kernel = tf.cast(kernel, wanted.dtype)
    return tf.linalg.matmul(wanted, kernel, transpose_b=True)


# XLA adds the rows as it reads them, on all cores. TensorFlow's own operations gather
# them first, 32 times the size of the result, or add on one core.
@tf.function(jit_compile=True, autograph=False)
def _row_sums(index: tf.Tensor, kernel: tf.Tensor, dtype: str) -> tf.Tensor:
    latents, zeros = index.shape[-1], kernel.shape[0] - 1
    first = tf.range(latents) * (zeros // latents)
    index = tf.where(index < 0, zeros, index + first)
    rows = tf.cast(tf.gather(kernel, index), tf.float32)
    return tf.cast(tf.reduce_sum(rows, -2), dtype)


@tf.function(jit_compile=True, autograph=False)
def _row_gradients(index: tf.Tensor, wanted: tf.Tensor, classes: int) -> tf.Tensor:
    """The gradient of the kernel: what is wanted of the results that a row is in."""
    wanted = tf.cast(wanted, tf.float32)
    latent = lambda index: tf.math.unsorted_segment_sum(wanted, index, classes)  # noqa: E731
    # A loop: unrolled, it takes a second more to compile.
    signature = tf.TensorSpec([classes, wanted.shape[-1]], tf.float32)
    rows = tf.map_fn(latent, tf.transpose(index), fn_output_signature=signature)
    return tf.reshape(rows, [-1, wanted.shape[-1]])
