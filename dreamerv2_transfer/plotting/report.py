"""One page about several runs, which contains all it shows and needs no network.

It shows what the runs left on disk: `metrics.jsonl`, `config.yaml`, `videos/*.gif` and
`analysis/`. The page names what is missing or damaged. Its curves are interactive
through Plotly's basic bundle (npm's plotly.js-basic-dist-min 4.1.1, MIT license);
without scripts, and in print, they are pictures.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib.resources
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence

import jinja2
import markupsafe

from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.plotting import (
    analyses,
    charts,
    differences,
    labels,
    pictures,
    report_tables,
    verdicts,
)
from dreamerv2_transfer.plotting import panels as panels_lib
from dreamerv2_transfer.plotting.charts import Chart
from dreamerv2_transfer.plotting.comparison import Comparison
from dreamerv2_transfer.plotting.pictures import Picture
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.views import View

PAGE = "index.html"
FOLDER = "page"  # Of the template, the style and the scripts.
TEMPLATE = "report.html"
# Plotly's license has to accompany its code.
SCRIPTS = (("LICENSE.plotly", "plotly-basic-4.1.1.min.js"), ("report.js",))
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
    verdict = verdicts.make(panels, compared.gains)
    lines = charts.lines(panels)
    across = labels.across(options.view.xaxis, found)
    drawn = charts.make(panels, across, options.dpi)
    analyzed, damage = _collect(analyses.read, found)
    videos, left_out = _collect(lambda run: run_videos(run, options.videos), found)
    main = [chart for chart in drawn if chart.metric == verdict.metric]
    rest = [chart for chart in drawn if chart.metric != verdict.metric]
    main, rest = main[:MOST], [*main[MOST:], *rest]
    kinds = differences.kinds(found)
    order = {line.arm: number for number, line in enumerate(lines)}
    scripts = [_script(names) for names in SCRIPTS]
    template = _environment().get_template(TEMPLATE)
    return template.render(
        title=options.title,
        policy=_policy(scripts),
        scripts=scripts,
        style=markupsafe.Markup(_read("report.css")),
        metric_label=labels.metric_label,
        lines=lines,
        order=order,
        facts=report_tables.facts(found),
        verdict=verdict,
        agreement=verdicts.claims_counted(compared.claims),
        main=main,
        curves=_by_metric(rest),
        data={
            "lines": [dataclasses.asdict(line) for line in lines],
            "plots": [chart.plot for chart in (*main, *rest)],
        },
        gains=report_tables.gains(compared.gains, order),
        claims=report_tables.paper(compared.claims, order),
        runs=report_tables.runs(found, order),
        differences=differences.table(kinds) if kinds.differences else [],
        different=len(kinds.differences),
        analyses=analyzed,
        videos=videos,
        notes=[*notes, *damage, *left_out, *lacking],
    )


def run_videos(run: Run, most: int) -> tuple[list[Picture], list[str]]:
    """Returns a run's videos, and a note on those beyond the limit."""
    files = sorted((run.folder / "videos").glob("*.gif"))
    shown = [
        pictures.embed(file.read_bytes(), ".gif", run.name, file.stem)
        for file in files[:most]
    ]
    names = ", ".join(file.name for file in files[most:])
    note = f"{run.name} has more videos, which are not shown: {names}."
    return shown, [note] if names else []


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dreamerv2_transfer.plotting", FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["initial"] = lambda text: text[:1].upper() + text[1:]
    return environment


def _breakable(text: str) -> markupsafe.Markup:
    """Escapes a text and lets lines break within names, but not within intervals."""
    kept = re.sub(
        r"(?<=\d) (to|of) (?=-?\d)",
        "\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}",
        text,
    )
    return markupsafe.Markup("<wbr>").join(re.split(r"(?<=[/_.])(?=[^\W\d_])", kept))


def _read(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(FOLDER, name).read_text()


def _script(names: Sequence[str]) -> markupsafe.Markup:
    """Returns a script; files before the last one are comments on it."""
    *comments, code = map(_read, names)
    return markupsafe.Markup("".join([*(f"/*\n{x}*/\n" for x in comments), code]))


def _policy(scripts: Sequence[str]) -> str:
    """Returns a policy that lets only our own scripts run, and loads nothing."""
    hashes = [hashlib.sha256(script.encode()).digest() for script in scripts]
    known = " ".join(f"'sha256-{base64.b64encode(x).decode()}'" for x in hashes)
    return (
        f"default-src 'none'; script-src {known}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _by_metric(drawn: Sequence[Chart]) -> dict[str, list[Chart]]:
    groups: dict[str, list[Chart]] = {}
    for chart in drawn:
        groups.setdefault(chart.metric, []).append(chart)
    return groups


def _collect(
    read: Callable[[Run], tuple[list, list[str]]], found: Sequence[Run]
) -> tuple[list, list[str]]:
    """Joins what is read of all runs, and the notes on it."""
    pairs = [read(run) for run in found]
    return [x for items, _ in pairs for x in items], [x for _, n in pairs for x in n]
