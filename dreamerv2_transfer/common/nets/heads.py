"""Networks that read features: reward, discount, actor, critic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.common.nets.features import Features
from dreamerv2_transfer.common.nets.layers import (
    Dense,
    _build_stack,
    _choose,
    _flat,
    _norms,
    unflatten,
)
from dreamerv2_transfer.common.ops import activations


class _Head(keras.layers.Layer):
    """Reads features: a tensor, or `Features`, which Keras takes by name only."""

    def __call__(self, features: tf.Tensor | Features, *args, **kwargs):
        return super().__call__(*args, features=features, **kwargs)


class MLP(_Head):
    """Dense layers and an output distribution: reward, discount, actor, critic.

    Args:
        shape: Shape of one event; an int for a vector, `()` for a scalar.
        layers: Number of hidden layers.
        units: Their size.
        act: Activation.
        norm: `none` or `layer`.
        out: Options of `DistLayer`: `dist`, `min_std`, `init_std`, `rng`.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        layers: int,
        units: int,
        act: str = "elu",
        norm: str = "none",
        name: str = "mlp",
        **out,
    ):
        super().__init__(name=name)
        act = activations.get_act(act)
        # Without norms the layers can do it themselves, which is faster.
        inside = norm == "none" and activations.tells_gradient(act)
        own, self._act = (act, tf.identity) if inside else (None, act)
        self.denses = [Dense(units, own, name=f"dense{i}") for i in range(layers)]
        self.norms = _norms("norm", norm, layers)
        self.out = DistLayer(shape, name="out", **out)

    def build(self, feat_size: int) -> None:
        self.out.build((None, _build_stack(self.denses, self.norms, feat_size)))

    def call(
        self,
        features: tf.Tensor | Features,
        known: Sequence[tf.Tensor] | None = None,
    ):
        """The distribution of the output, given features `(..., feat)`.

        Args:
            features: Tensor or `Features`.
            known: What `record` returned for the same features, which is then not
                computed again; the gradients are those of computing it.
        """
        return self._run(features, known)[0]

    def record(self, features: tf.Tensor | Features):
        """As `call`, and the results of the dense layers, each `(..., units)`."""
        return self._run(features, None)

    def _run(self, features, known):
        lead, x = tfutils.lead(features, 1), _flat(features)
        results = [None] * len(self.denses) if known is None else map(_flat, known)
        hidden = []
        for layer, norm, result in zip(self.denses, self.norms, results, strict=True):
            hidden.append(layer(x) if result is None else layer.known(result, x))
            x = self._act(norm(hidden[-1]))
        restore = lambda x: tf.reshape(x, [*lead, x.shape[-1]])  # noqa: E731
        return self.out(restore(x)), [restore(x) for x in hidden]


class DistLayer(keras.layers.Layer):
    """A dense layer whose output parametrizes a distribution, in float32.

    Args:
        shape: Shape of one event; an int for a vector, `()` for a scalar.
        dist: `mse` (a Normal of unit variance), `normal`, `binary`, `tanh_normal`,
            `trunc_normal` or `onehot`.
        min_std: Smallest standard deviation, where it is not fixed.
        init_std: Added before the activation of the standard deviation.
        rng: Source of the samples by which `tanh_normal` estimates its entropy.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        dist: str = "mse",
        min_std: float = 0.1,
        init_std: float = 0.0,
        rng: tf.random.Generator | None = None,
        name: str = "out",
    ):
        super().__init__(name=name)
        self._shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self._make = _choose("dist", dist, _DISTS)
        self._min_std = min_std
        self._init_std = init_std
        self._rng = rng
        size = math.prod(self._shape)
        self.out = Dense(size, name="out")
        if dist in ("normal", "tanh_normal", "trunc_normal"):
            self.std = Dense(size, name="std")
        else:
            self.std = None

    def build(self, input_shape: tuple) -> None:
        self.out.build(input_shape)
        if self.std is not None:
            self.std.build(input_shape)

    def call(self, inputs: tf.Tensor):
        return self._make(self, self._event(self.out, inputs), inputs)

    def _event(self, layer: Dense, inputs: tf.Tensor) -> tf.Tensor:
        """`(..., *shape)` in float32."""
        return tf.cast(unflatten(layer(inputs), self._shape), tf.float32)

    def _mse(self, out, inputs):
        return tfd.Independent(tfd.Normal(out, 1.0), len(self._shape))

    def _normal(self, out, inputs):
        # The original takes the raw output, of which half is negative at first.
        return tfd.Independent(
            tfd.Normal(out, self._positive_std(inputs)), len(self._shape)
        )

    def _positive_std(self, inputs: tf.Tensor) -> tf.Tensor:
        std = self._event(self.std, inputs)
        return tf.nn.softplus(std + self._init_std) + self._min_std

    def _binary(self, out, inputs):
        return tfd.Independent(tfd.Bernoulli(out, dtype=tf.float32), len(self._shape))

    def _tanh_normal(self, out, inputs):
        dist = dists.tanh_normal(5 * tf.tanh(out / 5), self._positive_std(inputs))
        seed = tfutils.make_seeds(self._rng, 1)[0]
        if seed is None:
            seed = tf.zeros([2], tf.int32)
        return dists.SampleDist(tfd.Independent(dist, len(self._shape)), seed)

    def _trunc_normal(self, out, inputs):
        std = self._event(self.std, inputs)
        std = 2 * tf.sigmoid((std + self._init_std) / 2) + self._min_std
        return tfd.Independent(
            dists.TruncNormalDist(tf.tanh(out), std, -1.0, 1.0), len(self._shape)
        )

    def _onehot(self, out, inputs):
        return dists.OneHotDist(out)


_DISTS = {
    "mse": DistLayer._mse,
    "normal": DistLayer._normal,
    "binary": DistLayer._binary,
    "tanh_normal": DistLayer._tanh_normal,
    "trunc_normal": DistLayer._trunc_normal,
    "onehot": DistLayer._onehot,
}
