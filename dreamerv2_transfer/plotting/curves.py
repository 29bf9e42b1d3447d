"""Curves of several seeds: on common steps, with a mean and a band.

A curve is a pair of arrays: steps, ascending and without repetition, and values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

Series = tuple[np.ndarray, np.ndarray]

# Points that curves which were logged at different steps are drawn with, at most: a
# figure has no more pixels.
MAX_POINTS = 1000
# For the band, which is a picture; the means move by less than a line's width.
RESAMPLES = 2000
CONFIDENCE = 95  # Per cent.


@dataclasses.dataclass(frozen=True, eq=False)
class Band:
    """What several curves are at common steps; arrays of shape (steps,).

    Attributes:
        steps: The steps.
        mean: The middle: the mean over the curves, or the median where that was asked.
        low: The band's lower edge, NaN where there is only one curve.
        high: Its upper edge.
        count: How many curves there are at each step, at least 1.
    """

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def binned(curve: Series, width: float) -> Series:
    """The means over bins of steps, as the original's `plot.py` makes them.

    A bin takes the steps above its left border up to its right one, where its mean is
    placed. Bins without a value are left out.

    Args:
        curve: Steps and values.
        width: Of a bin, in steps; 0 leaves the curve as it is.
    """
    steps, values = curve
    if width <= 0:
        return curve
    # A border that floating point misses by a hair belongs to its own bin.
    numbers = np.ceil(np.round(steps / width, 9))
    bins, where, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    return bins * width, np.bincount(where, values) / sizes


def smooth(curve: Series, window: float) -> Series:
    """The means over the last `window` steps, so that nothing shows before it happens.

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
    """Puts curves on common steps, by straight lines between their own.

    Args:
        curves: At least one; they may begin and end at different steps.

    Returns:
        Steps of shape (steps,), all those of the curves or, of more than `MAX_POINTS`,
        so many bins; and values of shape (curves, steps), NaN before a curve's first
        step and after its last.
    """
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    if len(steps) > MAX_POINTS:
        width = (steps[-1] - steps[0]) / (MAX_POINTS - 2)
        return align([binned(curve, width) for curve in curves])
    rows = [np.interp(steps, *curve, left=np.nan, right=np.nan) for curve in curves]
    return steps, np.stack(rows)


def band(curves: Sequence[Series], kind: str = "ci95", seed: int = 0) -> Band:
    """The middle of several curves and the band around it, step by step.

    At a step only the curves count that reach over it.

    Args:
        curves: At least one, of one seed each.
        kind: One of `KINDS`: `ci95` is the mean and its percentile bootstrap interval
            over the curves (Efron 1979), 95%; `std1` the mean and a standard deviation
            to both sides; `per0`, `per5` and `per25` the median between percentiles.
        seed: Of the resampling.
    """
    steps, matrix = align(curves)
    present = ~np.isnan(matrix)
    edges = np.full((3, len(steps)), np.nan)
    for pattern in np.unique(present, axis=1).T:
        columns = (present == pattern[:, None]).all(0)
        edges[:, columns] = _edges(matrix[pattern][:, columns], kind, seed)
    low, mean, high = edges
    return Band(steps, mean, low, high, present.sum(0))


def _edges(values: np.ndarray, kind: str, seed: int) -> np.ndarray:
    low, middle, high = KINDS[kind](values, seed)
    if len(values) == 1:
        low = high = np.full(middle.shape, np.nan)
    return np.stack([low, middle, high])


def _bootstrap(values: np.ndarray, seed: int):
    number = len(values)
    picks = np.random.default_rng(seed).integers(number, size=(RESAMPLES, number))
    shares = (picks[:, :, None] == np.arange(number)).mean(1)
    outside = (100 - CONFIDENCE) / 2
    low, high = np.percentile(shares @ values, [outside, 100 - outside], axis=0)
    return low, values.mean(0), high


def _deviation(values: np.ndarray, seed: int):
    mean, deviation = values.mean(0), values.std(0)
    return mean - deviation, mean, mean + deviation


def _percentiles(outside: float):
    return lambda values, seed: np.percentile(
        values, [outside, 50, 100 - outside], axis=0
    )


KINDS = {
    "ci95": _bootstrap,
    "std1": _deviation,
    "per0": _percentiles(0),
    "per5": _percentiles(5),
    "per25": _percentiles(25),
}
