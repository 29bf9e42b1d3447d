"""Reads the multi-episode files of pydreamer, in which the paper's authors keep theirs.

A file holds episodes one after the other: `image_t` [H, W, C, T] or, for MinAtar,
`image` [T, 10, 10] with a category a cell; `action` [T, actions]; `reward`,
`terminal` and `reset` [T], the latter true where an episode starts; `env_id` [T], the
number of the game. What is too long for a file is continued in the next chunk:
`ep000004_000009-0-r12-1001.npz`, `ep000004_000009-1-r3-1000.npz`.
"""

import collections
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.errors import describe
from dreamerv2_transfer.common.replay.store import Episode, EpisodeError

KEYS = ("action", "reward", "terminal", "reset")
IMAGES = ("image_t", "image")
OVERLAPS = (
    "Note: MinAtar images of these files hold one plane a cell. Where planes "
    "overlapped, only the one of the lowest number is left; the others are lost."
)
_NAME = re.compile(r"ep(\d+)(?:_(\d+))?(?:-(\d+))?-r-?\w+-\d+\.npz")


class Piece(NamedTuple):
    """An episode as a file holds it.

    Attributes:
        origin: the file, and where in it.
        env_id: number of the game; None if it is not told.
        arrays: [T, ...] by key; `image_t` [H, W, C, T].
        cut: whether its start is missing.
    """

    origin: str
    env_id: int | None
    arrays: dict[str, np.ndarray]
    cut: bool


def games(paths: Sequence[str]) -> set[int]:
    """Numbers of the games in some files; those that cannot be read are left out."""
    found: set[int] = set()
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as file:
                if "env_id" in file.files:
                    found |= set(np.unique(file["env_id"]).tolist())
        except Exception:  # Whoever reads it completely names it.
            continue
    return found


def pieces(
    paths: Sequence[str],
    on_damaged: Callable[[str], None],
    on_file: Callable[[], None] = lambda: None,
) -> Iterator[Piece]:
    """Reads the episodes of some files; chunks that follow each other are joined.

    Args:
        paths: of the files, in any order.
        on_damaged: gets a line for each file that cannot be read, which names it.
        on_file: called after each file.
    """
    for group in _groups(paths):
        joined: list[tuple[str, dict[str, np.ndarray]]] = []
        for path in group:
            loaded = _try_to_load(path, on_damaged)
            if joined and (not loaded or _kinds(loaded) != _kinds(joined[-1][1])):
                yield from _split(joined)
                joined = []
            joined += [(path, loaded)] if loaded else []
            on_file()
        yield from _split(joined)


def episode(piece: Piece, task: str) -> Episode:
    """Turns a piece into an episode of a task.

    A piece without its start begins with whatever is there: what led to that is left
    out, as for a reset.

    Raises:
        EpisodeError: it holds no image, or cells that the task's game has no plane for.
    """
    length = len(piece.arrays["reset"])
    time = np.arange(length)
    action, reward = (piece.arrays[k].copy() for k in ("action", "reward"))
    action[0], reward[0] = 0, 0
    return {
        "image": _image(piece, task),
        "action": action,
        "reward": reward,
        "is_first": time == 0,
        "is_last": time == length - 1,
        "is_terminal": piece.arrays["terminal"].astype(bool),
    }


def is_categorical(piece: Piece) -> bool:
    """Whether its image is a category a cell."""
    return "image_t" not in piece.arrays and piece.arrays["image"].ndim == 3


def _groups(paths: Sequence[str]) -> list[list[str]]:
    """Chunks that follow each other; each other file is a group of its own."""
    chunks = {path: _chunk(path) for path in paths}
    times = collections.Counter(chunks.values())
    groups: list[list[str]] = []
    last = None
    for path, chunk in sorted(chunks.items(), key=lambda item: item[::-1]):
        # Of chunks that are there twice, nobody knows which follows which.
        joins = last and chunk == (*last[:3], last[3] + 1) and times[last] == 1
        if not joins or times[chunk] > 1:
            groups.append([])
        groups[-1].append(path)
        last = chunk
    return groups


