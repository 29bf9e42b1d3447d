"""Networks that read features: reward, discount, actor, critic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf
import tensorflow_probability.python.distributions as tfd

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.choices import ACTOR_DISTS, HEAD_DISTS
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.common.nets.features import Features
from dreamerv2_transfer.common.nets.layers import (
    Dense,
    build_stack,
    flatten_lead,
    make_norms,
    unflatten,
)
from dreamerv2_transfer.common.ops import activations


class Head(keras.layers.Layer):
    """Reads features: a tensor, or `Features`, which Keras takes by name only."""

    def __call__(self, features: tf.Tensor | Features, *args, **kwargs):
        return super().__call__(*args, features=features, **kwargs)


class MLP(Head):
    """Dense layers and an output distribution: reward, discount, actor, critic.

    Args:
        shape: Shape of one event; an int for a vector, `()` for a scalar.
        layers: Number of hidden layers.
        units: Their size.
        act: Activation.
        norm: `none` or `layer`.
        name: Name of the layer.
        out: Options of `DistLayer`, such as `dist` and `rng`; with `parts`, those of
            `JointLayer`.
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
        # Without a norm before it, a dense layer applies the activation faster itself.
        inside = norm == "none" and activations.can_attach_gradient(act)
        own, self._act = (act, tf.identity) if inside else (None, act)
        self.denses = [Dense(units, own, name=f"dense{i}") for i in range(layers)]
        self.norms = make_norms("norm", norm, layers)
        make_out = JointLayer if "parts" in out else DistLayer
        self.out = make_out(shape, name="out", **out)

    def build(self, feat_size: int) -> None:
        self.out.build((None, build_stack(self.denses, self.norms, feat_size)))

    def call(
        self,
        features: tf.Tensor | Features,
        cache: Sequence[tf.Tensor] | None = None,
    ):
        """Returns the distribution of the output, given features `(..., feat)`.

        Args:
            features: Tensor or `Features`.
            cache: What `call_with_cache` returned for the same features. The dense
                layers are not computed again, but have the gradients of a full call.
        """
        return self._forward(features, cache)[0]

    def call_with_cache(self, features: tf.Tensor | Features):
        """As `call`; also returns each dense layer's result `(..., units)`."""
        return self._forward(features, cache=None)

    def _forward(self, features, cache):
        lead, x = tfutils.lead(features, 1), flatten_lead(features)
        cached = [None] * len(self.denses)
        if cache is not None:
            cached = [flatten_lead(result) for result in cache]
        results = []
        for dense, norm, result in zip(self.denses, self.norms, cached, strict=True):
            result = dense(x) if result is None else dense.attach_gradient(result, x)
            results.append(result)
            x = self._act(norm(result))
        x, *results = (tf.reshape(y, [*lead, y.shape[-1]]) for y in (x, *results))
        return self.out(x), results


