"""Runs on disk: what they logged, and what kind of run they were.

A run is a folder with a `metrics.jsonl`, ours or the original's, or a file of that
format by itself with its configuration beside it (`NAME.jsonl` and `NAME.yaml`).
"""

from __future__ import annotations

import collections
import dataclasses
import difflib
import json
import math
import os
import pathlib
import re
from collections.abc import Iterable

import numpy as np

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.common.files.logdir import irrelevant
from dreamerv2_transfer.common.progress import Progress
from dreamerv2_transfer.plotting.curves import Series

METRICS = "metrics.jsonl"
CONFIG = "config.yaml"
FILES = ("*.jsonl", "*.yaml")
# What the original calls a metric, and we do.
SAME = {"eval_return": "eval_return_mean", "eval_length": "eval_length_mean"}
SAME |= {ours: theirs for theirs, ours in SAME.items()}
NEAR = 3  # Names that a note suggests for one that is missing.
# The end of a name such as `asterix_seed0`; a mere number is a seed too.
SEED = re.compile(r"[_-]?seed[_-]?(\d+)$")


class RunError(UserError):
    """A folder that holds no run, or a run without metrics."""


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What a run left behind.

    Attributes:
        name: Of the folder, or its path within the folder that was searched.
        folder: Where its files are.
        config: Its configuration, completed by today's defaults; None if unknown.
        metrics: By name, the steps (as logged: updates in a stage of ours, frames of
            the environment in a run of the original) and the values. Only finite
            numbers; of a step that was logged twice, the last.
        notes: What was damaged or missing, a sentence each.
        layout: Task, method and seed where the folders say so (TASK/METHOD/SEED, as
            the original's `plot.py` takes them), else None.
    """

    name: str
    folder: pathlib.Path
    config: config_lib.Config | None
    metrics: dict[str, Series]
    notes: tuple[str, ...] = ()
    layout: tuple[str, str, str] | None = None


def load(path: str | os.PathLike, name: str = "") -> Run:
    """Reads a run.

    Args:
        path: Its folder, or a file of metrics.
        name: What to call it; by default as the folder or the file is called.

    Raises:
        RunError: There are no metrics.
    """
    path = pathlib.Path(path).expanduser()
    file, settings = _files(path)
    name = name or (path.stem if path == file else path.resolve().name)
    rows, damage = _rows(file, name)
    metrics, gaps = _columns(rows, name)
    if not metrics:
        raise RunError(f"{name} has no metrics. Received: {file}")
    config, doubt = _config(settings, name)
    return Run(name, file.parent, config, metrics, (*damage, *gaps, *doubt))


def find(
    paths: Iterable[str | os.PathLike],
    by_folder: bool = False,
    files: tuple[str, ...] = FILES,
) -> tuple[list[Run], list[str]]:
    """Reads all runs at some places; shows its progress.

    Args:
        paths: Runs, or folders that are searched for runs; or URLs of these.
        by_folder: Task, method and seed are what the folders TASK/METHOD/SEED below a
            path are called, where there are three.
        files: What is fetched of a URL, see `remote.fetched`.

    Returns:
        The runs, each of them once, and a sentence for each that had to be left out.

    Raises:
        RunError: A path does not exist, or no run is left.
    """
    found, skipped = {}, []
    for given in paths:
        path = remote.fetched(given, *files)
        places = list(search(path))
        found |= {place.resolve(): (place, path) for place in places}
        skipped += [] if places else [f"Left out: {given} holds no run."]
    runs = []
    with Progress(len(found), 0, "Reading", "run") as bar:
        for place, root in found.values():
            try:
                runs.append(_load_below(place, root, by_folder))
            except RunError as error:
                skipped.append(f"Left out: {error}")
            bar.update()
    if not runs:
        raise RunError(
            f"There is no run with metrics to read: a run is a folder with {METRICS}. "
            f"Received: {' '.join(map(str, paths))}. {' '.join(skipped)}".rstrip()
        )
    return runs, skipped


def search(path: pathlib.Path) -> Iterable[pathlib.Path]:
    """Yields the run that a path is, or those in the folder, without reading them.

    Raises:
        RunError: The path does not exist.
    """
    if not path.exists():
        raise RunError(f"There is no such run or folder. Received: {path}")
    if path.is_file():
        yield path.parent if path.name == METRICS else path
        return
    for folder, below, files in os.walk(path):
        if METRICS in files or CONFIG in files:
            below.clear()  # There may be a hundred thousand episodes.
            yield pathlib.Path(folder)
        below.sort()


def task(run: Run) -> str:
    """The game of a run, or how many games it mixes; '' where nothing says it."""
    if run.layout:
        return run.layout[0]
    if run.config is None:
        return ""
    if run.config.stage != "pretrain":
        return run.config.task
    games = run.config.tasks
    return games[0] if len(games) == 1 else f"{len(games)} games mixed"


def arm(run: Run) -> str:
    """What kind of run it is, as the paper's curves name them where they do.

    `scratch`, `pretrained` (fine-tuned, all of it), `pretrained_frozen_rssm`,
    `pretrained_fixed_world_model`, `pretrained_frozen_` and what is frozen; another
    stage such as `pretrain`; and where there is no stage, as in the original's runs,
    what the folder is called.
    """
    if run.layout:
        return run.layout[1]
    stage = run.config.stage if run.config else ""
    if stage == "finetune":
        return _fine_tuned(run.config.freeze)
    return stage or _method(run)


def seed(run: Run) -> str:
    """The seed of a run; of one that reads none, its number or name."""
    if run.layout:
        return run.layout[2]
    if run.config and run.config.stage:
        return str(run.config.seed)
    match = SEED.search(run.name)
    return match[1] if match else pathlib.PurePath(run.name).name


def series(run: Run, metric: str) -> Series | None:
    """Steps and values of a metric, by the original's name or by ours."""
    return run.metrics.get(metric) or run.metrics.get(SAME.get(metric, ""))


def lacking(run: Run, metric: str) -> str:
    """Says that a run lacks a metric, and which of its names are near."""
    near = difflib.get_close_matches(metric, run.metrics, NEAR)
    has = ", ".join(near or list(run.metrics)[:NEAR])
    return f"{run.name} has no '{metric}'; it has {has}{'' if near else ' and so on'}."


def doubts(runs: Iterable[Run]) -> list[str]:
    """Says which runs that would count as seeds of one arm are hardly that.

    Returns:
        A sentence for each two with the same seed, and for each whose configuration
        differs from that of the arm's first run in more than the seed.
    """
    arms = collections.defaultdict(list)
    for run in runs:
        arms[task(run), arm(run)].append(run)
    return [note for group in arms.values() for note in _doubts(group)]


def _doubts(group: list[Run]) -> Iterable[str]:
    seeds: dict[str, Run] = {}
    for run in group:
        other = seeds.setdefault(seed(run), run)
        if other is not run:
            yield (
                f"{other.name} and {run.name} have the same seed, {seed(run)}, and "
                "count as two."
            )
    known = [run for run in group if run.config]
    for run in known[1:]:
        may = ("seed", *irrelevant(run.config))
        changed = config_lib.difference(known[0].config, run.config, may)
        if _start(run) == _start(known[0]):
            changed.pop("init.path", None)
        if changed:
            yield (
                f"{known[0].name} and {run.name} count as seeds of one arm, but differ "
                f"in {', '.join(changed)}."
            )


def _start(run: Run) -> str:
    """Where a run's weights come from, the seed aside: each seed has its own model."""
    number = re.escape(str(run.config.seed))
    return re.sub(rf"(?<!\d){number}(?!\d)", "SEED", run.config.init.path)


def _fine_tuned(freeze: config_lib.Config) -> str:
    """The arm of a fine-tuning run, by its section `freeze`."""
    flags = freeze.flat
    frozen = [name for name, value in flags.items() if value]
    if not frozen:
        return "pretrained"
    if len(frozen) == len(flags):
        return "pretrained_fixed_world_model"
    if frozen == [name for name in flags if name.startswith("rssm.")]:
        return "pretrained_frozen_rssm"
    names = [name.removeprefix("rssm.") for name in frozen]
    return "_".join(["pretrained_frozen", *names])


def _method(run: Run) -> str:
    """What the run is called, without the seed; `METHOD/0` is seed 0 of METHOD."""
    *above, name = (*run.folder.resolve().parts[:-1], pathlib.PurePath(run.name).name)
    method = SEED.sub("", name)
    return method if method and not method.isdecimal() else above[-1]


def _load_below(path: pathlib.Path, root: pathlib.Path, by_folder: bool) -> Run:
    """Loads a run that was found at or below `root`, and calls it by the way there."""
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
    run = load(path, "/".join((root.resolve().name, *parts)) if parts else "")
    is_layout = by_folder and len(parts) == 3
    return dataclasses.replace(run, layout=parts) if is_layout else run


def _files(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The metrics and the configuration of a run."""
    if path.is_dir():
        return path / METRICS, path / CONFIG
    return path, path.with_suffix(".yaml")


def _config(path: pathlib.Path, name: str) -> tuple[config_lib.Config | None, list]:
    if not path.exists():
        return None, [f"{name} has no {path.name}: its kind is what it is called."]
    try:
        return blocks.load_old(path)[0], []
    except config_lib.ConfigError as error:
        return None, [f"{name} has a configuration that cannot be read: {error}"]


def _rows(file: pathlib.Path, name: str) -> tuple[list[dict], list[str]]:
    """The rows of a file of metrics, and what was wrong with it."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{name} has no metrics: {reason}. Received: {file}") from error
    rows = [_row(line) for line in lines]
    bad = [number for number, row in enumerate(rows, 1) if row is None]
    notes = []
    if bad and bad[-1] == len(rows):
        bad.pop()
        notes.append(f"{name}: the last line is cut off and was left out.")
    if bad:
        notes.append(
            f"{name}: {len(bad)} damaged lines were left out, the first is {bad[0]}."
        )
    return [row for row in rows if row], notes


def _row(line: bytes) -> dict | None:
    """A line's values; {} if it is blank, None if it is damaged."""
    if not line.strip():
        return {}
    try:
        row = json.loads(line)
        valid = isinstance(row, dict) and _is_finite(row.get("step"))
    except (ValueError, RecursionError):
        valid = False
    return row if valid else None


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer that no float holds.
        return False


def _columns(rows: list[dict], name: str) -> tuple[dict[str, Series], list[str]]:
    """The series by name, and a note on values that are no finite numbers."""
    columns: dict[str, dict[float, float]] = collections.defaultdict(dict)
    gaps: collections.Counter[str] = collections.Counter()
    for row in rows:
        for key, value in row.items():
            if _is_finite(value):
                columns[key][row["step"]] = value
            else:
                gaps[key] += 1
    columns.pop("step", None)
    counts = ", ".join(f"{key} {count}" for key, count in gaps.items())
    notes = [f"{name}: values that are no finite numbers were left out: {counts}."]
    series = {key: _series(points) for key, points in columns.items()}
    return series, notes if gaps else []


def _series(points: dict[float, float]) -> Series:
    steps = np.array(sorted(points), np.float64)
    return steps, np.array([points[step] for step in steps], np.float64)
