"""Draws curves. `python launch/plot.py --runs RUN... --out figure.png [...]`

A run is a folder with `metrics.jsonl`; folders are searched for runs. Runs of one
game, arm and configuration are the seeds of one curve: their mean with its 95%
bootstrap band, thin where some of them have ended. If there are returns and runs from
scratch, it prints what pre-training gained. Options of the original's `plot.py` mean
the same here.
"""

from __future__ import annotations

import dataclasses
import sys

from dreamerv2_transfer.common import cli, config, flags

OPTIONS = {
    "runs": [""],  # Folders of runs, or files of metrics.
    "indir": [""],  # Folders TASK/METHOD/SEED, whose names count, as the original's.
    "out": "",  # The figure: .png, .pdf or .svg.
    "outdir": "",  # Folder for curves.png and curves.pdf, as the original's.
    "json": "",  # File for the numbers.
    "figure": [""],  # Figures of the paper: only their games and metrics are drawn.
    "paper": False,  # Draw the paper's own curves behind.
    "threshold": "",  # A return to be reached; '' is the final level of scratch.
    # Which curves.
    "xaxis": "step",  # Or a metric, such as train_total_steps.
    "yaxis": [""],  # Metrics; '' is returns and model error, as far as there are any.
    "tasks": [".*"],  # Regular expressions.
    "methods": [".*"],  # Regular expressions for arms, in the order of the legend.
    "bins": 0.0,  # Width in units of the horizontal axis; 0 shows what was logged.
    "smooth": 0.0,  # Window of a running mean, in the same units; 0 is none.
    "agg": "ci95",  # The band: ci95, std1, per0, per5, per25; none is a line per run.
    "maxval": 0.0,  # Largest magnitude of a value; 0 is none.
    "xmult": 1.0,  # Factor of the horizontal axis.
    # How they look.
    "labels": [""],  # ARM NAME ARM NAME ...
    "title": "",
    "xlabel": "",
    "ylabel": "",
    "xlim": [0.0, 0.0],  # Two equal limits leave it to the curves.
    "ylim": [0.0, 0.0],
    "yscale": "auto",  # auto, linear or log
    "cols": 4,  # Panels in a row.
    "size": [4.2, 3.1],  # Inches, of a panel.
    "dpi": 110.0,  # Pixels per inch.
}
LISTS = ("runs", "indir", "figure", "yaxis", "labels")  # In which '' stands for none.
LOOK = ("size", "cols", "xlim", "ylim", "yscale", "ylabel", "title")


def main(argv: list[str]) -> int:
    options = flags.Flags(OPTIONS).parse(argv)
    chosen = {name: [x for x in options[name] if x] for name in LISTS}
    if not (chosen["runs"] or chosen["indir"]):
        raise config.ConfigError("Name the runs to draw: --runs LOGDIR [LOGDIR ...].")
    config.check_least(options, {"cols": 1, "bins": 0, "smooth": 0, "dpi": 10})

    from dreamerv2_transfer.plotting import comparison, gains, panels, paper, plot
    from dreamerv2_transfer.plotting.labels import across
    from dreamerv2_transfer.plotting.views import View

    files = plot.outputs(options.out, options.outdir)
    threshold = gains.read_threshold(options.threshold)
    view = View(**{x.name: options[x.name] for x in dataclasses.fields(View)})
    look = plot.Look(
        **{name: options[name] for name in LOOK}, labels=plot.named(chosen["labels"])
    )
    figures = paper.chosen(chosen["figure"])
    found, notes = comparison.read(chosen["runs"], chosen["indir"])
    print(*notes, sep="\n", end="\n" if notes else "")
    selection = panels.Selection(
        chosen["yaxis"], options.tasks, options.methods, figures
    )
    made, lacking = panels.make(found, selection, view, options.paper)
    compared = comparison.Comparison(found, made, threshold)
    print(*lacking, *panels.describe(made), *compared.tables(), sep="\n")
    xlabel = options.xlabel or across(view.xaxis, found)
    drawn = plot.figure(made, dataclasses.replace(look, xlabel=xlabel))
    for file in files:
        plot.save(drawn, file, options.dpi)
    if options.json:
        compared.save(options.json)
    print(f"Saved {', '.join(map(str, [*files, *filter(None, [options.json])]))}.")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
