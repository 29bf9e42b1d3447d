import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.ops import recurrence

LENGTH, BATCH = 5, 2


def gradients(own: bool, scale: keras.Variable) -> list[tf.Tensor]:
    """States and gradients of a network of two products, a weight and a mask.

        x = scale * tanh(keep * state @ first + a)
        state = x @ second + b

    Args:
        own: Whether to run it as a recurrence, not as a scan with automatic
            differentiation.
    """
    rng = np.random.default_rng(0)

    def number(*shape):
        return tf.constant(rng.normal(size=shape), tf.float32)

    kernels = {"first": number(3, 4), "second": number(4, 3)}
    offsets = {"first": number(LENGTH, BATCH, 4), "second": number(LENGTH, BATCH, 3)}
    keep = tf.constant([[1.0], [1], [0], [1], [1]])
    start = {"state": number(BATCH, 3), "unused": number(BATCH, 1)}

    def step(prev, now, products):
        x = tf.tanh(products["first"](prev["state"] * now["keep"][:, None]))
        return {"state": products["second"](x * scale.value), "unused": x[:, :1]}

    def scanned(prev, now):
        inputs, offset = now
        first, second = (
            lambda x, name=name: x @ kernels[name] + offset[name] for name in kernels
        )
        return step(prev, inputs, {"first": first, "second": second})

    with tf.GradientTape() as tape:
        tape.watch((kernels, offsets, start))
        if own:
            inputs = {"keep": keep}
            states = recurrence.run(step, kernels, offsets, [scale], inputs, start)
        else:
            states = tfutils.scan(scanned, ({"keep": keep}, offsets), start, LENGTH)
        loss = tf.reduce_sum(states["state"] ** 2) + tf.reduce_sum(states["unused"])
    wanted = (kernels, offsets, start["state"], scale.value)
    return [*tf.nest.flatten(states), *tf.nest.flatten(tape.gradient(loss, wanted))]


@pytest.mark.parametrize("graph", [False, True])
def test_a_recurrence_has_the_gradients_of_a_scan(graph):
    scale = keras.Variable([0.5, 1, 2, 3])
    run = functools.partial(gradients, True, scale)
    got = tf.function(run, autograph=False)() if graph else run()
    wanted = gradients(False, scale)
    assert len(got) == 8
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
