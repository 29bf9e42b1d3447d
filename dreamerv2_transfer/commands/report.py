"""Writes a page about runs.

Writes OUT/index.html, which contains all it shows and needs no network: a verdict with
its main figure, interactive curves, what pre-training gained, what analyses found,
videos, the runs, and the differences of their configurations. Folders are searched for
runs.
"""

from __future__ import annotations

from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import config

OPTIONS = {
    "runs": Option([""], "Folders of runs, or files of metrics.", is_path=True),
    "indir": Option([""], "Folders TASK/METHOD/SEED, as the original's.", is_path=True),
    "out": path_option("The folder to write."),
    "title": Option("Runs", "Title of the page."),
    "yaxis": Option(
        [""], "Metrics; by default returns and model error, as far as logged."
    ),
    "paper": Option(False, "Draw the paper's own curves behind."),
    "bins": Option(0.0, "Bin width in steps; 0 shows what was logged.", least=0),
    "smooth": Option(0.0, "Window of a running mean, in steps; 0 is none.", least=0),
    "videos": Option(8, "Most videos of a run.", least=0),
}
USAGE = Usage(
    forms=("--runs RUN [RUN ...] --out FOLDER [--title TITLE ...]",),
    examples={"--runs logdir --out report": "all runs in a folder"},
    options={"": OPTIONS},
)


def main(argv: list[str]) -> int:
    options = options_lib.parse(OPTIONS, argv)
    paths, layouts = ([x for x in options[k] if x] for k in ("runs", "indir"))
    if not (paths or layouts):
        raise config.ConfigError("Name the runs: --runs LOGDIR [LOGDIR ...].")
    if not options.out:
        raise config.ConfigError("Name the folder to write: --out report.")

    from dreamerv2_transfer.plotting import comparison, report, runs, views

    chosen = report.Options(
        title=options.title,
        metrics=tuple(name for name in options.yaxis if name),
        view=views.View(bins=options.bins, smooth=options.smooth),
        paper=options.paper,
        videos=options.videos,
    )
    found, notes = comparison.read(paths, layouts, (*runs.FILES, *report.FILES))
    page = report.write(found, notes, options.out, chosen)
    print(f"Saved {page}, {page.stat().st_size / 2**20:.1f} MiB.")
    return 0
