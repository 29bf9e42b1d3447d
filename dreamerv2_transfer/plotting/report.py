"""One page about several runs, which contains all its pictures and needs no network.

It shows what the runs left on disk: `metrics.jsonl`, `config.yaml`, `videos/*.gif` and
`analysis/`. The page names what is missing or damaged.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.resources
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jinja2

from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.plotting import arms, claims, gains_table, labels, plot
from dreamerv2_transfer.plotting import panels as panels_lib
from dreamerv2_transfer.plotting.comparison import Comparison
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.views import View

PAGE = "index.html"
TEMPLATE = "report.html"
FILES = ("*videos/*", "*analysis/*")  # Fetched from a store, besides what was logged.
# Files that a browser shows as pictures.
MEDIA = {
    ".png": "image/png",
    ".gif": "image/gif",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
}
# Metrics whose last values are in the table of runs.
LEVELS = ("train_return", "eval_return_mean", "model_error", "eval_model_error")
# Keys in which runs may differ and still be alike: place, seed, and other stages.
BESIDE = ("logdir", "seed", "stages")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture within the page.

    Attributes:
        uri: The picture itself, as a `data:` address.
        title: What it is.
        caption: What to see in it.
    """

    uri: str
    title: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What `launch/analyze.py` found in a run's world model.

    Attributes:
        run: Name of the run.
        findings: Sentences.
        pictures: Figures and dreams.
    """

    run: str
    findings: tuple[str, ...]
    pictures: tuple[Picture, ...]


@dataclasses.dataclass(frozen=True)
class Kinds:
    """Runs grouped by configuration, whatever their seeds.

    Attributes:
        names: Names of the runs, by kind.
        differences: Each key in which the kinds differ, with the value of each kind.
    """

    names: list[list[str]]
    differences: list[tuple[str, list[str]]]


@dataclasses.dataclass(frozen=True)
class Options:
    """What goes onto the page.

    Attributes:
        title: Title of the page.
        metrics: Metrics to draw; if empty, the usual ones that the runs have.
        view: How curves are made of what was logged.
        paper: Whether to draw the paper's own curves behind.
        videos: Most videos per run; browsers fail on a page of hundreds of megabytes.
        dpi: Pixels per inch of the curves.
    """

    title: str = "Runs"
    metrics: tuple[str, ...] = ()
    view: View = View()
    paper: bool = False
    videos: int = 8
    dpi: float = 110.0


def write(
    found: Sequence[Run],
    notes: Iterable[str],
    folder: str | os.PathLike,
    options: Options,
) -> pathlib.Path:
    """Writes the page atomically and returns its path.

    Args:
        found: The runs, at least one.
        notes: Sentences about what is wrong with them.
        folder: Gets `index.html`; it is created if it does not exist.
        options: What to show.

    Raises:
        OutputError: The page cannot be written.
    """
    path = pathlib.Path(folder).expanduser() / PAGE
    page = render(found, notes, options).encode()
    with atomic.atomic_write(path) as file:
        file.write(page)
    return path


def render(found: Sequence[Run], notes: Iterable[str], options: Options) -> str:
    """Returns the page as HTML, with names and texts of the runs' files escaped."""
    selection = panels_lib.Selection(options.metrics)
    panels, lacking = panels_lib.make(found, selection, options.view, options.paper)
    compared = Comparison(found, panels)
    analyses, damage = _collect(analysis, found)
    videos, left_out = _collect(lambda run: run_videos(run, options.videos), found)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = importlib.resources.files(__package__).joinpath(TEMPLATE)
    return environment.from_string(source.read_text()).render(
        title=options.title,
        runs=[summary(run) for run in found],
        levels=LEVELS,
        kinds=kinds(found),
        curves=curves(panels, options.dpi),
        gain_headings=gains_table.HEADINGS,
        gains=[gains_table.row(x) for x in compared.gains],
        claim_headings=claims.HEADINGS,
        claims=[claims.row(x) for x in compared.claims],
        analyses=analyses,
        videos=videos,
        notes=[*notes, *damage, *left_out, *lacking],
    )