class DistLayer(keras.layers.Layer):
    """A dense layer whose output parametrizes a distribution, in float32.

    Args:
        shape: Shape of one event; an int for a vector, `()` for a scalar.
        dist: `mse` (a Normal of unit variance), `normal`, `binary`, `tanh_normal`,
            `trunc_normal`, `onehot`, `symlog_mse` (see `dists.Symlog`), or, for a
            number, `symlog_twohot` (see `dists.SymlogTwoHot`) or `support` (see
            `dists.Support`). `squashed_normal` (see `dists.SquashedNormal`) and
            `normal_tanh` (a Normal whose mean is a tanh, its standard deviation a
            sigmoid and `min_std`) are those of pydreamer's actors.
        min_std: Smallest standard deviation, where it is not fixed.
        init_std: Added before the activation of the standard deviation.
        bins: Number of bins of `symlog_twohot`.
        bin_limit: Its limit, see `dists.SymlogTwoHot`.
        outscale: Factor of the layer's initial weights. With 0 a head predicts 0 at
            first, so that an untrained critic or reward head promises nothing (Hafner
            et al. 2023, section "Critic Learning").
        unimix: See `dists.OneHotDist`; other distributions ignore it.
        support: The values of `support`.
        rng: Source of the samples from which `tanh_normal` estimates its entropy.
        name: Name of the layer.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        dist: str = "mse",
        min_std: float = 0.1,
        init_std: float = 0.0,
        bins: int = 255,
        bin_limit: float = 20.0,
        outscale: float = 1.0,
        unimix: float = 0.0,
        support: Sequence[float] = (0.0, 1.0),
        rng: tf.random.Generator | None = None,
        name: str = "out",
    ):
        super().__init__(name=name)
        if dist not in ALL_DISTS:
            known = ", ".join(ALL_DISTS)
            raise ValueError(f"dist is one of {known}. Received: {dist!r}")
        self._shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if dist == "onehot" and not self._shape:
            raise ValueError("dist=onehot is for actions; a number has no classes.")
        if dist in ("symlog_twohot", "support") and self._shape:
            raise ValueError(
                f"dist={dist} is for heads that predict one number (the reward "
                "head, the critic, and the head of ModelLoss). Received: one that "
                f"predicts {math.prod(self._shape)}; choose another dist for it."
            )
        self._dist = dist
        self._min_std = min_std
        self._init_std = init_std
        self._unimix = unimix
        self._rng = rng
        self._bin_limit = bin_limit
        self._support = support
        size = math.prod(self._shape)
        outputs = {"symlog_twohot": bins, "support": len(support)}.get(dist, size)
        self.out = Dense(outputs, name="out", kernel_initializer=_glorot(outscale))
        if dist in WITH_STD:
            self.std = Dense(size, name="std")
        else:
            self.std = None

    def build(self, input_shape: tuple) -> None:
        self.out.build(input_shape)
        if self.std is not None:
            self.std.build(input_shape)

    def call(self, inputs: tf.Tensor):
        if self._dist == "symlog_twohot":
            return dists.SymlogTwoHot(self.out(inputs), self._bin_limit)
        if self._dist == "support":
            return dists.Support(self.out(inputs), self._support)
        out = self._event(self.out, inputs)
        if self._dist in ("mse", "symlog_mse"):
            dist = tfd.Normal(out, 1.0)
        elif self._dist == "normal":
            # The original takes the raw output, half of which is negative at first.
            dist = tfd.Normal(out, self._std(inputs))
        elif self._dist == "binary":
            dist = tfd.Bernoulli(out, dtype=tf.float32)
        elif self._dist == "tanh_normal":
            dist = dists.tanh_normal(5 * tf.tanh(out / 5), self._std(inputs))
            seed = tfutils.make_seeds(self._rng, 1)[0]
            seed = tf.zeros([2], tf.int32) if seed is None else seed
            return dists.SampleDist(tfd.Independent(dist, len(self._shape)), seed)
        elif self._dist == "squashed_normal":
            return dists.SquashedNormal(5 * tf.tanh(out / 5), self._std(inputs))
        elif self._dist == "normal_tanh":
            dist = tfd.Normal(tf.tanh(out), self._std(inputs))
        elif self._dist == "trunc_normal":
            dist = dists.TruncNormalDist(tf.tanh(out), self._std(inputs), -1.0, 1.0)
        else:
            events = len(self._shape)
            return dists.OneHotDist(out, event_dims=events, unimix=self._unimix)
        dist = tfd.Independent(dist, len(self._shape))
        return dists.Symlog(dist) if self._dist == "symlog_mse" else dist

    def _std(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns standard deviations above `min_std`."""
        std = self._event(self.std, inputs) + self._init_std
        if self._dist == "trunc_normal":
            return 2 * tf.sigmoid(std / 2) + self._min_std
        if self._dist == "normal_tanh":
            return tf.sigmoid(std) + self._min_std
        return tf.nn.softplus(std) + self._min_std

    def _event(self, layer: Dense, inputs: tf.Tensor) -> tf.Tensor:
        """Returns a dense layer's output as `(..., *shape)` in float32."""
        return tf.cast(unflatten(layer(inputs), self._shape), tf.float32)


class JointLayer(keras.layers.Layer):
    """A `DistLayer` for each part of a vector, see `dists.Joint`.

    Args:
        shape: Size of the vector.
        parts: How many choices and of how many classes each part has, one-hot, or how
            many numbers and 0.
        dist: Distribution of the numbers.
        name: Name of the layer.
        options: Other options of `DistLayer`.
    """

    def __init__(
        self,
        shape: int,
        parts: Sequence[tuple[int, int]],
        dist: str,
        name: str = "out",
        **options,
    ):
        super().__init__(name=name)
        self._shapes = [part if part[1] else part[:1] for part in parts]
        kinds = ["onehot" if classes else dist for _, classes in parts]
        pairs = enumerate(zip(self._shapes, kinds, strict=True))
        self.parts = [DistLayer(*x, name=f"part{i}", **options) for i, x in pairs]
        sizes = sum(math.prod(x) for x in self._shapes)
        if sizes != shape:
            raise ValueError(f"Received: parts of {sizes} numbers in all, not {shape}.")

    def build(self, input_shape: tuple) -> None:
        for part in self.parts:
            part.build(input_shape)

    def call(self, inputs: tf.Tensor) -> dists.Joint:
        return dists.Joint([part(inputs) for part in self.parts], self._shapes)


ALL_DISTS = tuple(dict.fromkeys((*HEAD_DISTS, *ACTOR_DISTS)))
WITH_STD = ("normal", "tanh_normal", "trunc_normal", "squashed_normal", "normal_tanh")


def _glorot(scale: float):
    """Returns Keras' initializer of kernels, its weights times a factor."""
    if scale == 1:
        return "glorot_uniform"
    if scale == 0:
        return "zeros"
    return keras.initializers.VarianceScaling(scale**2, "fan_avg", "uniform")
