"""What the processes of one run say to each other, between their updates.

They are those that `TF_CONFIG` names, and speak by collective operations: each of them
calls the same function, and it returns when all have. In one process, nothing is said.
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
# What a collective operation ends with when another process is not there any more.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


class WorkerError(UserError):
    """A process of several that work together is not there any more."""


@contextlib.contextmanager
def losses_told(config) -> Iterator[None]:
    """Turns what TensorFlow raises when another process has died into a sentence.

    Raises:
        WorkerError: A process of several is not there any more.
    """
    try:
        yield
    except LOST as error:
        if not _several(config):
            raise
        raise WorkerError(
            "Another of the processes in TF_CONFIG does not answer any more. Start all "
            "of them again with the same command; they go on from the last checkpoint. "
            f"Received: {describe(error)}"
        ) from error


def agreed(config, step: int | None) -> int | None:
    """The step from which all processes go on; returns when all have said theirs.

    Raises:
        WorkerError: They do not see the same checkpoint.
    """
    if not _several(config):
        return step
    workers, number = cluster.task()
    seen = np.zeros(len(workers), np.int32)
    seen[number] = -1 if step is None else step
    seen = _sum(seen).tolist()
    if len(set(seen)) > 1:
        raise WorkerError(
            "All processes need the same checkpoint: a logdir on a file system that "
            "they share or, by URL, one that is uploaded, which it is now; start all "
            f"again. Received: checkpoints of the steps {seen}, where -1 is none."
        )
    return step


def any_stopped(config, stopped: Callable[[], bool]) -> Callable[[], bool]:
    """Asks all processes whether one was told to stop, so that all do at one step."""
    if not _several(config):
        return stopped
    return lambda: bool(_sum(np.array([stopped()], np.int32))[0])


def from_chief(message: Message | None) -> dict[str, np.ndarray]:
    """What the chief passes, in all processes; the others pass None and wait for it.

    Numbers of bfloat16 arrive as float32, as a file of numpy does not know them.
    """
    said = np.zeros(0, np.int32) if message is None else _packed(message)
    (size,) = _sum(np.array([len(said)], np.int32))
    return _unpacked(_sum(said if len(said) else np.zeros(size, np.int32)))


def _several(config) -> bool:
    return config.strategy == "multiworker"


def _packed(message: Message) -> np.ndarray:
    """A message as numbers that can be added to zeros: `(n,)`, int32."""
    file = io.BytesIO()
    is_brain = lambda x: x.dtype == tf.bfloat16.as_numpy_dtype  # noqa: E731
    known = {k: x.astype(np.float32) if is_brain(x) else x for k, x in message.items()}
    np.savez(file, **known)
    data = file.getvalue()
    return np.frombuffer(data + bytes(-len(data) % 4), np.int32)


def _unpacked(numbers: np.ndarray) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(numbers.tobytes()), allow_pickle=False) as message:
        return dict(message)


def _sum(numbers: np.ndarray) -> np.ndarray:
    """The sum over the processes of what each has, `(n,)`, int32."""
    return _summing()(tf.constant(numbers)).numpy()


@functools.cache
def _summing() -> Callable[[tf.Tensor], tf.Tensor]:
    chosen = replicas.strategy("multiworker")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def add(numbers: tf.Tensor) -> tf.Tensor:
        made = chosen.run(lambda: replicas.total(_once_a_process(numbers)))
        return chosen.experimental_local_results(made)[0]

    return add


def _once_a_process(numbers: tf.Tensor) -> tf.Tensor:
    """Zeros in all replicas of a process, which may have several GPUs, but one."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    workers, _ = cluster.task()
    first = replica % (replicas.count() // len(workers)) == 0
    return tf.where(first, numbers, 0)
