"""The pictures of an analysis."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # No pyplot: it would look for a display.
from matplotlib.image import AxesImage
from PIL import Image

from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.logger import video

DPI = 90
PALETTE = 256  # Colours of a picture.
COLORS = {"trained": "#1f6fb4", "untrained": "#e08214", "random": "#8c8c8c"}
LINES = {
    "model": "#1f6fb4",
    "untrained model": "#e08214",
    "last frame repeated": "#444444",
    "mean of all frames": "#7a9a3a",
}
BASELINES = ("last frame repeated", "mean of all frames")
FLOOR = -0.3  # Where R2 is cut off: a probe may be worse than the mean by any factor.
LIFT = 4.0  # Log2 of 1 plus a rate over the mean rate, at which colours end.
DARK = 6.0  # The same ratio, from which on a colour is dark.
VISIBLE = 0.005  # Rates below are not written down.
BEYOND = 3.0  # Times the other curves, from which on a curve is not drawn.
COLUMNS = 7  # Frames of a strip.
BINS = 30  # Of a histogram.


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a PNG, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    # A third of the size, and no difference to be seen: see `video` for the method.
    how = dict(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image = Image.open(drawn).convert("RGB").quantize(PALETTE, **how)
    with atomic.atomic_write(path) as file:
        image.save(file, "PNG", optimize=True)


def probes(numbers: Mapping[str, Mapping], task: str) -> Figure:
    """Bars of the held-out R2 of each variable, trained beside untrained."""
    names = list(numbers)
    figure = Figure(figsize=(7, 1.2 + 0.34 * len(names)), layout="constrained")
    axes = figure.subplots()
    for shift, kind in ((-0.2, "trained"), (0.2, "untrained")):
        found = [numbers[name][kind] for name in names]
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
        title=f"{task}: linear probes",
    )
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def clusters(
    events: Mapping[str, Mapping], sizes: Sequence[float], task: str
) -> Figure:
    """How often each event happens in each cluster, coloured by how unusual that is."""
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
    axes.set_yticks(range(len(events)), [_event(*item) for item in events.items()])
    shares = np.asarray(sizes)[order]
    names = [f"{k}\n{share:.0%}" for k, share in zip(order, shares, strict=True)]
    axes.set_xticks(range(len(order)), names, fontsize=8)
    axes.set(
        xlabel="cluster, and its share of the held-out frames",
        title=f"{task}: share of a cluster's frames with an event",
    )
    bar = figure.colorbar(image, label="against the mean rate")
    ticks = np.array([0, 1, 3, 7, 15])
    bar.set_ticks(np.log2(1 + ticks), labels=[f"{x}×" for x in ticks])
    return figure


def _event(name: str, numbers: Mapping) -> str:
    found = numbers["trained"]
    told = f"{found['share']:.0%} told, p {found['p_adjusted']:.3f}"
    return f"{name} ({found['rate']:.1%})\n{told}"


def single(
    best: Mapping, null: Sequence[float], canonical: Mapping, task: str
) -> Figure:
    """The best single feature against chance, and canonical correlations."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(4, 3, 3))
    left.hist(null, BINS, color="0.75", label="values of episodes shuffled")
    for kind, color in COLORS.items():
        value = abs(best[kind]["train_r"])
        left.axvline(value, color=color, linewidth=2, label=f"{kind} features")
    left.set_xlim(left=0)
    left.set(
        xlabel=f"largest |r| with {best['variable']}",
        ylabel="shuffles",
        title="Training episodes",
    )
    left.legend(fontsize=8)
    _kinds(middle, {"training": "train_r", "held out": "test_r"}, best)
    middle.set(ylabel=f"|r| with {best['variable']}", title="The chosen feature")
    names = canonical["variables"]
    places = {f"{i + 1}": i for i in range(len(names))}
    _kinds(right, places, canonical)
    right.set(
        xlabel=f"pair, with {' and '.join(names)}",
        ylabel="held-out correlation",
        title="Canonical correlation",
    )
    room = dict(handlelength=1, columnspacing=1)
    right.legend(fontsize=8, loc="upper center", ncols=3, **room)
    figure.suptitle(task)
    return figure


def _kinds(axes: Axes, groups: Mapping[str, str | int], values: Mapping) -> None:
    """Grouped bars, one of each kind of features in each group."""
    for shift, (kind, color) in zip((-0.27, 0, 0.27), COLORS.items(), strict=True):
        heights = [abs(values[kind][key]) for key in groups.values()]
        axes.bar(np.arange(len(groups)) + shift, heights, 0.25, color=color, label=kind)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylim(0, 1.15)  # Room for a legend.
    axes.grid(axis="y", alpha=0.3)


