"""Distributions that TensorFlow Probability lacks, and how to sample from any.

Every draw takes an explicit stateless `seed` (shape `(2,)`, int32), so that the
generator that made the seeds can be checkpointed. A `seed` of None means "no noise":
the mode takes the place of the sample, with the gradients of a sample. The reference
values in `tests/golden` were recorded this way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability.python.bijectors as tfb
import tensorflow_probability.python.distributions as tfd

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.ops.fuse import fused

MASKED = -1e9  # The logit of a class that may not be chosen; finite, for gradients.
UNLIKELY = 1e-6  # Samples of a bounded Normal avoid this probability in each tail.


def sample(dist, seed: tf.Tensor | None) -> tf.Tensor:
    """Draws from a distribution, or returns its mode if `seed` is None."""
    if isinstance(dist, OneHotDist | Joint):
        return dist.sample(seed)
    return dist.mode() if seed is None else dist.sample(seed=seed)


def masked(dist, mask: tf.Tensor):
    """Returns a distribution of actions among those that a mask allows.

    Args:
        dist: A distribution of actions; only choices can be masked.
        mask: `(..., size)`, 1 for each class that may be chosen.
    """
    return dist.masked(mask) if isinstance(dist, OneHotDist | Joint) else dist


class OneHotDist:
    """Independent one-hot categoricals with straight-through gradients.

    A sample is `one_hot(i) + p - stop_gradient(p)`: its value is the one-hot vector,
    its gradient that of the probabilities (Hafner et al. 2021, algorithm 1).

    Args:
        logits: `(..., classes)`, unnormalized log probabilities; cast to float32.
        probs: Probabilities of the same shape, instead of logits.
        event_dims: Number of trailing dimensions of one event, over which log
            probabilities are summed: 1 for an action, 2 for a latent state `(stoch,
            classes)`.
        unimix: Share of the uniform distribution that is mixed in, `(1 - unimix) *
            softmax(logits) + unimix / classes`. No class becomes impossible, and KLs
            stay finite (Hafner et al. 2023, section "World Model Learning": 1%).
    """

    def __init__(
        self,
        logits: tf.Tensor | None = None,
        probs: tf.Tensor | None = None,
        event_dims: int = 1,
        unimix: float = 0.0,
    ):
        if (logits is None) == (probs is None):
            raise ValueError(
                "Pass either logits or probs. "
                f"Received: logits={logits!r}, probs={probs!r}"
            )
        if logits is None:
            logits = tf.math.log(tf.cast(probs, tf.float32))
        self.logits = tf.cast(logits, tf.float32)
        self._log_probs = tf.nn.log_softmax(self.logits)
        self._probs = tf.nn.softmax(self.logits)
        if unimix:
            self._probs = (1 - unimix) * self._probs + unimix / self.classes
            self._log_probs = tf.math.log(self._probs)
        self._sum_dims = list(range(-event_dims, 0))

    @property
    def classes(self) -> int:
        return self.logits.shape[-1]

    def masked(self, mask: tf.Tensor) -> OneHotDist:
        """Returns the distribution among the classes of a mask.

        Args:
            mask: 1 for each class that may be chosen, of the logits' shape; where a
                choice has none, all may.
        """
        may = tf.cast(mask, tf.float32) > 0
        may |= ~tf.reduce_any(may, -1, keepdims=True)
        logits = tf.where(may, self._log_probs, MASKED)
        return OneHotDist(logits, event_dims=len(self._sum_dims))

    def mean(self) -> tf.Tensor:
        return self._probs

    def mode(self) -> tf.Tensor:
        return tf.one_hot(tf.argmax(self.logits, -1), self.classes)

    def sample(self, seed: tf.Tensor | None) -> tf.Tensor:
        return self.straight_through(self.draw(seed))

    def straight_through(self, index: tf.Tensor) -> tf.Tensor:
        """Returns the given classes as one-hot vectors with a sample's gradient."""
        # The difference comes first: it is exactly zero, so the value stays one-hot.
        hard = tf.one_hot(index, self.classes)
        return hard + (self._probs - tf.stop_gradient(self._probs))

    def draw(self, seed: tf.Tensor | None) -> tf.Tensor:
        """Draws classes, int32; the likeliest ones without a seed."""
        if seed is None:
            return self.classes_at(None)
        shape = self._probs.shape[:-1]
        if not shape.is_fully_defined():
            shape = tf.unstack(tf.shape(self._probs)[:-1])
        return self.classes_at(replicas.uniform(shape, seed, axis=0))

    def classes_at(self, uniform: tf.Tensor | None) -> tf.Tensor:
        """Returns the classes that uniform numbers select; without, the likeliest.

        Inverts the cumulative distribution at one number for each categorical. The
        Gumbel-max trick would need `classes` times as many, and their logarithms. The
        product with a triangular matrix is a cumulative sum.

        Args:
            uniform: Numbers of 0..1, one for each categorical, or None.

        Returns:
            Classes, int32.
        """
        if uniform is None:
            return tf.argmax(self.logits, -1, tf.int32)
        probs = tf.reshape(tf.stop_gradient(self._probs), [-1, self.classes])
        upper = tf.linalg.band_part(tf.ones([self.classes] * 2), 0, -1)
        index = _passed(probs @ upper, tf.reshape(uniform, [-1, 1]))
        return tf.reshape(index, tf.shape(self._probs)[:-1])

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        # As in TFP the value gets no gradient, even that of a straight-through action.
        value = tf.stop_gradient(tf.cast(value, tf.float32))
        # An impossible class (log probability -inf) counts only where it is the value.
        return tf.reduce_sum(
            tf.math.multiply_no_nan(self._log_probs, value), self._sum_dims
        )

    def entropy(self) -> tf.Tensor:
        return -tf.reduce_sum(
            tf.math.multiply_no_nan(self._log_probs, self._probs), self._sum_dims
        )

    def kl_divergence(self, other: OneHotDist) -> tf.Tensor:
        """Returns `sum_i p_i (log p_i - log q_i)`, summed over the event."""
        difference = self._log_probs - other._log_probs
        return tf.reduce_sum(
            tf.math.multiply_no_nan(difference, self._probs), self._sum_dims
        )