def summary(run: Run) -> dict[str, Any]:
    """Returns a row of the table of runs, with the last value of each level."""
    logged = [run.series(name) for name in LEVELS]
    return {
        "name": run.name,
        "task": arms.task_of(run),
        "arm": labels.arm_label(arms.arm_of(run)),
        "seed": arms.seed_of(run),
        "step": max(float(steps[-1]) for steps, _ in run.metrics.values()),
        "levels": [float(series[1][-1]) if series else None for series in logged],
    }


def kinds(found: Sequence[Run]) -> Kinds:
    """Groups runs by their configuration and lists the keys in which groups differ.

    Runs without a configuration are in no group.
    """
    groups: dict[tuple, list[Run]] = {}
    for run in found:
        if run.config:
            flat = run.config.flat
            keys = [key for key in flat if key.split(".")[0] not in BESIDE]
            settings = tuple((key, str(flat[key])) for key in keys)
            groups.setdefault(settings, []).append(run)
    settings = [dict(group) for group in groups]
    keys = dict.fromkeys(key for flat in settings for key in flat)
    rows = [(key, [flat.get(key, "") for flat in settings]) for key in keys]
    return Kinds(
        names=[[run.name for run in group] for group in groups.values()],
        differences=[(key, values) for key, values in rows if len({*values}) > 1],
    )


def curves(panels: Sequence[Panel], dpi: float) -> list[Picture]:
    """Draws a picture for each metric, with a panel per game."""
    pictures = []
    for metric in dict.fromkeys(panel.metric for panel in panels):
        buffer = io.BytesIO()
        drawn = plot.figure([panel for panel in panels if panel.metric == metric])
        drawn.savefig(buffer, format="png", dpi=dpi)
        pictures.append(Picture(_uri(buffer.getvalue(), ".png"), metric))
    return pictures


def run_videos(run: Run, most: int) -> tuple[list[Picture], list[str]]:
    """Returns a run's videos, and a note on those beyond the limit."""
    files = sorted((run.folder / "videos").glob("*.gif"))
    pictures = [
        Picture(_uri(file.read_bytes(), ".gif"), run.name, file.stem)
        for file in files[:most]
    ]
    names = ", ".join(file.name for file in files[most:])
    note = f"{run.name} has more videos, which are not shown: {names}."
    return pictures, [note] if names else []


def analysis(run: Run) -> tuple[list[Analysis], list[str]]:
    """Reads a run's `analysis/`; also returns notes on what cannot be read."""
    file = run.folder / "analysis" / "analysis.json"
    if not file.exists():
        return [], []
    try:
        content = json.loads(file.read_bytes())
        findings = tuple(map(str, content["findings"]))
        figures = [
            (str(x["file"]), x["title"], x["caption"]) for x in content["figures"]
        ]
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return [], [f"{run.name} has an analysis that cannot be read: {file.name}."]
    pictures, notes = [], []
    for name, title, caption in figures:
        path = file.parent / name
        # Only files in this folder: a stranger's run must not show any others.
        if path.name == name and path.suffix in MEDIA and path.is_file():
            uri = _uri(path.read_bytes(), path.suffix)
            pictures.append(Picture(uri, str(title), str(caption)))
        else:
            notes.append(f"{run.name} lacks a figure of its analysis: {name}.")
    return [Analysis(run.name, findings, tuple(pictures))], notes


def _collect(
    read: Callable[[Run], tuple[list, list[str]]], found: Sequence[Run]
) -> tuple[list, list[str]]:
    """Joins what is read of all runs, and the notes on it."""
    pairs = [read(run) for run in found]
    return [x for items, _ in pairs for x in items], [x for _, n in pairs for x in n]


def _uri(data: bytes, suffix: str) -> str:
    return f"data:{MEDIA[suffix]};base64,{base64.b64encode(data).decode()}"
