"""Figures of a sweep: values over trials, over the budget, and over each parameter."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # No pyplot: it would look for a display.

from dreamerv2_transfer.plotting import labels, pictures
from dreamerv2_transfer.plotting.pictures import Picture
from dreamerv2_transfer.plotting.plot import PALETTE, short_step
from dreamerv2_transfer.sweeps.plan import Plan
from dreamerv2_transfer.sweeps.search import POINTS
from dreamerv2_transfer.sweeps.space import Choices, Parameter, Range, as_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from dreamerv2_transfer.sweeps.search import Search

DPI = 130
WIDE, NARROW = (8.0, 3.2), (4.4, 3.4)  # Inches.
COMPLETE, BEST = PALETTE[:2]
PRUNED = "#9aa3ad"


@dataclasses.dataclass(frozen=True)
class Dot:
    """A trial that has a value, with its color and how it stands out."""

    trial: FrozenTrial
    color: str
    is_best: bool

    @property
    def mark(self) -> str:
        """The marker where it ended."""
        return "x" if self.trial.state.name == "PRUNED" else "o"


def make(plan: Plan, search: Search) -> list[Picture]:
    """Returns the figures; none before a trial has a value."""
    best = search.best
    dots = []
    for trial in search.ended:
        is_best = best is not None and trial.number == best.number
        color = PRUNED if trial.state.name == "PRUNED" else COMPLETE
        if trial.value is not None:
            dots.append(Dot(trial, BEST if is_best else color, is_best))
    if not dots:
        return []
    return [
        history(plan, dots),
        progress(plan, dots),
        *(over(plan, dots, parameter) for parameter in plan.space.parameters),
    ]


def history(plan: Plan, dots: Sequence[Dot]) -> Picture:
    """Draws the value of each trial, and the best one until then."""
    drawn, axes = _axes(plan, WIDE, "trial")
    _scatter(axes, dots, [dot.trial.number for dot in dots])
    complete = [dot.trial for dot in dots if dot.mark == "o"]
    if complete:
        extreme = np.minimum if plan.objective.minimize else np.maximum
        so_far = extreme.accumulate([trial.value for trial in complete])
        numbers = [trial.number for trial in complete]
        axes.step(numbers, so_far, where="post", color=BEST, lw=1, zorder=1)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(10, integer=True))
    return _picture(
        drawn,
        "Trials",
        "The value of each, and the best one so far as a line. Crosses were pruned.",
    )


def progress(plan: Plan, dots: Sequence[Dot]) -> Picture:
    """Draws the value of each trial at the points of its budget."""
    drawn, axes = _axes(plan, WIDE, "minutes" if plan.minutes else "update")
    for dot in dots:
        points = sorted(dot.trial.intermediate_values)
        values = [dot.trial.intermediate_values[point] for point in points]
        across = [point * (plan.minutes or plan.updates) / POINTS for point in points]
        width, order = (2, 3) if dot.is_best else (1, 2)
        axes.plot(across, values, color=dot.color, lw=width, zorder=order, alpha=0.8)
        axes.plot(across[-1:], values[-1:], dot.mark, color=dot.color, ms=5)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(short_step))
    return _picture(
        drawn,
        "Values while training",
        "At the points of the budget at which trials are compared; a cross is where "
        "one was pruned.",
    )


def over(plan: Plan, dots: Sequence[Dot], parameter: Parameter) -> Picture:
    """Draws the values over a parameter."""
    drawn, axes = _axes(plan, NARROW, parameter.name)
    tried = [dot for dot in dots if parameter.name in dot.trial.params]
    values = [dot.trial.params[parameter.name] for dot in tried]
    if isinstance(parameter, Choices):
        texts = [*map(as_text, parameter.values)]
        values = [texts.index(value) for value in values]
        axes.set_xticks(range(len(texts)), texts)
        axes.set_xlim(-0.5, len(texts) - 0.5)
    else:
        _scale(axes, parameter)
    _scatter(axes, tried, values)
    return _picture(drawn, parameter.name, f"Searched: {parameter}.")


def _axes(plan: Plan, size: tuple[float, float], across: str) -> tuple[Figure, Axes]:
    drawn = Figure(figsize=size, layout="constrained")
    axes = drawn.subplots()
    axes.set(xlabel=across, ylabel=plan.objective.name)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn, axes


def _scale(axes: Axes, parameter: Range) -> None:
    """Lets the horizontal axis show all of a range."""
    low, high = parameter.low, parameter.high
    if parameter.log:
        margin = (high / low) ** 0.04
        axes.set_xscale("log")
        axes.set_xlim(low / margin, high * margin)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        return
    margin = 0.04 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    whole = isinstance(low, int)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=whole))


def _scatter(axes: Axes, dots: Sequence[Dot], places: Sequence[Any]) -> None:
    for dot, place in zip(dots, places, strict=True):
        size = 9 if dot.is_best else 6
        order = 3 if dot.is_best else 2
        axes.plot(
            place, dot.trial.value, dot.mark, color=dot.color, ms=size, zorder=order
        )


def _picture(drawn: Figure, title: str, caption: str) -> Picture:
    buffer = io.BytesIO()
    labels.literal(drawn).savefig(buffer, format="png", dpi=DPI)
    return pictures.embed(buffer.getvalue(), ".png", title, caption)
