"""One page about several runs, which contains all it shows and needs no network.

It shows what the runs left on disk: `metrics.jsonl`, `config.yaml`, `videos/*.gif` and
`analysis/`. The page names what is missing or damaged. Its curves are interactive
through Plotly's basic bundle (npm's plotly.js-basic-dist-min 4.1.1, MIT license);
without scripts, and in print, they are pictures.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, paths
from dreamerv2_transfer.plotting import (
    analyses,
    charts,
    differences,
    labels,
    pictures,
    report_tables,
    template,
    verdicts,
)
from dreamerv2_transfer.plotting import panels as panels_lib
from dreamerv2_transfer.plotting.charts import Chart
from dreamerv2_transfer.plotting.comparison import Comparison
from dreamerv2_transfer.plotting.pictures import Picture
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.verdicts import Verdict
from dreamerv2_transfer.plotting.views import View

PAGE = "index.html"
TEMPLATE = "report.html"
FILES = ("*videos/*", "*analysis/*")  # Fetched from a store, besides what was logged.
MOST = 4  # Charts of the main figure; the others are among the curves.


@dataclasses.dataclass(frozen=True)
class Options:
    """What goes onto the page.

    Attributes:
        title: Title of the page.
        metrics: Metrics to draw; if empty, the usual ones that the runs have.
        view: How curves are made of what was logged.
        paper: Whether to draw the paper's own curves behind.
        videos: Most videos per run; browsers fail on a page of hundreds of megabytes.
        dpi: Pixels per inch of the pictures of curves.
    """

    title: str = "Runs"
    metrics: tuple[str, ...] = ()
    view: View = View()
    paper: bool = False
    videos: int = 8
    dpi: float = 130.0


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
    path = paths.local(folder) / PAGE
    # A file's name need not be UTF-8.
    page = render(found, notes, options).encode(errors="backslashreplace")
    with atomic.atomic_write(path) as file:
        file.write(page)
    return path


def render(found: Sequence[Run], notes: Iterable[str], options: Options) -> str:
    """Returns the page as HTML, with names and texts of the runs' files escaped."""
    selection = panels_lib.Selection(options.metrics)
    panels, lacking = panels_lib.make(found, selection, options.view, options.paper)
    compared = Comparison(found, panels)
    verdict = verdicts.make(panels, compared.gains, compared.aggregates)
    lines = charts.lines(panels)
    drawn = charts.make(panels, "", options.dpi)
    analyzed, damage = _collect(analyses.read, found)
    videos, left_out = _collect(lambda run: run_videos(run, options.videos), found)
    main, rest = _split(drawn, verdict)
    kinds = differences.kinds(found)
    order = {line.arm: number for number, line in enumerate(lines)}
    return template.render(
        TEMPLATE,
        title=options.title,
        metric_label=labels.metric_label,
        lines=lines,
        order=order,
        facts=report_tables.facts(found),
        verdict=verdict,
        agreement=verdicts.claims_counted(compared.claims),
        main=main,
        curves={
            metric: [chart for chart in rest if chart.metric == metric]
            for metric in dict.fromkeys(chart.metric for chart in rest)
        },
        behind=any(panel.paper for panel in panels),
        data={
            "lines": [dataclasses.asdict(line) for line in lines],
            "plots": [chart.plot for chart in (*main, *rest)],
        },
        gains=report_tables.gains(compared.gains, order),
        together=report_tables.aggregates(compared.aggregates, compared.pairs, order),
        claims=report_tables.paper(compared.claims, order),
        runs=report_tables.runs(found, order),
        differences=differences.table(kinds) if kinds.differences else [],
        different=len(kinds.differences),
        analyses=analyzed,
        videos=videos,
        notes=[*notes, *damage, *left_out, *lacking, *compared.notes],
    )


def run_videos(run: Run, most: int) -> tuple[list[Picture], list[str]]:
    """Returns a run's videos, and notes on those that are damaged or too many."""
    files = sorted((run.folder / "videos").glob("*.gif"))
    shown, notes = [], []
    for file in files[:most]:
        try:
            shown.append(pictures.read(file, run.folder, run.name, file.stem))
        except UserError as error:
            notes.append(f"{run.name} has a video that is not shown: {error}")
    if names := ", ".join(file.name for file in files[most:]):
        notes.append(f"{run.name} has more videos, which are not shown: {names}.")
    return shown, notes


def _split(drawn: Sequence[Chart], verdict: Verdict) -> tuple[list[Chart], list[Chart]]:
    """Returns the charts of the main figure, and the others."""
    told = {card.title for card in verdict.cards}
    main = [chart for chart in drawn if chart.metric == verdict.metric]
    main.sort(key=lambda chart: chart.title not in told)
    rest = [chart for chart in drawn if chart.metric != verdict.metric]
    return main[:MOST], [*main[MOST:], *rest]


def _collect(
    read: Callable[[Run], tuple[list, list[str]]], found: Sequence[Run]
) -> tuple[list, list[str]]:
    """Joins what is read of all runs, and the notes on it."""
    pairs = [read(run) for run in found]
    return [x for items, _ in pairs for x in items], [x for _, n in pairs for x in n]
