"""Which curves of which runs go onto which panel of a figure."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.plotting import curves, paper, runs
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.plotting.plot import ORDER, Arm, Panel
from dreamerv2_transfer.plotting.runs import Run

# Shown unless others are asked for: the first group of which any run has a metric.
USUAL = (
    ("train_return", "eval_return_mean", "model_error"),
    ("model_error", "eval_model_error"),
    ("model_loss",),
)


class PanelError(UserError):
    """Nothing to draw, or a selection that cannot be read."""


@dataclasses.dataclass(frozen=True)
class View:
    """How curves are made of what was logged.

    Attributes:
        xaxis: `step`, or a metric.
        xmult: Factor of the horizontal axis.
        bins: Width of the bins whose means are shown, in units of the horizontal axis;
            0 shows what was logged.
        smooth: Length of the running mean, in the same units; 0 is none.
        agg: The band, one of `curves.KINDS`, or `none` for a line a run.
        maxval: Largest magnitude to which values are cut; 0 does not cut.
    """

    xaxis: str = "step"
    xmult: float = 1.0
    bins: float = 0.0
    smooth: float = 0.0
    agg: str = "ci95"
    maxval: float = 0.0


def usual(found: Iterable[Run]) -> tuple[str, ...]:
    """The metrics that are worth seeing in some runs, by what they have."""
    found = list(found)
    for group in USUAL:
        held = [name for name in group if any(runs.series(run, name) for run in found)]
        if any("return" in name for name in held) or (held and group is not USUAL[0]):
            return tuple(held)
    return (next(iter(found[0].metrics)),)


def make(
    found: Sequence[Run],
    metrics: Sequence[str],
    view: View | None = None,
    tasks: Sequence[str] = (".*",),
    methods: Sequence[str] = (".*",),
    behind: bool = False,
) -> tuple[list[Panel], list[str]]:
    """Makes a panel for each metric and game; `METRIC/GAME` belongs to that game.

    Args:
        found: The runs.
        metrics: What to show, as logged.
        view: How to make curves of it.
        tasks: Regular expressions; a game in which one is found is shown.
        methods: The same for arms, which come in this order.
        behind: Add the paper's own curves where it has some.

    Returns:
        The panels, and a sentence for each run that lacks a metric.

    Raises:
        PanelError: No curve is left, or an expression is none.
    """
    view = view or View()
    wanted_tasks, wanted_methods = _compile(tasks), _compile(methods)
    chosen = [run for run in found if _matches(runs.arm(run), wanted_methods)]
    panels, notes = [], []
    for metric in metrics:
        groups, lacking = _group(chosen, metric, view)
        notes += lacking
        for task in sorted(groups):
            if _matches(task, wanted_tasks):
                arms = _arms(groups[task], wanted_methods, view)
                known = paper.behind(task, metric) if behind else {}
                panels.append(Panel(task, metric, arms, known))
    if not panels:
        raise PanelError(_nothing(found, metrics, tasks, methods, notes))
    return panels, notes


def curve(run: Run, name: str, view: View) -> Series | None:
    """A metric of a run over the horizontal axis; None if it has not both."""
    held = runs.series(run, name)
    across = runs.series(run, view.xaxis) if view.xaxis != "step" else None
    if not held or (view.xaxis != "step" and not across):
        return None
    steps, values = held
    if view.maxval:
        values = np.clip(values, -view.maxval, view.maxval)
    if across:
        # What was logged a moment before or after is found between its neighbours.
        steps = np.interp(steps, *across, left=np.nan, right=np.nan)
        steps, values = _ascending(steps, values)
    return (steps * view.xmult, values) if len(steps) else None


def _ascending(steps: np.ndarray, values: np.ndarray) -> Series:
    """The points in the order of their steps; of equal steps, the last."""
    known = ~np.isnan(steps)
    steps, last = np.unique(steps[known][::-1], return_index=True)
    return steps, values[known][::-1][last]


def _group(chosen: Sequence[Run], metric: str, view: View):
    """The curves of a metric, by game and arm, and notes on runs without one."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    notes = []
    for run in chosen:
        held = list(_by_game(run, metric, view))
        for task, line in held:
            groups[task][runs.arm(run)].append((run, line))
        if not held:
            missing = metric if not runs.series(run, metric) else view.xaxis
            notes.append(runs.lacking(run, missing))
    return groups, notes


def _by_game(run: Run, metric: str, view: View) -> Iterator[tuple[str, Series]]:
    names = {metric: runs.task(run)}
    prefix = f"{metric}/"
    names |= {k: k.removeprefix(prefix) for k in run.metrics if k.startswith(prefix)}
    for name, task in names.items():
        line = curve(run, name, view)
        if line:
            yield task, line


def _arms(
    members: dict[str, list[tuple[Run, Series]]],
    wanted: Sequence[re.Pattern],
    view: View,
) -> dict[str, Arm]:
    arms = {}
    for name in sorted(members, key=lambda name: _arm_order(name, wanted)):
        held, raw = zip(*members[name], strict=True)
        lines = [curves.smooth(line, view.smooth) for line in raw]
        lines = [curves.binned(line, view.bins) for line in lines]
        band = curves.band(lines, view.agg) if view.agg in curves.KINDS else None
        arms[name] = Arm(list(held), list(raw), lines, band)
    return arms


def _arm_order(name: str, wanted: Sequence[re.Pattern]) -> tuple:
    first = next(i for i, pattern in enumerate(wanted) if pattern.search(name))
    return first, ORDER.index(name) if name in ORDER else len(ORDER), name


def _compile(patterns: Sequence[str]) -> list[re.Pattern]:
    try:
        return [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise PanelError(
            f"--tasks and --methods are regular expressions, such as '.*invaders': "
            f"{error}. Received: {' '.join(patterns)}"
        ) from error


def _matches(name: str, patterns: Sequence[re.Pattern]) -> bool:
    return any(pattern.search(name) for pattern in patterns)


def _nothing(found, metrics, tasks, methods, notes: list[str]) -> str:
    games = sorted({runs.task(run) for run in found})
    arms = sorted({runs.arm(run) for run in found})
    return (
        f"No run has a curve to draw. There are tasks {', '.join(games)} and methods "
        f"{', '.join(arms)}. Received: --yaxis {' '.join(metrics)} --tasks "
        f"{' '.join(tasks)} --methods {' '.join(methods)}. {' '.join(notes)}".rstrip()
    )
