"""One-hot latents beside other inputs, so that no zeros are multiplied."""

from __future__ import annotations

import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.ops import activations, matmul
from dreamerv2_transfer.common.ops.activations import Activation


class Features:
    """`[stoch, rest]` where the latents `stoch` are one-hot: what dense layers read.

    The rest is the recurrent state for the heads, and the action for `img_in`. A dense
    layer takes features as it takes a tensor, and adds up rows of its kernel instead
    of multiplying by zeros. Wherever TensorFlow expects a tensor, features convert to
    `(..., stoch + rest)`.

    Args:
        index: `(..., latents)` int32, the class of each latent; -1 for all zeros.
        classes: Number of classes of a latent.
        rest: `(..., rest)`, in the compute dtype.
        stoch: `(..., latents * classes)`, for straight-through gradients; None where
            no gradient is needed.
    """

    def __init__(
        self,
        index: tf.Tensor,
        classes: int,
        rest: tf.Tensor,
        stoch: tf.Tensor | None = None,
    ):
        self._index = index
        self._classes = classes
        self._rest = rest
        self._stoch = stoch

    @property
    def stoch(self) -> tf.Tensor:
        """The latents as one-hot vectors, joined: `(..., latents * classes)`."""
        if self._stoch is not None:
            return self._stoch
        vectors = tf.one_hot(self._index, self._classes, dtype=self.dtype)
        return tf.reshape(vectors, [*tfutils.lead(self._index, 1), self._stoch_size])

    @property
    def tensor(self) -> tf.Tensor:
        return tf.concat([self.stoch, self._rest], -1)

    @property
    def shape(self) -> tf.TensorShape:
        size = self._stoch_size + self._rest.shape[-1]
        return tf.TensorShape([*self._rest.shape[:-1], size])

    @property
    def dtype(self) -> tf.DType:
        return self._rest.dtype

    @property
    def _stoch_size(self) -> int:
        return self._index.shape[-1] * self._classes

    def __getitem__(self, key) -> Features:
        """Returns the features of some states: a key of the leading dimensions."""
        return self._map(lambda x: x[key])

    def flat(self) -> Features:
        """Joins all leading dimensions."""
        return self._map(lambda x: tf.reshape(x, [-1, x.shape[-1]]))

    def _map(self, fn) -> Features:
        stoch = None if self._stoch is None else fn(self._stoch)
        return Features(fn(self._index), self._classes, fn(self._rest), stoch)

    def stop_gradient(self) -> Features:
        return Features(self._index, self._classes, tf.stop_gradient(self._rest))

    def dense(self, kernel: tf.Tensor, bias: tf.Tensor, act: Activation) -> tf.Tensor:
        """Returns `act(tensor @ kernel + bias)` of flat features, without a gradient.

        The bias is in the features' dtype.
        """
        by_stoch, by_rest = self._split(kernel)
        offset = tf.linalg.matmul(self._rest, tf.cast(by_rest, self.dtype)) + bias
        act = activations.for_xla(act)
        return matmul.one_hot_dense(self._index, by_stoch, offset, act)

    def attach_gradient(self, value: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns `value` unchanged and attaches the gradients of `tensor @ kernel`."""
        by_stoch, by_rest = self._split(kernel)
        value = matmul.attach_one_hot_gradient(
            value, self._index, by_stoch, self._stoch
        )
        return matmul.attach_gradient(value, self._rest, by_rest)

    def _split(self, kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the kernel's rows for the latents and those for the rest."""
        # The gradient of slices would be sums of arrays as large as the kernel.
        return tf.split(kernel, [self._stoch_size, -1])


def _to_tensor(value: Features, dtype=None, name=None, as_ref=False):
    del name, as_ref
    return value.tensor if dtype is None else tf.cast(value.tensor, dtype)


tf.register_tensor_conversion_function(Features, _to_tensor)
