"""Whether our runs show what the paper's figures show.

An arm is compared with training from scratch by the ratio of the areas under their
curves up to a step: of returns, above 1 is better; of losses, below 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from dreamerv2_transfer.plotting import gains, gains_table
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.plotting.gains import Estimate
from dreamerv2_transfer.plotting.gains_table import SCRATCH
from dreamerv2_transfer.plotting.plot import Panel

UNTIL = (5_000, 10_000, 20_000, 50_000, 100_000)  # Steps up to which areas are taken.
SLACK = 0.02  # Of the steps that a curve may end short of one of these.
HEADINGS = ("task", "metric", "arm", "up to step", "the paper", "ours", "seeds", "")


@dataclasses.dataclass(frozen=True)
class Claim:
    """A ratio of areas, the paper's and ours.

    Attributes:
        task: The game.
        metric: Of ours, which the paper's is compared with.
        arm: The paper's name of the arm that is compared with scratch.
        until: The step up to which the areas are taken.
        paper: Its ratio, of one run each.
        ours: The ratio of the means over seeds, with its 95% bootstrap interval.
        seeds: Of ours, in the arm and from scratch.
    """

    task: str
    metric: str
    arm: str
    until: int
    paper: float
    ours: Estimate
    seeds: tuple[int, int]

    @property
    def verdict(self) -> str:
        """What our interval says of the paper's ratio."""
        low, high = self.ours.low, self.ours.high
        if low is None or high is None:
            few = min(self.seeds) < 2
            return "one seed shows little" if few else "no interval: scratch may be 0"
        is_settled = not low <= 1 <= high
        if low <= self.paper <= high:
            return "agrees" if is_settled else "agrees, but ours is not settled"
        if not is_settled:
            return "ours is not settled"
        same = (self.paper > 1) == (low > 1)
        return "same direction" if same else "disagrees"


def make(panels: Sequence[Panel]) -> list[Claim]:
    """What can be compared on panels that have the paper's curves."""
    return [
        claim
        for panel in panels
        if SCRATCH in panel.paper and SCRATCH in panel.arms
        for arm in panel.paper
        if arm != SCRATCH and arm in panel.arms
        for until in UNTIL
        for claim in _claim(panel, arm, until)
    ]


def row(claim: Claim) -> tuple[str, ...]:
    """A claim as texts below `HEADINGS`."""
    ours = gains_table.shown(dataclasses.asdict(claim.ours), ".2f")
    seeds = " against ".join(map(str, claim.seeds))
    return (
        claim.task,
        claim.metric,
        claim.arm,
        f"{claim.until:,}",
        f"{claim.paper:.2f}",
        ours,
        seeds,
        claim.verdict,
    )


def plain(claim: Claim) -> dict:
    """A claim as JSON knows it."""
    return {**dataclasses.asdict(claim), "verdict": claim.verdict}


def _claim(panel: Panel, arm: str, until: int) -> Iterator[Claim]:
    """One or none: both papers' and all of our curves have to reach the step."""
    theirs = [panel.paper[arm]], [panel.paper[SCRATCH]]
    ours = panel.arms[arm].curves, panel.arms[SCRATCH].curves
    curves = [curve for side in (*theirs, *ours) for curve in side]
    start = max(float(steps[0]) for steps, _ in curves)
    end = min(float(until), *(float(steps[-1]) for steps, _ in curves))
    if end < until * (1 - SLACK):
        return
    paper = ratio(*theirs, start, end)
    found = ratio(*ours, start, end)
    if paper.value is not None and found.value is not None:
        seeds = len(ours[0]), len(ours[1])
        yield Claim(panel.task, panel.metric, arm, until, paper.value, found, seeds)


def ratio(
    arm: Sequence[Series], scratch: Sequence[Series], start: float, end: float
) -> Estimate:
    """The mean area under some curves over that under others, between two steps."""
    areas = [
        np.array([gains.area(curve, start, end) for curve in side])
        for side in (arm, scratch)
    ]
    return gains.estimate(gains.ratio, areas)
