"""Imports episodes of other programs into a dataset."""

import contextlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common import envs, progress
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError, Episode, EpisodeError
from dreamerv2_transfer.data import folders, minari_io, pydreamer
from dreamerv2_transfer.data.importing import Importer, Result, importing

SUITES = ("minatar", "atari", "gym")  # Whose observations are known here.


def import_dreamerv2(
    directory: str | os.PathLike, source: str | os.PathLike, task: str
) -> Result:
    """Imports the original's `train_episodes` folder, or one file of it.

    Keys that the task's observations here do not have, such as `ram` and `discount`,
    are kept for logging: as `log_ram`, which training leaves out.

    Args:
        directory: the dataset, a folder of task folders.
        source: the folder or file; a `manifest.json` in it tells who acted.
        task: what is played, which names the folder.

    Raises:
        DatasetError: there is no file, or no episode in any; or as `importing`.
        EnvError: the task's suite is known and has no such game.
    """
    paths = npz_files(source)
    known, told = _observations(task), _told(source)
    result = Result()
    with (
        importing(directory, task, told, result) as importer,
        progress.Progress(len(paths), 0, f"import {task}", "file") as bar,
    ):
        for path in paths:
            _import_file(importer, path, known, result)
            bar.update()
    return _checked(result, source)


def import_pydreamer(
    directory: str | os.PathLike,
    source: str | os.PathLike,
    tasks: Sequence[str],
    env_id: int | None = None,
) -> Result:
    """Imports multi-episode files of pydreamer, or one of them.

    Args:
        directory: the dataset, a folder of task folders.
        source: a folder, with those in it, or a file.
        tasks: what is played: of each game in the order of their numbers.
        env_id: number of the only game to import, as the one task.

    Raises:
        DatasetError: as `import_dreamerv2`; or there are several games, and it is not
            told which are which.
        EnvError: a task's suite is known and has no such game.
    """
    paths = npz_files(source, deep=True)
    by_game = _tasks_by_game(pydreamer.games(paths), tasks, env_id, source)
    result = Result()
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        importers = {
            game: (enter(importing(directory, task, _imported(source), result)), task)
            for game, task in by_game.items()
        }
        bar = enter(progress.Progress(len(paths), 0, "import", "file"))
        for piece in pydreamer.pieces(paths, result.damaged.append, bar.update):
            key = piece.env_id if piece.env_id in importers else None
            if key in importers:
                _import_piece(*importers[key], piece, result)
    return _checked(result, source)


def import_minari(
    directory: str | os.PathLike, source: str | os.PathLike, task: str = ""
) -> Result:
    """Imports a Minari dataset; one that was exported from here comes back exactly.

    Args:
        directory: the dataset, a folder of task folders.
        source: path or name of the Minari dataset.
        task: what is played, which names the folder; '' is what the source says.

    Raises:
        DatasetError: it cannot be read, or does not say what is played; or as
            `import_dreamerv2`.
        EnvError: the task's suite is known and has no such game.
    """
    opened = minari_io.open_source(source)
    task = task or str(opened.manifest.get("task", ""))
    check_task(task)
    told, result = opened.manifest or _imported(opened.path), Result()
    with (
        importing(directory, task, told, result) as importer,
        progress.Progress(len(opened), 0, f"import {task}", "episode") as bar,
    ):
        for origin, identifier, episode in opened.episodes(result.damaged.append):
            importer.add(episode, origin, identifier, keep=bool(opened.manifest))
            bar.update()
    return _checked(result, source)


def npz_files(source: str | os.PathLike, deep: bool = False) -> list[str]:
    """Paths of a folder's files, those written first in front; or of the one file.

    Args:
        source: the folder or the file.
        deep: whether folders in the folder count too.

    Raises:
        DatasetError: there is none; names the folders in it that have some.
    """
    source = pathlib.Path(source).expanduser()
    if source.is_file():
        return [str(source)]
    if not source.is_dir():
        raise DatasetError(f"{source} is no file and no folder. Name what to import.")
    below = sorted(str(path) for path in source.rglob("*.npz") if path.is_file())
    paths = below if deep else folders.episode_files(source)
    if paths:
        return paths
    inside = sorted({os.path.dirname(path) for path in below})
    hint = f" Name one of {', '.join(inside[:4])}." if inside else ""
    raise DatasetError(f"{source} holds no file *.npz.{hint}")


def detect(source: str | os.PathLike) -> str:
    """The format of a source: `minari`, `dreamerv2` or `pydreamer`.

    Raises:
        DatasetError: there is none, none can be read, or they are of neither format.
    """
    if minari_io.find(source):
        return "minari"
    names: list[str] = []
    for path in npz_files(source, deep=True):
        with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as file:
            names = file.files
            break
    if "is_first" in names:
        return "dreamerv2"
    if "reset" in names:
        return "pydreamer"
    there = f"keys {', '.join(names)}" if names else "no readable file"
    raise DatasetError(
        f"{source} holds no episodes of DreamerV2 (key is_first) or pydreamer (key "
        f"reset). Received: {there}."
    )