def scatter(
    points: np.ndarray,
    labels: np.ndarray,
    values: np.ndarray,
    explained: Sequence[float],
    variable: str,
    task: str,
) -> Figure:
    """Two principal components, coloured by cluster and by a variable."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    left.scatter(*points.T, c=labels, cmap="tab20", s=5, linewidths=0)
    left.set(title="colour: cluster")
    drawn = right.scatter(*points.T, c=values, cmap="viridis", s=5, linewidths=0)
    right.set(title=f"colour: {variable}")
    figure.colorbar(drawn, ax=right, label=variable)
    for axes in (left, right):
        axes.set_xlabel(f"component 1 ({explained[0]:.0%} of the variance)")
    left.set_ylabel(f"component 2 ({explained[1]:.0%})")
    figure.suptitle(f"{task}: principal components of held-out features")
    return figure


def error(curves: Mapping[str, Mapping], unit: str, task: str) -> Figure:
    """Prediction error against the step, with 95% bands."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    ceiling = BEYOND * max(max(curves[name]["mean"]) for name in BASELINES)
    for name, curve in curves.items():
        color = LINES[name]
        if min(curve["mean"]) > ceiling:
            label = f"{name}: {curve['mean'][0]:.0f}, not drawn"
            axes.plot([], [], color=color, label=label)
            continue
        steps = np.arange(1, len(curve["mean"]) + 1)
        axes.plot(steps, curve["mean"], color=color, label=name)
        band = dict(color=color, alpha=0.2, linewidth=0)
        axes.fill_between(steps, curve["low"], curve["high"], **band)
    axes.set(
        xlabel="steps without seeing",
        ylabel=f"squared error ({unit})",
        title=f"{task}: prediction error",
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def transfer(trained: Mapping, untrained: Mapping, names: Sequence[str]) -> Figure:
    """Matrices of how well the probes of a game predict in another."""
    figure = Figure(figsize=(2.7 * len(names) + 0.9, 5.6), layout="constrained")
    grid = figure.subplots(2, len(names), squeeze=False)
    for row, (kind, found) in enumerate(
        (("trained", trained), ("untrained", untrained))
    ):
        for axes, name in zip(grid[row], names, strict=True):
            image = _matrix(axes, found.get(name, trained[name]), name in found)
            axes.set_title(f"{name}, {kind}", fontsize=10)
    for axes in grid[:, 0]:
        axes.set_ylabel("probe learned in")
    for axes in grid[-1]:
        axes.set_xlabel("used in")
    figure.colorbar(image, ax=grid, label="r on held-out episodes", shrink=0.6)
    figure.suptitle("Probes from game to game")
    return figure


def _matrix(axes: Axes, found: Mapping, there: bool) -> AxesImage:
    r = np.array(found["r"]) * (1 if there else np.nan)
    image = axes.imshow(r, cmap="RdBu_r", vmin=-1, vmax=1)
    games = [
        game.removeprefix("minatar_").replace("_", "\n") for game in found["games"]
    ]
    axes.set_xticks(
        range(len(games)),
        games,
        fontsize=8,
        rotation=45,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_yticks(range(len(games)), games, fontsize=8)
    for (i, j), value in np.ndenumerate(r):
        color = "white" if abs(value) > 0.6 else "black"
        axes.text(
            j, i, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8
        )
    return image


def together(trained: Mapping, names: Sequence[str]) -> Figure:
    """Own probe, one probe for all games, and the shared direction, by variable."""
    figure = Figure(figsize=(2 + 1.5 * len(names), 4), layout="constrained")
    axes = figure.subplots()
    series = {
        "R² of the game's own probe": lambda x: np.diag(x["r2"]),
        "R² of one probe for all games": lambda x: np.array(x["joint_r2"]),
        "r of a probe for the other games": lambda x: np.array(x["others_r"]),
    }
    colors = ("#1f6fb4", "#7db7e0", "#b2182b")
    for shift, (label, take), color in zip(
        (-0.27, 0, 0.27), series.items(), colors, strict=True
    ):
        for place, name in enumerate(names):
            values = take(trained[name])
            axes.bar(
                place + shift,
                max(values.mean(), FLOOR),
                0.25,
                color=color,
                alpha=0.6,
                label=label if place == 0 else None,
            )
            axes.plot(
                [place + shift] * len(values),
                values.clip(min=FLOOR),
                ".",
                color="0.2",
                markersize=5,
            )
    axes.axhline(0, color="0.2", linewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set(
        ylim=(FLOOR, 1),
        ylabel="on held-out episodes",
        title="One probe for several games (bars: mean; dots: games)",
    )
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def strip(
    truth: np.ndarray, model: np.ndarray, context: int, look: Mapping
) -> np.ndarray:
    """Truth, model and error of one sequence, time from left to right.

    Args:
        truth: `(T, H, W, C)`.
        model: `(T, H, W, C)`.
        context: frames that the model has seen.
        look: `scale` and `colors` of planes, see `video.open_loop`.

    Returns:
        uint8 RGB `(H', W', 3)`.
    """
    frames = video.open_loop(truth[None], model[None], context, **look)
    return video.grid(frames[_times(len(truth), context), None], gap=8)[0]


def dream_strip(model: np.ndarray, context: int, look: Mapping) -> np.ndarray:
    """As `strip`, of a dream that there is no truth to."""
    frames = dream_frames(model[None], context, look)
    return video.grid(frames[_times(len(model), context), None], gap=8)[0]


def dream_frames(models: np.ndarray, context: int, look: Mapping) -> np.ndarray:
    """Dreams `(B, T, H, W, C)` side by side, under a bar that tells the step.

    Returns:
        uint8 RGB `(T, H', W', 3)`.
    """
    drawn = np.stack(
        [video.episode(x, look.get("scale", 1), look.get("colors")) for x in models]
    )
    frames = video.grid(drawn)
    words = [("observes", video.OBSERVED), ("dreams", video.DREAMED)]
    return np.stack(
        [
            video.caption(frame, [(f"t={t}", video.TEXT), words[t >= context]])
            for t, frame in enumerate(frames)
        ]
    )


def _times(length: int, context: int) -> np.ndarray:
    """The last frames that are seen, then frames further and further away."""
    far = np.unique(np.geomspace(1, length - context, COLUMNS - 2).round().astype(int))
    seen = np.arange(max(0, context - 2), context)
    return np.concatenate([seen, context - 1 + far])
