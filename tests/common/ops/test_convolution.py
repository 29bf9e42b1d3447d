import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common.ops import convolution

# Size of images, kernel, stride; with 1, 4 and 9 pixels of output. The last row and
# column of images of 6 are in no product.
CASES = [(3, 3, 2), (6, 3, 2), (4, 3, 1), (7, 3, 2), (5, 3, 1)]


def values(seed: int, *shape: int) -> tf.Tensor:
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=shape), tf.float32)


def results(call, inputs: tf.Tensor, kernel: tf.Tensor) -> list[tf.Tensor]:
    """The result of a call, and the gradients of a weighted sum of it."""
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        result = call(inputs, kernel)
        loss = tf.reduce_sum(result * values(2, *result.shape))
    return [result, *tape.gradient(loss, [inputs, kernel])]


@pytest.mark.parametrize(("size", "taps", "stride"), CASES)
def test_convolution_is_tensorflows(size, taps, stride):
    images, kernel = values(0, 5, size, size, 2), values(1, taps, taps, 2, 4)

    def ours(images, kernel):
        return convolution.conv2d(images, kernel, stride)

    def tensorflows(images, kernel):
        return tf.nn.conv2d(images, kernel, stride, "VALID")

    both = (results(call, images, kernel) for call in (ours, tensorflows))
    for got, wanted in zip(*both, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pixels", [1, 2, 3])
@pytest.mark.parametrize(("taps", "stride"), [(3, 1), (3, 2), (2, 2), (2, 3)])
def test_transposed_convolution_is_tensorflows(pixels, taps, stride):
    inputs, kernel = values(0, 5, pixels, pixels, 4), values(1, taps, taps, 2, 4)
    size = (pixels - 1) * stride + taps
    shape = [5, size, size, 2]

    def ours(pixels, kernel):
        return convolution.conv2d_transpose(pixels, kernel, stride)

    def tensorflows(pixels, kernel):
        return tf.nn.conv2d_transpose(pixels, kernel, shape, stride, "VALID")

    both = (results(call, inputs, kernel) for call in (ours, tensorflows))
    for got, wanted in zip(*both, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_one_pixel_spreads_the_kernel():
    pixels = tf.reshape([2.0, 3.0], [2, 1, 1, 1])
    kernel = tf.reshape(tf.range(4.0), [2, 2, 1, 1])
    images = convolution.conv2d_transpose(pixels, kernel, 1)
    np.testing.assert_array_equal(images[..., 0], [[[0, 2], [4, 6]], [[0, 3], [6, 9]]])


@pytest.mark.parametrize("pixels", [1, 3])
def test_a_graph_takes_batches_of_any_size(pixels):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, pixels, pixels, 4]),
            tf.TensorSpec([3, 3, 2, 4]),
        ]
    )
    def graph(inputs, kernel):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            images = convolution.conv2d_transpose(inputs, kernel, 2)
        return tape.gradient(images, inputs)

    for batch in (2, 5):
        inputs, kernel = values(0, batch, pixels, pixels, 4), values(1, 3, 3, 2, 4)
        each = tf.reduce_sum(kernel, [0, 1, 2])
        np.testing.assert_allclose(
            graph(inputs, kernel), tf.broadcast_to(each, inputs.shape), rtol=1e-5
        )
