"""Estimates and intervals from few runs.

With three seeds a percentile bootstrap is too narrow: a 95% interval of a ratio covers
the truth in 79% of all studies (86% with 5 seeds, 91% with 10), because it takes the
spread of the runs for that of all runs. So one game's numbers have intervals of
Student's t, and those of several games a bootstrap that is wider by as much as t is;
`bench/coverage.py` measures how often they cover the truth. The statistics of several
games are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", and agree with its package rliable.

A sample holds a number per seed; one that is NaN or infinite is left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy import special

CONFIDENCE = 0.95
RESAMPLES = 10_000
# How many of simulated studies have the truth in their interval, by the fewest seeds of
# an arm: of a ratio on one game, of a ratio of pairs, and of the interquartile mean
# over five games. `python bench/coverage.py`
COVERAGE = {
    "ratio": {2: 0.97, 3: 0.97, 5: 0.95, 10: 0.95},
    "pairs": {2: 0.94, 3: 0.94, 5: 0.94, 10: 0.94},
    "games": {2: 0.90, 3: 0.95, 5: 0.96, 10: 0.95},
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval; None where undefined.

    Attributes:
        value: The number.
        low: Lower end; None if an arm has one seed, or if a ratio has no interval.
        high: Upper end.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None


def coverage(seeds: int, of: str = "ratio") -> float | None:
    """Returns how often simulated intervals cover the truth; None for one seed.

    Args:
        seeds: The fewest seeds of an arm.
        of: One of `COVERAGE`.
    """
    known = [number for number in COVERAGE[of] if number <= seeds]
    return COVERAGE[of][max(known)] if known else None


def finite(sample: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns the finite numbers of a sample."""
    values = np.asarray(sample, np.float64)
    return values[np.isfinite(values)]


def quantile(freedom: float | np.ndarray) -> np.ndarray:
    """Returns Student's t that 95% of the distribution lie below in magnitude."""
    return special.stdtrit(freedom, 0.5 + CONFIDENCE / 2)