class Joint:
    """Independent parts of one vector, such as choices and numbers of an action.

    With the parts x_i of a vector x and their distributions p_i

        log_prob(x)  sum_i log p_i(x_i)
        entropy      sum_i H(p_i)

    Args:
        parts: The distribution of each part.
        shapes: The shape of an event of each; parts are flat in the vector.
    """

    def __init__(self, parts: Sequence, shapes: Sequence[tuple[int, ...]]):
        self.parts = list(parts)
        self._shapes = [tuple(shape) for shape in shapes]

    def mode(self) -> tf.Tensor:
        return self._join([part.mode() for part in self.parts])

    def mean(self) -> tf.Tensor:
        return self._join([part.mean() for part in self.parts])

    def sample(self, seed: tf.Tensor | None) -> tf.Tensor:
        seeds = tfutils.split_seed(seed, len(self.parts))
        pairs = zip(self.parts, seeds, strict=True)
        return self._join([sample(*pair) for pair in pairs])

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        pairs = zip(self.parts, self._split(value), strict=True)
        return tf.add_n([part.log_prob(tf.cast(x, tf.float32)) for part, x in pairs])

    def entropy(self) -> tf.Tensor:
        return tf.add_n([part.entropy() for part in self.parts])

    def masked(self, mask: tf.Tensor) -> Joint:
        """Masks the choices, see `OneHotDist.masked`; `(..., size)`."""
        pairs = zip(self.parts, self._split(mask), strict=True)
        return Joint([masked(*pair) for pair in pairs], self._shapes)

    def _split(self, value: tf.Tensor) -> list[tf.Tensor]:
        values = tf.split(value, [math.prod(x) for x in self._shapes], -1)
        pairs = zip(values, self._shapes, strict=True)
        return [tf.reshape(x, [*tfutils.lead(x, 1), *shape]) for x, shape in pairs]

    def _join(self, values: Sequence[tf.Tensor]) -> tf.Tensor:
        flat = [
            tf.reshape(x, [*tfutils.lead(x, len(shape)), math.prod(shape)])
            for x, shape in zip(values, self._shapes, strict=True)
        ]
        return tf.concat(flat, -1)


