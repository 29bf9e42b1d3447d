"""The recurrent cells of the RSSM: DreamerV2's, and those of pydreamer.

Source: github.com/jurgisp/pydreamer, commit 8a4ea85, `pydreamer/models/rnn.py`. Each
cell has `products`, its dense layers by name, and `advance`, which computes a step by
given products, so that `rssm_loop` can take them out of its loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.nets.layers import Dense, GRUCell, NormLayer, choose
from dreamerv2_transfer.common.ops import fuse

Products = Mapping[str, Callable[[tf.Tensor], tf.Tensor]]


def make(kind: str, size: int, layers: int = 1) -> keras.layers.Layer:
    """Creates the cell of an RSSM.

    Args:
        kind: `dv2` (see `GRUCell`); `gru_layernorm_dv2`, the same without a bias;
            `gru` or `gru_layernorm` (see `SplitGRUCell`).
        size: Size of the state.
        layers: Number of cells on top of each other, which share the state out.

    Raises:
        ValueError: There is no such kind, or the state cannot be shared out.
    """
    create = choose("rssm.cell", kind, CELLS)
    if layers == 1:
        return create(size, "cell")
    if size % layers:
        raise ValueError(
            "rssm.deter must be a multiple of rssm.gru_layers. "
            f"Received: {size} and {layers}"
        )
    share = size // layers
    return CellStack([create(share, f"cell{i}") for i in range(layers)], share)


class SplitGRUCell(keras.layers.Layer):
    """A GRU cell whose reset gate multiplies the recurrent share of the candidate.

    With `r, u, c = split(input(inputs))` and `r', u', c' = split(recurrent(state))`,

        reset  = sigmoid(norm0(r + r'))
        update = sigmoid(norm1(u + u'))
        cand   = tanh(norm2(c + reset * c'))

    Without norms, the products have biases and the cell is PyTorch's `GRUCell`, whose
    update gate is the share of the old state; with norms, it is pydreamer's
    `NormGRUCell`, where the gate is the share of the candidate:

        without norms   state = update * state + (1 - update) * cand
        with norms      state = update * cand + (1 - update) * state

    Args:
        size: Size of the state.
        norm: Whether each gate has a layer norm of its own.
        name: Name of the layer.
    """

    def __init__(self, size: int, norm: bool, name: str = "cell"):
        super().__init__(name=name)
        self._size = size
        self._normed = norm
        self.input_layer = Dense(3 * size, use_bias=not norm, name="input")
        self.recurrent_layer = Dense(
            3 * size,
            use_bias=not norm,
            kernel_initializer="orthogonal",
            name="recurrent",
        )
        kind = "layer" if norm else "none"
        self.norms = [NormLayer(kind, name=f"norm{i}") for i in range(3)]
        self._recomputed = fuse.recomputed(self._gates_with)

    def build(self, input_shape: tuple) -> None:
        self.input_layer.build(input_shape)
        self.recurrent_layer.build((None, self._size))
        for norm in self.norms:
            norm.build((None, self._size))

    @property
    def products(self) -> dict[str, Dense]:
        return {"cell_input": self.input_layer, "cell_recurrent": self.recurrent_layer}

    @property
    def _weights_of_norms(self) -> list[keras.Variable]:
        return [v for norm in self.norms for v in norm.variables]

    def call(self, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Returns the next state `(B, size)`, given inputs `(B, n)` and the state."""
        parts = self.input_layer(inputs), self.recurrent_layer(state)
        # What is compiled takes the weights of the norms as arguments.
        weights = (v.value for v in self._weights_of_norms)
        return self._recomputed(*parts, state, *weights)

    def _gates_with(self, by_input, by_state, state, *weights) -> tf.Tensor:
        with tfutils.with_values(self._weights_of_norms, weights):
            return self.gates(by_input, by_state, state)

    def advance(
        self, products: Products, inputs: tf.Tensor, state: tf.Tensor
    ) -> tf.Tensor:
        """Computes the same as a call, by given functions in place of `products`."""
        parts = products["cell_input"](inputs), products["cell_recurrent"](state)
        return self.gates(*parts, state)

    def gates(
        self, by_input: tf.Tensor, by_state: tf.Tensor, state: tf.Tensor
    ) -> tf.Tensor:
        """Returns the next state, given both products `(B, 3 * size)`; in float32."""
        inputs = tf.split(tf.cast(by_input, tf.float32), 3, -1)
        states = tf.split(tf.cast(by_state, tf.float32), 3, -1)
        old = tf.cast(state, tf.float32)
        reset = tf.sigmoid(self.norms[0](inputs[0] + states[0]))
        update = tf.sigmoid(self.norms[1](inputs[1] + states[1]))
        cand = tf.tanh(self.norms[2](inputs[2] + reset * states[2]))
        share = update if self._normed else 1 - update
        return tf.cast(share * cand + (1 - share) * old, state.dtype)


class CellStack(keras.layers.Layer):
    """Cells on top of each other, each with its share of the state.

        state_0 = cell0(inputs, state_0),    state_i = celli(state_{i-1}, state_i)

    Args:
        cells: The cells.
        size: Size of each one's state.
        name: Name of the layer.
    """

    def __init__(self, cells: list[keras.layers.Layer], size: int, name: str = "cell"):
        super().__init__(name=name)
        self.cells = cells
        self._size = size

    def build(self, input_shape: tuple) -> None:
        for cell in self.cells:
            cell.build(input_shape)
            input_shape = (None, self._size)

    @property
    def products(self) -> dict[str, Dense]:
        return {
            f"{i}/{name}": layer
            for i, cell in enumerate(self.cells)
            for name, layer in cell.products.items()
        }

    @property
    def norms(self) -> list[NormLayer]:
        return [norm for cell in self.cells for norm in cell.norms]

    def call(self, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Returns the next state `(B, size)`, given inputs `(B, n)` and the state."""
        return self._each(lambda i, *args: self.cells[i](*args), inputs, state)

    def advance(
        self, products: Products, inputs: tf.Tensor, state: tf.Tensor
    ) -> tf.Tensor:
        """Computes the same as a call, by given functions in place of `products`."""

        def step(i, inputs, state):
            own = {name: products[f"{i}/{name}"] for name in self.cells[i].products}
            return self.cells[i].advance(own, inputs, state)

        return self._each(step, inputs, state)

    def _each(self, step: Callable, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        states = tf.split(state, len(self.cells), -1)
        for i, old in enumerate(states):
            states[i] = inputs = step(i, inputs, old)
        return tf.concat(states, -1)


CELLS: dict[str, Callable[[int, str], keras.layers.Layer]] = {
    "dv2": lambda size, name: GRUCell(size, norm=True, name=name),
    "gru": lambda size, name: SplitGRUCell(size, norm=False, name=name),
    "gru_layernorm": lambda size, name: SplitGRUCell(size, norm=True, name=name),
    "gru_layernorm_dv2": lambda size, name: GRUCell(
        size, norm=True, use_bias=False, name=name
    ),
}
