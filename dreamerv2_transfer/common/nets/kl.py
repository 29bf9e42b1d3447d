"""The divergence of latents, and how much of it is free."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability.python.distributions as tfd

from dreamerv2_transfer.common.nets import dists


def kl_divergence(a, b) -> tf.Tensor:
    """Returns KL(a || b) in nats, summed over the event."""
    if isinstance(a, dists.OneHotDist):
        return a.kl_divergence(b)
    return tfd.kl_divergence(a, b)


def frees_average(balance: float, free_avg: bool, separate: bool, **unused) -> bool:
    """Whether the free nats are compared with the mean KL, not with that of each step.

    The original ignores `free_avg` where no balance is needed.

    Args:
        balance: See `EnsembleRSSM.kl_losses`.
        free_avg: See there.
        separate: See there.
        unused: Its other options.
    """
    return free_avg and not separate and balance != 0.5


def free_nats(
    value: tf.Tensor, free: float, free_avg: bool, whole: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns the mean KL, raised to at least `free` nats.

    Args:
        value: The KL of each step, in nats.
        free: The smallest KL that is pushed down, in nats.
        free_avg: Whether to raise the mean, not each step.
        whole: The mean over all replicas; by default that of `value`.
    """
    if free_avg:
        average = tf.reduce_mean(value)
        whole = average if whole is None else whole
        return tf.where(whole < free, tf.cast(free, average.dtype), average)
    return tf.reduce_mean(tf.maximum(value, free))
