"""The small formulas of DreamerV2: schedules, returns, action noise, norms."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp
import tensorflow_probability.python.distributions as tfd

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.choices import parse_schedule
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.nets import dists


def schedule(value: float | str, step: tf.Tensor) -> tf.Tensor | float:
    """Returns a number that may depend on the step, in the original's notation.

    `linear(initial,final,duration)`: from initial to final in duration steps.
    `warmup(steps,value)`: from 0 to value in the given steps.
    `exp(initial,final,halflife)`: exponential decay towards final.
    `horizon(initial,final,duration)`: `1 - 1/h`, with h linear.

    Where the duration is 0, it is the final value from the beginning.

    Args:
        value: A number, or one of the strings above.
        step: Scalar integer tensor.

    Raises:
        ValueError: If the string is none of these.
    """
    try:
        return float(value)
    except ValueError:
        pass
    name, numbers = parse_schedule(str(value))
    return SCHEDULES[name](tf.cast(step, tf.float32), *numbers)


def _linear(step, initial, final, duration):
    mix = tf.clip_by_value(step / duration, 0.0, 1.0) if duration else 1.0
    return (1 - mix) * initial + mix * final


SCHEDULES = {
    "linear": _linear,
    "warmup": lambda step, steps, value: _linear(step, 0.0, value, steps),
    "exp": lambda step, initial, final, halflife: (
        (initial - final) * 0.5 ** (step / halflife) + final if halflife else final
    ),
    "horizon": lambda step, *args: 1 - 1 / _linear(step, *args),
}


def lambda_return(
    reward: tf.Tensor,
    value: tf.Tensor,
    pcont: tf.Tensor,
    bootstrap: tf.Tensor,
    lambda_: float,
) -> tf.Tensor:
    """Returns TD(lambda) targets (Hafner et al. 2021, equation 4), time first.

    `R_t = r_t + d_t * ((1 - lambda) * v_{t+1} + lambda * R_{t+1})`, with the bootstrap
    as `v_T` and `R_T`. lambda 1 gives the discounted Monte Carlo return, lambda 0 the
    one-step return.

    Args:
        reward: `(T, ...)`, the reward of step t.
        value: `(T, ...)`, the value of the state at t.
        pcont: `(T, ...)`, the discount between t and t + 1.
        bootstrap: `(...)`, the value of the state at T.
        lambda_: The mixing weight, 0 to 1.

    Returns:
        `(T, ...)`, the target of the state at t.
    """
    next_value = tf.concat([value[1:], bootstrap[None]], 0)
    one_step = reward + pcont * next_value * (1 - lambda_)
    returns, last = [], bootstrap
    for t in reversed(range(reward.shape[0])):
        last = one_step[t] + pcont[t] * lambda_ * last
        returns.append(last)
    return tf.stack(returns[::-1], 0)


def mean(values: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Returns the weighted mean over all replicas, 0 without weight; float32."""
    values, weight = tf.cast(values, tf.float32), tf.cast(weight, tf.float32)
    sums = tf.reduce_sum(values * weight), tf.reduce_sum(weight)
    return tf.math.divide_no_nan(*replicas.total_at_once(sums))


def check_noise(config, parts: Sequence[tuple[int, int]]) -> None:
    """Checks `expl_noise` and `eval_noise` for actions of some parts.

    Args:
        config: The resolved configuration.
        parts: Number and classes of each part, 0 classes for numbers.

    Raises:
        ConfigError: A part is a choice, for which they are a probability above 1.
    """
    largest = max(config.expl_noise, config.eval_noise)
    if largest > 1 and any(classes for _, classes in parts):
        raise ConfigError(
            "The noise of discrete actions is the chance of a random one: expl_noise "
            f"and eval_noise are at most 1 then. Received: {largest:g}"
        )


