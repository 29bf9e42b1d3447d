"""What the heads read of a state, in parts, so that no zeros are multiplied."""

from __future__ import annotations

import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.ops import activations, matmul
from dreamerv2_transfer.common.ops.activations import Activation


class Features:
    """`[stoch, deter]` of states whose latents are one-hot.

    A dense layer multiplies them by `dense`. Wherever a tensor is asked for, they are
    the tensor `(..., stoch + deter)`.

    Args:
        deter: `(..., deter)`, the recurrent state.
        index: `(..., latents)` int32, the class of each latent; -1 for all zeros.
        classes: Number of classes of a latent.
        stoch: `(..., latents * classes)`, for straight-through gradients; None where
            no gradient is wanted.
    """

    def __init__(
        self,
        deter: tf.Tensor,
        index: tf.Tensor,
        classes: int,
        stoch: tf.Tensor | None = None,
    ):
        self._deter = deter
        self._index = index
        self._classes = classes
        self._stoch = stoch

    @property
    def stoch(self) -> tf.Tensor:
        """The latents as one-hot vectors, joined."""
        if self._stoch is not None:
            return self._stoch
        vectors = tf.one_hot(self._index, self._classes, dtype=self._deter.dtype)
        size = self._index.shape[-1] * self._classes
        return tf.reshape(vectors, [*tfutils.lead(self._index, 1), size])

    @property
    def tensor(self) -> tf.Tensor:
        return tf.concat([self.stoch, self._deter], -1)

    @property
    def shape(self) -> tf.TensorShape:
        size = self._index.shape[-1] * self._classes + self._deter.shape[-1]
        return tf.TensorShape([*self._deter.shape[:-1], size])

    @property
    def dtype(self) -> tf.DType:
        return self._deter.dtype

    def __getitem__(self, key) -> Features:
        """Of some of the states: a key of the leading dimensions."""
        return self._map(lambda x: x[key])

    def flat(self) -> Features:
        """With all leading dimensions joined."""
        return self._map(lambda x: tf.reshape(x, [-1, x.shape[-1]]))

    def stop_gradient(self) -> Features:
        return Features(tf.stop_gradient(self._deter), self._index, self._classes)

    def _map(self, fn) -> Features:
        stoch = None if self._stoch is None else fn(self._stoch)
        return Features(fn(self._deter), fn(self._index), self._classes, stoch)

    def dense(self, kernel: tf.Tensor, bias: tf.Tensor, act: Activation) -> tf.Tensor:
        """`act(tensor @ kernel + bias)` of flat features, without a gradient.

        The bias is in their dtype; `known` gives the product its gradients.
        """
        rows, rest = self._split(kernel)
        offset = tf.linalg.matmul(self._deter, tf.cast(rest, self.dtype)) + bias
        return matmul.add_rows(self._index, rows, offset, activations.for_xla(act))

    def known(self, value: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """A `value` that is known to contain `tensor @ kernel`, with its gradients."""
        rows, rest = self._split(kernel)
        value = matmul.known_one_hot(value, self._stoch, self._index, rows)
        return matmul.known(value, self._deter, rest)

    def _split(self, kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = self._index.shape[-1] * self._classes
        # The gradient of slices would be sums of arrays as large as the kernel.
        return tf.split(kernel, [size, kernel.shape[0] - size])


def _to_tensor(value: Features, dtype=None, name=None, as_ref=False):
    del name, as_ref
    return value.tensor if dtype is None else tf.cast(value.tensor, dtype)


tf.register_tensor_conversion_function(Features, _to_tensor)
