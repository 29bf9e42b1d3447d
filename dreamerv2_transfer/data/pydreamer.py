"""Reads the multi-episode files of pydreamer, the format of the paper's authors.

A file holds episodes one after the other: `image_t` [H, W, C, T] or, for MinAtar,
`image` [T, 10, 10] with a category per cell; `action` [T, actions]; `reward`,
`terminal` and `reset` [T], the latter true where an episode starts; `env_id` [T], the
number of the game. An episode that is too long for a file continues in the next chunk:
`ep000004_000009-0-r12-1001.npz`, `ep000004_000009-1-r3-1000.npz`.
"""

from __future__ import annotations

import collections
import contextlib
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import Episode, EpisodeError

KEYS = ("action", "reward", "terminal", "reset")
IMAGES = ("image_t", "image")
OVERLAPS = (
    "Note: MinAtar images of these files hold one plane per cell. Where planes "
    "overlapped, only the one with the lowest number is left; the others are lost."
)
_NAME = re.compile(r"ep(\d+)(?:_(\d+))?(?:-(\d+))?-r-?\w+-\d+\.npz")


class Piece(NamedTuple):
    """An episode as a file holds it.

    Attributes:
        origin: The file, and the place in it.
        env_id: Number of the game; None if the file does not tell.
        arrays: Arrays by key, [T, ...]; `image_t` [H, W, C, T].
        cut: Whether the start of the episode is missing.
    """

    origin: str
    env_id: int | None
    arrays: dict[str, np.ndarray]
    cut: bool


def games(paths: Sequence[str]) -> set[int]:
    """Returns the numbers of the games in some files; ignores damaged files."""
    found: set[int] = set()
    for path in paths:
        with contextlib.suppress(EpisodeError):  # `pieces` names the damaged files.
            for number in store.read_arrays(path, "env_id".__eq__).values():
                found |= set(np.unique(number).tolist()) if _is_whole(number) else set()
    return found


def pieces(
    paths: Sequence[str],
    on_damaged: Callable[[str], None],
    on_file: Callable[[], None] = lambda: None,
) -> Iterator[Piece]:
    """Reads the episodes of some files; joins chunks that follow each other.

    Args:
        paths: The files, in any order.
        on_damaged: Called with a line for each damaged file, which names it.
        on_file: Called after each file.
    """
    for group in _groups(paths):
        joined: list[tuple[str, dict[str, np.ndarray]]] = []
        for path in group:
            loaded = None
            try:
                loaded = _load(path)
            except EpisodeError as error:
                on_damaged(str(error))
            if joined and (not loaded or _kinds(loaded) != _kinds(joined[-1][1])):
                yield from _split(joined)
                joined = []
            joined += [(path, loaded)] if loaded else []
            on_file()
        if joined:
            yield from _split(joined)


def episode(piece: Piece, task: str) -> Episode:
    """Converts a piece to an episode of a task.

    A piece without its start begins with the first step that is there, as after a
    reset: the action that led to it and its reward are left out.

    Raises:
        EpisodeError: The piece holds cells for which the task's game has no plane, or
            an end that is neither true nor false.
    """
    length = len(piece.arrays["reset"])
    if not np.isin(piece.arrays["terminal"], (0, 1)).all():
        raise EpisodeError(f"{piece.origin}: terminal holds other values than 0 and 1.")
    time = np.arange(length)
    action, reward = (piece.arrays[k].copy() for k in ("action", "reward"))
    action[0], reward[0] = 0, 0
    if "image_t" in piece.arrays:
        image = piece.arrays["image_t"].transpose(3, 0, 1, 2)
    elif is_categorical(piece):
        image = _planes(piece, task)
    else:
        image = piece.arrays["image"]
    return {
        "image": image,
        "action": action,
        "reward": reward,
        "is_first": time == 0,
        "is_last": time == length - 1,
        "is_terminal": piece.arrays["terminal"].astype(bool),
    }


def is_categorical(piece: Piece) -> bool:
    """Returns whether the image holds a category per cell."""
    return "image_t" not in piece.arrays and piece.arrays["image"].ndim == 3


