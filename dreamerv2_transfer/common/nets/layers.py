"""The layers that the networks are built from."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.nets.features import Features
from dreamerv2_transfer.common.ops import activations, convolution, fuse, matmul


class Dense(keras.layers.Dense):
    """A dense layer that computes one product, whatever the leading dimensions.

    For inputs of more than two dimensions TensorFlow computes a batch of products, and
    the gradient of the kernel as a sum over that batch. Its gradients of biases are
    wrong in 16 bits, see `matmul.attach_bias_gradient`.

    Args:
        units: Size of the output.
        activation: One that `activations.can_attach_gradient` accepts.
        kwargs: Other arguments of `keras.layers.Dense`, such as `use_bias`.
    """

    def __init__(self, units: int, activation=None, **kwargs):
        super().__init__(units, activation, **kwargs)
        if not activations.can_attach_gradient(self.activation):
            raise ValueError(
                "Dense takes elu, relu, tanh or no activation, whose gradients follow "
                f"from their results. Received: activation={activation!r}"
            )

    def __call__(self, inputs: tf.Tensor | Features) -> tf.Tensor:
        return super().__call__(inputs=inputs)  # Keras takes `Features` by name only.

    def call(self, inputs: tf.Tensor | Features) -> tf.Tensor:
        return batch_apply(self._flat_call, inputs, event_dims=1)

    def _flat_call(self, x: tf.Tensor | Features) -> tf.Tensor:
        kernel, bias = self.kernel.value, self.offset  # In the compute dtype.
        if isinstance(x, Features):
            result = x.dense(kernel, bias, self.activation)
        else:
            result = self.activation(tf.linalg.matmul(x, kernel) + bias)
        return self.attach_gradient(tf.stop_gradient(result), x)

    def attach_gradient(
        self, result: tf.Tensor, inputs: tf.Tensor | Features
    ) -> tf.Tensor:
        """Returns `result` `(N, units)` unchanged, with the gradients of a call.

        Args:
            result: What a call with these inputs returned.
            inputs: `(N, n)`.
        """
        kernel = self.kernel.value
        if isinstance(inputs, Features):
            product = inputs.attach_gradient(result, kernel)
        else:
            product = matmul.attach_gradient(result, inputs, kernel)
        if self.use_bias:
            product = matmul.attach_bias_gradient(product, self.bias.value)
        return activations.attach_gradient(product, self.activation)

    @property
    def offset(self) -> tf.Tensor:
        """The bias; zeros for a layer without one."""
        if self.use_bias:
            return self.bias.value
        return tf.zeros([self.units], self.compute_dtype)


class Conv2D(keras.layers.Conv2D):
    """A convolution without padding, computed by `ops.convolution`.

    Args:
        filters: Number of output channels.
        kernel: Size of the kernel in both directions.
        stride: Stride in both directions.
        name: Name of the layer.
        dtype: Policy of its dtypes; the global one by default.
    """

    def __init__(
        self, filters: int, kernel: int, stride: int, *, name=None, dtype=None
    ):
        super().__init__(filters, kernel, stride, name=name, dtype=dtype)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)  # In the layer's compute dtype.
        images = convolution.conv2d(inputs, kernel, self.strides[0])
        return matmul.add_bias(images, tf.convert_to_tensor(self.bias))


class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """A transposed convolution without padding, computed by `ops.convolution`.

    Args:
        filters: Number of output channels.
        kernel: Size of the kernel in both directions.
        stride: Stride in both directions.
        name: Name of the layer.
        dtype: Policy of its dtypes; the global one by default.
    """

    def __init__(
        self, filters: int, kernel: int, stride: int, *, name=None, dtype=None
    ):
        super().__init__(filters, kernel, stride, name=name, dtype=dtype)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        images = convolution.conv2d_transpose(inputs, kernel, self.strides[0])
        return matmul.add_bias(images, tf.convert_to_tensor(self.bias))


class GRUCell(keras.layers.Layer):
    """The GRU cell of DreamerV2: one product for all gates, then layer norm.

        reset, cand, update = split(norm(layer([inputs, state])))
        cand = tanh(sigmoid(reset) * cand)
        update = sigmoid(update + update_bias)
        state = update * cand + (1 - update) * state

    Args:
        size: Size of the state.
        norm: Whether to apply layer norm, over the three gates together.
        act: Activation of the candidate.
        update_bias: -1 makes an untrained cell remember.
        use_bias: Whether the product has a bias.
        name: Name of the layer.
    """

    def __init__(
        self,
        size: int,
        norm: bool = False,
        act: str = "tanh",
        update_bias: float = -1.0,
        use_bias: bool = True,
        name: str = "cell",
    ):
        super().__init__(name=name)
        self._size = size
        self._act = activations.get_act(act)
        self._update_bias = update_bias
        self.layer = Dense(3 * size, use_bias=use_bias, name="layer")
        self.norm = NormLayer("layer" if norm else "none", name="norm")
        self._recomputed = fuse.recomputed(self._gates_with)

    def build(self, input_shape: tuple) -> None:
        self.layer.build((None, input_shape[-1] + self._size))
        self.norm.build((None, 3 * self._size))

    @property
    def products(self) -> dict[str, Dense]:
        """The dense layers, by the names that `advance` calls them by."""
        return {"cell": self.layer}

    @property
    def norms(self) -> list[NormLayer]:
        return [self.norm]

    def advance(
        self, products: Mapping[str, Callable], inputs: tf.Tensor, state: tf.Tensor
    ) -> tf.Tensor:
        """Computes the same as a call, by given functions in place of `products`."""
        return self.gates(products["cell"](tf.concat([inputs, state], -1)), state)

    def call(self, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Returns the next state `(B, size)`, given inputs `(B, n)` and the state."""
        parts = self.layer(tf.concat([inputs, state], -1))
        return self.compiled_gates(parts, state)

    def compiled_gates(self, parts: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """As `gates`, compiled where that helps."""
        # What is compiled takes the weights of the norm as arguments.
        return self._recomputed(parts, state, *(v.value for v in self.norm.variables))

    def _gates_with(self, parts, state, *weights) -> tf.Tensor:
        with tfutils.with_values(self.norm.variables, weights):
            return self.gates(parts, state)

    def gates(self, parts: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Returns the next state, given the product `(B, 3 * size)`; in float32."""
        parts, old = tf.cast(parts, tf.float32), tf.cast(state, tf.float32)
        reset, cand, update = tf.split(self.norm(parts), 3, -1)
        cand = self._act(tf.sigmoid(reset) * cand)
        update = tf.sigmoid(update + self._update_bias)
        return tf.cast(update * cand + (1 - update) * old, state.dtype)


class NormLayer(keras.layers.Layer):
    """Layer norm computed in float32, or nothing. Keeps the dtype of its input.

    Args:
        kind: `none` or `layer`.
        name: Name of the layer.
    """

    def __init__(self, kind: str, name: str):
        super().__init__(name=name, autocast=False)
        if kind not in ("none", "layer"):
            raise ValueError(f"norm is 'none' or 'layer'. Received: {kind!r}")
        self._on = kind == "layer"

    def build(self, input_shape: tuple) -> None:
        if self._on:
            add = functools.partial(self.add_weight, input_shape[-1:], autocast=False)
            self.gamma = add(initializer="ones", name="gamma")
            self.beta = add(initializer="zeros", name="beta")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if not self._on:
            return inputs
        x = tf.cast(inputs, tf.float32)
        mean = _row_mean(x)
        variance = _row_mean(tf.square(x - mean))
        # 1e-3 is the epsilon of Keras, which the original used.
        x = (x - mean) * tf.math.rsqrt(variance + 1e-3)
        x = x * self.gamma.value + self.beta.value
        return tf.cast(x, inputs.dtype)


def _row_mean(x: tf.Tensor) -> tf.Tensor:
    """Returns the mean over the last dimension, which is kept with size 1."""
    if tfutils.on_gpu():  # Its products may be less precise.
        return tf.reduce_mean(x, -1, keepdims=True)
    # A product, because XLA's sums along rows use no vector instructions on a CPU.
    return tf.linalg.matmul(x, tf.fill([x.shape[-1], 1], 1.0 / x.shape[-1]))


def stop_gradient(structure):
    """Stops the gradients of a structure of tensors, or of `Features`."""
    if isinstance(structure, Features):
        return structure.stop_gradient()
    return tf.nest.map_structure(tf.stop_gradient, structure)


def swap(x: tf.Tensor) -> tf.Tensor:
    """Exchanges the first two dimensions, batch and time."""
    return tf.transpose(x, [1, 0, *range(2, len(x.shape))])


def flatten_event(x: tf.Tensor, dims: int) -> tf.Tensor:
    """Joins the last `dims` dimensions into one."""
    return tf.reshape(x, [*tfutils.lead(x, dims), math.prod(x.shape[-dims:])])


def unflatten(x: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Splits the last dimension into `shape`."""
    return tf.reshape(x, [*tfutils.lead(x, 1), *shape])


def flatten_lead(x: tf.Tensor | Features) -> tf.Tensor | Features:
    """Joins all leading dimensions: `(N, size)`, in the compute dtype."""
    if isinstance(x, Features):
        return x.flat()
    return cast(tf.reshape(x, [-1, x.shape[-1]]))


def batch_apply(fn: Callable, x: tf.Tensor | Features, event_dims: int) -> tf.Tensor:
    """Applies `fn` with all leading dimensions of `x` joined into one."""
    if len(x.shape) == event_dims + 1:  # A reshape would stop TensorFlow from fusing.
        return fn(x)
    if event_dims == 1:
        y = fn(flatten_lead(x))
    else:
        y = fn(tf.reshape(x, [-1, *x.shape[-event_dims:]]))
    return tf.reshape(y, [*tfutils.lead(x, event_dims), *y.shape[1:]])


def cast(x: tf.Tensor) -> tf.Tensor:
    """Casts to the compute dtype, that of matrix products."""
    return tf.cast(x, tfutils.compute_dtype())


def mask(x: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
    """Zeros the entries of `x` whose `keep` is 0; `keep` has the leading dimensions."""
    extra = len(x.shape) - len(keep.shape)
    return x * tf.cast(unflatten(keep[..., None], [1] * extra), x.dtype)


def make_norms(prefix: str, kind: str, count: int) -> list[NormLayer]:
    return [NormLayer(kind, name=f"{prefix}{i}") for i in range(count)]


def build_stack(layers: Sequence[Dense], norms: Sequence[NormLayer], width: int) -> int:
    """Builds dense layers on top of each other; returns the width of the last."""
    for layer, norm in zip(layers, norms, strict=True):
        layer.build((None, width))
        width = layer.units
        norm.build((None, width))
    return width


def apply_stack(
    layers: Sequence[keras.layers.Layer],
    norms: Sequence[NormLayer],
    act: Callable,
    x: tf.Tensor | Features,
) -> tf.Tensor:
    """Applies each layer, its norm and the activation."""
    for layer, norm in zip(layers, norms, strict=True):
        x = act(norm(layer(x)))
    return x


def choose(name: str, value: str, options: Mapping):
    """Returns the option that an argument `name` selects, or raises a ValueError."""
    if value not in options:
        raise ValueError(f"{name} is one of {sorted(options)}. Received: {value!r}")
    return options[value]
