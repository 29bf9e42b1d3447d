"""The pictures of an analysis as files, each with its title and caption."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dreamerv2_transfer.analysis import figures, latents
from dreamerv2_transfer.analysis.dreams import Sequences
from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.logger import video

GIF_SCALE = 8  # Pixels a cell of planes in an animation,
STRIP_SCALE = 16  # and in a strip, whose captions need the room.
SHADES = 0xE0  # Of a byte in an animation: fewer make it a third of the size.
UNITS = {True: "wrong cells an image", False: "summed over an image"}


class Album:
    """Draws into a folder and keeps a list of what it has drawn.

    Attributes:
        pictures: `file`, `title` and `caption` of each, in order.
    """

    def __init__(self, directory: pathlib.Path, fps: float):
        """Takes the folder, and the frames a second of animations."""
        self.pictures: list[dict[str, str]] = []
        self._directory = directory
        self._fps = fps

    def latents(
        self, numbers: Mapping[str, Any], found: latents.Found, task: latents.Task
    ) -> None:
        """Draws what was found in the features of a game.

        Args:
            numbers: of all kinds of features, as in `analysis.json`, with `task`.
            found: in the features of the trained model.
            task: what they were analysed against.
        """
        name = numbers["task"]
        if numbers["probes"]:
            self._probes(numbers["probes"], name)
        if numbers["events"]:
            self._clusters(numbers["events"], numbers["cluster_sizes"], name)
        if task.place:
            null = found.numbers["best_feature"]["null"]
            self._single(numbers["best_feature"], null, numbers["canonical"], name)
            self._scatter(found, task, name)

    def _probes(self, numbers: Mapping[str, Any], task: str) -> None:
        self._figure(
            figures.probes(numbers, task),
            f"{task}_probes.png",
            f"{task}: what a linear probe reads off the features",
            "Held-out R² of ridge regressions from the features to each variable; 1 is "
            f"perfect, 0 is as good as the mean; what is below {figures.FLOOR} is cut "
            "off. Lines are 95% bootstrap intervals over episodes.",
        )

    def _clusters(
        self, events: Mapping[str, Any], sizes: Sequence[float], task: str
    ) -> None:
        self._figure(
            figures.clusters(events, sizes, task),
            f"{task}_clusters.png",
            f"{task}: k-means clusters and events",
            "Share of a cluster's held-out frames in which an event happens, from "
            f"{figures.VISIBLE:.1%} on, coloured by its ratio to the mean rate. At the "
            "left that mean rate, the share of the event's entropy that the cluster "
            "tells, and the p value of a permutation test over episodes, adjusted for "
            "the number of events (false discovery rate).",
        )

    def _single(
        self,
        best: Mapping[str, Any],
        null: Sequence[float],
        canonical: Mapping[str, Any],
        task: str,
    ) -> None:
        variable = best["variable"]
        self._figure(
            figures.single(best, null, canonical, task),
            f"{task}_single.png",
            f"{task}: the single feature closest to {variable}, and canonical "
            "correlations",
            f"Left: the largest of {best['features']:,} correlations with {variable} "
            "on training episodes, against the largest ones of the trained model's "
            "features with the values of whole episodes shuffled. Middle: the feature "
            "that was chosen there, on episodes held out. Right: canonical "
            f"correlations of {latents.COMPONENTS} principal components with "
            f"{' and '.join(canonical['variables'])}.",
        )

    def _scatter(self, found: latents.Found, task: latents.Task, name: str) -> None:
        variable = task.place[0]
        figure = figures.scatter(
            found.scatter,
            found.labels[found.shown],
            task.frames.variables[variable][found.shown],
            found.numbers["explained"],
            variable,
            name,
        )
        self._figure(
            figure,
            f"{name}_scatter.png",
            f"{name}: principal components of the features",
            "The first two principal components of held-out frames, coloured by "
            f"k-means cluster and by {variable}.",
        )

    def transfer(self, found: Mapping[str, Mapping], names: Sequence[str]) -> None:
        """Draws how probes do in other games: `transfer.transfer` of both models."""
        self._figure(
            figures.transfer(found["trained"], found["untrained"], names),
            "transfer.png",
            "Probes from game to game",
            "Correlation of a probe's predictions with the truth on held-out episodes: "
            "a row is the game it was learned in, a column the one it is used in. The "
            "diagonal is the game's own probe. Below the same with an untrained model.",
        )
        self._figure(
            figures.together(found["trained"], names),
            "transfer_together.png",
            "One probe for several games",
            "Dark: R² of each game's own probe; light: of one probe learned on all "
            "games; red: correlation of a probe learned on all other games. Where one "
            "probe for all works and one of the others does not, the games use "
            "directions that differ and do not collide. What is below "
            f"{figures.FLOOR} is drawn there.",
        )

    def dreams(
        self, true: np.ndarray, model: np.ndarray, pieces: Sequences, task: str
    ) -> None:
        """Draws some dreams `(S, T, H, W, C)` beside the truth."""
        context = pieces.context
        seen = f"The model sees {context} frames and dreams the next {pieces.horizon} "
        seen += "with the actions that were recorded."
        look = _look(task, GIF_SCALE)
        frames = video.open_loop(true, model, context, **look)
        title = f"{task}: truth, dream and error"
        self._animation(frames, f"{task}_dream.gif", title, seen)
        image = figures.strip(true[0], model[0], context, _look(task, STRIP_SCALE))
        title = f"{task}: a dream beside the truth"
        self._image(image, f"{task}_dream.png", title, seen)

    def acting(self, dreamed: np.ndarray, context: int, task: str) -> None:
        """Draws dreams `(S, T, H, W, C)` that there is no truth to."""
        told = "What the actor does in the model's dream; there is no truth to it."
        look = _look(task, STRIP_SCALE)
        frames = figures.dream_frames(dreamed, context, look)
        self._animation(
            frames, f"{task}_actor.gif", f"{task}: dreams of the actor", told
        )
        image = figures.dream_strip(dreamed[0], context, look)
        self._image(image, f"{task}_actor.png", f"{task}: a dream of the actor", told)

    def error(self, curves: Mapping[str, Any], sequences: int, task: str) -> None:
        """Draws the prediction error against the horizon."""
        self._figure(
            figures.error(curves, unit(task), task),
            f"{task}_error.png",
            f"{task}: prediction error against the horizon",
            f"Mean squared error of {sequences} open-loop predictions, summed over an "
            "image, with 95% bootstrap bands over episodes; beside it the last frame "
            "that was seen, repeated, and the mean of all these frames, which is the "
            "best single picture for those who see nothing.",
        )

    def _figure(self, figure: Figure, name: str, title: str, caption: str) -> None:
        figures.save(figure, self._directory / name)
        self._note(name, title, caption)

    def _image(self, image: np.ndarray, name: str, title: str, caption: str) -> None:
        video.save_png(self._directory / name, image)
        self._note(name, title, caption)

    def _animation(
        self, frames: np.ndarray, name: str, title: str, caption: str
    ) -> None:
        video.save_gif(self._directory / name, frames & SHADES, self._fps)
        self._note(name, title, caption)

    def _note(self, name: str, title: str, caption: str) -> None:
        self.pictures.append({"file": name, "title": title, "caption": caption})


def unit(task: str) -> str:
    """What the squared error of an image counts."""
    return UNITS[envs.native_planes(task) is not None]


def _look(task: str, scale: int) -> dict[str, int]:
    planes = envs.native_planes(task)
    return {} if planes is None else {"scale": scale, "colors": planes}
