"""Runs updates in graphs, reads their metrics, and stops at what is not finite."""

from __future__ import annotations

import contextlib
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common import progress, tfutils
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic

Batch = Mapping[str, np.ndarray]
# Largest number of updates that go unchecked. Their batches are kept, about 50 MB for
# Atari; waiting for the device only this often costs next to nothing.
READ_EVERY = 16
ADVICE = (
    "Start a run in another --logdir with a lower learning rate (model_opt.lr for the "
    "world model, actor_opt.lr and critic_opt.lr for the behavior, dqn.optimizer.lr "
    "for a DQN) or --precision 32."
)


class TrainingError(UserError):
    """A loss, a gradient or a weight is not finite."""


class Updates:
    """Updates of a model, whose metrics stay on the device until they are read.

    A call of the graph makes one update or `steps_per_call` of them, and returns each
    one's metrics as a vector without waiting for the device. Batches are kept until
    their metrics are read, to report a loss that is not finite with its batch.

    Args:
        update: One update, not compiled: takes a batch and the state before it, returns
            the state after it, and metrics by name, scalars or vectors.
        config: The resolved configuration.
        logdir: The folder for a batch whose losses are not finite.
        source: Describes in words where a batch comes from.
        consume: Called with the metrics of each update, float32 and sorted by name, and
            with its batch.
    """

    def __init__(
        self,
        update: Callable,
        config,
        logdir: pathlib.Path,
        source: Callable[[Batch], str],
        consume: Callable[[dict[str, np.ndarray], Batch], None],
    ):
        self._update = update
        self._strategy = config.strategy
        self._is_compiled = config.jit
        self._one = tfutils.compiled(self._one_fn, config)
        self._several = tfutils.compiled(self._several_fn, config)
        self._logdir = logdir
        self._source = source
        self._consume = consume
        self._shapes: dict[str, tuple] = {}  # Of the metrics, known from tracing.
        self._metrics: list[tf.Tensor] = []  # (updates, values) of each unread call.
        self._batches: list[tuple[int, Batch]] = []  # Each with its number of updates.

    def run(self, batches: Sequence[Batch], state, step: int):
        """Makes an update on each batch in turn, all in one call of the graph.

        Args:
            batches: As many as `in_next_call` returns.
            state: The state before the first of them.
            step: Number of updates made before this call.

        Returns:
            The state after the last of them.

        Raises:
            TrainingError: As in `read`, which is called when too much is unread.
        """
        with contextlib.ExitStack() as stack:
            if self._is_compiled and not self._shapes:
                stack.enter_context(progress.explained("Compiling the first update"))
            if len(batches) == 1:
                state, metrics = self._one(tensors(batches[0]), state)
            else:
                stacked = {k: np.stack([b[k] for b in batches]) for k in batches[0]}
                state, metrics = self._several(tensors(stacked), state)
        self._metrics.append(metrics)
        self._batches += enumerate(batches, int(step))
        if len(self._batches) >= READ_EVERY:
            self.read()
        return state

    def read(self) -> None:
        """Passes the metrics of all updates since the last call to `consume`.

        Raises:
            TrainingError: If a loss of one of them is not finite.
        """
        if not self._batches:
            return
        rows = tf.concat(self._metrics, 0).numpy()  # Waits for the device, once.
        ends = np.cumsum([math.prod(shape) for shape in self._shapes.values()])
        for row, (step, batch) in zip(rows, self._batches, strict=True):
            parts = zip(self._shapes.items(), np.split(row, ends[:-1]), strict=True)
            metrics = {name: part.reshape(shape) for (name, shape), part in parts}
            check_finite(metrics, batch, self._logdir, step, self._source(batch))
            self._consume(metrics, batch)
        # Only now: after an error, the next call must raise it again, so that nothing
        # that follows a loss that is not finite is saved.
        self._metrics, self._batches = [], []

    def _one_fn(self, batch: dict[str, tf.Tensor], state):
        """Makes one update; its metrics are `(1, values)`."""
        state, metrics = self._packed(batch, state)
        return state, metrics[None]

    def _several_fn(self, batches: dict[str, tf.Tensor], state):
        """Updates on `(updates, B, T, ...)`; the metrics are `(updates, values)`."""
        count = next(iter(batches.values())).shape[0]

        def body(i, state, metrics):
            batch = {k: v[i] for k, v in batches.items()}
            state, row = self._packed(batch, state)
            return i + 1, state, metrics.write(i, row)

        _, state, metrics = tf.while_loop(
            lambda i, *_: i < count,
            body,
            (0, state, tf.TensorArray(tf.float32, count)),
            parallel_iterations=1,
            maximum_iterations=count,
        )
        return state, metrics.stack()

    def _packed(self, batch: dict[str, tf.Tensor], state):
        """Makes one update; its metrics are one vector, in the order of their names."""

        def one_update(batch, state):
            state, metrics = self._update(batch, state)
            metrics = {k: tf.cast(metrics[k], tf.float32) for k in sorted(metrics)}
            self._shapes = {k: tuple(v.shape) for k, v in metrics.items()}
            return state, tf.concat([tf.reshape(v, [-1]) for v in metrics.values()], 0)

        return replicas.update(self._strategy, one_update, batch, state)