def action_noise(
    action: tf.Tensor,
    amount: float,
    discrete: bool,
    seed: tf.Tensor | None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """Adds epsilon-greedy noise to one-hot actions, clipped Gaussian noise to others.

    Args:
        action: `(..., actions)`.
        amount: The chance of a random action, or the standard deviation; 0 for none.
        discrete: Whether actions are one-hot.
        seed: `(2,)`, see `dists`.
        mask: `(..., actions)`, 1 for one-hot actions that are allowed; None for all.
    """
    if amount == 0:
        return action
    if discrete:
        probs = amount / action.shape[-1] + (1 - amount) * action
        dist = dists.OneHotDist(probs=probs)
        return (dist if mask is None else dist.masked(mask)).sample(seed)
    noisy = dists.sample(tfd.Normal(action, tf.cast(amount, action.dtype)), seed)
    return tf.clip_by_value(noisy, -1.0, 1.0)


def noise_by_part(
    action: tf.Tensor,
    amount: float,
    parts: Sequence[tuple[int, int]],
    seed: tf.Tensor | None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
    """Adds the noise of `action_noise` to each part of joined actions.

    Args:
        action: `(..., actions)`.
        amount: As for `action_noise`.
        parts: How many choices and of how many classes each part has, one-hot, or how
            many numbers and 0.
        seed: As for `action_noise`.
        mask: As for `action_noise`.
    """
    if amount == 0:
        return action
    sizes = [count * (classes or 1) for count, classes in parts]
    seeds = tfutils.split_seed(seed, len(parts))
    masks = [None] * len(parts) if mask is None else tf.split(mask, sizes, -1)
    noisy = []
    for (count, classes), value, key, may in zip(
        parts, tf.split(action, sizes, -1), seeds, masks, strict=True
    ):
        shape = tf.shape(value)
        if classes:
            event = [*tfutils.lead(value, 1), count, classes]
            value = tf.reshape(value, event)
            may = None if may is None else tf.reshape(may, event)
        value = action_noise(value, amount, bool(classes), key, may)
        noisy.append(tf.reshape(value, shape))
    return tf.concat(noisy, -1)


class StreamNorm:
    """Divides by a running mean of the magnitude.

    Args:
        momentum: Weight of the old magnitude, 0 to 1: 1 turns the norm off, 0 takes the
            magnitude of the current batch alone.
        scale: Factor on the result.
        eps: Added to the magnitude.
    """

    def __init__(self, momentum: float = 0.99, scale: float = 1.0, eps: float = 1e-8):
        self._momentum = momentum
        self._scale = scale
        self._eps = eps
        self.mag = tf.Variable(1.0, False, dtype=tf.float64, name="mag")

    def __call__(self, inputs: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        self.update(inputs)
        outputs = self.transform(inputs)
        metrics = {
            "mean": tf.reduce_mean(inputs),
            "std": replicas.std(inputs),
            "normed_mean": tf.reduce_mean(outputs),
            "normed_std": replicas.std(outputs),
        }
        return outputs, metrics

    def update(self, inputs: tf.Tensor) -> None:
        mag = replicas.mean(tf.reduce_mean(tf.abs(inputs)))
        mag = tf.cast(mag, tf.float64)
        self.mag.assign(self._momentum * self.mag + (1 - self._momentum) * mag)

    def transform(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs / (tf.cast(self.mag, inputs.dtype) + self._eps) * self._scale


class ReturnNorm:
    """Tracks the range of returns, by which the actor's objective is divided.

    Hafner et al. 2023, "Mastering Diverse Domains through World Models", equations 11
    and 12: with S the exponential moving average, beginning at 0, of `Per(R, 95) -
    Per(R, 5)` of all returns R of an update, advantages are divided by `max(1, S)`.
    Large returns are scaled down, but small ones are not scaled up, as that would
    amplify noise where rewards are sparse.

    Args:
        low: Percentile where the range begins.
        high: Percentile where it ends.
        decay: Share of the running range that an update keeps.
        limit: The smallest divisor.

    Raises:
        ConfigError: If the percentiles are out of order.
    """

    def __init__(
        self,
        low: float = 5.0,
        high: float = 95.0,
        decay: float = 0.99,
        limit: float = 1.0,
    ):
        if low >= high:
            raise ConfigError(
                "return_norm.low must be less than return_norm.high. "
                f"Received: {low} and {high}"
            )
        self._percentiles = [low, high]
        self._decay = decay
        self._limit = limit
        self.range = tf.Variable(0.0, False, dtype=tf.float64, name="range")

    def __call__(self, returns: tf.Tensor) -> tf.Tensor:
        """Updates the range with returns `(T, B)`, and returns the divisor."""
        returns = replicas.gather(tf.stop_gradient(returns), axis=1)
        low, high = tf.unstack(
            tfp.stats.percentile(returns, self._percentiles, interpolation="linear")
        )
        now = tf.cast(high - low, tf.float64)
        self.range.assign(self._decay * self.range + (1 - self._decay) * now)
        return tf.maximum(tf.cast(self.range, returns.dtype), self._limit)