def _chunk(path: str) -> tuple[str, str, str, int]:
    """Folder, first and last episode, and number of the chunk, by the file's name."""
    file = pathlib.Path(path)
    match = _NAME.fullmatch(file.name)
    if not match:
        return str(file.parent), file.name, "", 0
    first, last, number = match.groups()
    return str(file.parent), first, last or first, int(number or 0)


def _try_to_load(path: str, on_damaged) -> dict[str, np.ndarray] | None:
    try:
        return _load(path)
    except EpisodeError as error:
        on_damaged(str(error))
        return None


def _load(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = {*KEYS, *IMAGES, "env_id"} & {*file.files}
            arrays = {name: file[name] for name in names}
    except Exception as error:  # Damaged bytes raise nearly anything in zip and npy.
        raise EpisodeError(f"{path} cannot be read: {describe(error)}") from error
    if missing := [key for key in KEYS if key not in arrays]:
        raise EpisodeError(f"{path} holds no episodes: it lacks {', '.join(missing)}.")
    if not {*IMAGES} & {*arrays}:
        raise EpisodeError(f"{path} holds no episodes: it has no image.")
    if "image_t" in arrays:
        arrays.pop("image", None)
    lengths = {key: _length(key, value) for key, value in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise EpisodeError(f"{path} holds no episodes: its lengths are {lengths}.")
    return arrays


def _length(key: str, value: np.ndarray) -> int:
    axis = 3 if key == "image_t" else 0
    return value.shape[axis] if value.ndim > axis else 0


def _kinds(arrays: dict[str, np.ndarray]) -> dict[str, tuple]:
    """Shape of a single step by key."""
    return {
        k: v.shape[:3] if k == "image_t" else v.shape[1:] for k, v in arrays.items()
    }


def _split(joined: list[tuple[str, dict[str, np.ndarray]]]) -> Iterator[Piece]:
    """Cuts chunks that follow each other where episodes start."""
    if not joined:
        return
    path, arrays = joined[0][0], _concatenate([arrays for _, arrays in joined])
    starts = np.flatnonzero(arrays["reset"]).tolist()
    cut = not starts or starts[0] != 0
    starts = [0, *starts] if cut else starts
    stops = [*starts[1:], len(arrays["reset"])]
    for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        part = {key: _steps(key, value, start, stop) for key, value in arrays.items()}
        env_id = int(part["env_id"].flat[0]) if "env_id" in part else None
        origin = f"{path}, episode at {start}"
        yield Piece(origin, env_id, part, cut and number == 0)


def _concatenate(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    axes = {key: 3 if key == "image_t" else 0 for key in parts[0]}
    return {k: np.concatenate([x[k] for x in parts], axis) for k, axis in axes.items()}


def _steps(key: str, value: np.ndarray, start: int, stop: int) -> np.ndarray:
    return value[..., start:stop] if key == "image_t" else value[start:stop]


def _image(piece: Piece, task: str) -> np.ndarray:
    if "image_t" in piece.arrays:
        return piece.arrays["image_t"].transpose(3, 0, 1, 2)
    image = piece.arrays["image"]
    return _planes(piece, task) if is_categorical(piece) else image


def _planes(piece: Piece, task: str) -> np.ndarray:
    """Planes [T, H, W, 10] of cells: 0 is empty, k is plane k - 1."""
    cells, planes = piece.arrays["image"], envs.native_planes(task)
    if planes is None:
        raise EpisodeError(
            f"{piece.origin} is of MinAtar: its image holds a category a cell. "
            f"Received: task={task}."
        )
    if cells.min() < 0 or cells.max() > planes:
        raise EpisodeError(
            f"{piece.origin} is of another game than {task}, which has {planes} "
            f"planes. Received: cells from {cells.min()} to {cells.max()}."
        )
    return cells[..., None] == np.arange(1, envs.MINATAR_CHANNELS + 1)
