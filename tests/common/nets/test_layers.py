import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import nets
from dreamerv2_transfer.common.nets import layers
from dreamerv2_transfer.common.nets.features import Features


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def test_gru_cell_equation():
    cell = nets.GRUCell(1)
    cell.build((None, 1))
    cell.layer.kernel.assign([[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]])
    got = cell(tf.constant([[0.2]]), tf.constant([[0.4]]))
    reset, cand, update = 0.2 + 0.2, 0.4 + 0.2, 0.6 + 0.2

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    cand, update = np.tanh(sigmoid(reset) * cand), sigmoid(update - 1)
    np.testing.assert_allclose(got, [[update * cand + (1 - update) * 0.4]], rtol=1e-5)


def test_gates_compute_in_float32_and_keep_the_dtype():
    cell = nets.GRUCell(2, norm=True)
    cell.build((None, 3))
    parts = tf.constant([[1.0, -2, 0.5, 3, -1, 0.25]], tf.bfloat16)
    state = tf.constant([[0.3, -0.7]], tf.bfloat16)
    wanted = cell.gates(tf.cast(parts, tf.float32), tf.cast(state, tf.float32))
    for gates in (cell.gates, tf.function(cell.compiled_gates)):
        got = gates(parts, state)
        assert got.dtype == tf.bfloat16
        np.testing.assert_array_equal(got, tf.cast(wanted, tf.bfloat16))


def test_layer_norm():
    norm = nets.NormLayer("layer", "norm")
    norm.build((None, 2))
    got = norm(tf.constant([[1.0, 3.0]]))
    np.testing.assert_allclose(got, [[-0.9995, 0.9995]], atol=1e-4)


def test_layer_norm_keeps_the_dtype_and_computes_in_float32(precision):
    # The squares are no bfloat16 numbers, nor is the mean.
    x = tf.constant([[256.0, 258, 260, 266]], tf.bfloat16)
    norm = nets.NormLayer("layer", "norm")
    norm.build((None, 4))
    wanted = norm(tf.cast(x, tf.float32))
    precision("mixed_bfloat16")
    norm = nets.NormLayer("layer", "norm")
    norm.build((None, 4))
    got = norm(x)
    assert got.dtype == tf.bfloat16
    np.testing.assert_array_equal(got, tf.cast(wanted, tf.bfloat16))


def test_a_dense_layer_is_made_from_its_configuration():
    layer = nets.Dense(3, "elu", name="dense0")
    again = nets.Dense.from_config(layer.get_config())
    assert (again.units, again.activation) == (3, layer.activation)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_a_dense_layer_has_the_gradients_of_its_operations(graph, cached):
    """For features and for a tensor, with the result computed or attached."""
    layer = nets.Dense(3, tf.nn.elu)
    layer.build((None, 8))
    layer.bias.assign([0.5, -0.5, 0.0])
    index = tf.constant([[1, 2], [0, 1]])
    deter, stoch = tf.constant([[0.5, -1], [2, 3.0]]), tf.one_hot(index, 3)

    def gradients(inputs, of):
        with tf.GradientTape() as tape:
            tape.watch([deter, stoch])
            result = of(inputs(tf.reshape(stoch, [2, 6])))
            loss = tf.reduce_sum(result * [[1.0, 2, 3], [4, 5, 6]])
        sources = [deter, stoch, layer.kernel.value, layer.bias.value]
        return [loss, *tape.gradient(loss, sources)]

    def attached(inputs):
        return layer.attach_gradient(tf.stop_gradient(layer(inputs)), inputs)

    def plain(x):
        return tf.nn.elu(x @ layer.kernel.value + layer.bias.value)

    def joined(stoch):
        return tf.concat([stoch, deter], -1)

    def features(stoch):
        return Features(index, 3, deter, stoch)

    run = tf.function(gradients) if graph else gradients
    wanted = gradients(joined, plain)
    for inputs in (joined, features):
        got = run(inputs, attached if cached else layer)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nets.Dense(2), (4096, 1)),
        (lambda: nets.Conv2D(2, 3, 1), (64, 10, 10, 1)),
        (lambda: nets.Conv2DTranspose(2, 3, 1), (64, 6, 6, 1)),
    ],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_gradient_of_a_bias_adds_up(precision, policy, make, shape, graph):
    precision(policy)
    layer = make()
    layer.build(shape)

    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(tf.zeros(shape)), tf.float32))
        return tape.gradient(loss, layer.bias.value)

    got = tf.function(gradient)() if graph else gradient()
    np.testing.assert_array_equal(got, [4096, 4096])


def test_a_mask_has_the_leading_dimensions():
    keep = tf.constant([[1.0, 0.0]])
    got = layers.mask(tf.ones([1, 2, 3]), keep)
    np.testing.assert_array_equal(got, [[[1, 1, 1], [0, 0, 0]]])


def test_leading_dimensions_are_joined_and_restored():
    seen = []
    x = tf.reshape(tf.range(24.0), [2, 3, 4])
    got = layers.batch_apply(lambda x: seen.append(x.shape) or x[:, :1], x, 1)
    assert seen == [(6, 4)]
    np.testing.assert_array_equal(got, x[..., :1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nets.NormLayer("batch", "norm"), "Received: 'batch'"),
        (lambda: nets.Dense(3, tf.nn.gelu), "Received: activation=<function gelu"),
    ],
)
def test_errors_say_what_was_received(make, message):
    with pytest.raises(ValueError, match=message):
        make()
