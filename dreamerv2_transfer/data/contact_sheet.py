"""A picture of what a dataset's frames look like: a row of frames for each task."""

import contextlib
import os
import pathlib

import numpy as np

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import Episode, EpisodeError
from dreamerv2_transfer.data import folders

COLUMNS = 8  # Frames of a task.
GAP = 4  # Pixels between them.


def save(directory: str | os.PathLike, path: str | os.PathLike) -> bool:
    """Draws frames of each task, from all over its episodes.

    Args:
        directory: a folder of task folders, or one of these.
        path: of the picture, a PNG.

    Returns:
        Whether there was a frame to draw; without one, nothing is written.

    Raises:
        DatasetError: there is no episode.
        OutputError: the picture cannot be written.
    """
    rows = [_row(*item) for item in folders.task_folders(directory).items()]
    rows = [row for row in rows if row is not None]
    if rows:
        video.save_png(path, _stack(rows))
    return bool(rows)


def _row(name: str, folder: pathlib.Path) -> np.ndarray | None:
    planes = _planes(name)
    cells = []
    for path, time in _places(folder):
        with contextlib.suppress(EpisodeError):
            cells += _cell(store.load_episode(path), time, planes)
    if not cells:
        return None
    row = np.concatenate([_pad(x, max(map(len, cells)), GAP) for x in cells], axis=1)
    return video.caption(row, [(name, video.OBSERVED)])


def _planes(name: str) -> int | None:
    known = name.removeprefix("minatar_") in envs.MINATAR_GAMES
    return envs.native_planes(name) if known else None


def _places(folder: pathlib.Path) -> list[tuple[str, int]]:
    """Files and times, one in each of equal shares of all steps."""
    parsed = {path: store.parse_name(path) for path in folders.episode_files(folder)}
    lengths = {path: found[1] + 1 for path, found in parsed.items() if found}
    if not lengths:
        return []
    paths, stops = list(lengths), np.cumsum(list(lengths.values()))
    # Not in the middle of each share, lest long episodes all show the same time.
    fractions = (np.arange(COLUMNS) + (np.arange(COLUMNS) + 0.5) / COLUMNS) / COLUMNS
    steps = (fractions * stops[-1]).astype(int)
    numbers = np.searchsorted(stops, steps, "right")
    starts = stops - list(lengths.values())
    times = steps - starts[numbers]
    return [(paths[i], int(t)) for i, t in zip(numbers, times, strict=True)]


def _cell(episode: Episode, time: int, planes: int | None) -> list[np.ndarray]:
    """The frame with its time below a bar; nothing if the episode has no image."""
    images = [v for k, v in sorted(episode.items()) if v.ndim == 4]
    if not images:
        return []
    time = min(time, store.eplen(episode))
    scale = max(1, video.PANEL // images[0].shape[1])
    frame = video.episode(images[0][time : time + 1], scale, planes)[0]
    words = f"{time} of {store.eplen(episode)}"
    return [video.caption(frame, [(words, video.TEXT)])]


def _stack(rows: list[np.ndarray]) -> np.ndarray:
    width = max(row.shape[1] for row in rows)
    return np.concatenate([_pad(x, len(x), width - x.shape[1]) for x in rows])


def _pad(image: np.ndarray, height: int, right: int) -> np.ndarray:
    """Extends a picture to a height, and by so many pixels to the right."""
    padded = np.full((height, image.shape[1] + right, 3), video.SEPARATOR, np.uint8)
    padded[: len(image), : image.shape[1]] = image
    return padded
