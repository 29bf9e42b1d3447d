"""Curves of several seeds: put on common steps, with a mean and a band.

A curve is a pair of arrays: steps, ascending and without repetition, and values.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.plotting import statistics

Series = tuple[np.ndarray, np.ndarray]

# Most points to draw of curves that were logged at different steps: a figure has no
# more pixels.
MAX_POINTS = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Band:
    """Several curves summed up step by step; arrays of shape (steps,).

    Attributes:
        steps: The steps.
        mean: The middle: the mean over the curves, or the median for percentile bands.
        low: Lower edge of the band, NaN where there is only one curve.
        high: Upper edge.
        count: Number of curves at each step, at least 1.
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def binned(curve: Series, width: float) -> Series:
    """Averages a curve over bins of steps, as the original's `plot.py` does.

    A bin contains the steps above its left border up to and including its right one,
    where its mean is placed. Empty bins are left out.

    Args:
        curve: Steps and values.
        width: Width of a bin in steps; 0 leaves the curve as it is.
    """
    steps, values = curve
    if width <= 0:
        return curve
    # Rounding keeps a border that floating point misses by a hair in its own bin.
    numbers = np.ceil(np.round(steps / width, 9))
    bins, where, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    return bins * width, np.bincount(where, values) / sizes


def smooth(curve: Series, window: float) -> Series:
    """Averages over the last `window` steps, so nothing shows before it happens.

    Args:
        curve: Steps and values.
        window: Length in steps; 0 leaves the curve as it is.
    """
    steps, values = curve
    if window <= 0:
        return curve
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.searchsorted(steps, steps - window, side="right")
    last = np.arange(1, len(steps) + 1)
    return steps, (sums[last] - sums[first]) / (last - first)


def align(curves: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Puts curves on common steps by linear interpolation.

    Args:
        curves: At least one; they may begin and end at different steps.

    Returns:
        Steps of shape (steps,): the union of the curves' steps or, if these are more
        than `MAX_POINTS`, of bins. And values of shape (curves, steps), NaN before a
        curve's first step and after its last.
    """
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    if len(steps) > MAX_POINTS:
        width = (steps[-1] - steps[0]) / (MAX_POINTS - 2)
        return align([binned(curve, width) for curve in curves])
    rows = [np.interp(steps, *curve, left=np.nan, right=np.nan) for curve in curves]
    return steps, np.stack(rows)


def band(curves: Sequence[Series], kind: str = "ci95") -> Band:
    """Computes the middle of several curves and the band around it, step by step.

    Each step counts only the curves that extend over it.

    Args:
        curves: At least one, each of one seed.
        kind: One of `KINDS`: `ci95` is the mean and its 95% interval by Student's t
            over the curves; `std1` the mean and a standard deviation to both sides;
            `per0`, `per5` and `per25` the median between two percentiles.
    """
    steps, matrix = align(curves)
    present = ~np.isnan(matrix)
    edges = np.empty((3, len(steps)))
    for pattern in np.unique(present, axis=1).T:
        columns = (present == pattern[:, None]).all(0)
        edges[:, columns] = KINDS[kind](matrix[pattern][:, columns])
    count = present.sum(0)
    low, middle, high = edges
    low[count == 1] = high[count == 1] = np.nan
    return Band(steps, middle, low, high, count)


def deviation(values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the mean of values (curves, steps), one deviation below and above."""
    mean, width = values.mean(0), values.std(0)
    return mean - width, mean, mean + width


def percentiles(values: np.ndarray, outside: float) -> np.ndarray:
    """Returns the median of values (curves, steps) between two percentiles."""
    return np.percentile(values, [outside, 50, 100 - outside], axis=0)


KINDS = {
    "ci95": statistics.mean,
    "std1": deviation,
    "per0": functools.partial(percentiles, outside=0),
    "per5": functools.partial(percentiles, outside=5),
    "per25": functools.partial(percentiles, outside=25),
}
