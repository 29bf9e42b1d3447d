"""What pre-training gains over training from scratch (Taylor and Stone 2009).

The measures are those of "Transfer Learning for Reinforcement Learning Domains: A
Survey", JMLR 10, section 2.2: area under the curve of returns and its ratio, jump
start, asymptotic performance and steps to a threshold. Curves are interpolated
linearly, over the steps that all curves of both arms cover.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.plotting.curves import CONFIDENCE, Series

# Shares of the steps over which a level is averaged: single evaluations are noisy, and
# a run's beginning has to be short compared with what it learns.
START = 0.05
END = 0.1
RESAMPLES = 10_000
NUMBERS = (
    "area",
    "area_scratch",
    "area_ratio",
    "jump_start",
    "asymptotic_difference",
    "threshold",
    "steps_to_threshold",
    "steps_to_threshold_scratch",
    "steps_saved",
)


class ThresholdError(UserError):
    """A threshold that is not a number."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its 95% bootstrap interval; None where undefined.

    Attributes:
        value: Computed from the means over the seeds.
        low: Lower end; None if an arm has one seed.
        high: Upper end.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None


def compare(
    arm: Sequence[Series],
    scratch: Sequence[Series],
    threshold: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares the returns of an arm with those of training from scratch.

    Args:
        arm: Curves of returns, one per seed: steps and values.
        scratch: The same for training from scratch on the same game.
        threshold: A return to be reached; by default the final level of scratch.
        seed: Seed of the resampling, which draws the seeds of each arm separately.

    Returns:
        Values for JSON. `start` and `end` are the steps that all curves cover, `seeds`
        counts curves, `threshold` is a return. The others are estimates with `value`,
        `low` and `high`, or None if the curves have no common steps: `area` and
        `area_scratch`, the areas under the curves (return times steps); `area_ratio`,
        the first over the second, which is Taylor and Stone's transfer ratio plus 1;
        `jump_start`, by how much the return is higher over the first `START` of the
        steps, and `asymptotic_difference` over the last `END`; and those of
        `compare_steps`.
    """
    start = max(float(steps[0]) for steps, _ in (*arm, *scratch))
    end = min(float(steps[-1]) for steps, _ in (*arm, *scratch))
    # Published results have this key.
    result = {"seeds": {"transfer": len(arm), "scratch": len(scratch)}}
    result |= {"start": start, "end": end}
    if end <= start:
        return result | dict.fromkeys(NUMBERS) | {"threshold": threshold}
    first, last = START * (end - start), END * (end - start)
    areas, early, late = (
        [np.array([area(curve, *part) for curve in side]) for side in (arm, scratch)]
        for part in ((start, end), (start, start + first), (end - last, end))
    )
    if threshold is None:
        threshold = float(np.mean(late[1])) / last
    estimates = {
        "area": estimate(mean, areas[:1], seed),
        "area_scratch": estimate(mean, areas[1:], seed),
        "area_ratio": estimate(ratio, areas, seed),
        "jump_start": estimate(np.subtract, [x / first for x in early], seed),
        "asymptotic_difference": estimate(np.subtract, [x / last for x in late], seed),
    }
    numbers = {name: dataclasses.asdict(found) for name, found in estimates.items()}
    steps = compare_steps(arm, scratch, threshold, (start, end), seed)
    return result | numbers | {"threshold": threshold} | steps


def compare_steps(
    arm: Sequence[Series],
    scratch: Sequence[Series],
    threshold: float,
    steps: tuple[float, float],
    seed: int = 0,
) -> dict[str, Any]:
    """Compares after how many steps two arms reach a return.

    Args:
        arm: Curves of returns, one per seed.
        scratch: The same for training from scratch.
        threshold: The return to be reached.
        steps: The first and the last step to consider.
        seed: Seed of the resampling.

    Returns:
        `steps_to_threshold` and `steps_to_threshold_scratch`, with `reached`, the
        number of seeds that reach it, and the steps `by_seed`; `value` is None unless
        all seeds do. And `steps_saved`, the second minus the first.
    """
    result, reached = {}, []
    for name, curves in (("", arm), ("_scratch", scratch)):
        by_seed = [steps_to_threshold(curve, threshold, *steps) for curve in curves]
        complete = None not in by_seed
        reached += [np.array(by_seed)] if complete else []
        found = estimate(mean, reached[-1:], seed) if complete else Estimate()
        result[f"steps_to_threshold{name}"] = {
            **dataclasses.asdict(found),
            "reached": len(by_seed) - by_seed.count(None),
            "by_seed": by_seed,
        }
    both = len(reached) == 2
    saved = estimate(np.subtract, reached[::-1], seed) if both else Estimate()
    return result | {"steps_saved": dataclasses.asdict(saved)}


def read_threshold(text: str) -> float | None:
    """Reads `--threshold`; None if it is ''.

    Raises:
        ThresholdError: It is not a number.
    """
    try:
        return float(text) if text else None
    except ValueError:
        raise ThresholdError(f"--threshold is a return. Received: {text}") from None


def area(curve: Series, start: float, end: float) -> float:
    """Returns the area under a curve between two steps, in return times steps.

    Args:
        curve: Steps and values.
        start: The first step; the curve covers it.
        end: The last step; the curve covers it.
    """
    low, high = _integral(curve, np.array([start, end]))
    return float(high - low)


def steps_to_threshold(
    curve: Series, threshold: float, start: float, end: float
) -> float | None:
    """Returns the step from which a curve holds a level for `END` of the steps.

    So a single lucky evaluation does not count, and a curve always reaches the level
    that it ends with.

    Args:
        curve: Steps and values.
        threshold: The mean to be reached.
        start: The first step to consider.
        end: The last step to consider.

    Returns:
        A step of the curve or the last possible one; None if there is none.
    """
    window = END * (end - start)
    steps = curve[0]
    inside = steps[(steps >= start) & (steps < end - window)]
    candidates = np.append(inside, end - window)
    areas = _integral(curve, candidates + window) - _integral(curve, candidates)
    # Sums in another order differ in their last digits.
    slack = 1e-9 * max(1.0, abs(threshold))
    holds = np.flatnonzero(areas / window >= threshold - slack)
    return float(candidates[holds[0]]) if len(holds) else None


def estimate(
    statistic: Callable[..., np.ndarray], samples: Sequence[np.ndarray], seed: int = 0
) -> Estimate:
    """Estimates a function of the means of samples, with a percentile bootstrap.

    Args:
        statistic: Takes the mean of each sample; arrays in, array out; NaN where it is
            undefined.
        samples: For each arm, one number per seed.
        seed: Seed of the resampling, which draws from each sample separately.
    """
    value = float(statistic(*(np.array(sample.mean()) for sample in samples)))
    if np.isnan(value):
        return Estimate()
    if min(map(len, samples)) < 2:
        return Estimate(value)
    rng = np.random.default_rng(seed)
    means = [rng.choice(sample, (RESAMPLES, len(sample))).mean(1) for sample in samples]
    outside = (100 - CONFIDENCE) / 2
    low, high = np.percentile(statistic(*means), [outside, 100 - outside])
    bounds = (float(low), float(high))
    return Estimate(value, *(() if np.isnan(bounds).any() else bounds))


def mean(mean_of_arm: np.ndarray) -> np.ndarray:
    """Returns the mean itself, as a statistic for `estimate`."""
    return mean_of_arm


def ratio(arm: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """Returns the ratio of two means; NaN where scratch is not positive."""
    return np.where(scratch > 0, arm / np.where(scratch > 0, scratch, 1), np.nan)


def _integral(curve: Series, at: np.ndarray) -> np.ndarray:
    """The area under the linear interpolation of a curve, from its beginning."""
    steps, values = curve
    pieces = np.diff(steps) * (values[1:] + values[:-1]) / 2
    sums = np.concatenate([[0.0], np.cumsum(pieces)])
    left = np.searchsorted(steps, at, side="right") - 1
    heights = np.interp(at, steps, values)
    return sums[left] + (at - steps[left]) * (values[left] + heights) / 2
