"""Pictures of what the features of one game tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # No pyplot: it would look for a display.

from dreamerv2_transfer.analysis.album import Album
from dreamerv2_transfer.analysis.correlations import COMPONENTS
from dreamerv2_transfer.analysis.latents import Found, Targets
from dreamerv2_transfer.plotting.labels import task_label

COLORS = {"trained": "#1f6fb4", "untrained": "#e08214", "random": "#8c8c8c"}
FLOOR = -0.3  # R2 is cut off here: a probe may be worse than the mean by any factor.
LIFT = 4.0  # Log2 of 1 plus a rate over the mean rate; the end of the colour scale.
DARK = 6.0  # The same ratio, from which a colour is dark.
VISIBLE = 0.005  # Rates below are not written down.
BINS = 30  # Of a histogram.


def draw(
    album: Album, task: str, numbers: Mapping[str, Any], found: Found, targets: Targets
) -> None:
    """Draws everything about the features of a game.

    Args:
        album: Gets the pictures.
        task: The game.
        numbers: The numbers of all kinds of features, see `kinds.side_by_side`.
        found: What was found in the features of the trained model.
        targets: What they were analysed against.
    """
    if numbers["probes"]:
        draw_probes(album, task, numbers["probes"])
    if numbers["events"]:
        draw_clusters(album, task, numbers["events"], numbers["cluster_sizes"])
    if targets.place:
        null = found.numbers["best_feature"]["null"]
        draw_single(album, task, numbers["best_feature"], null, numbers["canonical"])
        variable = targets.place[0]
        values = targets.frames.variables[variable][found.shown]
        draw_scatter(album, task, found, variable, values)


def draw_probes(album: Album, task: str, probes: Mapping[str, Mapping]) -> None:
    """Draws bars of each variable's held-out R2, trained next to untrained."""
    names = list(probes)
    figure = Figure(figsize=(7, 1.2 + 0.34 * len(names)), layout="constrained")
    axes = figure.subplots()
    for shift, kind in ((-0.2, "trained"), (0.2, "untrained")):
        found = [probes[name][kind] for name in names]
        r2 = np.array([x["r2"] for x in found])
        bounds = np.array([[x["low"], x["high"]] for x in found], float)
        bounds = np.where(np.isnan(bounds), r2[:, None], bounds)
        ends = np.stack([r2 - bounds[:, 0], bounds[:, 1] - r2]).clip(min=0)
        places = np.arange(len(names)) + shift
        color = COLORS[kind]
        axes.barh(places, r2, 0.38, color=color, label=kind, xerr=ends, ecolor="0.2")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.axvline(0, color="0.2", linewidth=0.8)
    axes.set(
        xlim=(FLOOR, 1),
        xlabel="held-out R² (95% interval)",
        title=f"{task_label(task)}: linear probes",
    )
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    album.add_figure(
        figure,
        f"{task}_probes.png",
        f"{task_label(task)}: what a linear probe reads off the features",
        "Held-out R² of ridge regressions from the features to each variable. 1 is "
        f"perfect, 0 as good as the mean; values below {FLOOR} are cut off. Lines are "
        "95% bootstrap intervals over episodes.",
    )


def draw_clusters(
    album: Album, task: str, events: Mapping[str, Mapping], sizes: Sequence[float]
) -> None:
    """Draws the rate of each event in each cluster, coloured by how unusual it is."""
    order = np.argsort(sizes)[::-1]
    rates = np.array([x["trained"]["rates"] for x in events.values()], float)[:, order]
    base = np.array([x["trained"]["rate"] for x in events.values()])[:, None]
    size = 4.5 + 0.5 * len(order), 1.7 + 0.4 * len(events)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        np.log2(1 + rates / base), cmap="OrRd", vmin=0, vmax=LIFT, aspect="auto"
    )
    for (i, j), rate in np.ndenumerate(rates):
        if rate >= VISIBLE:
            color = "white" if rate / base[i, 0] > DARK else "black"
            place = dict(ha="center", va="center", fontsize=8, color=color)
            axes.text(j, i, f"{rate:.0%}", **place)
    axes.set_yticks(range(len(events)), [event_label(*x) for x in events.items()])
    shares = np.asarray(sizes)[order]
    names = [f"{k}\n{share:.0%}" for k, share in zip(order, shares, strict=True)]
    axes.set_xticks(range(len(order)), names, fontsize=8)
    axes.set(
        xlabel="cluster, and its share of the held-out frames",
        title=f"{task_label(task)}: share of a cluster's frames with an event",
    )
    bar = figure.colorbar(image, label="against the mean rate")
    ticks = np.array([0, 1, 3, 7, 15])
    bar.set_ticks(np.log2(1 + ticks), labels=[f"{x}×" for x in ticks])
    album.add_figure(
        figure,
        f"{task}_clusters.png",
        f"{task_label(task)}: k-means clusters and events",
        "Share of a cluster's held-out frames in which an event happens, written down "
        f"from {VISIBLE:.1%}, coloured by its ratio to the mean rate. On the left the "
        "mean rate, the share of the event's entropy that the clusters tell, and the p "
        "value of a permutation test over episodes, adjusted for the number of events "
        "(false discovery rate).",
    )


