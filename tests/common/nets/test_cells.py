import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import choices
from dreamerv2_transfer.common.nets import cells


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def make(kind, size, inputs, layers=1):
    keras.utils.set_random_seed(0)
    cell = cells.make(kind, size, layers)
    cell.build((None, inputs))
    return cell


def test_there_is_a_cell_of_each_kind():
    assert tuple(cells.CELLS) == choices.CELLS


def test_the_gru_is_that_of_pytorch():
    """`torch.nn.GRUCell(1, 1)` with these weights returns 0.3449."""
    cell = make("gru", 1, 1)
    cell.input_layer.kernel.assign([[1.0, 2.0, 3.0]])
    cell.input_layer.bias.assign([0.1, 0.2, 0.3])
    cell.recurrent_layer.kernel.assign([[0.5, 0.6, 0.7]])
    cell.recurrent_layer.bias.assign([-0.1, -0.2, -0.3])
    got = cell(tf.constant([[0.2]]), tf.constant([[0.4]]))
    reset, update = sigmoid(0.2 + 0.1 + 0.2 - 0.1), sigmoid(0.4 + 0.2 + 0.24 - 0.2)
    cand = np.tanh(0.6 + 0.3 + reset * (0.28 - 0.3))
    wanted = update * 0.4 + (1 - update) * cand
    np.testing.assert_allclose(got, [[wanted]], rtol=1e-5)


def test_each_gate_has_its_own_norm():
    cell = make("gru_layernorm", 2, 1)
    assert not cell.input_layer.use_bias and not cell.recurrent_layer.use_bias
    cell.input_layer.kernel.assign([[1.0, 3.0, 0.0, 4.0, 2.0, 5.0]])
    cell.recurrent_layer.kernel.assign(np.zeros((2, 6)))
    cell.norms[1].beta.assign([0.5, 0.0])
    state = tf.constant([[0.4, -0.2]])
    got = cell(tf.constant([[1.0]]), state)
    # Each pair is normed to -1 and 1, but for 1e-3 beside the variance.
    low = [-np.sqrt(v / (v + 1e-3)) for v in (4.0, 2.25)]
    update = sigmoid(np.array([low[0] + 0.5, -low[0]]))
    cand = np.tanh([low[1], -low[1]])
    wanted = update * cand + (1 - update) * [0.4, -0.2]
    np.testing.assert_allclose(got, [wanted], rtol=1e-5)


def test_pydreamers_dv2_cell_is_dreamerv2s_without_a_bias():
    ours, theirs = make("dv2", 2, 3), make("gru_layernorm_dv2", 2, 3)
    assert len(ours.variables) == 4 and len(theirs.variables) == 3
    theirs.layer.kernel.assign(ours.layer.kernel.value)
    inputs, state = tf.ones([1, 3]), tf.constant([[0.3, -0.6]])
    np.testing.assert_array_equal(theirs(inputs, state), ours(inputs, state))


@pytest.mark.parametrize("kind", choices.CELLS)
def test_stacked_cells_share_the_state_out(kind):
    stack = make(kind, 4, 3, layers=2)
    state = tf.constant([[0.1, 0.2, -0.3, 0.4]])
    below = stack.cells[0](tf.ones([1, 3]), state[:, :2])
    above = stack.cells[1](below, state[:, 2:])
    got = stack(tf.ones([1, 3]), state)
    np.testing.assert_allclose(got, tf.concat([below, above], -1), rtol=1e-6)


def test_a_state_that_cannot_be_shared_out_is_refused():
    with pytest.raises(ValueError, match=r"multiple of rssm.gru_layers. .*: 5 and 2"):
        cells.make("gru", 5, 2)
