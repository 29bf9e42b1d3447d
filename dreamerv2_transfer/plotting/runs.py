"""Runs on disk: what they logged and how they were configured.

A run is a folder with a `metrics.jsonl`, ours or the original's, or a single file of
that format with its configuration beside it (`NAME.jsonl` and `NAME.yaml`). The folder
of a run of pydreamer is one too, see `mlflow_run`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
from collections.abc import Iterable

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import paths as paths_lib
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.common.files.paths import PathError
from dreamerv2_transfer.common.progress import Progress
from dreamerv2_transfer.plotting import metrics_file, mlflow_run
from dreamerv2_transfer.plotting.curves import Series

METRICS = "metrics.jsonl"
CONFIG = "config.yaml"
FILES = ("*.jsonl", "*.yaml")
# The original's names of metrics and ours, both ways.
SYNONYMS = {"eval_return": "eval_return_mean", "eval_length": "eval_length_mean"}
SYNONYMS |= {ours: theirs for theirs, ours in SYNONYMS.items()}
SUGGESTIONS = 3  # Similar names that a note lists for a missing metric.


class RunError(UserError):
    """A folder without a run, or a run without metrics."""


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What a run left behind.

    Attributes:
        name: The folder's name, or its path within the folder that was searched.
        folder: Where its files are.
        config: Its configuration, completed by today's defaults; None if unknown.
        metrics: By name, the steps (as logged: updates in our stages, environment
            frames in runs of the original) and the values. Finite numbers only; if a
            step was logged twice, its last value.
        notes: A sentence about each thing that was damaged or missing.
        layout: Task, method and seed if the folders state them (TASK/METHOD/SEED, as
            in the original's `plot.py`), else None.
    """

    name: str
    folder: pathlib.Path
    config: config_lib.Config | None
    metrics: dict[str, Series]
    notes: tuple[str, ...] = ()
    layout: tuple[str, str, str] | None = None

    def series(self, metric: str) -> Series | None:
        """Returns steps and values of a metric, by the original's name or ours."""
        return self.metrics.get(metric) or self.metrics.get(SYNONYMS.get(metric, ""))

    def lacking(self, metric: str) -> str:
        """Returns a sentence that says which metrics the run has in place of one."""
        similar = difflib.get_close_matches(metric, self.metrics, SUGGESTIONS)
        has = ", ".join(similar or list(self.metrics)[:SUGGESTIONS])
        rest = "" if similar else " and so on"
        return f"{self.name} has no '{metric}'; it has {has}{rest}."


def load(path: str | os.PathLike, name: str = "") -> Run:
    """Reads a run.

    Args:
        path: Its folder, or a file of metrics.
        name: What to call it; by default the name of the folder or file.

    Raises:
        RunError: There are no metrics.
    """
    path = paths_lib.local(path)
    if path.is_dir() and mlflow_run.is_run(os.listdir(path)):
        return _load_mlflow(path, name)
    if path.is_dir():
        name = name or path.resolve().name
        file, settings = path / METRICS, path / CONFIG
    else:
        name = name or path.stem
        file, settings = path, path.with_suffix(".yaml")
    # A folder may have any bytes as its name, but not all of them can be printed.
    name = name.encode("utf-8", "backslashreplace").decode()
    try:
        if path.is_dir():
            paths_lib.check_within(file, path)
        metrics, damage = metrics_file.read(file)
    except FileNotFoundError as error:
        raise RunError(f"{name} has no {file.name}.") from error
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{name} has no metrics: {reason}. Received: {file}") from error
    except PathError as error:
        raise RunError(f"{name} has no metrics: {error}") from error
    if not metrics:
        raise RunError(f"{name} has no metrics. Received: {file}")
    notes, config = [f"{name}: {note}" for note in damage], None
    try:
        paths_lib.check_within(settings, settings.parent)
        config = blocks.load_old(settings)[0] if settings.exists() else None
    except UserError as error:
        notes.append(f"{name} has a configuration that cannot be read: {error}")
    if not settings.exists():
        notes.append(f"{name} has no {settings.name}: its arm is read off its name.")
    return Run(name, file.parent, config, metrics, tuple(notes))


def _load_mlflow(folder: pathlib.Path, name: str) -> Run:
    try:
        layout = mlflow_run.layout(folder)
        metrics, damage = mlflow_run.read(folder)
    except (OSError, PathError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"{name or folder.name} has no metrics: {reason}. Received: {folder}"
        ) from error
    name = name or layout[2]
    if not metrics:
        raise RunError(f"{name} has no metrics. Received: {folder}")
    notes = tuple(f"{name}: {note}" for note in damage)
    return Run(name, folder, None, metrics, notes, layout)


def find(
    paths: Iterable[str | os.PathLike],
    layouts: Iterable[str | os.PathLike] = (),
    files: tuple[str, ...] = FILES,
) -> tuple[list[Run], list[str]]:
    """Reads all runs in some places and shows the progress.

    Args:
        paths: Runs, folders to search for runs, or URLs of either.
        layouts: The same, where folders TASK/METHOD/SEED below state task, method and
            seed. A run that is in both counts once, as here.
        files: Patterns of the files to fetch from a URL, see `remote.fetched`.

    Returns:
        The runs, each of them once, and a sentence about each that was left out.

    Raises:
        RunError: A path does not exist, or there is no run with metrics.
    """
    places, skipped = {}, []
    wanted = [*((x, False) for x in paths), *((x, True) for x in layouts)]
    for given, by_folder in wanted:
        root = remote.fetched(given, *files)
        below = list(search(root))
        places |= {place.resolve(): (place, root, by_folder) for place in below}
        skipped += [] if below else [f"Left out: {given} holds no run."]
    found = []
    with Progress(len(places), 0, "Reading", "run") as bar:
        for place, root, by_folder in places.values():
            parts = place.relative_to(root).parts if place.is_relative_to(root) else ()
            name = "/".join((root.resolve().name, *parts)) if parts else ""
            try:
                run = load(place, name)
                if by_folder and len(parts) == 3:
                    run = dataclasses.replace(run, layout=parts)
                found.append(run)
            except RunError as error:
                skipped.append(f"Left out: {error}")
            bar.update()
    if not found:
        raise RunError(
            "There is no run with metrics to read; a run is a folder with a file "
            f"{METRICS}. Received: {' '.join(str(x) for x, _ in wanted)}. "
            f"{' '.join(skipped)}".rstrip()
        )
    return found, skipped


def search(path: pathlib.Path) -> Iterable[pathlib.Path]:
    """Yields the run at a path, or the runs in that folder, without reading them.

    Raises:
        RunError: The path does not exist.
    """
    if not path.exists():
        raise RunError(f"There is no such run or folder. Received: {path}")
    if path.is_file():
        yield path.parent if path.name == METRICS else path
        return
    for folder, below, files in os.walk(path):
        is_mlflow = mlflow_run.is_run((*below, *files))
        if is_mlflow or METRICS in files or CONFIG in files:
            below.clear()  # There may be a hundred thousand episodes.
            yield pathlib.Path(folder)
        below.sort()
