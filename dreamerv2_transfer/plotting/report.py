"""One page about a set of runs, which holds all of its pictures and needs no network.

What it shows is what the runs left on disk: `metrics.jsonl`, `config.yaml`,
`videos/*.gif` and `analysis/`. What is missing or damaged is named on the page.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.resources
import io
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2

from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.plotting import claims, gains_table, plot
from dreamerv2_transfer.plotting import panels as panels_lib
from dreamerv2_transfer.plotting import runs as runs_lib
from dreamerv2_transfer.plotting.plot import Panel
from dreamerv2_transfer.plotting.runs import Run

PAGE = "index.html"
TEMPLATE = "report.html"
FILES = ("*videos/*", "*analysis/*")  # Of a run on a store, beside what it logged.
# What a browser shows as a picture.
MEDIA = {
    ".png": "image/png",
    ".gif": "image/gif",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
}
# Where a run ended up, in the table of runs.
LEVELS = ("train_return", "eval_return_mean", "model_error", "eval_model_error")
# Keys that say where a run lies or which repetition it is, and those of other stages.
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
    """What `analyze` found in the latent space of a run.

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
    """Runs that are alike but for their seeds.

    Attributes:
        names: Of the runs, by kind.
        differences: Keys in which the kinds differ, and the value of each kind.
    """

    names: list[list[str]]
    differences: list[tuple[str, list[str]]]


@dataclasses.dataclass(frozen=True)
class Options:
    """What goes onto the page.

    Attributes:
        title: Of the page.
        metrics: To draw; empty for what the runs have of the usual ones.
        view: How curves are made of what was logged.
        paper: Draw the paper's own curves behind.
        videos: Of a run, at most; a page of hundreds of megabytes opens nowhere.
        dpi: Pixels an inch of the curves.
    """

    title: str = "Runs"
    metrics: tuple[str, ...] = ()
    view: panels_lib.View = panels_lib.View()
    paper: bool = False
    videos: int = 8
    dpi: float = 110.0


def write(found: Sequence[Run], notes: Iterable[str], folder, options: Options):
    """Writes the page, whole or not at all, and returns its path.

    Args:
        found: The runs, at least one.
        notes: What is to be said about them.
        folder: Gets `index.html`; it is made if it does not exist.
        options: What to show.

    Raises:
        OutputError: It cannot be written.
    """
    path = pathlib.Path(folder).expanduser() / PAGE
    page = render(found, notes, options).encode()
    with atomic.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.atomic_write(path) as file:
        file.write(page)
    return path


def render(found: Sequence[Run], notes: Iterable[str], options: Options) -> str:
    """The page as HTML. Names and texts of the runs' files are escaped."""
    metrics = options.metrics or panels_lib.usual(found)
    panels, lacking = panels_lib.make(
        found, metrics, options.view, behind=options.paper
    )
    analyses, doubts = _collect(analysis, found)
    videos, left_out = _collect(lambda run: run_videos(run, options.videos), found)
    loader = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = importlib.resources.files(__package__).joinpath(TEMPLATE)
    return loader.from_string(source.read_text()).render(
        title=options.title,
        runs=[summary(run) for run in found],
        levels=LEVELS,
        kinds=kinds(found),
        curves=curves(panels, options.dpi),
        headings=gains_table.HEADINGS,
        transfer=[gains_table.row(x) for x in gains_table.numbers(panels)],
        claim_headings=claims.HEADINGS,
        claims=[claims.row(claim) for claim in claims.make(panels)],
        analyses=analyses,
        videos=videos,
        notes=[*notes, *doubts, *left_out, *lacking],
    )


def summary(run: Run) -> dict[str, Any]:
    """A row of the table of runs; a level is the last value that was logged."""
    held = {name: runs_lib.series(run, name) for name in LEVELS}
    return {
        "name": run.name,
        "task": runs_lib.task(run),
        "arm": plot.label_arm(runs_lib.arm(run)),
        "seed": runs_lib.seed(run),
        "step": max(float(steps[-1]) for steps, _ in run.metrics.values()),
        "levels": [None if x is None else float(x[1][-1]) for x in held.values()],
    }


def kinds(found: Sequence[Run]) -> Kinds:
    """Groups runs by their configuration, and says in which keys the groups differ.

    Runs without a configuration are in no group.
    """
    groups: dict[tuple, list[Run]] = {}
    for run in found:
        if run.config:
            groups.setdefault(_settings(run), []).append(run)
    settings = [dict(group) for group in groups]
    keys = dict.fromkeys(key for flat in settings for key in flat)
    rows = [(key, [flat.get(key, "") for flat in settings]) for key in keys]
    return Kinds(
        names=[[run.name for run in group] for group in groups.values()],
        differences=[(key, values) for key, values in rows if len({*values}) > 1],
    )


def _settings(run: Run) -> tuple[tuple[str, str], ...]:
    """The keys and values of a configuration, those aside that are beside the point."""
    is_beside = lambda key: key.split(".")[0] in BESIDE  # noqa: E731
    flat = run.config.flat
    return tuple((key, str(flat[key])) for key in flat if not is_beside(key))


def curves(panels: Sequence[Panel], dpi: float) -> list[Picture]:
    """A picture for each metric, with a panel a game."""
    metrics = dict.fromkeys(panel.metric for panel in panels)
    return [_curve([p for p in panels if p.metric == m], m, dpi) for m in metrics]


def _curve(panels: Sequence[Panel], metric: str, dpi: float) -> Picture:
    buffer = io.BytesIO()
    plot.figure(panels).savefig(buffer, format="png", dpi=dpi)
    return Picture(_uri(buffer.getvalue(), ".png"), metric)


def run_videos(run: Run, most: int) -> tuple[list[Picture], list[str]]:
    """A run's videos, and a note on those for which there is no room."""
    files = sorted((run.folder / "videos").glob("*.gif"))
    pictures = [
        Picture(_uri(file.read_bytes(), ".gif"), run.name, file.stem)
        for file in files[:most]
    ]
    names = ", ".join(file.name for file in files[most:])
    note = f"{run.name} has more videos, which are not shown: {names}."
    return pictures, [note] if names else []


def analysis(run: Run) -> tuple[list[Analysis], list[str]]:
    """What `analyze` left in a run's folder, and notes on what cannot be read."""
    file = run.folder / "analysis" / "analysis.json"
    if not file.exists():
        return [], []
    try:
        held = json.loads(file.read_bytes())
        findings = tuple(map(str, held["findings"]))
        figures = [(str(x["file"]), x["title"], x["caption"]) for x in held["figures"]]
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return [], [f"{run.name} has an analysis that cannot be read: {file.name}."]
    pictures, notes = [], []
    for name, title, caption in figures:
        path = file.parent / name
        # A name is that of a file beside, lest a stranger's run shows other files.
        if path.name == name and path.suffix in MEDIA and path.is_file():
            uri = _uri(path.read_bytes(), path.suffix)
            pictures.append(Picture(uri, str(title), str(caption)))
        else:
            notes.append(f"{run.name} lacks a figure of its analysis: {name}.")
    return [Analysis(run.name, findings, tuple(pictures))], notes


def _collect(read, found: Sequence[Run]) -> tuple[list, list[str]]:
    """What is read of all runs, and the notes on it."""
    pairs = [read(run) for run in found]
    return [x for held, _ in pairs for x in held], [x for _, n in pairs for x in n]


def _uri(data: bytes, suffix: str) -> str:
    return f"data:{MEDIA[suffix]};base64,{base64.b64encode(data).decode()}"
