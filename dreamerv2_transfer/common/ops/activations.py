"""Activations by name, and their gradients computed from their results."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from dreamerv2_transfer.common.ops.fuse import fused

Activation = Callable[[tf.Tensor], tf.Tensor]


def get_act(name: str) -> Activation:
    """Returns an activation by its name in `tf.nn` or `tf`, or `none` or `mish`."""
    if name == "none":
        return tf.identity
    if name == "mish":
        return lambda x: x * tf.tanh(tf.nn.softplus(x))
    for module in (tf.nn, tf):
        if hasattr(module, name):
            return getattr(module, name)
    raise ValueError(f"Unknown activation. Received: act={name!r}")


def can_attach_gradient(act: Activation) -> bool:
    """Whether the gradient can be computed from the activation's result alone."""
    return act in _GRADIENTS


def attach_gradient(value: tf.Tensor, act: Activation) -> tf.Tensor:
    """Returns `value` unchanged, with the gradient of `value = act(x)` towards x."""

    @tf.custom_gradient
    def attach(value):
        return tf.identity(value), lambda upstream: _GRADIENTS[act](value, upstream)

    return attach(value)


def for_xla(act: Activation) -> Activation:
    """Returns the same activation in a form that XLA computes faster on a CPU."""
    return _FOR_XLA.get(act, act)


def _elu(x: tf.Tensor) -> tf.Tensor:
    # exp takes half the time of expm1; the result is wrong by at most 6e-8.
    return tf.where(x > 0, x, tf.exp(tf.minimum(x, 0)) - 1)


_FOR_XLA = {tf.nn.elu: _elu, keras.activations.elu: _elu}


# TensorFlow's own takes twice as long in bfloat16.
@fused
def _elu_gradient(result: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    slope = tf.minimum(tf.cast(result, tf.float32) + 1, 1)
    return tf.cast(tf.cast(upstream, tf.float32) * slope, upstream.dtype)


@fused
def _relu_gradient(result: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return tf.where(result > 0, upstream, tf.zeros_like(upstream))


@fused
def _tanh_gradient(result: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return upstream * (1 - tf.square(result))


_GRADIENTS = {
    keras.activations.linear: lambda result, upstream: upstream,
    keras.activations.elu: _elu_gradient,
    keras.activations.relu: _relu_gradient,
    keras.activations.tanh: _tanh_gradient,
    tf.nn.elu: _elu_gradient,
    tf.nn.relu: _relu_gradient,
    tf.nn.tanh: _tanh_gradient,
}
