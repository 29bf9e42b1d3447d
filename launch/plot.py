"""Draws curves. `python launch/plot.py --runs RUN... --out figure.png [...]`

A run is a folder with `metrics.jsonl`; a folder of runs is searched. Runs of one game,
kind and configuration are the seeds of one curve: their mean, and its 95% bootstrap
band. Where only some of them go on, the line is thin. Where there are returns and runs
from scratch, it prints what pre-training was worth. Options of the original's `plot.py`
mean here what they mean there.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Sequence

from dreamerv2_transfer.common import cli, config, flags
from dreamerv2_transfer.common.files import atomic

OPTIONS = {
    "runs": [""],  # Folders of runs, or files of metrics.
    "indir": [
        ""
    ],  # The same, of TASK/METHOD/SEED as the original's: these names count.
    "out": "",  # The figure: .png, .pdf or .svg.
    "outdir": "",  # For curves.png and curves.pdf, as the original's.
    "json": "",  # A file for the numbers.
    "figure": [""],  # Of the paper: of its game and metric alone.
    "paper": False,  # Draw the paper's own curves behind.
    "threshold": "",  # A return to be reached; '' is the final level of scratch.
    # Which curves.
    "xaxis": "step",  # Or a metric, such as train_total_steps.
    "yaxis": [""],  # Metrics; '' is returns and model error, whatever there is.
    "tasks": [".*"],  # Regular expressions.
    "methods": [".*"],  # Regular expressions on the arms, in the order of the legend.
    "bins": 0.0,  # Width in units of the horizontal axis; 0 shows what was logged.
    "smooth": 0.0,  # Window of a running mean, in the same units; 0 is none.
    "agg": "ci95",  # The band: ci95, std1, per0, per5, per25; none is a line a run.
    "maxval": 0.0,  # Largest magnitude of a value; 0 is none.
    "xmult": 1.0,  # Factor of the horizontal axis.
    # How they look.
    "labels": [""],  # ARM NAME ARM NAME ...
    "title": "",
    "xlabel": "",
    "ylabel": "",
    "xlim": [0.0, 0.0],  # Two equal ends leave it to the curves.
    "ylim": [0.0, 0.0],
    "yscale": "auto",  # auto, linear or log
    "cols": 4,  # Panels in a row.
    "size": [4.2, 3.1],  # Inches, of a panel.
    "dpi": 110.0,  # Pixels an inch.
}
YSCALES = ("auto", "linear", "log")


def main(argv: list[str]) -> int:
    options = flags.Flags(OPTIONS).parse(argv)
    check(options)

    from dreamerv2_transfer.plotting import panels as panels_lib
    from dreamerv2_transfer.plotting import plot

    files = outputs(options)
    for file in files:
        plot.check_format(file)
    figures = chosen_figures(options)
    found, notes = load(options)
    print(*notes, sep="\n", end="\n" if notes else "")
    metrics, tasks = selection(options, figures, found)
    panels, lacking = panels_lib.make(
        found, metrics, view(options), tasks, options.methods, options.paper
    )
    panels = only(panels, figures)
    print(*lacking, *described(panels), sep="\n")
    numbers = transfer(panels, options)
    compared = claims(panels)
    tables = [*table(numbers), *compared_table(compared)]
    print(*tables, sep="\n", end="\n" if tables else "")
    drawn = plot.figure(panels, look(options, found))
    for file in files:
        plot.save(drawn, file, options.dpi)
    if options.json:
        write(options.json, found, panels, numbers, compared)
    print(f"Saved {', '.join(map(str, [*files, *filter(None, [options.json])]))}.")
    return 0


def check(options: config.Config) -> None:
    if not (given(options.runs) or given(options.indir)):
        raise config.ConfigError("Name the runs to draw: --runs LOGDIR [LOGDIR ...].")
    if not (options.out or options.outdir):
        raise config.ConfigError("Name the figure to draw: --out figure.png.")
    if options.yscale not in YSCALES:
        raise config.ConfigError(
            f"--yscale is one of {', '.join(YSCALES)}. Received: {options.yscale}"
        )
    if options.threshold:
        number(options.threshold)
    config.check_least(options, {"cols": 1, "bins": 0, "smooth": 0, "dpi": 10})
    for name in ("xlim", "ylim", "size"):
        if len(options[name]) != 2:
            raise config.ConfigError(
                f"--{name} takes two numbers. Received: {options[name]}"
            )
    if len(given(options.labels)) % 2:
        raise config.ConfigError(
            "--labels takes pairs, an arm and what to call it. Received: "
            f"{' '.join(options.labels)}"
        )
    check_agg(options.agg)


def check_agg(agg: str) -> None:
    from dreamerv2_transfer.plotting import curves

    kinds = (*curves.KINDS, "none")
    if agg not in kinds:
        raise config.ConfigError(f"--agg is one of {', '.join(kinds)}. Received: {agg}")


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise config.ConfigError(f"--threshold is a return. Received: {text}") from None


def given(values: Sequence[str]) -> list[str]:
    return [value for value in values if value]


def outputs(options: config.Config) -> list[pathlib.Path]:
    """The files to write."""
    folder = pathlib.Path(options.outdir).expanduser()
    both = [folder / "curves.png", folder / "curves.pdf"] if options.outdir else []
    return [*([pathlib.Path(options.out).expanduser()] if options.out else []), *both]


def chosen_figures(options: config.Config) -> list[tuple[str, str]]:
    """Game and metric of each figure of the paper that was asked for."""
    from dreamerv2_transfer.plotting import paper

    names = given(options.figure)
    unknown = [name for name in names if name not in paper.FIGURES]
    if unknown:
        raise config.ConfigError(
            f"--figure is one of {', '.join(paper.FIGURES)}. Received: {unknown[0]}"
        )
    return [paper.FIGURES[name] for name in names]


def load(options: config.Config):
    """The runs, and sentences on all that is wrong with them."""
    from dreamerv2_transfer.plotting import runs

    found, notes = [], []
    for paths, by_folder in ((options.runs, False), (options.indir, True)):
        if given(paths):
            more, skipped = runs.find(given(paths), by_folder)
            found += more
            notes += skipped
    damage = [note for run in found for note in run.notes]
    return found, [*notes, *damage, *runs.doubts(found)]


def selection(options, figures, found) -> tuple[Sequence[str], Sequence[str]]:
    """The metrics and the games to show."""
    from dreamerv2_transfer.plotting import panels

    if figures:
        tasks, metrics = zip(*figures, strict=True)
        return tuple(dict.fromkeys(metrics)), [f"^{task}$" for task in tasks]
    return given(options.yaxis) or panels.usual(found), options.tasks


def view(options: config.Config):
    from dreamerv2_transfer.plotting import panels

    names = ("xaxis", "xmult", "bins", "smooth", "agg", "maxval")
    return panels.View(**{name: options[name] for name in names})


def look(options: config.Config, found):
    from dreamerv2_transfer.plotting import plot

    names = ("size", "cols", "yscale", "ylabel", "title")
    labels = given(options.labels)
    return plot.Look(
        **{name: options[name] for name in names},
        xlabel=options.xlabel or across(options, found),
        xlim=ends(options.xlim),
        ylim=ends(options.ylim),
        labels=dict(zip(labels[::2], labels[1::2], strict=True)),
    )


def ends(limits: tuple[float, float]) -> tuple[float, float] | None:
    return limits if limits[0] != limits[1] else None


def across(options: config.Config, found) -> str:
    """What the horizontal axis shows."""
    if options.xaxis != "step":
        return options.xaxis
    stages = {run.config.stage for run in found if run.config}
    if "" in stages or not stages:  # The original's runs count frames.
        return "step"
    return "environment step" if stages == {"dqn"} else "training step (update)"


def only(panels: list, figures: list[tuple[str, str]]) -> list:
    """The panels of the paper's figures that were asked for, in their order, or all."""
    by_figure = {(panel.task, panel.metric): panel for panel in panels}
    chosen = [by_figure[figure] for figure in figures if figure in by_figure]
    if figures and not chosen:
        raise config.ConfigError(
            "No run has what the figures show, which are "
            f"{', '.join(f'{metric} of {task}' for task, metric in figures)}. "
            f"Received: runs with {', '.join(described(panels))}"
        )
    return chosen or panels


