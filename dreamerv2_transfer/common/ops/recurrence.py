"""A loop over time that does only what is sequential, forward and backward.

In each step a recurrent network multiplies by kernels that are the same in all steps.
Left to automatic differentiation, a kernel's gradient is a sum over the steps of many
small products, each as large as the kernel, and a hundred small operations are started
for a step. Here

    forward     one compiled loop, which keeps what every product was given and made
    backward    one compiled loop, which computes again all but the products
    kernels     one product for all steps: what they were given, times what is wanted
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf

from dreamerv2_transfer.common import tfutils

Product = Callable[[tf.Tensor], tf.Tensor]


def run(
    step: Callable,
    kernels: Mapping[str, tf.Tensor],
    offsets: Mapping[str, tf.Tensor],
    variables: Sequence[keras.Variable],
    inputs,
    start,
):
    """The states of a recurrent network at all steps.

    Args:
        step: `(previous state, inputs of the step, products)` to the next state, where
            `products[name]` maps `(B, n)` to `x @ kernel + offset`, once a step.
        kernels: `(n, m)` of each product.
        offsets: `(T, B, m)` of each product: biases, shares of other inputs.
        variables: Those that `step` reads otherwise, such as the weights of norms.
        inputs: A structure of `(T, ...)`, which get no gradient.
        start: The state before the first step, a structure of `(B, ...)`.

    Returns:
        The structure of `start`, `(T, B, ...)`.
    """
    dtypes = tf.nest.map_structure(lambda x: x.dtype, start)
    kernels, offsets, inputs, start = _loop_precision(
        (dict(kernels), dict(offsets), inputs, start)
    )
    weights = [v.value for v in variables]
    learned = (kernels, offsets, weights, start)
    loop = _Loop(step, list(variables), inputs)

    @tf.custom_gradient
    def states(*flat):
        kernels, offsets, weights, start = tf.nest.pack_sequence_as(learned, flat)
        states, seen, made = _compiled(loop.forward)(kernels, offsets, weights, start)

        def gradient(*wanted):
            wanted = tf.nest.pack_sequence_as(start, wanted)
            previous = tf.nest.map_structure(_delayed, start, states)
            backward = _compiled(loop.backward)
            by_offset, *others = backward(kernels, weights, previous, made, wanted)
            by_kernel = _kernel_gradients(seen, by_offset)
            return tf.nest.flatten((by_kernel, by_offset, *others))

        return tf.nest.flatten(states), gradient

    flat = states(*tf.nest.flatten(learned))
    return tf.nest.map_structure(tf.cast, tf.nest.pack_sequence_as(start, flat), dtypes)


class _Loop:
    """Both directions, as functions of tensors alone."""

    def __init__(self, step: Callable, variables: list[keras.Variable], inputs):
        self._step = step
        self._variables = variables
        self._inputs = inputs

    def forward(self, kernels, offsets, weights, start):
        """The states, and what each product was given and made, all `(T, B, ...)`."""

        def step(previous, now):
            inputs, offset = now
            given, made = {}, {}

            def product(name: str) -> Product:
                def multiply(x):
                    given[name] = x
                    made[name] = tf.linalg.matmul(x, kernels[name]) + offset[name]
                    return made[name]

                return multiply

            state = self._call(
                previous[0], inputs, {k: product(k) for k in kernels}, weights
            )
            return state, given, made

        first = {k: v[0] for k, v in offsets.items()}
        given = {
            k: tf.zeros([*first[k].shape[:-1], v.shape[0]], v.dtype)
            for k, v in kernels.items()
        }
        length = next(iter(offsets.values())).shape[0]
        begin = (start, given, tf.nest.map_structure(tf.zeros_like, first))
        return tfutils.scan(step, (self._inputs, offsets), begin, length)

    def backward(self, kernels, weights, previous, made, wanted):
        """What is wanted of the offsets, of the weights, and of the first state."""
        transposed = {k: tf.transpose(v) for k, v in kernels.items()}

        def step(later, now):
            inputs, state, made, wanted = now
            with tf.GradientTape() as tape:
                offset = tf.nest.map_structure(tf.zeros_like, made)
                tape.watch((state, offset, weights))
                products = {k: _known(made[k], offset[k], transposed[k]) for k in made}
                after = self._call(state, inputs, products, weights)
            return tape.gradient(
                after,
                (state, offset, weights),
                tf.nest.map_structure(tf.add, wanted, later[0]),
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )

        end = tf.nest.map_structure(lambda x: tf.zeros_like(x[0]), (previous, made))
        elems = (self._inputs, previous, made, wanted)
        begin = (*end, tf.nest.map_structure(tf.zeros_like, weights))
        states, offsets, weights = tf.scan(step, elems, begin, reverse=True)
        first = tf.nest.map_structure(lambda x: x[0], states)
        return offsets, [tf.reduce_sum(w, 0) for w in weights], first

    def _call(self, state, inputs, products, weights):
        """The step, with the given weights in the place of the variables."""
        with tfutils.with_values(self._variables, weights):
            after = self._step(state, inputs, products)
        return tf.nest.map_structure(
            lambda x, like: tf.cast(x, like.dtype), after, state
        )


def _known(made: tf.Tensor, offset: tf.Tensor, transposed: tf.Tensor) -> Product:
    """A product whose result is known: only its gradient is computed."""

    @tf.custom_gradient
    def multiply(x, offset):
        def gradient(wanted):
            return tf.linalg.matmul(wanted, transposed), wanted

        return tf.identity(made), gradient

    return lambda x: multiply(x, offset)


def _loop_precision(structure):
    """Floating-point tensors in what a loop is fast in: on a CPU float32.

    XLA has no 16-bit operations there: it would convert all steps of an array to
    float32 and back to write one of them.
    """
    if tf.config.list_physical_devices("GPU"):
        return structure
    return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), structure)


def _delayed(start: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
    """The state before each step."""
    return tf.concat([start[None], states[:-1]], 0)


def _kernel_gradients(seen, wanted) -> dict[str, tf.Tensor]:
    flat = lambda x: tf.reshape(x, [-1, x.shape[-1]])  # noqa: E731
    return {
        k: tf.linalg.matmul(flat(seen[k]), flat(wanted[k]), transpose_a=True)
        for k in seen
    }


def _compiled(fn: Callable) -> Callable:
    if tf.executing_eagerly():
        return fn
    return tf.function(fn, jit_compile=True, autograph=False)