def in_next_call(config, step: int, *ends: int) -> int:
    """Returns the number of updates of the next call: `steps_per_call` or one.

    A call ends at the latest at the next update after which something is logged,
    evaluated or saved.

    Args:
        config: The resolved configuration.
        step: Number of updates made so far.
        ends: Other updates at which it ends at the latest; earlier ones are ignored.
    """
    step = int(step)
    every = [int(config[f"{k}_every"]) for k in ("log", "eval", "checkpoint")]
    left = [n - step % n for n in every if n]
    left += [int(n) - step for n in ends if n > step]
    return config.steps_per_call if config.steps_per_call <= min(left) else 1


def tensors(batch: Batch) -> dict[str, tf.Tensor]:
    return {k: tf.convert_to_tensor(v) for k, v in batch.items()}


def numbers(metrics: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in sorted(metrics.items())}


def check_finite(
    metrics: Mapping[str, np.ndarray],
    batch: Batch,
    logdir: pathlib.Path,
    step: int,
    source: str,
) -> None:
    """Stops a run whose losses or gradients are not finite, and saves the batch.

    Args:
        metrics: Scalars; those whose names end in `_loss` or `_grad_norm` are checked.
            Gradients of a scaled loss may overflow in float16, which is normal: that
            update is skipped.
        batch: The batch that they were computed from.
        logdir: The folder in which the batch is saved.
        step: Number of updates made before this one.
        source: Where the batch comes from, in words.

    Raises:
        TrainingError: Names the metrics and the file.
    """
    faults = [
        name
        for name, value in metrics.items()
        if name.endswith(("_loss", "_grad_norm"))
        and f"{name.removesuffix('_grad_norm')}_loss_scale" not in metrics
        and not math.isfinite(value)
    ]
    if not faults:
        return
    path = logdir / f"bad_batch_{int(step)}.npz"
    with atomic.atomic_write(path) as file:
        np.savez_compressed(file, **batch)
    raise TrainingError(
        f"Not a number in update {int(step) + 1}: {', '.join(faults)}. The batch "
        f"({source}) is saved in {path}; the last checkpoint is from before. {ADVICE} "
        "Load the weights of this run with --init."
    )


def check_weights(variables: Mapping[str, tf.Variable], when: str) -> None:
    """Stops a run before it saves variables that are not finite.

    The losses of an update tell of the weights before it, never of those after.

    Args:
        variables: All variables by name.
        when: When they have these values, such as `update 7`.

    Raises:
        TrainingError: Names the first of them.
    """
    if names := tfutils.not_finite(variables):
        others = f" and {len(names) - 1} more" if names[1:] else ""
        raise TrainingError(
            f"Not a number after {when}: {names[0]}{others}. They are not saved; the "
            f"last checkpoint is from before. {ADVICE}"
        )