def described(panels) -> list[str]:
    """A line a game and arm: of which runs its curves are, and how far they go."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for panel in panels:
        for name, arm in panel.arms.items():
            of = panel.task or "game unknown", name, members(arm)
            lines.setdefault(of, []).append(f"{panel.metric} to step {reach(arm)}")
    return [f"{', '.join(of)}: {'; '.join(to)}" for of, to in lines.items()]


def members(arm) -> str:
    from dreamerv2_transfer.plotting import runs

    seeds = [runs.seed(run) for run in arm.runs]
    if len(seeds) == 1:
        return f"1 run (seed {seeds[0]})"
    return f"{len(seeds)} runs (seeds {', '.join(seeds)})"


def reach(arm) -> str:
    last = [float(steps[-1]) for steps, _ in arm.curves]
    if min(last) == max(last):
        return f"{last[0]:g}"
    return f"{min(last):g}, fewer runs to {max(last):g}"


def transfer(panels, options: config.Config) -> list[dict]:
    from dreamerv2_transfer.plotting import gains_table

    threshold = number(options.threshold) if options.threshold else None
    return gains_table.numbers(panels, threshold)


def table(numbers: list[dict]) -> list[str]:
    """The transfer numbers as lines of text."""
    from dreamerv2_transfer.plotting import gains_table

    if not numbers:
        return []
    title = (
        "Against training from scratch, with 95% bootstrap intervals over seeds "
        "(one seed in an arm: none):"
    )
    rows = map(gains_table.row, numbers)
    return [config.table(title, [gains_table.HEADINGS, *rows])]


def claims(panels) -> list:
    """What the paper's curves claim, where they are drawn behind ours."""
    from dreamerv2_transfer.plotting import claims

    return claims.make(panels)


