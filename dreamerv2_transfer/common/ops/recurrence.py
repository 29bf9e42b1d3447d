"""A recurrent network's loop over time, with its backward pass written by hand.

In each step a recurrent network multiplies by kernels that are the same in all steps.
Automatic differentiation sums a kernel's gradient over the steps, each term as large as
the kernel, and starts a hundred small operations a step. Here

    forward     one compiled loop, which keeps the results of every product
    backward    one compiled loop, which recomputes everything but the products
    kernels     one product for all steps: inputs, recomputed at once from the results,
                times the gradients of the results
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from dreamerv2_transfer.common import tfutils


def run(
    step: Callable,
    kernels: Mapping[str, tf.Tensor],
    offsets: Mapping[str, tf.Tensor],
    variables: Sequence[keras.Variable],
    inputs,
    start,
):
    """Returns the states of a recurrent network at all steps.

    Args:
        step: Maps the previous state, the step's inputs and the products to the next
            state. `products[name]` maps `x` `(B, n)` to `x @ kernel + offset`, and is
            called once a step. It takes all steps at once too, `(T, B, ...)`.
        kernels: `(n, m)` of each product.
        offsets: `(T, B, m)` of each product: biases and other inputs' shares.
        variables: Those that `step` reads besides, such as the weights of norms.
        inputs: A structure of `(T, ...)`, which get no gradient.
        start: The state before the first step, a structure of `(B, ...)`.

    Returns:
        The structure of `start`, `(T, B, ...)`.
    """
    dtypes = tf.nest.map_structure(lambda x: x.dtype, start)
    kernels, offsets = dict(kernels), dict(offsets)
    if not tfutils.on_gpu():
        # XLA has no 16-bit operations on a CPU: it would convert all steps of an array
        # to float32 and back to write one of them.
        kernels, offsets, inputs, start = tf.nest.map_structure(
            lambda x: tf.cast(x, tf.float32), (kernels, offsets, inputs, start)
        )
    weights = [v.value for v in variables]
    learned = (kernels, offsets, weights, start)
    loop = _Loop(step, list(variables), inputs)

    @tf.custom_gradient
    def unroll(*tensors):
        kernels, offsets, weights, start = tf.nest.pack_sequence_as(learned, tensors)
        states, products = _compiled(loop.forward)(kernels, offsets, weights, start)

        def gradient(*upstream):
            upstream = tf.nest.pack_sequence_as(start, upstream)
            grads = loop.gradients(kernels, weights, start, states, products, upstream)
            return tf.nest.flatten(grads)

        return tf.nest.flatten(states), gradient

    flat = unroll(*tf.nest.flatten(learned))
    return tf.nest.map_structure(tf.cast, tf.nest.pack_sequence_as(start, flat), dtypes)


class _Loop:
    """The loops forward and backward, as functions of tensors alone.

    Args:
        step: As `run` takes it.
        variables: As `run` takes them.
        inputs: As `run` takes them.
    """

    def __init__(self, step: Callable, variables: list[keras.Variable], inputs):
        self._step = step
        self._variables = variables
        self._inputs = inputs

    def forward(self, kernels, offsets, weights, start):
        """Returns the states, and the results of every product, `(T, B, ...)`."""

        def forward_step(previous, now):
            inputs, offset = now
            results = {}

            def product(name: str, x: tf.Tensor) -> tf.Tensor:
                results[name] = tf.linalg.matmul(x, kernels[name]) + offset[name]
                return results[name]

            products = {k: functools.partial(product, k) for k in kernels}
            return self._call(previous[0], inputs, products, weights), results

        none = {k: tf.zeros_like(v[0]) for k, v in offsets.items()}
        length = next(iter(offsets.values())).shape[0]
        begin = (start, none)
        return tfutils.scan(forward_step, (self._inputs, offsets), begin, length)

    def gradients(self, kernels, weights, start, states, products, upstream):
        """Returns the gradients of kernels, offsets, weights and start.

        Args:
            kernels: As `forward` took them, and so `weights` and `start`.
            weights: See `kernels`.
            start: See `kernels`.
            states: As `forward` returned them.
            products: The results of the products, likewise.
            upstream: The gradient of the states.
        """
        previous = tf.nest.map_structure(
            lambda first, x: tf.concat([first[None], x[:-1]], 0), start, states
        )
        grad_offsets, grad_weights, grad_start = _compiled(self.backward)(
            kernels, weights, previous, products, upstream
        )
        inputs = _compiled(self.product_inputs)(weights, previous, products)
        grad_kernels = {
            k: tf.linalg.matmul(_rows(x), _rows(grad_offsets[k]), transpose_a=True)
            for k, x in inputs.items()
        }
        return grad_kernels, grad_offsets, grad_weights, grad_start

    def product_inputs(self, weights, previous, products):
        """Returns what was multiplied in all steps, `(T, B, n)` of each product.

        Args:
            weights: The values of the variables.
            previous: The state before each step, `(T, B, ...)`.
            products: The result of each product in each step.
        """
        inputs = {}

        def known(name: str, x: tf.Tensor) -> tf.Tensor:
            inputs[name] = x
            return products[name]

        named = {k: functools.partial(known, k) for k in products}
        self._call(previous, self._inputs, named, weights)
        return inputs

    def backward(self, kernels, weights, previous, product_outputs, upstream):
        """Returns the gradients of the offsets, of the weights and of the first state.

        Args:
            kernels: `(n, m)` of each product.
            weights: The values of the variables.
            previous: The state before each step, `(T, B, ...)`.
            product_outputs: The result of each product in each step.
            upstream: The gradient of the state after each step.
        """
        transposed = {k: tf.transpose(v) for k, v in kernels.items()}

        def backward_step(later, now):
            later_state, later_weights = later
            inputs, state, outputs, upstream = now
            with tf.GradientTape() as tape:
                offset = tf.nest.map_structure(tf.zeros_like, outputs)
                tape.watch((state, offset, weights))
                products = {
                    k: _known_product(v, offset[k], transposed[k])
                    for k, v in outputs.items()
                }
                after = self._call(state, inputs, products, weights)
            grad_state, grad_offset, grad_weights = tape.gradient(
                after,
                (state, offset, weights),
                tf.nest.map_structure(tf.add, upstream, later_state),
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            total = tf.nest.map_structure(tf.add, later_weights, grad_weights)
            return (grad_state, total), grad_offset

        end = tf.nest.map_structure(lambda x: tf.zeros_like(x[0]), previous)
        none = tf.nest.map_structure(tf.zeros_like, weights)
        elems = (self._inputs, previous, product_outputs, upstream)
        (first, total), offsets = tfutils.scan_back(
            backward_step, elems, (end, none), product_outputs
        )
        return offsets, total, first

    def _call(self, state, inputs, products, weights):
        """Calls the step with `weights` in place of the variables' values."""
        with tfutils.with_values(self._variables, weights):
            after = self._step(state, inputs, products)
        return tf.nest.map_structure(
            lambda x, like: tf.cast(x, like.dtype), after, state
        )


def _known_product(
    value: tf.Tensor, offset: tf.Tensor, transposed: tf.Tensor
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a product that yields a known value: only its gradient is computed.

    Args:
        value: `(B, m)`.
        offset: `(B, m)`, gets the gradient of the value.
        transposed: `(m, n)`, the transposed kernel.
    """

    @tf.custom_gradient
    def product(x, offset):
        def gradient(upstream):
            return tf.linalg.matmul(upstream, transposed), upstream

        return tf.identity(value), gradient

    return lambda x: product(x, offset)


def _rows(x: tf.Tensor) -> tf.Tensor:
    """Returns `(T, B, n)` as `(T * B, n)`."""
    return tf.reshape(x, [-1, x.shape[-1]])


def _compiled(fn: Callable) -> Callable:
    if tf.executing_eagerly():
        return fn
    return tf.function(fn, jit_compile=True, autograph=False)
