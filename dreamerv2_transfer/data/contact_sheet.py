"""Draws a dataset's frames: a row of frames for each task."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.common.replay import shards, store
from dreamerv2_transfer.data import folders

COLUMNS = 8  # Frames of a task.
GAP = 4  # Pixels between frames.


def save(
    directory: str | os.PathLike, path: str | os.PathLike = ""
) -> pathlib.Path | None:
    """Draws frames of each task from all of its episodes.

    Args:
        directory: A folder of task folders, or one of these.
        path: The picture, a PNG; `contact_sheet.png` in the directory by default.

    Returns:
        The picture's path; None, and no picture, if there is no frame to draw.

    Raises:
        DatasetError: There is no episode.
        OutputError: The picture cannot be written.
    """
    rows = []
    for name, folder in folders.task_folders(directory).items():
        if cells := _cells(name, folder):
            height = max(map(len, cells))
            row = np.concatenate([_pad(x, height, GAP) for x in cells], axis=1)
            rows.append(video.caption(row, [(name, video.OBSERVED)]))
    if not rows:
        return None
    width = max(row.shape[1] for row in rows)
    padded = [_pad(x, len(x), width - x.shape[1]) for x in rows]
    picture = pathlib.Path(path or f"{directory}/contact_sheet.png")
    video.save_png(picture, np.concatenate(padded))
    return picture


def _cells(name: str, folder: pathlib.Path) -> list[np.ndarray]:
    """Returns frames from equal shares of a task's steps, each with its time below."""
    parsed = {path: store.name_of(path) for path in folders.episode_files(folder)}
    lengths = {path: x.steps + x.episodes for path, x in parsed.items() if x}
    if not lengths:
        return []
    paths, stops = list(lengths), np.cumsum(list(lengths.values()))
    starts = stops - list(lengths.values())
    # At a different place of each share, so that equally long episodes show different
    # times.
    fractions = (np.arange(COLUMNS) + (np.arange(COLUMNS) + 0.5) / COLUMNS) / COLUMNS
    steps = (fractions * stops[-1]).astype(int)
    known = name.removeprefix("minatar_") in envs.MINATAR_GAMES
    planes = envs.native_planes(name) if known else None
    cells = []
    for step, number in zip(steps, np.searchsorted(stops, steps, "right"), strict=True):
        at = int(step - starts[number])
        for episode in shards.intact(paths[number]):
            last = store.eplen(episode)
            if at > last:  # It is in a later episode of the file.
                at -= last + 1
                continue
            images = [v for k, v in sorted(episode.items()) if v.ndim == 4]
            if images:
                time = at
                scale = max(1, video.PANEL // images[0].shape[1])
                frame = video.episode(images[0][time : time + 1], scale, planes)[0]
                words = f"{time} of {last}"
                cells.append(video.caption(frame, [(words, video.TEXT)]))
            break
    return cells


def _pad(image: np.ndarray, height: int, right: int) -> np.ndarray:
    """Extends a picture to a height, and by a number of pixels to the right."""
    padded = np.full((height, image.shape[1] + right, 3), video.SEPARATOR, np.uint8)
    padded[: len(image), : image.shape[1]] = image
    return padded
