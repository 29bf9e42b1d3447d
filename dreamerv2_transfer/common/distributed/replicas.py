"""Updates on several devices at once, by `tf.distribute`.

Each replica computes on its own `B / n` successive rows of the global batch. The result
equals that of one device, except for the order of sums: whatever is not linear in the
rows (a norm, a maximum, a standard deviation) is taken of means over all replicas, and
noise is drawn for the global batch, from which each replica takes its rows.

Without a strategy there is one replica, and these functions do nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.distributed import cluster

MEAN, SUM = tf.distribute.ReduceOp.MEAN, tf.distribute.ReduceOp.SUM
# Actors whose samples depend on their own row alone, and on a seed that is drawn before
# the loop over time, where replicas can agree on it.
DISTS = ("auto", "onehot", "trunc_normal")


@functools.cache
def strategy(kind: str) -> tf.distribute.Strategy:
    """Returns the strategy of this process; the first call initializes TensorFlow.

    Args:
        kind: `none`, `mirrored` (the GPUs of this machine, else its logical CPUs) or
            `multiworker` (the processes that `TF_CONFIG` names).

    Raises:
        ConfigError: `TF_CONFIG` names no workers.
    """
    if kind == "none":
        return tf.distribute.get_strategy()
    if kind == "multiworker":
        cluster.task()
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = (tf.config.list_logical_devices(x) for x in ("GPU", "CPU"))
    return tf.distribute.MirroredStrategy([x.name for x in next(filter(None, devices))])


def check(config) -> None:
    """Checks that replicas can compute what the configuration asks for.

    Raises:
        ConfigError: They cannot; the message names the key.
    """
    replicas = strategy(config.strategy).num_replicas_in_sync
    if config.dataset.batch % replicas:
        raise ConfigError(
            f"strategy {config.strategy} divides a batch among {replicas} replicas, so "
            f"dataset.batch must be a multiple of {replicas}. "
            f"Received: {config.dataset.batch}"
        )
    if replicas > 1 and config.actor.dist not in DISTS:
        raise ConfigError(
            f"With strategy {config.strategy}, actor.dist must be one of "
            f"{', '.join(DISTS)}. Received: {config.actor.dist}"
        )


def update(kind: str, fn: Callable, batch, state):
    """Makes one update on a global batch, each replica on its rows.

    Args:
        kind: See `strategy`.
        fn: Takes a batch and the state before it, `(rows, ...)`; returns the state
            after it, and metrics, a tensor.
        batch: `(B, ...)` of each key.
        state: A structure of `(B, ...)`.

    Returns:
        The state after the batch, `(B, ...)`, and the mean of the metrics.
    """
    if kind == "none":
        return fn(batch, state)
    chosen = strategy(kind)
    replicas = chosen.num_replicas_in_sync
    policy = keras.mixed_precision.dtype_policy()

    def alone(batch, state):
        keras.mixed_precision.set_dtype_policy(policy)  # As in `replica` below.
        return fn(batch, state)

    if replicas == 1:
        return chosen.run(alone, (batch, state))

    def among_zeros(rows):
        """Returns this replica's rows of `(B, ...)`, and zeros for those of others."""
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        mine = tf.one_hot(number, replicas, dtype=rows.dtype)
        parts = tf.tensordot(mine, rows, axes=0)
        return tf.reshape(parts, [replicas * rows.shape[0], *rows.shape[1:]])

    def replica(batch, state):
        # Keras keeps the policy per thread, and each replica has its own thread.
        keras.mixed_precision.set_dtype_policy(policy)
        batch, state = tf.nest.map_structure(own_rows, (batch, state))
        state, metrics = fn(batch, state)
        state = tf.nest.map_structure(among_zeros, state)
        return total_at_once((state, metrics / replicas))

    result = chosen.run(replica, (batch, state))
    return tf.nest.map_structure(
        lambda x: chosen.experimental_local_results(x)[0], result
    )


def count() -> int:
    """Returns the number of replicas of the current update; 1 outside of an update."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def own_rows(x: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Returns this replica's part of a tensor for the global batch."""
    size = count()
    if size == 1:
        return x
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    shape = list(x.shape)
    parts = tf.reshape(x, [*shape[:axis], size, -1, *shape[axis + 1 :]])
    rows = tf.gather(parts, number, axis=axis)
    shape[axis] //= size
    return tf.ensure_shape(rows, shape)


def mean(x):
    """Returns the mean over the replicas of a structure that each of them has."""
    return _all_reduce(MEAN, x)


def total(x):
    """Returns the sum over the replicas of a structure that each of them has."""
    return _all_reduce(SUM, x)


def total_at_once(structure):
    """Returns `total` by a single operation, since each one costs a message."""
    flat = tf.nest.flatten(structure)
    vectors = [tf.reshape(tf.cast(x, tf.float32), [-1]) for x in flat]
    sums = tf.split(total(tf.concat(vectors, 0)), [v.shape[0] for v in vectors])
    pairs = zip(sums, flat, strict=True)
    sums = [tf.cast(tf.reshape(y, x.shape), x.dtype) for y, x in pairs]
    return tf.nest.pack_sequence_as(structure, sums)


def _all_reduce(operation: tf.distribute.ReduceOp, x):
    if count() == 1:
        return x
    return tf.distribute.get_replica_context().all_reduce(operation, x)


def std(x: tf.Tensor) -> tf.Tensor:
    """Returns the standard deviation over all replicas, without a gradient."""
    x = tf.stop_gradient(x)
    center = mean(tf.reduce_mean(x))
    return tf.sqrt(mean(tf.reduce_mean(tf.math.squared_difference(x, center))))


def gather(x: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the rows of all replicas, which lie along `axis`."""
    if count() == 1:
        return x
    return tf.distribute.get_replica_context().all_gather(x, axis)


def once(draw: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Calls `draw` once for all replicas of this process, and returns its result.

    Each process has its own generators; they have the same state.
    """
    if count() == 1:
        return draw()
    return tf.distribute.get_replica_context().merge_call(lambda _: draw())


def uniform(shape: Sequence, seed: tf.Tensor, axis: int) -> tf.Tensor:
    """Draws numbers between 0 and 1 for this replica's rows, which lie along `axis`."""
    return own_rows(tf.random.stateless_uniform(_whole(shape, axis), seed), axis)


def normal(shape: Sequence, seed: tf.Tensor, axis: int) -> tf.Tensor:
    """Draws from a standard Normal for this replica's rows, which lie along `axis`."""
    return own_rows(tf.random.stateless_normal(_whole(shape, axis), seed), axis)


def _whole(shape: Sequence, axis: int) -> list:
    """Returns the shape for the rows of all replicas."""
    shape = list(shape)
    shape[axis] *= count()
    return shape
