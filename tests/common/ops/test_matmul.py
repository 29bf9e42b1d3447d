import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common.ops import matmul

# Two latents of three classes; the second row has no class for its second latent.
INDEX = [[1, 2], [0, -1]]
STOCH = [[0.0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]]
KERNEL = [[1.0, 10], [2, 20], [3, 30], [4, 40], [5, 50], [6, 60]]


def test_the_classes_of_one_hot_vectors():
    stoch = tf.reshape(tf.constant(STOCH), [2, 2, 3])
    np.testing.assert_array_equal(matmul.one_hot_classes(stoch), INDEX)


@pytest.mark.parametrize("graph", [False, True])
def test_a_one_hot_product_adds_rows(graph):
    offset = tf.constant([[100, 200], [300, 400]], tf.float16)

    def run(act=tf.identity):
        return matmul.one_hot_dense(
            tf.constant(INDEX), tf.constant(KERNEL), offset, act
        )

    product = tf.function(run)() if graph else run()
    assert product.dtype == tf.float16
    np.testing.assert_array_equal(run(tf.negative), -product)
    np.testing.assert_array_equal(product, [[108, 280], [301, 410]])


def gradients(product) -> list[tf.Tensor]:
    """Of a loss that weights each result differently, by stoch and kernel."""
    stoch, kernel = tf.constant(STOCH), tf.constant(KERNEL)
    with tf.GradientTape() as tape:
        tape.watch([stoch, kernel])
        loss = tf.reduce_sum(product(stoch, kernel) * [[1.0, 2], [3, 4]])
    return [loss, *tape.gradient(loss, [stoch, kernel])]


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_a_one_hot_product_has_the_gradients_of_the_full_product(graph, known):
    index = tf.constant(INDEX)

    def product(stoch, kernel):
        value = tf.constant([[8.0, 80], [1, 10]])
        if not known:
            value = matmul.one_hot_dense(index, kernel, tf.zeros([2, 2]), tf.identity)
            value = tf.stop_gradient(value)
        return matmul.attach_one_hot_gradient(value, index, kernel, stoch)

    run = tf.function(gradients) if graph else gradients
    for got, wanted in zip(run(product), gradients(tf.linalg.matmul), strict=True):
        np.testing.assert_allclose(got, wanted)


def test_attaching_passes_gradients_through_and_computes_no_product():
    value, bias = tf.constant([[7.0, 7], [7, 7]]), tf.zeros(2)

    def attached(stoch, kernel):
        product = matmul.attach_gradient(value, stoch, kernel)
        return matmul.attach_bias_gradient(product, bias)

    with tf.GradientTape() as tape:
        tape.watch([value, bias])
        product = attached(tf.constant(STOCH), tf.constant(KERNEL))
        loss = tf.reduce_sum(product * [[1.0, 2], [3, 4]])
    np.testing.assert_array_equal(product, value)
    grad_value, grad_bias = tape.gradient(loss, [value, bias])
    np.testing.assert_array_equal(grad_value, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(grad_bias, [4, 6])
    for got, wanted in zip(
        gradients(attached)[1:], gradients(tf.linalg.matmul)[1:], strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_the_gradient_of_many_rows_is_that_of_the_full_product():
    rows = 2 * matmul.CACHED_ROWS
    rng = np.random.default_rng(0)
    index = tf.constant(rng.integers(3, size=[rows, 2]), tf.int32)
    upstream = tf.constant(rng.integers(10, size=[rows, 2]), tf.float32)
    stoch = tf.reshape(tf.one_hot(index, 3), [rows, 6])
    kernel, value = tf.constant(KERNEL), tf.zeros([rows, 2])
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        product = matmul.attach_one_hot_gradient(value, index, kernel, stoch=None)
    np.testing.assert_array_equal(
        tape.gradient(product, kernel, upstream), tf.transpose(stoch) @ upstream
    )
