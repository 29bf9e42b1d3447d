import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common.ops import activations

X = [-30.0, -2.0, -0.5, 0.0, 0.5, 2.0, 30.0]


def test_activations_by_name():
    assert activations.get_act("none")(3.0) == 3.0
    np.testing.assert_allclose(
        activations.get_act("mish")(tf.constant(1.0)), 0.8651, atol=1e-4
    )
    assert activations.get_act("elu") is tf.nn.elu
    assert activations.get_act("tanh") is tf.nn.tanh
    with pytest.raises(ValueError, match="Received: act='swosh'"):
        activations.get_act("swosh")


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("act", [tf.nn.elu, tf.nn.relu, tf.nn.tanh])
def test_the_gradient_follows_from_the_result(act, graph):
    def gradient(fn, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(fn(x) * tf.range(1.0, 8.0))
        return tape.gradient(loss, x)

    def attached(x):
        # Its value is act's, its gradient that of x.
        result = tf.stop_gradient(act(x))
        return activations.attach_gradient(result + (x - tf.stop_gradient(x)), act)

    run = tf.function(gradient) if graph else gradient
    x = tf.constant(X)
    np.testing.assert_allclose(run(attached, x), gradient(act, x), atol=1e-6)


def test_the_gradient_of_gelu_does_not():
    assert not activations.can_attach_gradient(tf.nn.gelu)
    assert activations.can_attach_gradient(tf.nn.elu)


def test_what_xla_computes_is_the_same_function():
    np.testing.assert_allclose(
        activations.for_xla(tf.nn.elu)(tf.constant(X)), tf.nn.elu(X), atol=1e-7
    )
    assert activations.for_xla(tf.nn.relu) is tf.nn.relu