class SymlogTwoHot:
    """A number, predicted as a categorical over bins of its symlog.

    Hafner et al. 2023, "Mastering Diverse Domains through World Models", sections
    "Symlog Predictions" and "Critic Learning". Bins b_i lie at equal distances between
    -limit and limit. With probabilities p = softmax(logits)

        prediction   symexp(sum_i p_i b_i)
        log_prob(x)  sum_i twohot(symlog(x))_i log(p_i)

    where twohot(y) shares 1 between the two bins next to y, the nearer one having more:
    `sum_i twohot(y)_i b_i = y`. Beyond the limits, all of it is the last bin's.

    Args:
        logits: `(..., bins)`, unnormalized log probabilities; cast to float32.
        limit: The symlog of the largest number.
    """

    def __init__(self, logits: tf.Tensor, limit: float):
        self._logits = tf.cast(logits, tf.float32)
        self._limit = limit

    @property
    def _bins(self) -> int:
        return self._logits.shape[-1]

    def mode(self) -> tf.Tensor:
        """Returns the prediction `(...)`, which is `mean` too."""
        bins = tf.linspace(-self._limit, self._limit, self._bins)
        probs = tf.nn.softmax(self._logits)
        # By pairs of opposite bins, so that equal probabilities predict 0 exactly.
        pairs = (probs - tf.reverse(probs, [-1])) * tf.cast(bins, tf.float32)
        return symexp(tf.reduce_sum(pairs, -1) / 2)

    mean = mode

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        value = tf.stop_gradient(tf.cast(value, tf.float32))
        bins, limit = self._bins, self._limit
        place = (symlog(value) + limit) * ((bins - 1) / (2 * limit))
        place = tf.clip_by_value(place, 0.0, bins - 1.0)[..., None]
        target = tf.nn.relu(1.0 - tf.abs(place - tf.range(bins, dtype=tf.float32)))
        return -tf.nn.softmax_cross_entropy_with_logits(target, self._logits)


class Support:
    """A number that is one of a few values.

    `DenseCategoricalSupportDecoder` of pydreamer. With probabilities p =
    softmax(logits) of the values s

        prediction   sum_i p_i s_i
        log_prob(x)  log(p_j), where s_j is the value next to x

    Args:
        logits: `(..., values)`, unnormalized log probabilities; cast to float32.
        values: The values.
    """

    def __init__(self, logits: tf.Tensor, values: Sequence[float]):
        self._logits = tf.cast(logits, tf.float32)
        self._values = tf.constant(values, tf.float32)

    def mode(self) -> tf.Tensor:
        """Returns the prediction `(...)`, which is `mean` too."""
        return tf.linalg.matvec(tf.nn.softmax(self._logits), self._values)

    mean = mode

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        distance = tf.abs(tf.cast(value, tf.float32)[..., None] - self._values)
        return -tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.argmin(distance, -1), self._logits
        )


class Symlog:
    """Numbers, predicted by a distribution of their symlog.

    With a Normal of unit variance and mean y, as in Hafner et al. 2023, equation 1:

        prediction   symexp(y)
        log_prob(x)  -(y - symlog(x))^2 / 2, and a constant

    Args:
        dist: The distribution of `symlog(x)`.
    """

    def __init__(self, dist):
        self._dist = dist

    def mode(self) -> tf.Tensor:
        """Returns the prediction, which is `mean` too."""
        return symexp(self._dist.mode())

    mean = mode

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        return self._dist.log_prob(symlog(tf.cast(value, tf.float32)))


def symlog(x: tf.Tensor) -> tf.Tensor:
    """Returns `sign(x) * log(1 + |x|)`: x near 0, a logarithm far from it."""
    return tf.sign(x) * tf.math.log1p(tf.abs(x))


def symexp(x: tf.Tensor) -> tf.Tensor:
    """Returns the inverse of `symlog`, `sign(x) * (exp(|x|) - 1)`."""
    # The sign's gradient is 0 at 0, where that of the function is 1.
    above, below = tf.maximum(x, 0.0), tf.minimum(x, 0.0)
    return tf.where(x < 0, -tf.math.expm1(-below), tf.math.expm1(above))


