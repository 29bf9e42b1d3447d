"""Draws curves: a panel a game and metric, the arms in colours that all can tell apart.

What the original's `plot.py` is used for; which curves go where is for
`analysis.panels` to say.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # No pyplot: it would look for a display.

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.plotting.curves import Band, Series

FORMATS = ("png", "pdf", "svg")
# Okabe and Ito 2008, without the yellow, which is too pale for a line.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "-.", ":")  # Once the colours are used up.
# The paper's arms have the same colour in every figure, and come first in a legend.
COLORS = {
    "scratch": "#000000",
    "pretrained": "#0072B2",
    "pretrained_frozen_rssm": "#D55E00",
    "pretrained_fixed_world_model": "#009E73",
}
ORDER = tuple(COLORS)
ARMS = {
    "scratch": "from scratch",
    "pretrained": "pre-trained",
    "pretrained_frozen_rssm": "pre-trained, RSSM frozen",
    "pretrained_fixed_world_model": "pre-trained, world model fixed",
    "pretrain": "pre-training",
    "dqn": "DQN",
}
METRICS = {
    "train_return": "return of training episodes",
    "eval_return": "return of evaluation episodes",
    "eval_return_mean": "return of evaluation episodes",
    "model_error": "model error (nats a step)",
    "eval_model_error": "held-out model error (nats a step)",
    "model_loss": "model loss (nats a step)",
    "eval_model_loss": "held-out model loss (nats a step)",
}
SUITES = {"minatar": "MinAtar", "atari": "Atari", "dmc": "DMC", "gym": "Gymnasium"}
# A loss that falls to less than this share of its largest value shows nothing of its
# end on a linear axis.
LOG_SHARE = 0.1
PAPER = "paper: "
LINE = 0.25  # Inches, of a line of text beside the panels.
LETTER = 0.07  # Inches, of a small letter.
SAMPLE = 0.55  # Inches, of the line before a name in the legend.
FEW = 30  # Points of a curve, of which each is marked.


@dataclasses.dataclass(frozen=True, eq=False)
class Arm:
    """The runs of one kind on one game.

    Attributes:
        runs: They, in the order of `curves`; drawing does without.
        curves: What was logged, one curve a run.
        lines: The same binned and smoothed, where that was asked.
        band: Of the lines; None where each is to be seen by itself.
    """

    runs: list
    curves: list[Series]
    lines: list[Series]
    band: Band | None


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """A pair of axes.

    Attributes:
        task: The game; '' if not known.
        metric: What is shown, as it is logged.
        arms: By name.
        paper: The paper's own curves to be drawn behind, by arm.
    """

    task: str
    metric: str
    arms: dict[str, Arm]
    paper: dict[str, Series]


class FigureError(UserError):
    """A file name or a choice of which no figure can be made."""


@dataclasses.dataclass(frozen=True)
class Look:
    """How a figure looks; None or '' leaves it to the curves.

    Attributes:
        size: Width and height of a panel, in inches.
        cols: Panels in a row, at most.
        xlim: Ends of the horizontal axis.
        ylim: Ends of the vertical axis.
        yscale: `linear`, `log`, or `auto`: log for losses that fall far.
        xlabel: What the horizontal axis shows.
        ylabel: What the vertical axis shows.
        labels: By arm, what the legend calls it.
        title: Of the figure.
    """

    size: tuple[float, float] = (4.2, 3.1)
    cols: int = 4
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    yscale: str = "auto"
    xlabel: str = ""
    ylabel: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    title: str = ""


def figure(panels: Sequence[Panel], look: Look | None = None) -> Figure:
    """Draws panels, with one legend for all.

    Args:
        panels: At least one.
        look: How.
    """
    look = look or Look()
    places, rows, cols = _places(panels, look.cols)
    width, height = look.size[0] * cols, look.size[1] * rows
    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = drawn.subplots(rows, cols, squeeze=False)
    colors = _colors(panels)
    logarithmic = {p.metric for p in panels if _is_log(p, look.yscale)}
    for panel, place in zip(panels, places, strict=True):
        draw(axes[place], panel, colors, look)
        if panel.metric in logarithmic:  # All panels of a metric or none.
            _scale_log(axes[place])
    for place in np.ndindex(rows, cols):
        axes[place].set_visible(place in places)
    lines = _legend(drawn, axes, [label_arm(name, look.labels) for name in colors])
    if look.title:
        drawn.suptitle(look.title)
        lines += 1
    drawn.set_size_inches(width, height + LINE * lines)
    return drawn


def draw(axes: Axes, panel: Panel, colors: Mapping[str, tuple], look: Look) -> None:
    """Draws the curves of a panel.

    Args:
        axes: Where.
        panel: Its curves.
        colors: By arm, the colour and the style of its lines.
        look: Labels and ends of the axes.
    """
    for name, line in panel.paper.items():
        color, _ = colors[name]
        label = f"{PAPER}{label_arm(name, look.labels)}"
        axes.plot(*line, "--", color=color, alpha=0.55, lw=1, label=label, zorder=1)
    for name, arm in panel.arms.items():
        color, style = colors[name]
        label = label_arm(name, look.labels)
        _draw_arm(axes, arm, {"color": color, "ls": style, "label": label})
    title = label_task(panel.task)
    axes.set(
        title=title,
        xlabel=look.xlabel or "step",
        ylabel=look.ylabel or METRICS.get(panel.metric, panel.metric),
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(_short))
    if look.xlim:
        axes.set_xlim(look.xlim)
    if look.ylim:
        axes.set_ylim(look.ylim)


def save(drawn: Figure, path: str | os.PathLike, dpi: float) -> None:
    """Writes a figure, whole or not at all, in the format that the name ends with.

    Args:
        drawn: The figure.
        path: Ends in one of `FORMATS`.
        dpi: Pixels an inch.

    Raises:
        FigureError: The name has another ending.
        OutputError: It cannot be written.
    """
    path = pathlib.Path(path)
    with atomic.atomic_write(path) as file:
        drawn.savefig(file, format=check_format(path), dpi=dpi)


def check_format(path: str | os.PathLike) -> str:
    """The format of a file name.

    Raises:
        FigureError: It is none of `FORMATS`.
    """
    ending = pathlib.Path(path).suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise FigureError(
            f"A figure's name ends in .{', .'.join(FORMATS)}. Received: {path}"
        )
    return ending


def label_task(task: str) -> str:
    """`minatar_space_invaders` as it stands above a panel."""
    suite, _, game = task.partition("_")
    if suite not in SUITES:
        return task
    return f"{game.replace('_', ' ').title()} ({SUITES[suite]})"


def label_arm(name: str, labels: Mapping[str, str] | None = None) -> str:
    """An arm as it stands in a legend."""
    return {**ARMS, **(labels or {})}.get(name, name)


def _draw_arm(axes: Axes, arm: Arm, style: dict) -> None:
    if arm.band is None:
        for line in arm.lines:
            axes.plot(*line, lw=1.2, **_marked(line[0]), **style)
        return
    band, color = arm.band, style["color"]
    # Where some of the runs have ended, the line is thin.
    full = np.where(band.count == band.count.max(), band.mean, np.nan)
    axes.plot(band.steps, band.mean, color=color, ls=style["ls"], lw=0.6, zorder=3)
    axes.plot(band.steps, full, **_marked(band.steps), **style, lw=1.6, zorder=3)
    axes.fill_between(
        band.steps, band.low, band.high, color=color, alpha=0.18, lw=0, zorder=2
    )


def _marked(steps: np.ndarray) -> dict:
    return {"marker": "o", "markersize": 3} if len(steps) <= FEW else {}


def _places(panels: Sequence[Panel], cols: int) -> tuple[list, int, int]:
    """Row and column of each panel: a table of games and metrics, if it is one.

    One with holes is no table where all of it fits into a row.
    """
    tasks = list(dict.fromkeys(panel.task for panel in panels))
    metrics = list(dict.fromkeys(panel.metric for panel in panels))
    has_holes = len(panels) < len(tasks) * len(metrics)
    if min(len(tasks), len(metrics)) == 1 or (has_holes and len(panels) <= cols):
        cols = min(cols, len(panels))
        places = [divmod(index, cols) for index in range(len(panels))]
        return places, math.ceil(len(panels) / cols), cols
    places = [(tasks.index(p.task), metrics.index(p.metric)) for p in panels]
    if len(tasks) <= len(metrics):
        return places, len(tasks), len(metrics)
    return [place[::-1] for place in places], len(metrics), len(tasks)


def _colors(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Colour and line style by arm, the same in all panels."""
    shown = dict.fromkeys(name for p in panels for name in (*p.arms, *p.paper))
    names = [*(n for n in ORDER if n in shown), *(n for n in shown if n not in ORDER)]
    free = [color for color in PALETTE if color not in {COLORS.get(n) for n in names}]
    others = [name for name in names if name not in COLORS]
    colors = {name: (COLORS[name], "-") for name in names if name in COLORS}
    for index, name in enumerate(others):
        turn, color = divmod(index, len(free))
        colors[name] = free[color], STYLES[turn % len(STYLES)]
    return colors


