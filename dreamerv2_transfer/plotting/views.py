"""How curves are made of what runs logged: their axes, bins, smoothing and bands."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.plotting import curves
from dreamerv2_transfer.plotting.curves import Band, Series
from dreamerv2_transfer.plotting.runs import Run

BANDS = (*curves.KINDS, "none")


class ViewError(UserError):
    """A band that does not exist."""


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
    """The runs of one arm on one game, and a metric of them.

    Attributes:
        runs: The runs, in the order of `curves`; not needed for drawing.
        curves: What was logged, one curve per run.
        lines: The same, binned and smoothed.
        band: The band of the lines; None to show each line by itself.
    """

    runs: list[Run]
    curves: list[Series]
    lines: list[Series]
    band: Band | None


@dataclasses.dataclass(frozen=True)
class View:
    """How curves are made of what was logged.

    Attributes:
        xaxis: `step`, or a metric.
        xmult: Factor of the horizontal axis.
        bins: Width of the bins whose means are shown, in units of the horizontal axis;
            0 shows what was logged.
        smooth: Length of the running mean, in the same units; 0 is none.
        agg: The kind of band, one of `BANDS`; `none` shows one line per run.
        maxval: Values are clipped to this magnitude; 0 does not clip.

    Raises:
        ViewError: There is no such band.
    """

    xaxis: str = "step"
    xmult: float = 1.0
    bins: float = 0.0
    smooth: float = 0.0
    agg: str = "ci95"
    maxval: float = 0.0

    def __post_init__(self):
        if self.agg not in BANDS:
            raise ViewError(f"--agg is one of {', '.join(BANDS)}. Received: {self.agg}")

    @property
    def is_as_logged(self) -> bool:
        """Whether the horizontal axis is the steps as they were logged."""
        return self.xaxis == "step" and self.xmult == 1

    def curve(self, run: Run, metric: str) -> Series | None:
        """Returns a metric over the horizontal axis; None if the run lacks either."""
        logged = run.series(metric)
        across = run.series(self.xaxis) if self.xaxis != "step" else None
        if not logged or (self.xaxis != "step" and not across):
            return None
        steps, values = logged
        if self.maxval:
            values = np.clip(values, -self.maxval, self.maxval)
        if across:
            # The two may have been logged at different moments, so interpolate.
            places = np.interp(steps, *across, left=np.nan, right=np.nan)
            known = ~np.isnan(places)
            # In reverse, so that the last of several values at one place counts.
            steps, last = np.unique(places[known][::-1], return_index=True)
            values = values[known][::-1][last]
        return (steps * self.xmult, values) if len(steps) else None

    def arm(self, runs: Sequence[Run], logged: Sequence[Series]) -> Arm:
        """Returns runs as one arm, given a curve of each."""
        lines = [curves.smooth(line, self.smooth) for line in logged]
        lines = [curves.binned(line, self.bins) for line in lines]
        band = None if self.agg == "none" else curves.band(lines, self.agg)
        return Arm(list(runs), list(logged), lines, band)
