"""Draws curves of runs.

A run is a folder with metrics.jsonl; folders are searched for runs. Runs of one game
and arm are the seeds of one curve: their mean with its 95% band by Student's t, thin
where some of them have ended, and each seed as a thin line. Where their configurations
differ in more than the seed, a note says in which keys. If there are returns and runs
from scratch, it prints what pre-training gained, on each game and on several together.
Options of the original's plot.py mean the same here.
"""

from __future__ import annotations

import dataclasses

from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import config

OPTIONS = {
    "runs": Option([""], "Folders of runs, or files of metrics.", is_path=True),
    "indir": Option([""], "Folders TASK/METHOD/SEED, as the original's.", is_path=True),
    "out": path_option("The figure: .png, .pdf or .svg."),
    "outdir": path_option("Folder for curves.png and curves.pdf, as the original's."),
    "gains": path_option("A figure of the gains: seeds as points, with intervals."),
    "json": path_option("File for the numbers."),
    "figure": Option([""], "Figures of the paper: only their games and metrics."),
    "paper": Option(False, "Draw the paper's own curves behind."),
    "threshold": Option("", "A return to reach; by default the final one of scratch."),
}
CURVES = {
    "xaxis": Option("step", "step, or a metric such as train_total_steps."),
    "yaxis": Option([""], "Metrics; by default returns and model error."),
    "tasks": Option([".*"], "Regular expressions for games.", is_whole=True),
    "methods": Option(
        [".*"], "Regular expressions for arms, in the legend's order.", is_whole=True
    ),
    "bins": Option(0.0, "Bin width in the axis' units; 0 is none.", least=0),
    "smooth": Option(0.0, "Window of a running mean; 0 is none.", least=0),
    "agg": Option("ci95", "Band: ci95, std1, per0, per5, per25; none is all lines."),
    "maxval": Option(0.0, "Largest magnitude of a value; 0 is no limit."),
    "xmult": Option(1.0, "Factor of the horizontal axis.", least=1e-12),
}
APPEARANCE = {
    "labels": Option([""], "Legend's names: ARM NAME ARM NAME ...", is_whole=True),
    "title": Option("", "Title of the figure."),
    "xlabel": Option("", "Label of the horizontal axis."),
    "ylabel": Option("", "Label of the vertical axis."),
    "xlim": Option([0.0, 0.0], "Horizontal limits; equal ones fit the curves."),
    "ylim": Option([0.0, 0.0], "Vertical limits; equal ones fit the curves."),
    "yscale": Option("auto", "Vertical scale: auto, linear or log."),
    "cols": Option(4, "Panels in a row.", least=1),
    "size": Option([4.2, 3.1], "Width and height of a panel, in inches.", least=0.1),
    "dpi": Option(110.0, "Pixels per inch.", least=10),
}
USAGE = Usage(
    forms=("--runs RUN [RUN ...] --out FIGURE [--yaxis METRIC ...] [...]",),
    examples={
        "--runs logdir/agent --out curves.png": "the curves of one run",
        "--runs logdir/study --methods scratch '^pretrained$' --out arms.pdf": (
            "two arms compared, over their seeds"
        ),
    },
    options={"": OPTIONS, "Which curves": CURVES, "How they look": APPEARANCE},
)
LISTS = ("runs", "indir", "figure", "yaxis", "labels")  # In which '' stands for none.
NOT_DRAWN = "is not drawn: no game has returns from scratch and of another arm."
LOOK = ("size", "cols", "xlim", "ylim", "yscale", "xlabel", "ylabel", "title")


def main(argv: list[str]) -> int:
    options = options_lib.parse(OPTIONS | CURVES | APPEARANCE, argv)
    chosen = {name: [x for x in options[name] if x] for name in LISTS}
    if not (chosen["runs"] or chosen["indir"]):
        raise config.ConfigError("Name the runs to draw: --runs LOGDIR [LOGDIR ...].")

    from dreamerv2_transfer.plotting import comparison, gains, panels, paper, plot
    from dreamerv2_transfer.plotting.gains_picture import draw as draw_gains
    from dreamerv2_transfer.plotting.views import View

    files = plot.outputs(options.out, options.outdir)
    if options.gains:
        plot.check_format(options.gains)
    threshold = gains.read_threshold(options.threshold)
    view = View(**{x.name: options[x.name] for x in dataclasses.fields(View)})
    look = plot.Look(
        **{name: options[name] for name in LOOK}, labels=plot.named(chosen["labels"])
    )
    of_paper = paper.chosen(chosen["figure"])
    found, notes = comparison.read(chosen["runs"], chosen["indir"])
    for note in notes:
        print(note)
    selection = panels.Selection(
        chosen["yaxis"], options.tasks, options.methods, of_paper
    )
    made, lacking = panels.make(found, selection, view, options.paper)
    compared = comparison.Comparison(found, made, threshold)
    told = *lacking, *compared.notes, *panels.describe(made)
    print(*told, *compared.tables(), sep="\n")
    curves = plot.figure(made, look)
    figures = dict.fromkeys(files, curves)
    if options.gains and compared.gains:
        figures[options.gains] = draw_gains(compared, look.labels)
    elif options.gains:
        print(f"{options.gains} {NOT_DRAWN}")
    for file, figure in figures.items():
        plot.save(figure, file, options.dpi)
    if options.json:
        compared.save(options.json)
    saved = [*figures, *filter(None, [options.json])]
    print(f"Saved {', '.join(map(str, saved))}.")
    return 0