def mean(values: Sequence[float] | np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns low, mean and high of values (seeds, ...): Student's interval.

    `m +- t(n - 1) s / sqrt(n)` (Student 1908); NaN for one seed.
    """
    values = np.asarray(values, np.float64)
    number, middle = len(values), values.mean(0)
    if number < 2:
        return np.full_like(middle, np.nan), middle, np.full_like(middle, np.nan)
    half = quantile(number - 1) * values.std(0, ddof=1) / math.sqrt(number)
    return middle - half, middle, middle + half


def mean_estimate(sample: Sequence[float] | np.ndarray) -> Estimate:
    """Returns the mean of a sample with Student's interval, see `mean`."""
    known = finite(sample)
    return _estimate(*map(float, mean(known))) if len(known) else Estimate()


def difference(
    sample: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray
) -> Estimate:
    """Returns the difference of two means with Welch's interval.

    `x - y +- t(f) sqrt(u + v)`, where `u` and `v` are the squared errors of the means,
    `s^2 / n` of each, and `f` are the degrees of freedom of `freedom` (Welch 1947).
    Colas et al. 2018, "How Many Random Seeds?", and 2019, "A Hitchhiker's Guide to
    Statistical Comparisons of Reinforcement Learning Algorithms", recommend it: it
    needs no equal variances, and keeps its level with few seeds.
    """
    x, y = finite(sample), finite(other)
    if not (len(x) and len(y)):
        return Estimate()
    value = float(x.mean() - y.mean())
    if min(len(x), len(y)) < 2:
        return Estimate(value)
    errors = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    half = float(quantile(freedom(errors, (len(x), len(y)))) * math.sqrt(sum(errors)))
    return Estimate(value, value - half, value + half)


def ratio(
    sample: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray
) -> Estimate:
    """Returns the ratio of two means with Fieller's interval.

    The interval holds each ratio `r` for which a t test does not reject that the mean
    of `x - r y` is 0: `(x - r y)^2 <= t(f)^2 (u + r^2 v)` (Fieller 1954, "Some Problems
    in Interval Estimation"), where `u` and `v` are the squared errors of the means and
    `f` are Welch's degrees of freedom at the ratio itself. Unlike an interval of
    logarithms it is defined for an arm that is sometimes 0. It begins at 0 or above
    where no number of the arm is negative.

    Args:
        sample: The numerator.
        other: The denominator.

    Returns:
        The ratio; None if the denominator's mean is not positive. No interval with one
        seed, or where the denominator's mean may be 0 at this confidence.
    """
    x, y = finite(sample), finite(other)
    if not (len(x) and len(y)) or y.mean() <= 0:
        return Estimate()
    value = float(x.mean() / y.mean())
    if min(len(x), len(y)) < 2:
        return Estimate(value)
    u, v = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    square = quantile(freedom((u, value**2 * v), (len(x), len(y)))) ** 2
    # The ratios between the roots of `a r^2 - 2 b r + c`.
    a = y.mean() ** 2 - square * v
    b = x.mean() * y.mean()
    c = x.mean() ** 2 - square * u
    if a <= 0:
        return Estimate(value)
    half = math.sqrt(max(b**2 - a * c, 0.0))
    low, high = float((b - half) / a), float((b + half) / a)
    return Estimate(value, max(low, 0.0) if min(x) >= 0 else low, high)


def paired_ratio(
    sample: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray
) -> Estimate:
    """Returns the ratio of two means of numbers that belong together, pair by pair.

    `r +- t(n - 1) s / (y sqrt(n))`, with `s` the standard deviation of the residuals
    `x - r y` (Cochran 1977, "Sampling Techniques", section 6.4). What a pair has in
    common, such as its pre-trained model, is not in the residuals.

    Args:
        sample: The numerator.
        other: The denominator; pairs with a number that is not finite are left out.

    Returns:
        The ratio, None if the denominator's mean is not positive, and no interval for
        one pair.

    Raises:
        ValueError: The samples have different lengths.
    """
    if len(sample) != len(other):
        raise ValueError(f"{len(sample)} and {len(other)} numbers are not pairs.")
    both = np.array([sample, other], np.float64)
    x, y = both[:, np.isfinite(both).all(0)]
    if not len(y) or y.mean() <= 0:
        return Estimate()
    value = float(x.mean() / y.mean())
    if len(x) < 2:
        return Estimate(value)
    error = (x - value * y).std(ddof=1) / math.sqrt(len(x)) / y.mean()
    half = float(quantile(len(x) - 1) * error)
    return Estimate(value, value - half, value + half)


def freedom(errors: Sequence[float], numbers: Sequence[int]) -> float:
    """Returns the degrees of freedom of a sum of squared errors of means.

    `(u + v)^2 / (u^2 / (n - 1) + v^2 / (m - 1))` (Satterthwaite 1946, Welch 1947).
    """
    parts = [e**2 / (n - 1) for e, n in zip(errors, numbers, strict=True)]
    # Without any spread each number is right.
    return sum(errors) ** 2 / sum(parts) if sum(parts) else float(sum(numbers))


def interquartile_mean(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean of the middle half of all runs (Agarwal et al. 2021).

    `sum(s[k : N - k]) / (N - 2 k)` of the sorted scores, `k = floor(N / 4)`. A few runs
    move it less than the mean, and it errs less than the median. Games count alike: if
    they have different numbers of seeds, runs count as if repeated to a common number.

    Args:
        scores: For each game, scores (..., seeds), comparable between games.
    """
    numbers = [game.shape[-1] for game in scores]
    common = math.lcm(*numbers)
    total = common * len(numbers)
    first, last = float(total // 4), float(total - total // 4)
    runs = np.concatenate(scores, -1)
    order = np.argsort(runs, -1, kind="stable")
    copies = np.repeat([float(common // x) for x in numbers], numbers)[order]
    ends = np.cumsum(copies, -1)
    kept = (np.minimum(ends, last) - np.maximum(ends - copies, first)).clip(min=0)
    # What is cut off may be infinite.
    middle = np.where(kept > 0, np.take_along_axis(runs, order, -1), 0)
    return (middle * kept).sum(-1) / (last - first)


def interquartile_ratio(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the interquartile mean of an arm's runs over scratch's mean on each game.

    Args:
        samples: The arm's on each game, (..., seeds), then those of scratch.
    """
    arms, others = _halves(samples)
    pairs = zip(arms, others, strict=True)
    # A resample may have only those runs from scratch that are 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        return interquartile_mean([x / y.mean(-1, keepdims=True) for x, y in pairs])


def improvement(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Returns how likely a run of one arm is above a run of another, on a random game.

    The mean over games of `P(X > Y) + P(X = Y) / 2`, which is Mann and Whitney's U over
    the number of pairs (Agarwal et al. 2021).

    Args:
        samples: The arm's on each game, (..., seeds), then those of the other arm.
    """
    shares = []
    for x, y in zip(*_halves(samples), strict=True):
        above = np.sign(x[..., :, None] - y[..., None, :])
        shares.append(above.mean((-1, -2)) / 2 + 0.5)
    return np.mean(shares, 0)


def profile(scores: Sequence[np.ndarray], thresholds: np.ndarray) -> np.ndarray:
    """Returns the share of runs above each threshold: a performance profile.

    The mean over games of the share of their runs (Agarwal et al. 2021, section 4.2;
    Dolan and More 2002). Where one arm's profile is above another's everywhere, it is
    better by any such score.

    Args:
        scores: For each game, scores (..., seeds).
        thresholds: Thresholds (T,).

    Returns:
        Shares (..., T).
    """
    return np.mean(
        [(x[..., None, :] > thresholds[:, None]).mean(-1) for x in scores], 0
    )


def bootstrap(
    statistic: Callable[[list[np.ndarray]], np.ndarray],
    samples: Sequence[np.ndarray],
    strata: Sequence[Hashable] | None = None,
    expand: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[np.ndarray, ...]:
    """Returns low, value and high of a statistic: a stratified percentile bootstrap.

    Draws the seeds of each game with replacement and never games, which are not a
    sample of all games (Agarwal et al. 2021, section 4.1). With `n` seeds its
    percentiles are too narrow by `sqrt((n - 1) / n)`, and by what t is wider than the
    normal distribution. Expanded percentiles make up for it (Hesterberg 2015, "What
    Teachers Should Know About the Bootstrap", section 4.2): `Phi(-+ t(f) sqrt(n /
    (n - 1)))`, `f` the sum of `n - 1` over the smaller half of the strata.

    Args:
        statistic: Takes each sample as (..., seeds) and returns (..., anything).
        samples: For each game and arm, finite numbers, one per seed.
        strata: A label per sample. Those with the same label are drawn together, seed
            by seed, as their runs begin with the same models; by default none are.
        expand: Whether to expand the percentiles; rliable does not.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        `low` and `high` are NaN if a sample has one seed.

    Raises:
        ValueError: Samples of one label have different numbers of seeds.
    """
    samples = [np.asarray(sample, np.float64) for sample in samples]
    value = np.asarray(statistic(samples))
    fewest = min(map(len, samples))
    if fewest < 2:
        return np.full_like(value, np.nan), value, np.full_like(value, np.nan)
    strata = range(len(samples)) if strata is None else strata
    rng, picks = np.random.default_rng(seed), {}
    for label, sample in zip(strata, samples, strict=True):
        shape = resamples, len(sample)
        picks.setdefault(label, rng.integers(len(sample), size=shape))
        if picks[label].shape[1] != len(sample):
            raise ValueError(f"Samples of {label} have different numbers of seeds.")
    drawn = [x[picks[label]] for label, x in zip(strata, samples, strict=True)]
    share = 0.5 - CONFIDENCE / 2
    if expand:
        degrees = sorted(draws.shape[1] - 1 for draws in picks.values())
        t = quantile(sum(degrees[: -(-len(degrees) // 2)]))
        share = special.ndtr(-t * math.sqrt(fewest / (fewest - 1)))
    with np.errstate(invalid="ignore"):  # Infinite where a resample divides by 0.
        low, high = np.percentile(statistic(drawn), [100 * share, 100 * (1 - share)], 0)
    return low, value, high


def bootstrap_estimate(
    statistic: Callable[[list[np.ndarray]], np.ndarray],
    samples: Sequence[np.ndarray],
    strata: Sequence[Hashable] | None = None,
) -> Estimate:
    """Returns a statistic with the interval of `bootstrap`, without one if it is a dot.

    Where every resample has the same value, as the probability of improvement does if
    all runs of an arm are better, a bootstrap knows nothing about the error.
    """
    low, value, high = map(float, bootstrap(statistic, samples, strata))
    return Estimate(value) if low == high else _estimate(low, value, high)


def _halves(samples: Sequence[np.ndarray]) -> tuple[Sequence[np.ndarray], ...]:
    return samples[: len(samples) // 2], samples[len(samples) // 2 :]


def _estimate(low: float, value: float, high: float) -> Estimate:
    known = math.isfinite(low) and math.isfinite(high)
    return Estimate(value, low, high) if known else Estimate(value)
