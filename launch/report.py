"""Makes a report. `python launch/report.py --runs RUN... --out report/`

Writes `report/index.html`, which contains all it shows and needs no network: a verdict
with its main figure, interactive curves, what pre-training gained, what `analyze.py`
found, videos, the runs, and the differences of their configurations. Folders are
searched for runs.
"""

from __future__ import annotations

import sys

from dreamerv2_transfer.common import cli, config, flags

OPTIONS = {
    "runs": [""],  # Folders of runs, or files of metrics.
    "out": "",  # The folder to write.
    "title": "Runs",
    "yaxis": [""],  # Metrics; '' is returns and model error, as far as there are any.
    "paper": False,  # Draw the paper's own curves behind.
    "bins": 0.0,  # Width in steps; 0 shows what was logged.
    "smooth": 0.0,  # Window of a running mean, in steps; 0 is none.
    "videos": 8,  # Most videos of a run.
}


def main(argv: list[str]) -> int:
    options = flags.Flags(OPTIONS).parse(argv)
    paths = [path for path in options.runs if path]
    if not paths:
        raise config.ConfigError("Name the runs: --runs LOGDIR [LOGDIR ...].")
    if not options.out:
        raise config.ConfigError("Name the folder to write: --out report.")
    config.check_least(options, {"bins": 0, "smooth": 0, "videos": 0})

    from dreamerv2_transfer.plotting import comparison, report, runs, views

    chosen = report.Options(
        title=options.title,
        metrics=tuple(name for name in options.yaxis if name),
        view=views.View(bins=options.bins, smooth=options.smooth),
        paper=options.paper,
        videos=options.videos,
    )
    found, notes = comparison.read(paths, files=(*runs.FILES, *report.FILES))
    page = report.write(found, notes, options.out, chosen)
    print(f"Saved {page}, {page.stat().st_size / 2**20:.1f} MiB.")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