def _groups(paths: Sequence[str]) -> list[list[str]]:
    """Groups chunks that follow each other; any other file is a group by itself."""
    # Folder, first and last episode, and number of the chunk, by the file's name.
    chunks: dict[str, tuple[str, str, str, int]] = {}
    for path in paths:
        file = pathlib.Path(path)
        chunks[path] = str(file.parent), file.name, "", 0
        if match := _NAME.fullmatch(file.name):
            first, last, number = match.groups()
            chunks[path] = str(file.parent), first, last or first, int(number or 0)
    times = collections.Counter(chunks.values())
    groups: list[list[str]] = []
    before = None
    for path, chunk in sorted(chunks.items(), key=lambda item: item[::-1]):
        # With two chunks of one number, it is unknown which one the next continues.
        follows = before and chunk == (*before[:3], before[3] + 1)
        if not follows or times[before] > 1 or times[chunk] > 1:
            groups.append([])
        groups[-1].append(path)
        before = chunk
    return groups


def _load(path: str) -> dict[str, np.ndarray]:
    arrays = store.read_arrays(path, {*KEYS, *IMAGES, "env_id"}.__contains__)
    if missing := [key for key in KEYS if key not in arrays]:
        raise EpisodeError(f"{path} holds no episodes: it lacks {', '.join(missing)}.")
    if not {*IMAGES} & {*arrays}:
        raise EpisodeError(f"{path} holds no episodes: it has no image.")
    for key, value in arrays.items():
        if value.dtype.kind not in "biuf" or (key == "env_id" and not _is_whole(value)):
            raise EpisodeError(f"{path} holds no episodes: {key} is {value.dtype}.")
        if key in ("reward", "terminal", "reset") and value.ndim != 1:
            raise EpisodeError(f"{path} holds no episodes: {key} is {value.ndim}-D.")
    if "image_t" in arrays:
        arrays.pop("image", None)
    lengths = {
        key: value.shape[_axis(key)] if value.ndim > _axis(key) else 0
        for key, value in arrays.items()
    }
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise EpisodeError(f"{path} holds no episodes: its lengths are {lengths}.")
    return arrays


def _is_whole(values: np.ndarray) -> bool:
    return values.dtype.kind in "biu"


def _axis(key: str) -> int:
    """Returns the axis of time."""
    return 3 if key == "image_t" else 0


def _kinds(arrays: dict[str, np.ndarray]) -> dict[str, tuple]:
    """Returns the shape of a single step by key."""
    return {
        k: v.shape[:3] if k == "image_t" else v.shape[1:] for k, v in arrays.items()
    }


def _split(joined: list[tuple[str, dict[str, np.ndarray]]]) -> Iterator[Piece]:
    """Cuts chunks that follow each other where episodes start."""
    path, arrays = joined[0]
    if len(joined) > 1:
        arrays = {
            key: np.concatenate([chunk[key] for _, chunk in joined], _axis(key))
            for key in arrays
        }
    starts = np.flatnonzero(arrays["reset"]).tolist()
    cut = not starts or starts[0] != 0
    starts = [0, *starts] if cut else starts
    stops = [*starts[1:], len(arrays["reset"])]
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        part = {
            key: value[..., start:stop] if key == "image_t" else value[start:stop]
            for key, value in arrays.items()
        }
        env_id = int(part["env_id"].flat[0]) if "env_id" in part else None
        origin = f"{path}, episode at {start}"
        yield Piece(origin, env_id, part, cut and number == 0)


def _planes(piece: Piece, task: str) -> np.ndarray:
    """Returns planes [T, H, W, 10] of cells: 0 is empty, k is plane k - 1."""
    cells, planes = piece.arrays["image"], envs.native_planes(task)
    if planes is None:
        raise EpisodeError(
            f"{piece.origin} is of MinAtar: its image holds a category per cell. "
            f"Received: task={task}."
        )
    if cells.min() < 0 or cells.max() > planes:
        raise EpisodeError(
            f"{piece.origin} is of another game than {task}, which has {planes} "
            f"planes. Received: cells from {cells.min()} to {cells.max()}."
        )
    return cells[..., None] == np.arange(1, envs.MINATAR_CHANNELS + 1)