def compared_table(compared: list) -> list[str]:
    """The same as lines of text."""
    from dreamerv2_transfer.plotting import claims

    title = (
        "Areas under the curves against training from scratch, the paper's and ours:"
    )
    rows = [claims.HEADINGS, *map(claims.row, compared)]
    return [config.table(title, rows)] if compared else []


def write(path: str, found, panels, numbers: list[dict], compared: list) -> None:
    """Saves all numbers of the figure as JSON."""
    from dreamerv2_transfer.plotting import claims

    result = {
        "runs": [summary(run) for run in found],
        "curves": [
            {"metric": panel.metric, "task": panel.task, "arm": name, **points(arm)}
            for panel in panels
            for name, arm in panel.arms.items()
        ],
        "transfer": numbers,
        "paper": [claims.plain(claim) for claim in compared],
    }
    with atomic.atomic_write(path) as file:
        file.write(json.dumps(result, allow_nan=False).encode() + b"\n")


def summary(run) -> dict:
    from dreamerv2_transfer.plotting import runs

    labels = {"task": runs.task(run), "arm": runs.arm(run), "seed": runs.seed(run)}
    return {"name": run.name, "folder": str(run.folder), **labels, "notes": run.notes}


def points(arm) -> dict:
    """A curve as lists; null is where one run leaves no interval."""
    names = [run.name for run in arm.runs]
    if arm.band is None:
        lines = [[steps.tolist(), values.tolist()] for steps, values in arm.lines]
        return {"runs": names, "lines": lines}
    columns = ("steps", "mean", "low", "high", "count")
    lists = {name: nulled(getattr(arm.band, name).tolist()) for name in columns}
    return {"runs": names, **lists}


def nulled(values: list[float]) -> list[float | None]:
    return [None if value != value else value for value in values]


if __name__ == "__main__":
    sys.exit(cli.run(main))
