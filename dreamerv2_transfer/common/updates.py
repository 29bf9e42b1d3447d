"""What every stage does around an update: tensors in, numbers out, none of them NaN."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common import atomic
from dreamerv2_transfer.common.errors import UserError


class TrainingError(UserError):
    """A loss that is not a number."""


def tensors(batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {k: tf.convert_to_tensor(v) for k, v in batch.items()}


def numbers(metrics: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in sorted(metrics.items())}


def is_due(step: int, every: float) -> bool:
    """Whether a step is a multiple of an interval; an interval of 0 means never."""
    return bool(every) and int(step) % int(every) == 0


def check_finite(
    metrics: Mapping[str, np.ndarray],
    batch: Mapping[str, np.ndarray],
    logdir: pathlib.Path,
    step: int,
    source: str,
) -> None:
    """Stops a run whose losses are not finite, and keeps the batch.

    Args:
        metrics: Scalars; those that end in `_loss` are looked at.
        batch: What they were computed from.
        logdir: Where the batch is kept.
        step: Updates before this one.
        source: Where the batch is from, in words.

    Raises:
        TrainingError: Names the losses and the file.
    """
    # In float16 an overflow of the gradients is a normal event: they are skipped.
    faults = [k for k, v in metrics.items() if k.endswith("_loss") and _bad(v)]
    if not faults:
        return
    path = logdir / f"bad_batch_{int(step)}.npz"
    with atomic.atomic_write(path) as file:
        np.savez_compressed(file, **batch)
    raise TrainingError(
        f"Not a number in update {int(step) + 1}: {', '.join(faults)}. Its "
        f"batch ({source}) is kept in {path}, and the last checkpoint is from "
        "before. Start a run in another --logdir with a lower learning rate "
        "(model_opt.lr for the world model) or --precision 32; --init takes the "
        "weights of this one."
    )


def _bad(value: np.ndarray) -> bool:
    return not math.isfinite(value)
