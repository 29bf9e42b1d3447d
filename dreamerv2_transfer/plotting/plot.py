"""Draws panels of curves, the arms in colours that everybody can tell apart.

Does what the original's `plot.py` does; `panels` decides which curves go where.
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
from dreamerv2_transfer.common.files import atomic, paths
from dreamerv2_transfer.plotting.labels import (
    PAPER_ARMS,
    across,
    arm_label,
    literal,
    metric_label,
    task_label,
)
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.views import Arm

FORMATS = ("png", "pdf", "svg")
YSCALES = ("auto", "linear", "log")
# Okabe and Ito 2008, without the yellow, which is too pale for a line; then wine,
# olive, indigo and gray of Paul Tol's schemes, for figures of many arms.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
PALETTE += ("#882255", "#999933", "#332288", "#888888", "#000000")
STYLES = ("-", "-.", ":")  # In turn, whenever all colours have been used.
# The paper's arms have the same colour in every figure.
COLORS = dict(zip(PAPER_ARMS, ("#000000", *PALETTE[:3]), strict=True))
# A loss that falls below this share of its largest value is drawn on a logarithmic
# axis: a linear one would not show its end.
LOG_SHARE = 0.1
PAPER = "paper: "
LINE = 0.25  # Inches; height of a line of text beside the panels.
LETTER = 0.07  # Inches; width of a small letter.
SAMPLE = 0.55  # Inches; length of the line before a name in the legend.
FEW = 30  # Points; a curve with no more of them marks each.


class FigureError(UserError):
    """A file name or a choice for which no figure can be drawn."""


@dataclasses.dataclass(frozen=True)
class Look:
    """How a figure looks. Empty texts and equal limits leave it to the curves.

    Attributes:
        size: Width and height of a panel, in inches.
        cols: Most panels in a row.
        xlim: Limits of the horizontal axis.
        ylim: Limits of the vertical axis.
        yscale: `linear`, `log`, or `auto`: logarithmic for losses that fall far.
        xlabel: Label of the horizontal axis; by default what its steps count.
        ylabel: Label of the vertical axis.
        labels: Names of arms in the legend.
        title: Title of the figure.

    Raises:
        FigureError: The scale does not exist, or a pair has not two numbers.
    """

    size: Sequence[float] = (4.2, 3.1)
    cols: int = 4
    xlim: Sequence[float] = (0.0, 0.0)
    ylim: Sequence[float] = (0.0, 0.0)
    yscale: str = "auto"
    xlabel: str = ""
    ylabel: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    title: str = ""

    def __post_init__(self):
        if self.yscale not in YSCALES:
            raise FigureError(
                f"--yscale is one of {', '.join(YSCALES)}. Received: {self.yscale}"
            )
        for name in ("xlim", "ylim", "size"):
            pair = getattr(self, name)
            if len(pair) != 2:
                raise FigureError(f"--{name} takes two numbers. Received: {pair}")


def figure(panels: Sequence[Panel], look: Look | None = None) -> Figure:
    """Draws panels with one legend for all.

    Args:
        panels: At least one.
        look: How to draw them.
    """
    look = look or Look()
    places, rows, cols = arrange(panels, look.cols)
    width, height = look.size[0] * cols, look.size[1] * rows
    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = drawn.subplots(rows, cols, squeeze=False)
    styles = arm_styles(panels)
    logarithmic = log_metrics(panels, look.yscale)
    for panel, place in zip(panels, places, strict=True):
        draw(axes[place], panel, styles, look, panel.metric in logarithmic)
    for place in np.ndindex(rows, cols):
        axes[place].set_visible(place in places)
    lines = _legend(drawn, axes, [arm_label(name, look.labels) for name in styles])
    if look.title:
        drawn.suptitle(look.title)
        lines += 1
    drawn.set_size_inches(width, height + LINE * lines)
    return drawn


def draw(
    axes: Axes,
    panel: Panel,
    styles: Mapping[str, tuple[str, str]],
    look: Look,
    logarithmic: bool = False,
) -> None:
    """Draws the curves of a panel.

    Args:
        axes: Where to draw.
        panel: Its curves.
        styles: By arm, colour and style of its lines.
        look: Labels and limits of the axes.
        logarithmic: Whether the vertical axis is.
    """
    for name, curve in panel.paper.items():
        color, _ = styles[name]
        label = f"{PAPER}{arm_label(name, look.labels)}"
        axes.plot(*curve, "--", color=color, alpha=0.55, lw=1, label=label, zorder=1)
    for name, arm in panel.arms.items():
        color, style = styles[name]
        draw_arm(axes, arm, color, style, arm_label(name, look.labels))
    axes.set(
        title=task_label(panel.task),
        xlabel=look.xlabel or across(panel.view, panel.units(*panel.arms)),
        ylabel=look.ylabel or metric_label(panel.metric),
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(short_step))
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    if look.xlim[0] != look.xlim[1]:
        axes.set_xlim(look.xlim)
        _fit_height(axes)
    if look.ylim[0] != look.ylim[1]:
        axes.set_ylim(look.ylim)


def _fit_height(axes: Axes) -> None:
    """Fits the vertical axis to what lies within the limits of the horizontal one."""
    low, high = axes.get_xlim()
    seen = [y[(x >= low) & (x <= high)] for x, y in (z.get_data() for z in axes.lines)]
    values = np.concatenate([np.empty(0), *seen])
    values = values[np.isfinite(values)]
    if len(values):
        axes.dataLim.intervaly = values.min(), values.max()
        axes.autoscale_view(scalex=False)


def draw_arm(axes: Axes, arm: Arm, color: str, style: str, label: str) -> None:
    """Draws an arm's mean, its seeds and its band, or its lines if it has no band.

    The mean is thin where some of the runs have ended. The band of few seeds can be far
    wider than they are, so the axis fits the lines alone.
    """
    look = {"color": color, "ls": style, "label": label}
    if arm.band is None:
        for steps, values in arm.lines:
            axes.plot(steps, values, lw=1.2, **_marker(steps), **look)
        return
    band = arm.band
    full = np.where(band.count == band.count.max(), band.mean, np.nan)
    axes.plot(band.steps, band.mean, color=color, ls=style, lw=0.6, zorder=3)
    axes.plot(band.steps, full, **_marker(band.steps), **look, lw=1.6, zorder=3)
    if len(arm.lines) < 2:
        return
    for line in arm.lines:
        axes.plot(*line, color=color, ls=style, lw=0.5, alpha=0.45, zorder=2)
    fitted = axes.dataLim.frozen()
    axes.fill_between(
        band.steps, band.low, band.high, color=color, alpha=0.08, lw=0, zorder=1
    )
    axes.dataLim.set(fitted)


def arrange(
    panels: Sequence[Panel], cols: int
) -> tuple[list[tuple[int, int]], int, int]:
    """Lays panels out as a table of games and metrics, or as lines of a text.

    Not as a table if there is one game or one metric only, nor if the table would have
    holes and all panels fit into a row.

    Args:
        panels: At least one.
        cols: Most panels in a row, other than in a table.

    Returns:
        Row and column of each panel, and the number of rows and of columns.
    """
    tasks = list(dict.fromkeys(panel.task for panel in panels))
    metrics = list(dict.fromkeys(panel.metric for panel in panels))
    has_holes = len(panels) < len(tasks) * len(metrics)
    if min(len(tasks), len(metrics)) == 1 or (has_holes and len(panels) <= cols):
        rows = math.ceil(len(panels) / cols)
        cols = math.ceil(len(panels) / rows)  # Rows as alike as they can be.
        places = [divmod(index, cols) for index in range(len(panels))]
        return places, rows, cols
    places = [(tasks.index(p.task), metrics.index(p.metric)) for p in panels]
    if len(tasks) <= len(metrics):
        return places, len(tasks), len(metrics)
    return [place[::-1] for place in places], len(metrics), len(tasks)


def arm_styles(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Returns colour and line style by arm, the same in all panels."""
    shown = dict.fromkeys(name for p in panels for name in (*p.arms, *p.paper))
    styles = {name: (COLORS[name], "-") for name in PAPER_ARMS if name in shown}
    used = {color for color, _ in styles.values()}
    free = [color for color in PALETTE if color not in used]
    for index, name in enumerate(name for name in shown if name not in styles):
        turn, color = divmod(index, len(free))
        styles[name] = free[color], STYLES[turn % len(STYLES)]
    return styles


def log_metrics(panels: Sequence[Panel], yscale: str = "auto") -> set[str]:
    """Returns the metrics whose panels get a logarithmic axis, all of them or none.

    Args:
        panels: The panels.
        yscale: One of `YSCALES`.
    """
    return {panel.metric for panel in panels if _is_log(panel, yscale)}


def short_step(value: float, position: int | None = None) -> str:
    """Formats a step for an axis: 250, 5k, 20M."""
    return ticker.EngFormatter(sep="")(value) if abs(value) >= 1000 else f"{value:g}"


def save(drawn: Figure, path: str | os.PathLike, dpi: float) -> None:
    """Writes a figure atomically, in the format that the name ends with.

    Args:
        drawn: The figure.
        path: Ends in one of `FORMATS`.
        dpi: Pixels per inch.

    Raises:
        FigureError: The name has another ending.
        OutputError: The file cannot be written.
    """
    path = pathlib.Path(path)
    with atomic.atomic_write(path) as file:
        literal(drawn).savefig(file, format=check_format(path), dpi=dpi)


def outputs(out: str, outdir: str) -> list[pathlib.Path]:
    """Returns the files to write for `--out` and `--outdir`; either may be ''.

    Raises:
        FigureError: Both are, or `out` does not end in one of `FORMATS`.
    """
    if not (out or outdir):
        raise FigureError("Name the figure to draw: --out figure.png.")
    files = [paths.local(out)] if out else []
    if outdir:
        folder = paths.local(outdir)
        files += [folder / "curves.png", folder / "curves.pdf"]
    for file in files:
        check_format(file)
    return files


def named(texts: Sequence[str]) -> dict[str, str]:
    """Returns the names of arms, given ARM NAME ARM NAME ...

    Raises:
        FigureError: The last arm has no name.
    """
    if len(texts) % 2:
        raise FigureError(
            "--labels takes pairs, an arm and what to call it. Received: "
            f"{' '.join(texts)}"
        )
    return dict(zip(texts[::2], texts[1::2], strict=True))


def check_format(path: str | os.PathLike) -> str:
    """Returns the format that a file name ends with.

    Raises:
        FigureError: It is not one of `FORMATS`.
    """
    ending = pathlib.Path(path).suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise FigureError(
            f"A figure's name ends in .{', .'.join(FORMATS)}. Received: {path}"
        )
    return ending


def _marker(steps: np.ndarray) -> dict:
    return {"marker": "o", "markersize": 3} if len(steps) <= FEW else {}


def _legend(drawn: Figure, axes: np.ndarray, order: list[str]) -> int:
    """Adds a legend below all panels that names each curve once; returns its lines."""
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


def _is_log(panel: Panel, yscale: str) -> bool:
    if yscale != "auto":
        return yscale == "log"
    values = [line[1] for arm in panel.arms.values() for line in arm.lines]
    values = np.concatenate([*values, *(curve[1] for curve in panel.paper.values())])
    is_loss = "loss" in panel.metric or "error" in panel.metric
    return bool(is_loss and 0 < values.min() < LOG_SHARE * values.max())
