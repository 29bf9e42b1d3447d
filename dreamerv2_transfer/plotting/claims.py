"""Whether our runs show what the paper's figures show.

An arm is compared with training from scratch by the ratio of the areas under their
curves up to a step. For returns a ratio above 1 is better, for losses one below 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from dreamerv2_transfer.plotting import gains, gains_table, statistics
from dreamerv2_transfer.plotting.arms import UPDATES
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.plotting.gains_table import SEEDS
from dreamerv2_transfer.plotting.labels import SCRATCH
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.statistics import Estimate

UNTIL = (5_000, 10_000, 20_000, 50_000, 100_000)  # Steps up to which areas are taken.
SLACK = 0.02  # Share of these steps by which a curve may end earlier.
HEADINGS = ("task", "metric", "arm", "up to step", "the paper", "ours", SEEDS, "")


@dataclasses.dataclass(frozen=True)
class Claim:
    """A ratio of areas, the paper's and ours.

    Attributes:
        task: The game.
        metric: Our metric, which the paper's is compared with.
        arm: The paper's name of the arm that is compared with scratch.
        until: The step up to which the areas are taken.
        paper: The paper's ratio, from one run each.
        ours: The ratio of our means over seeds, with its 95% interval.
        seeds: Number of our seeds, in the arm and from scratch.
        by_seed: Each of our seeds' area in the arm over the mean of scratch.
    """

    task: str
    metric: str
    arm: str
    until: int
    paper: float
    ours: Estimate
    seeds: tuple[int, int]
    by_seed: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        """What our interval says about the paper's ratio."""
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
    """Compares all arms on panels that have the paper's curves.

    A claim is left out if the paper's or any of our curves does not reach its step, or
    if our steps are no updates.
    """
    found = []
    for panel in panels:
        shared = [
            name
            for name in panel.paper
            if name in panel.arms and panel.units(name) <= {UPDATES}
        ]
        if SCRATCH in shared:
            others = [name for name in shared if name != SCRATCH]
            found += [_claim(panel, name, until) for name in others for until in UNTIL]
    return [claim for claim in found if claim]


def row(claim: Claim) -> tuple[str, ...]:
    """Returns the texts of a claim, to go below `HEADINGS`."""
    return (
        claim.task,
        claim.metric,
        claim.arm,
        f"{claim.until:,}",
        f"{claim.paper:.2f}",
        gains_table.interval_text(dataclasses.asdict(claim.ours), ".2f"),
        gains_table.seeds_text(
            " against ".join(map(str, claim.seeds)), min(claim.seeds)
        ),
        claim.verdict,
    )


def plain(claim: Claim) -> dict:
    """Returns a claim as values for JSON."""
    return {**dataclasses.asdict(claim), "verdict": claim.verdict}


def ratio(
    arm: Sequence[Series], scratch: Sequence[Series], start: float, end: float
) -> Estimate:
    """Returns the ratio of the mean areas under two groups of curves, between steps."""
    return statistics.ratio(*_areas((arm, scratch), start, end))


def _claim(panel: Panel, arm: str, until: int) -> Claim | None:
    theirs = [panel.paper[arm]], [panel.paper[SCRATCH]]
    ours = panel.arms[arm].curves, panel.arms[SCRATCH].curves
    curves = [curve for side in (*theirs, *ours) for curve in side]
    start = max(float(steps[0]) for steps, _ in curves)
    end = min(float(until), *(float(steps[-1]) for steps, _ in curves))
    if end < until * (1 - SLACK):
        return None
    paper, found = ratio(*theirs, start, end), ratio(*ours, start, end)
    if paper.value is None or found.value is None:
        return None
    areas, level = _areas(ours, start, end)
    return Claim(
        panel.task,
        panel.metric,
        arm,
        until,
        paper.value,
        found,
        seeds=(len(ours[0]), len(ours[1])),
        by_seed=tuple((areas / level.mean()).tolist()),
    )


def _areas(
    sides: Iterable[Sequence[Series]], start: float, end: float
) -> list[np.ndarray]:
    return [np.array([gains.area(x, start, end) for x in side]) for side in sides]
