"""What pre-training gains over training from scratch (Taylor and Stone 2009).

The measures are those of "Transfer Learning for Reinforcement Learning Domains: A
Survey", JMLR 10, section 2.2: area under the curve of returns and its ratio, jump
start, asymptotic performance and steps to a threshold. Curves are interpolated
linearly, over the steps that all curves of both arms cover. Their intervals are those
of `statistics`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.plotting import statistics
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.plotting.statistics import Estimate

# Shares of the steps over which a level is averaged: single evaluations are noisy, and
# a run's beginning has to be short compared with what it learns.
START = 0.05
END = 0.1
NUMBERS = (
    "area",
    "area_scratch",
    "area_ratio",
    "normalized",
    "jump_start",
    "asymptotic_difference",
    "threshold",
    "steps_to_threshold",
    "steps_to_threshold_scratch",
    "steps_saved",
)


class ThresholdError(UserError):
    """A threshold that is not a number."""


def compare(
    arm: Sequence[Series],
    scratch: Sequence[Series],
    threshold: float | None = None,
) -> dict[str, Any]:
    """Compares the returns of an arm with those of training from scratch.

    Args:
        arm: Curves of returns, one per seed: steps and values.
        scratch: The same for training from scratch on the same game.
        threshold: A return to be reached; by default the final level of scratch.

    Returns:
        Values for JSON. `start` and `end` are the steps that all curves cover, `seeds`
        counts curves, `threshold` is a return. The others are estimates with `value`,
        `low` and `high`, or None if the curves have no common steps: `area` and
        `area_scratch`, the areas under the curves (return times steps); `area_ratio`,
        the first over the second, which is Taylor and Stone's transfer ratio plus 1;
        `jump_start`, by how much the return is higher over the first `START` of the
        steps, and `asymptotic_difference` over the last `END`; and those of
        `compare_steps`. `normalized` has each seed's area over the mean of scratch, of
        both arms, or is None if that mean is not positive. `coverage` is how often
        intervals of the ratio cover the truth with as few seeds.
    """
    start = max(float(steps[0]) for steps, _ in (*arm, *scratch))
    end = min(float(steps[-1]) for steps, _ in (*arm, *scratch))
    # Published results have this key.
    result = {"seeds": {"transfer": len(arm), "scratch": len(scratch)}}
    result |= {"start": start, "end": end}
    result["coverage"] = statistics.coverage(min(len(arm), len(scratch)))
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
        "area": statistics.mean_estimate(areas[0]),
        "area_scratch": statistics.mean_estimate(areas[1]),
        "area_ratio": statistics.ratio(*areas),
        "jump_start": statistics.difference(*(x / first for x in early)),
        "asymptotic_difference": statistics.difference(*(x / last for x in late)),
    }
    level = areas[1].mean()
    sides = dict(zip(result["seeds"], areas, strict=True))
    shares = {side: (x / level).tolist() for side, x in sides.items() if level > 0}
    numbers = {name: dataclasses.asdict(found) for name, found in estimates.items()}
    numbers |= {"normalized": shares or None, "threshold": threshold}
    return result | numbers | compare_steps(arm, scratch, threshold, (start, end))


def compare_steps(
    arm: Sequence[Series],
    scratch: Sequence[Series],
    threshold: float,
    steps: tuple[float, float],
) -> dict[str, Any]:
    """Compares after how many steps two arms reach a return.

    Args:
        arm: Curves of returns, one per seed.
        scratch: The same for training from scratch.
        threshold: The return to be reached.
        steps: The first and the last step to consider.

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
        found = statistics.mean_estimate(reached[-1]) if complete else Estimate()
        if found.low is not None:
            found = dataclasses.replace(found, low=max(found.low, steps[0]))
        result[f"steps_to_threshold{name}"] = {
            **dataclasses.asdict(found),
            "reached": len(by_seed) - by_seed.count(None),
            "by_seed": by_seed,
        }
    both = len(reached) == 2
    saved = statistics.difference(*reached[::-1]) if both else Estimate()
    return result | {"steps_saved": dataclasses.asdict(saved)}


def read_threshold(text: str) -> float | None:
    """Reads `--threshold`; None if it is ''.

    Raises:
        ThresholdError: It is not a finite number.
    """
    try:
        found = float(text) if text else None
    except ValueError:
        found = math.nan
    if found is not None and not math.isfinite(found):
        raise ThresholdError(f"--threshold is a return. Received: {text}")
    return found


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


def _integral(curve: Series, at: np.ndarray) -> np.ndarray:
    """The area under the linear interpolation of a curve, from its beginning."""
    steps, values = curve
    pieces = np.diff(steps) * (values[1:] + values[:-1]) / 2
    sums = np.concatenate([[0.0], np.cumsum(pieces)])
    left = np.searchsorted(steps, at, side="right") - 1
    heights = np.interp(at, steps, values)
    return sums[left] + (at - steps[left]) * (values[left] + heights) / 2
