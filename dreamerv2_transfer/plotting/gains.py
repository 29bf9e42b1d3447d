"""What pre-training is worth, in numbers (Taylor and Stone 2009).

The metrics are those of "Transfer Learning for Reinforcement Learning Domains: A
Survey", JMLR 10, section 2.2: area under the curve of returns and its ratio, jump
start, asymptotic performance and steps to a threshold. Curves are read as straight
lines between their points, over the steps that all curves of both arms cover.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.plotting.curves import CONFIDENCE, Series

# Over which share of the steps a level is the mean: single evaluations are noisy, and
# a run's beginning has to be short beside what it learns.
START = 0.05
END = 0.1
RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its 95% bootstrap interval; None where it is not defined.

    Attributes:
        value: Of the means over the seeds.
        low: Lower end; None with one seed in an arm.
        high: Upper end.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None


def compare(
    transfer: Sequence[Series],
    scratch: Sequence[Series],
    threshold: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares the returns of pre-trained agents with those from scratch.

    Args:
        transfer: Curves of returns, one a seed: steps and values.
        scratch: The same of training from scratch on the same game.
        threshold: A return to be reached; by default the final level of scratch.
        seed: Of the resampling of seeds, which draws from both arms by themselves.

    Returns:
        Numbers that JSON knows. `start` and `end` are the steps that all curves cover;
        `seeds` counts curves, `threshold` is in units of return. The others hold
        `value`, `low` and `high` of an `Estimate`:
        `area` and `area_scratch`, the areas under the curves (return times steps);
        `area_ratio` of the first to the second, so that Taylor and Stone's transfer
        ratio is it minus 1; `jump_start`, by how much the return is higher over the
        first `START` of the steps, and `asymptotic_difference` over the last `END`;
        `steps_to_threshold` and `steps_to_threshold_scratch`, see
        `steps_to_threshold`, with `reached`, the number of seeds that do, and
        `by_seed`; `value` is None unless all do; and `steps_saved`, the second minus
        the first. All are None where no steps are common.
    """
    curves = [*transfer, *scratch]
    start = max(float(steps[0]) for steps, _ in curves)
    end = min(float(steps[-1]) for steps, _ in curves)
    result = {"seeds": {"transfer": len(transfer), "scratch": len(scratch)}}
    result |= {"start": start, "end": end}
    if end <= start:
        return result | dict.fromkeys(NUMBERS) | {"threshold": threshold}
    arms = transfer, scratch
    areas, first, last = (
        [np.array([area(curve, *part) for curve in arm]) for arm in arms]
        for part in _parts(start, end)
    )
    if threshold is None:
        threshold = float(np.mean(last[1])) / (END * (end - start))
    reached = [
        [steps_to_threshold(curve, threshold, start, end) for curve in arm]
        for arm in arms
    ]
    return result | {
        "area": _plain(estimate(_first, areas[:1], seed)),
        "area_scratch": _plain(estimate(_first, areas[1:], seed)),
        "area_ratio": _plain(estimate(ratio, areas, seed)),
        "jump_start": _difference(first, START * (end - start), seed),
        "asymptotic_difference": _difference(last, END * (end - start), seed),
        "threshold": threshold,
        "steps_to_threshold": _reached(reached[0], seed),
        "steps_to_threshold_scratch": _reached(reached[1], seed),
        "steps_saved": _saved(reached, seed),
    }


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


def area(curve: Series, start: float, end: float) -> float:
    """The area under a curve between two steps that it covers, in return times steps.

    Args:
        curve: Steps and values.
        start: The first step.
        end: The last step.
    """
    low, high = _integral(curve, np.array([start, end]))
    return float(high - low)


def steps_to_threshold(
    curve: Series, threshold: float, start: float, end: float
) -> float | None:
    """The step from which on a curve holds a level for `END` of the steps.

    So a lucky evaluation reaches nothing, and the level that a curve ends with is one
    that it reaches.

    Args:
        curve: Steps and values.
        threshold: The mean that is to be reached.
        start: Of the steps that count.
        end: Of the steps that count.

    Returns:
        A step of the curve or the last possible one, or None if there is none.
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
    """A function of the means of samples, with its percentile bootstrap interval.

    Args:
        statistic: Of the means, one argument a sample; arrays in, array out; NaN where
            it is not defined.
        samples: A number a seed, for each arm.
        seed: Of the resampling, in which each sample is drawn from by itself.
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


def _parts(start: float, end: float) -> list[tuple[float, float]]:
    """All of the steps, the first and the last of them."""
    span = end - start
    return [(start, end), (start, start + START * span), (end - END * span, end)]


def _integral(curve: Series, at: np.ndarray) -> np.ndarray:
    """The area under the straight lines of a curve from its beginning on."""
    steps, values = curve
    pieces = np.diff(steps) * (values[1:] + values[:-1]) / 2
    sums = np.concatenate([[0.0], np.cumsum(pieces)])
    left = np.searchsorted(steps, at, side="right") - 1
    heights = np.interp(at, steps, values)
    return sums[left] + (at - steps[left]) * (values[left] + heights) / 2


def _first(mean: np.ndarray) -> np.ndarray:
    return mean


def ratio(transfer: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """NaN where scratch has no positive area, to which nothing has a ratio."""
    return np.where(scratch > 0, transfer / np.where(scratch > 0, scratch, 1), np.nan)


def _difference(areas: list[np.ndarray], span: float, seed: int) -> dict[str, Any]:
    levels = [sample / span for sample in areas]
    return _plain(estimate(np.subtract, levels, seed))


def _reached(steps: list[float | None], seed: int) -> dict[str, Any]:
    reached = [step for step in steps if step is not None]
    complete = len(reached) == len(steps)
    found = estimate(_first, [np.array(reached)], seed) if complete else Estimate()
    return {**_plain(found), "reached": len(reached), "by_seed": steps}


def _saved(reached: list[list[float | None]], seed: int) -> dict[str, Any]:
    if any(step is None for arm in reached for step in arm):
        return _plain(Estimate())
    transfer, scratch = (np.array(arm) for arm in reached)
    return _plain(estimate(np.subtract, [scratch, transfer], seed))


def _plain(found: Estimate) -> dict[str, Any]:
    return dataclasses.asdict(found)
