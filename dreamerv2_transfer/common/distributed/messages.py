"""Messages between the processes of a run, exchanged between updates.

The processes are those that `TF_CONFIG` names. They communicate by collective
operations: all of them call the same function, and it returns once all have called it.
With a single process these functions do nothing.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common.distributed import cluster, replicas
from dreamerv2_transfer.common.errors import UserError, describe

Message = Mapping[str, np.ndarray]
# What a collective operation raises when another process has died.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


class WorkerError(UserError):
    """A process that works on the run with others has died, or sees other files."""


@contextlib.contextmanager
def naming_lost_workers(config) -> Iterator[None]:
    """Explains the error that TensorFlow raises when another process has died.

    Raises:
        WorkerError: One of several processes has died.
    """
    try:
        yield
    except LOST as error:
        if not _several(config):
            raise
        raise WorkerError(
            "Another of the processes in TF_CONFIG does not answer any more. Start all "
            "of them again with the same command; they resume from the last "
            f"checkpoint. Received: {describe(error)}"
        ) from error


def agree_on_step(config, step: int | None) -> int | None:
    """Checks that all processes resume from the same step.

    Args:
        config: The resolved configuration.
        step: The step of this process's checkpoint, or None without one.

    Returns:
        The step.

    Raises:
        WorkerError: The processes do not see the same checkpoint.
    """
    if not _several(config):
        return step
    workers, number = cluster.task()
    seen = np.zeros(len(workers), np.int32)
    seen[number] = -1 if step is None else step
    seen = _sum(seen).tolist()
    if len(set(seen)) > 1:
        raise WorkerError(
            "All processes need the same checkpoint. Use a logdir on a file system "
            "that they share; with a URL, the checkpoint has been uploaded by now, so "
            f"start all again. Received: checkpoints of steps {seen} (-1 for none)."
        )
    return step


def any_stopped(config, stopped: Callable[[], bool]) -> Callable[[], bool]:
    """Returns a function that tells all processes whether one was asked to stop.

    So all of them stop at the same step.
    """
    if not _several(config):
        return stopped
    return lambda: bool(_sum(np.array([stopped()], np.int32))[0])


def broadcast(message: Message | None) -> dict[str, np.ndarray]:
    """Sends a message from the chief to all processes, and returns it.

    Args:
        message: The arrays in the chief; None in the other processes, which wait for
            it. bfloat16 arrives as float32, since numpy's files do not support it.
    """
    sent = np.zeros(0, np.int32) if message is None else pack(message)
    (size,) = _sum(np.array([len(sent)], np.int32))
    return unpack(_sum(sent if len(sent) else np.zeros(size, np.int32)))


def pack(message: Message) -> np.ndarray:
    """Returns a message as int32 numbers `(n,)`, which a sum with zeros preserves."""
    arrays = {}
    for name, array in message.items():
        is_bfloat16 = array.dtype == tf.bfloat16.as_numpy_dtype
        arrays[name] = array.astype(np.float32) if is_bfloat16 else array
    file = io.BytesIO()
    np.savez(file, **arrays)
    data = file.getvalue()
    return np.frombuffer(data + bytes(-len(data) % 4), np.int32)


def unpack(numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the message that `pack` turned into numbers; it runs no code from it."""
    with np.load(io.BytesIO(numbers.tobytes()), allow_pickle=False) as message:
        return dict(message)


def _several(config) -> bool:
    return config.strategy == "multiworker"


def _sum(numbers: np.ndarray) -> np.ndarray:
    """Returns the sum of `(n,)` int32 numbers over the processes."""
    return _adder()(tf.constant(numbers)).numpy()


@functools.cache
def _adder() -> Callable[[tf.Tensor], tf.Tensor]:
    strategy = replicas.strategy("multiworker")
    workers, _ = cluster.task()

    def total(numbers: tf.Tensor) -> tf.Tensor:
        # A process with several GPUs has several replicas, one of which contributes.
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        first = replica % (replicas.count() // len(workers)) == 0
        return replicas.total(tf.where(first, numbers, 0))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def add(numbers: tf.Tensor) -> tf.Tensor:
        summed = strategy.run(total, (numbers,))
        return strategy.experimental_local_results(summed)[0]

    return add
