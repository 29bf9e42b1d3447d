import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common.nets.features import Features

# Two latents of three classes; the second row has no class for its second latent.
INDEX = [[1, 2], [0, -1]]
STOCH = [[0.0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]]
KERNEL = [[1.0, 10], [2, 20], [3, 30], [4, 40], [5, 50], [6, 60]]


def test_features_are_a_tensor_where_one_is_asked_for():
    features = Features(tf.constant(INDEX), 3, tf.constant([[0.5], [0.25]]))
    wanted = [[*STOCH[0], 0.5], [*STOCH[1], 0.25]]
    assert features.shape == (2, 7)
    np.testing.assert_array_equal(tf.concat([features], 0), wanted)
    np.testing.assert_array_equal(features[1:].tensor, wanted[1:])


def test_features_multiply_a_kernel_as_their_tensor_does():
    kernel = tf.constant([*KERNEL, [100.0, 200]])
    features = Features(tf.constant(INDEX), 3, tf.constant([[0.5], [0.25]]))
    product = features.dense(kernel, tf.constant([1.0, -62]), tf.nn.relu)
    np.testing.assert_array_equal(product, [[59, 118], [27, 0]])
    np.testing.assert_array_equal(features.tensor @ kernel, [[58, 180], [26, 60]])
