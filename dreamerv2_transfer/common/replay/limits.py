"""What a dataset's options may be, checked before there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.common.replay.store import DatasetError


def check_options(
    tasks: Sequence[str],
    batch: int,
    length: int,
    weights: Sequence[float],
    holdout: int,
) -> None:
    """Checks arguments of `OfflineDataset` that its tasks' names suffice to check.

    Raises:
        DatasetError: One is out of range.
    """
    for name, value in dict(batch=batch, length=length).items():
        if value < 1:
            raise DatasetError(f"{name} must be at least 1. Received: {name}={value}.")
    if holdout < 0 or holdout == 1:
        raise DatasetError(
            "dataset.holdout must be 0 (none) or at least 2 (one episode of this "
            f"many). Received: holdout={holdout}."
        )
    valid = np.isfinite(weights).all() and min(weights) >= 0 and sum(weights) > 0
    if len(weights) != len(tasks) or not valid:
        raise DatasetError(
            "task_weights must be one number per task, none negative, not all "
            f"zero. Received: task_weights={weights} for tasks={list(tasks)}."
        )


def memory_cap(config) -> int:
    """Returns the bytes that a dataset may take in memory; 0 for no cap.

    Args:
        config: `dataset.memory` is the cap in GiB.

    Raises:
        DatasetError: It is not a number of GiB.
    """
    cap = config.dataset.memory
    if not 0 <= cap < np.inf:
        raise DatasetError(
            "dataset.memory must be the GiB that the dataset may take in memory, or 0 "
            f"for no cap. Received: dataset.memory={cap}."
        )
    return math.ceil(cap * 2**30)
