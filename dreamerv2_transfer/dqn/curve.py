"""Plots the returns of a DQN run over its steps."""

from __future__ import annotations

import pathlib

from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.plotting import metrics_file

SERIES = {"train_return": "training", "eval_return_mean": "greedy"}


def draw(logdir: pathlib.Path, task: str) -> None:
    """Draws LOGDIR/curve.png from LOGDIR/metrics.jsonl.

    Args:
        logdir: The run's folder.
        task: The game, which the title names.

    Raises:
        OutputError: The picture cannot be written.
    """
    from matplotlib.figure import Figure  # No pyplot: it would look for a display.

    from dreamerv2_transfer.plotting.labels import literal, task_label

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, label in SERIES.items():
        axes.plot(*read(logdir, name), label=label, marker="." * (name[0] == "e"))
    axes.set(title=task_label(task), xlabel="steps", ylabel="return of an episode")
    axes.legend()
    with atomic.atomic_write(logdir / "curve.png") as file:
        literal(figure).savefig(file, format="png", dpi=120)


def read(logdir: pathlib.Path, name: str) -> tuple[list[int], list[float]]:
    """Reads the steps and values of a metric from LOGDIR/metrics.jsonl."""
    lines = (logdir / "metrics.jsonl").read_bytes().splitlines()
    rows = [row for row in map(metrics_file.parse, lines) if row]
    rows = [row for row in rows if metrics_file.is_number(row.get(name))]
    return [row["step"] for row in rows], [row[name] for row in rows]
