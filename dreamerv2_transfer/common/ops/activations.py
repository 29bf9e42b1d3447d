"""Activations, and the gradients of those that their results tell."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from dreamerv2_transfer.common.ops.fuse import fused

Activation = Callable[[tf.Tensor], tf.Tensor]


def get_act(name: str) -> Activation:
    """An activation by its name in `tf.nn` or `tf`; also `none` and `mish`."""
    if name == "none":
        return tf.identity
    if name == "mish":
        return lambda x: x * tf.tanh(tf.nn.softplus(x))
    for module in (tf.nn, tf):
        if hasattr(module, name):
            return getattr(module, name)
    raise ValueError(f"Unknown activation. Received: act={name!r}")


def tells_gradient(act: Activation) -> bool:
    """Whether the gradient is a function of the result alone."""
    return act in _GRADIENTS


def known(value: tf.Tensor, act: Activation) -> tf.Tensor:
    """`value`, known to be `act(x)`, with the gradient to x as that of `value`."""

    @tf.custom_gradient
    def known(value):
        return tf.identity(value), lambda wanted: _GRADIENTS[act](value, wanted)

    return known(value)


def for_xla(act: Activation) -> Activation:
    """What XLA computes faster on a CPU."""
    return _FOR_XLA.get(act, act)


def _elu(x: tf.Tensor) -> tf.Tensor:
    # By exp in place of expm1, which takes twice as long: wrong by 6e-8 at most.
    return tf.where(x > 0, x, tf.exp(tf.minimum(x, 0)) - 1)


_FOR_XLA = {tf.nn.elu: _elu, keras.activations.elu: _elu}


# TensorFlow's own takes twice as long in bfloat16.
@fused
def _elu_gradient(result: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    slope = tf.minimum(tf.cast(result, tf.float32) + 1, 1)
    return tf.cast(tf.cast(wanted, tf.float32) * slope, wanted.dtype)


@fused
def _relu_gradient(result: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    return tf.where(result > 0, wanted, tf.zeros_like(wanted))


@fused
def _tanh_gradient(result: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    return wanted * (1 - tf.square(result))


_GRADIENTS = {
    keras.activations.linear: lambda result, wanted: wanted,
    keras.activations.elu: _elu_gradient,
    keras.activations.relu: _relu_gradient,
    keras.activations.tanh: _tanh_gradient,
    tf.nn.elu: _elu_gradient,
    tf.nn.relu: _relu_gradient,
    tf.nn.tanh: _tanh_gradient,
}
