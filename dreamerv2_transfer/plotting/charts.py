"""Curves of the report: a picture of each panel, and its numbers for the browser."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dreamerv2_transfer.plotting import labels, pictures, plot
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.pictures import Picture

SIZE = (5.6, 3.2)  # Inches; the same for all, so that the page has a grid.
DIGITS = 5  # Significant digits of what the browser gets.
DASHES = {"-": "solid", "-.": "dashdot", ":": "dot"}  # Plotly's names.
WHITER = 0.3  # Share of white that a color is mixed with on a dark page.
BLACK_ON_DARK = "#e4e6ea"


@dataclasses.dataclass(frozen=True)
class Line:
    """How the curves of an arm are drawn.

    Attributes:
        arm: The arm.
        name: What the legend calls it.
        color: Its color on a light page, like that on a dark one as `#rrggbb`.
        dark: Its color on a dark page.
        dash: Plotly's name of its dashes.
    """

    arm: str
    name: str
    color: str
    dark: str
    dash: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """A panel.

    Attributes:
        metric: What is shown, as it is logged.
        title: The game's name.
        lines: Numbers of the arms on it, and of those with curves of the paper.
        picture: The panel as a picture, for print and for browsers without scripts.
        plot: The panel as values for JSON, see `numbers`.
    """

    metric: str
    title: str
    lines: tuple[int, ...]
    picture: Picture
    plot: dict[str, Any]


def lines(panels: Sequence[Panel]) -> list[Line]:
    """Returns how to draw each arm on some panels, the same on all of them."""
    return [
        Line(arm, labels.arm_label(arm), color, brighter(color), DASHES[style])
        for arm, (color, style) in plot.arm_styles(panels).items()
    ]


def make(panels: Sequence[Panel], across: str, dpi: float) -> list[Chart]:
    """Returns a chart of each panel.

    Args:
        panels: The panels.
        across: Label of the horizontal axis; '' for what the steps of a panel count.
        dpi: Pixels per inch of the pictures.
    """
    styles = plot.arm_styles(panels)
    order = {arm: index for index, arm in enumerate(styles)}
    logarithmic = plot.log_metrics(panels)
    look = plot.Look(xlabel=across)
    charts = []
    for panel in panels:
        is_log = panel.metric in logarithmic
        drawn = Figure(figsize=SIZE, layout="constrained")
        axes = drawn.subplots()
        plot.draw(axes, panel, styles, look, is_log)
        axes.set_title("")  # The page has it above.
        buffer = io.BytesIO()
        labels.literal(drawn).savefig(buffer, format="png", dpi=dpi)
        title = labels.task_label(panel.task) or "unknown game"
        names = [labels.arm_label(arm) for arm in dict.fromkeys(_arms(panel))]
        what = f"{labels.metric_label(panel.metric)}, {title}: {', '.join(names)}"
        charts.append(
            Chart(
                metric=panel.metric,
                title=title,
                lines=tuple(sorted({order[arm] for arm in _arms(panel)})),
                picture=pictures.embed(buffer.getvalue(), ".png", what),
                plot={
                    "log": is_log,
                    "range": [_short(x) for x in axes.get_ylim()],
                    "x": axes.get_xlabel(),
                    "y": labels.metric_label(panel.metric),
                    "curves": list(numbers(panel, order)),
                },
            )
        )
    return charts


def numbers(panel: Panel, order: dict[str, int]) -> Iterable[dict[str, Any]]:
    """Yields the curves of a panel as values for JSON.

    Args:
        panel: The panel.
        order: The number of each arm.

    Yields:
        `arm`, its number, `paper`, whether the curve is the paper's, `x` and `y`; and
        for an arm of several seeds `low` and `high`, the edges of its band, `count`,
        the number of seeds at each step, None where there is no band, and `seeds`, the
        curve of each.
    """
    for name, curve in panel.paper.items():
        yield {"arm": order[name], "paper": True, **_points(curve)}
    for name, arm in panel.arms.items():
        known = {"arm": order[name], "paper": False}
        band = arm.band
        if band is None:
            yield from (known | _points(line) for line in arm.lines)
            continue
        known |= _points((band.steps, band.mean))
        if band.count.max() > 1:
            known |= {"low": _list(band.low), "high": _list(band.high)}
            known["count"] = band.count.tolist()
            known["seeds"] = [_points(line) for line in arm.lines]
        yield known


def brighter(color: str) -> str:
    """Returns a color `#rrggbb` that can be read on a dark page."""
    parts = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    if not any(parts):
        return BLACK_ON_DARK
    return "#" + "".join(f"{round(x + (255 - x) * WHITER):02x}" for x in parts)


def _arms(panel: Panel) -> tuple[str, ...]:
    return (*panel.arms, *panel.paper)


def _points(curve: Series) -> dict[str, list]:
    return {"x": _list(curve[0]), "y": _list(curve[1])}


def _list(values: np.ndarray) -> list[float | None]:
    """Returns an array as short numbers; None for what JSON cannot hold."""
    finite = np.isfinite(values)
    return [
        _short(x) if ok else None for x, ok in zip(values.tolist(), finite, strict=True)
    ]


def _short(value: float) -> float:
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded
