"""Draws what arms gain over scratch: seeds as points, intervals, and profiles."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from dreamerv2_transfer.plotting import aggregates, gains_table, labels, plot
from dreamerv2_transfer.plotting.aggregates import Aggregate
from dreamerv2_transfer.plotting.claims import SLACK
from dreamerv2_transfer.plotting.comparison import Comparison
from dreamerv2_transfer.plotting.labels import SCRATCH

ROW = 0.34  # Inches; height of a row.
WIDTH = 7.0  # Inches; of the rows, names and numbers included.
PROFILE = 3.6  # Inches; width of the profiles.
BELOW = 48  # Points from the profiles down to their legend, past two lines of label.
GRAY = "#888888"


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of the picture.

    Attributes:
        name: What stands at its left; an arm, or a heading if there is no `estimate`.
        color: The arm's colour.
        estimate: The ratio, an `Estimate` in dict form.
        seeds: Each seed's own ratio.
        paper: The paper's ratio.
    """

    name: str
    color: str = "#000000"
    estimate: dict | None = None
    seeds: Sequence[float] = ()
    paper: float | None = None


def draw(compared: Comparison, names: Mapping[str, str] | None = None) -> Figure:
    """Draws the area ratios of the first metric of returns.

    Below each game stand scratch's seeds and the arms; at the end come several games
    together, with their performance profiles at the right.

    Args:
        compared: The comparison, of at least one arm with scratch.
        names: Names of arms, by arm.
    """
    metric = compared.gains[0]["metric"]
    lines = rows(compared, metric, names)
    together = [one for one in compared.aggregates if one.metric == metric]
    drawn = Figure(
        figsize=(WIDTH + PROFILE * bool(together), 1.1 + ROW * len(lines)),
        layout="constrained",
    )
    widths = [WIDTH, PROFILE] if together else [WIDTH]
    places = drawn.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    draw_rows(places[0], lines)
    marks = "points: seeds; strokes: means; bars: 95% intervals"
    if any(line.paper is not None for line in lines):
        marks += "; diamonds: the paper"
    what = labels.metric_label(metric)
    places[0].set_xlabel(f"{what}: area under the curve over that of scratch\n{marks}")
    if together:
        draw_profiles(places[1], together, compared.colors, names)
    return drawn


def rows(
    compared: Comparison, metric: str, names: Mapping[str, str] | None = None
) -> list[Line]:
    """Returns the rows for a metric, from top to bottom."""
    found: list[Line] = []
    paper = {
        (claim.task, claim.arm): claim.paper
        for claim in compared.claims
        for one in compared.gains
        if claim.metric == metric == one["metric"] and claim.task == one["task"]
        if abs(claim.until - one["end"]) <= SLACK * claim.until
    }
    chosen = [one for one in compared.gains if one["metric"] == metric]
    for task in dict.fromkeys(one["task"] for one in chosen):
        members = [one for one in chosen if one["task"] == task]
        found.append(Line(labels.task_label(task) or "unknown game"))
        alone = (members[0]["normalized"] or {}).get("scratch", [])
        found.append(Line(labels.arm_label(SCRATCH, names), GRAY, {}, alone))
        for one in members:
            seeds = (one["normalized"] or {}).get("transfer", [])
            name, color = (
                labels.arm_label(one["arm"], names),
                compared.colors[one["arm"]],
            )
            ratio = one["area_ratio"] or {}
            found.append(Line(name, color, ratio, seeds, paper.get((task, one["arm"]))))
    together = [one for one in compared.aggregates if one.metric == metric]
    for games, members in aggregates.by_games(together).items():
        found.append(Line(f"{games}, interquartile mean of all runs"))
        for one in members:
            estimate = dataclasses.asdict(one.interquartile_mean)
            name = labels.arm_label(one.arm, names)
            found.append(Line(name, compared.colors[one.arm], estimate))
    return found


def draw_rows(axes: Axes, lines: Sequence[Line]) -> None:
    """Draws rows of ratios: seeds as points, the ratio as a stroke in its interval."""
    shown = [x for line in lines for x in (*line.seeds, line.paper) if x is not None]
    values = [(line.estimate or {}).get("value") for line in lines]
    right = 1.12 * max([1.6, *shown, *(x for x in values if x is not None)])
    left = min(0.0, 1.12 * min([0.0, *shown]))
    axes.axvline(1, color=GRAY, ls="--", lw=0.8, zorder=0)
    for at, line in enumerate(lines):
        if line.estimate is None:
            continue
        value, low, high = (line.estimate.get(key) for key in ("value", "low", "high"))
        if low is not None and high is not None:
            # An arrow stands for a rest beyond the axis; the numbers have it.
            ends = max(low, left), min(high, right)
            bar = {"lw": 5, "alpha": 0.25, "solid_capstyle": "butt", "zorder": 1}
            axes.plot(ends, (at, at), color=line.color, **bar)
            for end, past, arrow in (
                (left, low < left, "<"),
                (right, high > right, ">"),
            ):
                if past:
                    axes.plot(end, at, arrow, color=line.color, ms=7, clip_on=False)
        dots = {"color": line.color, "ms": 4, "clip_on": False, "zorder": 3}
        axes.plot(line.seeds, [at] * len(line.seeds), "o", **dots)
        if value is not None:
            axes.plot(value, at, "|", color=line.color, ms=13, mew=2.2, zorder=4)
        if line.paper is not None:
            axes.plot(line.paper, at, "D", mfc="white", mec="#000000", ms=5, zorder=2)
        known = value is not None
        text = gains_table.interval_text(line.estimate, ".2f") if known else ""
        axes.text(1.03, at, text, transform=axes.get_yaxis_transform(), va="center")
    axes.set(xlim=(left, right), ylim=(len(lines) - 0.5, -0.5))
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    for label, line in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if line.estimate is None else "normal")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_profiles(
    axes: Axes,
    together: Sequence[Aggregate],
    colors: Mapping[str, str],
    names: Mapping[str, str] | None = None,
) -> None:
    """Draws the share of runs above each score, with its pointwise 95% band.

    Scratch has a profile for each set of games that arms have in common.
    """
    groups = aggregates.by_games(together)
    for style, (games, members) in zip(
        itertools.cycle(plot.STYLES), groups.items(), strict=False
    ):
        profiles = {arm: x for one in members for arm, x in one.profiles.items()}
        for arm, (low, value, high) in profiles.items():
            look = {"color": GRAY if arm == SCRATCH else colors[arm]}
            label = labels.arm_label(arm, names)
            label += f", {games}" if arm == SCRATCH and len(groups) > 1 else ""
            axes.plot(aggregates.THRESHOLDS, value, ls=style, label=label, **look)
            axes.fill_between(
                aggregates.THRESHOLDS, low, high, alpha=0.15, lw=0, **look
            )
    axes.set(
        xlabel="score: area over\nscratch's mean",
        ylabel="share of runs above",
        title="Performance profiles",
    )
    axes.legend(  # Below, as names may be wider than the axes.
        frameon=False,
        fontsize="small",
        loc="upper right",
        bbox_to_anchor=(1, 0),
        bbox_transform=offset_copy(
            axes.transAxes, axes.figure, y=-BELOW, units="points"
        ),
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