def event_label(name: str, numbers: Mapping[str, Mapping]) -> str:
    """Returns an event's name, rate, share of entropy and p value."""
    found = numbers["trained"]
    told = f"{found['share']:.0%} told, p {found['p_adjusted']:.3f}"
    return f"{name} ({found['rate']:.1%})\n{told}"


def draw_single(
    album: Album,
    task: str,
    best: Mapping[str, Any],
    null: Sequence[float],
    canonical: Mapping[str, Any],
) -> None:
    """Draws the best single feature against chance, and canonical correlations."""
    variable, names = best["variable"], canonical["variables"]
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(4, 3, 3))
    left.hist(null, BINS, color="0.75", label="values of episodes shuffled")
    for kind, color in COLORS.items():
        value = abs(best[kind]["train_r"])
        left.axvline(value, color=color, linewidth=2, label=f"{kind} features")
    left.set_xlim(left=0)
    left.set_xlabel(f"largest |r| with {variable}")
    left.set(ylabel="shuffles", title="Training episodes")
    left.legend(fontsize=8)
    pairs = {k: np.array([best[k]["train_r"], best[k]["test_r"]]) for k in COLORS}
    turned = {k: np.sign(pair[0]) * pair for k, pair in pairs.items()}
    _bars(middle, ["training", "held out"], turned)
    middle.set(ylabel=f"r with {variable} (training > 0)", title="The chosen feature")
    _bars(right, [f"{i + 1}" for i in range(len(names))], canonical)
    right.set(xlabel=f"pair, with {' and '.join(names)}", title="Canonical correlation")
    right.set_ylabel("held-out correlation")
    room = dict(handlelength=1, columnspacing=1)
    right.legend(fontsize=8, loc="upper center", ncols=3, **room)
    figure.suptitle(task_label(task))
    album.add_figure(
        figure,
        f"{task}_single.png",
        f"{task_label(task)}: the single feature closest to {variable}, and canonical "
        "correlations",
        f"Left: the largest of {best['features']:,} correlations with {variable} on "
        "training episodes, and the largest ones of the trained model's features with "
        "the values of whole episodes shuffled. Middle: the feature chosen there, on "
        "held-out episodes, times its sign in training: below zero, they contradict "
        f"it. Right: canonical correlations of {COMPONENTS} principal components with "
        f"{' and '.join(names)}.",
    )


def draw_scatter(
    album: Album, task: str, found: Found, variable: str, values: np.ndarray
) -> None:
    """Draws two principal components, coloured by cluster and by a variable.

    Args:
        album: Gets the picture.
        task: The game.
        found: The components and the clusters.
        variable: Name of the variable.
        values: Its values `(S,)` on the frames that are shown.
    """
    labels, explained = found.labels[found.shown], found.numbers["explained"]
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    points = found.scatter.T
    left.scatter(*points, c=labels, cmap="tab20", s=5, linewidths=0)
    left.set(title="colour: cluster")
    drawn = right.scatter(*points, c=values, cmap="viridis", s=5, linewidths=0)
    right.set(title=f"colour: {variable}")
    figure.colorbar(drawn, ax=right, label=variable)
    for axes in (left, right):
        axes.set_xlabel(f"component 1 ({explained[0]:.0%} of the variance)")
    left.set_ylabel(f"component 2 ({explained[1]:.0%})")
    figure.suptitle(f"{task_label(task)}: principal components of held-out features")
    album.add_figure(
        figure,
        f"{task}_scatter.png",
        f"{task_label(task)}: principal components of the features",
        "The first two principal components of held-out frames, coloured by k-means "
        f"cluster and by {variable}.",
    )


def _bars(axes: Axes, groups: Sequence[str], values: Mapping) -> None:
    """Draws grouped bars, one for each kind of features in each group."""
    places, lowest = np.arange(len(groups)), 0.0
    for shift, (kind, color) in zip((-0.27, 0, 0.27), COLORS.items(), strict=True):
        axes.bar(places + shift, values[kind], 0.25, color=color, label=kind)
        lowest = min(lowest, *values[kind])
    axes.axhline(0, color="0.2", linewidth=0.8)
    axes.set_xticks(places, groups)
    axes.set_ylim(1.1 * lowest, 1.15)  # Room for a legend.
    axes.grid(axis="y", alpha=0.3)