@fused
def _passed(cumulative: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Counts the cumulative sums `(N, classes)` that are at most a share of the last.

    Args:
        cumulative: `(N, classes)`; the last sum need not be exactly 1.
        uniform: `(N, 1)`, the share.
    """
    passed = cumulative <= uniform * cumulative[:, -1:]
    last = cumulative.shape[-1] - 1
    return tf.minimum(tf.reduce_sum(tf.cast(passed, tf.int32), -1), last)


class SampleDist:
    """Estimates mean, mode and entropy of a distribution from samples.

    For distributions without closed forms, such as a Normal squashed by tanh.

    Args:
        dist: A `tfd.Distribution`.
        seed: Seed of the samples behind the estimates.
        samples: Number of samples for an estimate; the original's is 100.
    """

    def __init__(self, dist, seed: tf.Tensor, samples: int = 100):
        self._dist = dist
        self._seed = seed
        self._samples = samples

    def sample(self, sample_shape=(), seed: tf.Tensor | None = None) -> tf.Tensor:
        return self._dist.sample(sample_shape, seed=seed)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        return self._dist.log_prob(value)

    def mean(self) -> tf.Tensor:
        return tf.reduce_mean(self._draws(), 0)

    def mode(self) -> tf.Tensor:
        """Returns the likeliest of the samples, for each batch element."""
        draws = self._draws()
        best = tf.argmax(self._dist.log_prob(draws), 0)
        draws = tf.experimental.numpy.moveaxis(draws, 0, -2)
        return tf.gather(draws, best, axis=-2, batch_dims=best.shape.rank)

    def entropy(self) -> tf.Tensor:
        return -tf.reduce_mean(self._dist.log_prob(self._draws()), 0)

    def _draws(self) -> tf.Tensor:
        return self._dist.sample(self._samples, seed=self._seed)


class TruncNormalDist(tfd.TruncatedNormal):
    """A truncated Normal whose samples keep a distance of `clip` from the bounds.

    The gradient ignores the clipping. Samples at the bounds themselves would have a log
    probability of -inf.

    Args:
        loc: Location.
        scale: Scale.
        low: Lower bound.
        high: Upper bound.
        clip: The distance.
    """

    def __init__(self, loc, scale, low, high, clip: float = 1e-6):
        super().__init__(loc, scale, low, high)
        self._clip = clip

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return super()._parameter_properties(dtype, num_classes)

    def sample(self, sample_shape=(), seed=None, **kwargs) -> tf.Tensor:
        event = super().sample(sample_shape, seed=seed, **kwargs)
        clipped = tf.clip_by_value(event, self.low + self._clip, self.high - self._clip)
        return event + tf.stop_gradient(clipped - event)

    def _sample_n(self, n, seed=None) -> tf.Tensor:
        # TFP samples by rejection: a row's sample would depend on the rows before it,
        # which a replica does not have.
        shape = self.batch_shape
        if not shape.is_fully_defined():
            shape = tf.unstack(self.batch_shape_tensor())
        uniform = replicas.uniform([n, *shape], seed, axis=1)
        # The quantiles of 0 and 1 are infinite if the bounds are far away.
        return self.quantile(tf.clip_by_value(uniform, UNLIKELY, 1 - UNLIKELY))


class SquashedNormal:
    """A Normal squashed into (-1, 1) by tanh, with the Normal's own entropy.

    `tanh_normal` of pydreamer, whose entropy leaves out the change of density by tanh,
    and so needs no samples. The mode is the tanh of the mean.

    Args:
        mean: `(..., actions)`.
        std: As `mean`.
    """

    def __init__(self, mean: tf.Tensor, std: tf.Tensor):
        self.normal = tfd.Independent(tfd.Normal(mean, std), 1)
        self._dist = tfd.Independent(tanh_normal(mean, std), 1)

    def mode(self) -> tf.Tensor:
        return tf.tanh(self.normal.mode())

    mean = mode

    def sample(self, seed: tf.Tensor) -> tf.Tensor:
        return self._dist.sample(seed=seed)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        return self._dist.log_prob(value)

    def entropy(self) -> tf.Tensor:
        return self.normal.entropy()


def tanh_normal(mean: tf.Tensor, std: tf.Tensor) -> tfd.Distribution:
    """Returns a Normal squashed into (-1, 1), with finite log prob at the bounds."""
    return tfd.TransformedDistribution(tfd.Normal(mean, std), ClippedTanh())


class ClippedTanh(tfb.Tanh):
    """tanh whose inverse is finite at -1 and 1, which tanh reaches in float32."""

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        limit = tf.constant(0.99999997, y.dtype)
        return tf.atanh(tf.clip_by_value(y, -limit, limit))