def check_task(task: str) -> None:
    """Checks that a task is a name for a folder, and a game that its suite has.

    Raises:
        DatasetError: it is no name for a folder.
        EnvError: the suite is known here and has no such game.
    """
    if not task or task != pathlib.Path(task).name or task.startswith("."):
        raise DatasetError(
            "Name what is played, such as --task minatar_breakout. "
            f"Received: task={task}"
        )
    if task.partition("_")[0] in SUITES:
        envs.make_env(task).close()


def _observations(task: str) -> set[str] | None:
    """Keys that a transition of the task has here, if that is known."""
    check_task(task)
    if task.partition("_")[0] not in SUITES:
        return None
    with contextlib.closing(envs.make_env(task)) as env:
        return {*envs.obs_space(env), "action"}


def _told(source: str | os.PathLike) -> Mapping[str, Any]:
    """Who acted, if the source is a task's folder of ours."""
    path = pathlib.Path(source).expanduser()
    folder = path if path.is_dir() else path.parent
    policies = store.listed_policies(store.read_manifest(folder) or {})
    steps = store.count_episodes(folder)[1]
    return {"policies": policies, "steps": steps} if policies else _imported(source)


def _imported(source: str | os.PathLike) -> dict[str, Any]:
    path = str(pathlib.Path(source).expanduser().resolve())
    return {"policies": [{"name": "imported", "steps": 0, "source": path}]}


def _import_file(
    importer: Importer, path: str, known: set[str] | None, result: Result
) -> None:
    try:
        episode = folders.load_all(path)
    except EpisodeError as error:
        result.damaged.append(" ".join(str(error).split()))
        return
    kept = importer.observed or known or {*episode} - {"discount"}
    if not [k for k in episode if k in kept and k not in store.REQUIRED]:
        wanted = ", ".join(sorted(kept - {*store.REQUIRED}))
        found = ", ".join(sorted(episode))
        result.damaged.append(f"{path} holds no {wanted}. Received: {found}.")
        return
    named = store.parse_name(path)
    importer.add(_renamed(episode, kept), path, named[0] if named else "")


def _renamed(episode: Episode, kept: set[str]) -> Episode:
    """The episode with all keys but those kept for logging alone."""
    kept = {*kept, *store.REQUIRED, *(k for k in episode if k.startswith(store.LOGGED))}
    return {k if k in kept else store.LOGGED + k: v for k, v in episode.items()}


def _tasks_by_game(
    games: set[int],
    tasks: Sequence[str],
    env_id: int | None,
    source: str | os.PathLike,
) -> dict[int | None, str]:
    """Which game is which task; None stands for all pieces, of whatever game."""
    for task in tasks:
        check_task(task)
    there = ", ".join(map(str, sorted(games)))
    if env_id is not None:
        if len(tasks) != 1 or env_id not in games:
            raise DatasetError(
                f"{source} holds the games {there or 'without numbers'}. Received: "
                f"env_id={env_id} for tasks={','.join(tasks)}. Pick one of the games, "
                "and name the one task that it is."
            )
        return {env_id: tasks[0]}
    if len(tasks) == 1 and len(games) <= 1:
        return {None: tasks[0]}
    if len(tasks) < 2 or not games or not games <= {*range(len(tasks))}:
        raise DatasetError(
            f"{source} holds games by these numbers: {there or 'none'}. Received: "
            f"{','.join(tasks)}. Name all in the order in which they were collected "
            "(--tasks GAME_0,GAME_1,...), or pick one (--task GAME --env_id NUMBER)."
        )
    return {game: tasks[game] for game in sorted(games)}


def _import_piece(
    importer: Importer, task: str, piece: pydreamer.Piece, result: Result
) -> None:
    try:
        episode = pydreamer.episode(piece, task)
    except EpisodeError as error:
        result.damaged.append(str(error))
        return
    if pydreamer.is_categorical(piece):
        result.note(pydreamer.OVERLAPS)
    if piece.cut:
        result.note(f"Note: {piece.origin} lacks its start; it begins where it is cut.")
    importer.add(episode, piece.origin)


def _checked(result: Result, source: str | os.PathLike) -> Result:
    if not result.added and not result.present:
        first = f" The first: {result.damaged[0]}" if result.damaged else ""
        raise DatasetError(
            f"{source} holds no episode to import; {len(result.damaged)} are damaged."
            f"{first}"
        )
    return result
