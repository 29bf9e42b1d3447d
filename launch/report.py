"""Makes a page. `python launch/report.py --runs RUN... --out report/`

Writes `report/index.html`, which holds all of its pictures and needs no network: the
runs, where their configurations differ, curves, what pre-training was worth, what
`analyze.py` found, and videos. A folder of runs is searched.
"""

from __future__ import annotations

import sys

from dreamerv2_transfer.common import cli, config, flags

OPTIONS = {
    "runs": [""],  # Folders of runs, or files of metrics.
    "out": "",  # The folder to write.
    "title": "Runs",
    "yaxis": [""],  # Metrics to draw; '' is returns and model error, whatever there is.
    "paper": False,  # Draw the paper's own curves behind.
    "bins": 0.0,  # Width in steps; 0 shows what was logged.
    "smooth": 0.0,  # Window of a running mean, in steps; 0 is none.
    "videos": 8,  # Of a run, at most.
}


def main(argv: list[str]) -> int:
    options = flags.Flags(OPTIONS).parse(argv)
    paths = [path for path in options.runs if path]
    check(options, paths)

    from dreamerv2_transfer.plotting import report, runs

    found, notes = runs.find(paths, files=(*runs.FILES, *report.FILES))
    damage = [note for run in found for note in run.notes]
    page = report.write(
        found, [*notes, *damage, *runs.doubts(found)], options.out, chosen(options)
    )
    print(f"Saved {page}, {page.stat().st_size / 2**20:.1f} MiB.")
    return 0


def check(options: config.Config, paths: list[str]) -> None:
    if not paths:
        raise config.ConfigError("Name the runs: --runs LOGDIR [LOGDIR ...].")
    if not options.out:
        raise config.ConfigError("Name the folder to write: --out report.")
    config.check_least(options, {"bins": 0, "smooth": 0, "videos": 0})


def chosen(options: config.Config):
    from dreamerv2_transfer.plotting import panels, report

    return report.Options(
        title=options.title,
        metrics=tuple(name for name in options.yaxis if name),
        view=panels.View(bins=options.bins, smooth=options.smooth),
        paper=options.paper,
        videos=options.videos,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
