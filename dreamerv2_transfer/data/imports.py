"""Imports episodes of other programs into a dataset."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from dreamerv2_transfer.common import blocks, envs, progress
from dreamerv2_transfer.common.envs import wrappers
from dreamerv2_transfer.common.files import paths as paths_lib
from dreamerv2_transfer.common.replay import layout, npz, shards, store
from dreamerv2_transfer.common.replay.store import DatasetError, EpisodeError
from dreamerv2_transfer.data import folders, minari_io, pydreamer
from dreamerv2_transfer.data.importing import Importer, Result, importing
from dreamerv2_transfer.plotting import mlflow_run

FORMATS = ("dreamerv2", "pydreamer", "minari")
SUITES = ("minatar", "atari", "gym")  # Suites whose observations are known here.


def import_source(
    directory: str | os.PathLike,
    source: str | os.PathLike,
    tasks: Sequence[str],
    kind: str = "auto",
    env_id: int | None = None,
    exclude: str = wrappers.NEVER,
) -> Result:
    """Imports a source in any of the formats.

    Args:
        directory: The dataset, a folder of task folders.
        source: A file, a folder or a Minari dataset.
        tasks: What is played; several for pydreamer's files of several games alone.
        kind: One of `FORMATS`; auto reads it off the files, see `detect`.
        env_id: See `import_pydreamer`.
        exclude: See `import_minari`.

    Raises:
        DatasetError, EnvError: As the format's own function.
    """
    kind = detect(source) if kind == "auto" else kind
    if kind == "pydreamer":
        return import_pydreamer(directory, source, tasks, env_id)
    task = tasks[0] if len(tasks) == 1 else ""  # Which the functions below refuse.
    if kind == "minari":
        return import_minari(directory, source, task, exclude)
    return import_dreamerv2(directory, source, task)


def import_dreamerv2(
    directory: str | os.PathLike, source: str | os.PathLike, task: str
) -> Result:
    """Imports the original's `train_episodes` folder, or one file of it.

    Keys that are not among the task's observations here, such as `ram` and `discount`,
    are kept for logging: as `log_ram`, which training leaves out.

    Args:
        directory: The dataset, a folder of task folders.
        source: The folder or file; a `manifest.json` beside it lists the policies.
        task: What is played; names the folder.

    Raises:
        DatasetError: There is no file, or no episode in any; or as `importing`.
        EnvError: The task's suite is known and has no such game.
    """
    paths = npz_files(source)
    check_task(task)
    known = None
    if task.partition("_")[0] in SUITES:
        with contextlib.closing(envs.make_env(task)) as env:
            known = {*envs.obs_space(env), "action"}
    path = paths_lib.local(source)
    folder = path if path.is_dir() else path.parent
    theirs = store.read_manifest(folder) or {}
    told = layout.listed(theirs).get("action", {})
    actions = {k: told[k] for k in ("start", "parts") if k in told}
    policies = store.listed_policies(theirs)
    steps = store.count_episodes(folder)[1]
    manifest = {"policies": policies, "steps": steps} if policies else _imported(source)
    result = Result()
    with (
        importing(directory, task, manifest, result, actions) as importer,
        progress.Progress(len(paths), 0, f"import {task}", "file") as bar,
    ):
        for path in paths:
            _import_file(importer, path, known, result)
            bar.update()
    return _checked(result, source)


def _import_file(
    importer: Importer, path: str, known: set[str] | None, result: Result
) -> None:
    """Imports the episodes of a file of the original, or of ours.

    Args:
        importer: Adds the episodes.
        path: The file.
        known: Keys of the task's observations and actions; None if not known.
        result: Counts what becomes of the episodes.
    """
    try:
        found = shards.raw(path)  # What is wrong with one, `add` tells.
    except EpisodeError as error:
        result.damaged.append(" ".join(str(error).split()))
        return
    for origin, identifier, episode, _ in found:
        kept = importer.observed or known or {*episode} - {*wrappers.TAKEN}
        if not [k for k in episode if k in kept and k not in store.REQUIRED]:
            expected = ", ".join(sorted(kept - {*store.REQUIRED}))
            there = ", ".join(sorted(episode))
            result.damaged.append(f"{origin} holds no {expected}. Received: {there}.")
            continue
        logs = {k for k in episode if k.startswith(store.LOGGED)}
        kept = {*kept, *store.REQUIRED, *logs}
        logged = {k if k in kept else store.LOGGED + k: v for k, v in episode.items()}
        importer.add(logged, origin, identifier)


def import_pydreamer(
    directory: str | os.PathLike,
    source: str | os.PathLike,
    tasks: Sequence[str],
    env_id: int | None = None,
) -> Result:
    """Imports multi-episode files of pydreamer, or one of them.

    Args:
        directory: The dataset, a folder of task folders.
        source: A folder, with the folders in it, or a file.
        tasks: What is played, in the order of the games' numbers.
        env_id: Number of the only game to import, as the one task.

    Raises:
        DatasetError: As `import_dreamerv2`; or the source holds several games, and the
            tasks do not say which is which.
        EnvError: A task's suite is known and has no such game.
    """
    paths = npz_files(source, deep=True)
    by_game = _tasks_by_game(pydreamer.games(paths), tasks, env_id, source)
    result = Result()
    with contextlib.ExitStack() as stack:
        importers = {}
        for game, task in by_game.items():
            opened = importing(directory, task, _imported(source), result)
            importers[game] = stack.enter_context(opened), task
        bar = progress.Progress(len(paths), 0, "import", "file")
        stack.enter_context(bar)
        for piece in pydreamer.pieces(paths, result.damaged.append, bar.update):
            key = piece.env_id if piece.env_id in importers else None
            if key not in importers:
                continue
            importer, task = importers[key]
            try:
                episode = pydreamer.episode(piece, task)
            except EpisodeError as error:
                result.damaged.append(str(error))
                continue
            if pydreamer.is_categorical(piece):
                result.note(pydreamer.OVERLAPS)
            if piece.cut:
                lacks = "lacks its start; it begins where it is cut."
                result.note(f"Note: {piece.origin} {lacks}")
            importer.add(episode, piece.origin)
    return _checked(result, source)


def _tasks_by_game(
    games: set[int],
    tasks: Sequence[str],
    env_id: int | None,
    source: str | os.PathLike,
) -> dict[int | None, str]:
    """Returns the task of each game; None stands for all pieces, of whatever game."""
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


def import_minari(
    directory: str | os.PathLike,
    source: str | os.PathLike,
    task: str = "",
    exclude: str = wrappers.NEVER,
) -> Result:
    """Imports a Minari dataset; one that was exported from here comes back exactly.

    Args:
        directory: The dataset, a folder of task folders.
        source: Path or name of the Minari dataset.
        task: What is played; names the folder. If empty, the source says it.
        exclude: Pattern of the keys of others' observations that are left out.

    Raises:
        ConfigError: The source names a task that imports a module.
        DatasetError: The source cannot be read, or does not say what is played; or as
            `import_dreamerv2`.
        EnvError: The task's suite is known and has no such game.
    """
    opened = minari_io.open_source(source, exclude)
    if not task:
        task = str(opened.manifest.get("task", ""))
        blocks.check_task(task, opened.path)
    check_task(task)
    manifest, result = opened.manifest or _imported(opened.path), Result()
    with (
        importing(directory, task, manifest, result, opened.actions) as importer,
        progress.Progress(len(opened), 0, f"import {task}", "episode") as bar,
    ):
        for origin, identifier, episode in opened.episodes(result.damaged.append):
            importer.add(episode, origin, identifier, keep=bool(opened.manifest))
            bar.update()
    return _checked(result, source)


def npz_files(source: str | os.PathLike, deep: bool = False) -> list[str]:
    """Returns the paths of a folder's files, oldest first, or that of the one file.

    Of an MLflow run of pydreamer they are its episodes, without the batches it logged.

    Args:
        source: The folder or the file.
        deep: Whether to include the folders inside the folder.

    Raises:
        DatasetError: There is no file; names the folders inside it that have some.
    """
    source = paths_lib.local(source)
    with store.listing(source):
        if source.is_file():
            return [str(source)]
        if not source.is_dir():
            raise DatasetError(
                f"{source} is no file and no folder. Name what to import."
            )
        if mlflow_run.is_run(os.listdir(source)):
            source = source / mlflow_run.EPISODES
        below = sorted(str(path) for path in source.rglob("*.npz") if path.is_file())
    paths = below if deep else folders.episode_files(source)
    if paths:
        return paths
    inside = sorted({os.path.dirname(path) for path in below})
    hint = f" Name one of {', '.join(inside[:4])}." if inside else ""
    raise DatasetError(f"{source} holds no file *.npz.{hint}")


def detect(source: str | os.PathLike) -> str:
    """Returns the format of a source: `minari`, `dreamerv2` or `pydreamer`.

    Raises:
        DatasetError: There is no file, none can be read, or they have another format.
    """
    with store.listing(source):
        if minari_io.find(source):
            return "minari"
    names: list[str] = []
    for path in npz_files(source, deep=True):
        with contextlib.suppress(EpisodeError), store.reading(path):
            names = [*npz.kinds(path)]
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
    """Checks that a task can name a folder, and that its suite has the game.

    Raises:
        DatasetError: It is no name for a folder.
        EnvError: The suite is known here and has no such game.
    """
    name = store.folder_name(task) if task.startswith("gym_") else task
    if not name or name != pathlib.Path(name).name or name.startswith("."):
        raise DatasetError(
            "Name what is played, such as --task minatar_breakout. "
            f"Received: task={task}"
        )
    if task.partition("_")[0] in SUITES:
        envs.make_env(task).close()


def _imported(source: str | os.PathLike) -> dict[str, Any]:
    """Returns a manifest for a source without one."""
    path = str(paths_lib.local(source).resolve())
    return {"policies": [{"name": "imported", "steps": 0, "source": path}]}


def _checked(result: Result, source: str | os.PathLike) -> Result:
    """Returns a result; raises DatasetError if the source had no episode."""
    if not result.added and not result.present:
        first = f" The first: {result.damaged[0]}" if result.damaged else ""
        raise DatasetError(
            f"{source} holds no episode to import; {len(result.damaged)} are damaged."
            f"{first}"
        )
    return result
