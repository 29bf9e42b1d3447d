"""Pictures of dreams: beside the truth, of the actor, and how their error grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure  # No pyplot: it would look for a display.

from dreamerv2_transfer.analysis import dream_errors
from dreamerv2_transfer.analysis.album import Album
from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.plotting.labels import task_label

LINES = {
    "model": "#1f6fb4",
    "untrained model": "#e08214",
    dream_errors.LAST_FRAME: "#444444",
    dream_errors.MEAN_FRAME: "#7a9a3a",
}
BEYOND = 3.0  # A curve above this multiple of the baselines is not drawn.
COLUMNS = 7  # Frames of a strip.
GIF_SCALE = 8  # Pixels per cell of planes in an animation,
STRIP_SCALE = 16  # and in a strip, whose captions need the room.


def draw(
    album: Album,
    task: str,
    true: np.ndarray,
    model: np.ndarray,
    context: int,
) -> None:
    """Draws dreams `(S, T, H, W, C)` beside the truth, the first as a strip too.

    Args:
        album: Gets the pictures.
        task: The game.
        true: What happened.
        model: What the model predicted.
        context: Number of frames that the model saw.
    """
    caption = (
        f"The model sees {context} frames and dreams the next "
        f"{true.shape[1] - context} with the recorded actions."
    )
    frames = video.open_loop(true, model, context, **_look(task, GIF_SCALE))
    title = f"{task_label(task)}: truth, dream and error"
    album.add_animation(frames, f"{task}_dream.gif", title, caption)
    look = _look(task, STRIP_SCALE)
    frames = video.open_loop(true[:1], model[:1], context, **look)
    title = f"{task_label(task)}: a dream beside the truth"
    album.add_image(strip(frames, context), f"{task}_dream.png", title, caption)


def draw_acting(album: Album, task: str, dreamed: np.ndarray, context: int) -> None:
    """Draws dreams `(S, T, H, W, C)` of the actor, the first as a strip too."""
    caption = "What the actor does in the model's dream; there is no truth to it."
    look = _look(task, STRIP_SCALE)
    title = f"{task_label(task)}: dreams of the actor"
    frames = captioned(dreamed, context, look)
    album.add_animation(frames, f"{task}_actor.gif", title, caption)
    image = strip(captioned(dreamed[:1], context, look), context)
    title = f"{task_label(task)}: a dream of the actor"
    album.add_image(image, f"{task}_actor.png", title, caption)


def draw_errors(
    album: Album, task: str, curves: Mapping[str, Mapping[str, Any]], number: int
) -> None:
    """Draws prediction errors against the step, with 95% bands.

    Args:
        album: Gets the picture.
        task: The game.
        curves: By prediction, see `dream_errors.curve`.
        number: Number of sequences.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    baselines = (dream_errors.LAST_FRAME, dream_errors.MEAN_FRAME)
    ceiling = BEYOND * max(max(curves[name]["mean"]) for name in baselines)
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
        ylabel=f"squared error ({dream_errors.unit(task)})",
        title=f"{task_label(task)}: prediction error",
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    album.add_figure(
        figure,
        f"{task}_error.png",
        f"{task_label(task)}: prediction error against the horizon",
        f"Squared error of {number} open-loop predictions, summed over an image and "
        "averaged, with 95% bootstrap bands over episodes. For comparison, the last "
        "frame that was seen, repeated, and the mean of all these frames, which is the "
        "best single picture without seeing anything.",
    )


def strip(frames: np.ndarray, context: int) -> np.ndarray:
    """Puts frames side by side: the last that are seen, then ever more distant ones.

    Args:
        frames: uint8 RGB `(T, H, W, 3)`.
        context: Number of frames that the model saw.

    Returns:
        uint8 RGB `(H, W', 3)`.
    """
    dreamed = np.geomspace(1, len(frames) - context, COLUMNS - 2).round().astype(int)
    seen = np.arange(max(0, context - 2), context)
    shown = np.concatenate([seen, context - 1 + np.unique(dreamed)])
    return video.grid(frames[shown, None], gap=8)[0]


def captioned(dreamed: np.ndarray, context: int, look: Mapping[str, int]) -> np.ndarray:
    """Draws dreams `(B, T, H, W, C)` side by side, each below a bar with the step.

    Args:
        dreamed: The dreams.
        context: Number of frames that the model saw.
        look: `scale` and `colors` of planes, see `video.open_loop`.

    Returns:
        uint8 RGB `(T, H', W', 3)`.
    """
    drawn = np.stack(
        [video.episode(x, look.get("scale", 1), look.get("colors")) for x in dreamed]
    )
    words = [("observes", video.OBSERVED), ("dreams", video.DREAMED)]
    return np.stack(
        [
            video.caption(frame, [(f"t={t}", video.TEXT), words[t >= context]])
            for t, frame in enumerate(video.grid(drawn))
        ]
    )


def _look(task: str, scale: int) -> dict[str, int]:
    planes = envs.native_planes(task)
    return {} if planes is None else {"scale": scale, "colors": planes}
