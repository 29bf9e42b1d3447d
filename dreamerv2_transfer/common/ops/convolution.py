"""Convolutions without padding, each computed in the way that is fastest on a CPU.

With images `x`, their convolution `y`, a kernel `w` and a stride `s`

    convolve      y[i, j]         = sum over a, b   x[s i + a, s j + b] @ w[a, b]
    spread        x[s i + a, ...] = sum over i, a   y[i, j] @ w[a, b]^T
    correlate     w[a, b]         = sum over i, j   x[s i + a, s j + b]^T @ y[i, j]

each of which is linear in both of its arguments and provides the gradients of the
others: `conv2d` is `convolve`, `conv2d_transpose` is `spread`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import tensorflow as tf

# Up to this many pixels an image, matrix products are faster: on a CPU, TensorFlow's
# own operation takes a hundred times as long for one pixel, and four times for four.
FEW_PIXELS = 4


def conv2d(images: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Returns the convolution of images.

    Args:
        images: `(N, H, W, C)`.
        kernel: `(k, k, C, D)`.
        stride: In both directions.

    Returns:
        `(N, (H - k) // stride + 1, ..., D)`.
    """
    size = tuple(images.shape[1:3])

    @tf.custom_gradient
    def call(images, kernel):
        def gradient(upstream):
            grad_images = spread(upstream, kernel, stride, size)
            grad_kernel = correlate(images, upstream, kernel.shape[0], stride)
            return grad_images, grad_kernel

        return convolve(images, kernel, stride), gradient

    return call(images, kernel)


def conv2d_transpose(pixels: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Returns the transposed convolution: images whose `conv2d` has `pixels`' shape.

    Args:
        pixels: `(N, h, w, D)`.
        kernel: `(k, k, C, D)`.
        stride: In both directions.

    Returns:
        `(N, (h - 1) * stride + k, ..., C)`.
    """
    size = tuple((n - 1) * stride + kernel.shape[0] for n in pixels.shape[1:3])

    @tf.custom_gradient
    def call(pixels, kernel):
        def gradient(upstream):
            grad_pixels = convolve(upstream, kernel, stride)
            grad_kernel = correlate(upstream, pixels, kernel.shape[0], stride)
            return grad_pixels, grad_kernel

        return spread(pixels, kernel, stride, size), gradient

    return call(pixels, kernel)


def convolve(images: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    return tf.nn.conv2d(images, kernel, stride, "VALID")


def spread(
    pixels: tf.Tensor, kernel: tf.Tensor, stride: int, size: tuple[int, int]
) -> tf.Tensor:
    """Returns images `(N, *size, C)`, zero where no product reaches."""
    if not _are_few(pixels):
        shape = [tf.shape(pixels)[0], *size, kernel.shape[2]]
        return tf.nn.conv2d_transpose(pixels, kernel, shape, stride, "VALID")
    # A product for each pixel, added where it belongs.
    taps, _, channels, depth = kernel.shape
    columns = tf.reshape(kernel, [taps * taps * channels, depth])
    images = tf.zeros([], pixels.dtype)
    for at in _positions(pixels):
        patch = tf.linalg.matmul(pixels[:, *at], columns, transpose_b=True)
        patch = tf.reshape(patch, [-1, taps, taps, channels])
        starts = [stride * i for i in at]
        edges = [(i, n - i - taps) for i, n in zip(starts, size, strict=True)]
        images += tf.pad(patch, [(0, 0), *edges, (0, 0)])
    return images


def correlate(
    images: tf.Tensor, pixels: tf.Tensor, taps: int, stride: int
) -> tf.Tensor:
    """Returns a kernel `(taps, taps, C, D)`."""
    channels = images.shape[-1]
    shape = [taps, taps, channels, pixels.shape[-1]]
    if not _are_few(pixels):
        return tf.raw_ops.Conv2DBackpropFilter(
            input=images,
            filter_sizes=shape,
            out_backprop=pixels,
            strides=[1, stride, stride, 1],
            padding="VALID",
        )
    # The sum of a product for each pixel.
    products = []
    for at in _positions(pixels):
        rows, columns = (slice(stride * i, stride * i + taps) for i in at)
        patch = images[:, rows, columns]
        patch = tf.reshape(patch, [-1, taps * taps * channels])
        products.append(tf.linalg.matmul(patch, pixels[:, *at], transpose_a=True))
    return tf.reshape(tf.add_n(products), shape)


def _are_few(pixels: tf.Tensor) -> bool:
    return pixels.shape[1] * pixels.shape[2] <= FEW_PIXELS


def _positions(pixels: tf.Tensor) -> Iterator[tuple[int, int]]:
    return itertools.product(*map(range, pixels.shape[1:3]))