def _legend(drawn: Figure, axes: np.ndarray, order: list[str]) -> int:
    """One legend below all panels, which names each curve once; returns its lines."""
    entries = {}
    for place in axes.flat:
        handles, labels = place.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    names = [*order, *(f"{PAPER}{name}" for name in order)]
    names = [name for name in dict.fromkeys(names) if name in entries]
    widest = LETTER * max(map(len, names)) + SAMPLE
    cols = max(1, min(len(names), int(drawn.get_figwidth() / widest)))
    drawn.legend(
        [entries[name] for name in names],
        names,
        loc="outside lower center",
        ncols=cols,
        frameon=False,
        fontsize="small",
    )
    return math.ceil(len(names) / cols)


def _short(value: float, position: int | None = None) -> str:
    """A step on an axis: 250, 5k, 20M."""
    return ticker.EngFormatter(sep="")(value) if abs(value) >= 1000 else f"{value:g}"


def _scale_log(axes: Axes) -> None:
    """A logarithmic axis with plain numbers on it."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _is_log(panel: Panel, yscale: str) -> bool:
    if yscale != "auto":
        return yscale == "log"
    values = [line[1] for arm in panel.arms.values() for line in arm.lines]
    values = np.concatenate([*values, *(line[1] for line in panel.paper.values())])
    is_loss = "loss" in panel.metric or "error" in panel.metric
    return bool(is_loss and 0 < values.min() < LOG_SHARE * values.max())
