"""Pictures of how the probes of one game do in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # No pyplot: it would look for a display.
from matplotlib.image import AxesImage

from dreamerv2_transfer.analysis.album import Album
from dreamerv2_transfer.analysis.feature_pictures import FLOOR
from dreamerv2_transfer.plotting.labels import game_label


def draw_matrices(
    album: Album,
    trained: Mapping[str, Mapping],
    untrained: Mapping[str, Mapping],
    names: Sequence[str],
) -> None:
    """Draws how well the probes of each game predict in each other.

    Args:
        album: Gets the picture.
        trained: Results of `across_games.compare` for the trained model.
        untrained: The same for the untrained one, which may lack variables.
        names: The variables to show.
    """
    figure = Figure(figsize=(2.7 * len(names) + 0.9, 5.6), layout="constrained")
    grid = figure.subplots(2, len(names), squeeze=False)
    for row, kind, found in zip(
        grid, ("trained", "untrained"), (trained, untrained), strict=True
    ):
        for axes, name in zip(row, names, strict=True):
            image = _matrix(axes, found.get(name, trained[name]), name in found)
            axes.set_title(f"{name}, {kind}", fontsize=10)
    for axes in grid[:, 0]:
        axes.set_ylabel("probe learned in")
    for axes in grid[-1]:
        axes.set_xlabel("used in")
    figure.colorbar(image, ax=grid, label="r on held-out episodes", shrink=0.6)
    figure.suptitle("Probes from game to game")
    album.add_figure(
        figure,
        "transfer.png",
        "Probes from game to game",
        "Correlation of a probe's predictions with the truth on held-out episodes. The "
        "row is the game in which the probe was learned, the column the game in which "
        "it is used; the diagonal is each game's own probe. Below, the same for an "
        "untrained model.",
    )


def draw_together(
    album: Album, trained: Mapping[str, Mapping], names: Sequence[str]
) -> None:
    """Draws how each game's own probe, one for all and one of the others do.

    Args:
        album: Gets the picture.
        trained: Results of `across_games.compare` for the trained model.
        names: The variables to show.
    """
    figure = Figure(figsize=(2 + 1.5 * len(names), 4), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(names):
        found = trained[name]
        groups = (
            (-0.27, "R² of the game's own probe", np.diag(found["r2"]), "#1f6fb4"),
            (0, "R² of one probe for all games", found["joint_r2"], "#7db7e0"),
            (0.27, "r of a probe for the other games", found["others_r"], "#b2182b"),
        )
        for shift, label, values, color in groups:
            values = np.array(values)
            height, legend = max(values.mean(), FLOOR), None if number else label
            look = dict(color=color, alpha=0.6, label=legend)
            axes.bar(number + shift, height, 0.25, **look)
            places = [number + shift] * len(values)
            dots = values.clip(min=FLOOR)
            axes.plot(places, dots, ".", color="0.2", markersize=5)
    axes.axhline(0, color="0.2", linewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set(
        ylim=(FLOOR, 1),
        ylabel="on held-out episodes",
        title="One probe for several games (bars: mean; dots: games)",
    )
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    album.add_figure(
        figure,
        "transfer_together.png",
        "One probe for several games",
        "Dark: R² of each game's own probe. Light: of one probe learned on all games. "
        "Red: correlation of a probe learned on all other games. If one probe for all "
        "works and one of the others does not, the games use directions that differ "
        f"and do not collide. Values below {FLOOR} are drawn there.",
    )


def _matrix(axes: Axes, found: Mapping, known: bool) -> AxesImage:
    r = np.array(found["r"]) * (1 if known else np.nan)
    image = axes.imshow(r, cmap="RdBu_r", vmin=-1, vmax=1)
    games = [game_label(game).replace(" ", "\n") for game in found["games"]]
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
