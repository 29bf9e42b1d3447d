"""The curves of the paper's five result figures, read off its images.

`paper_curves/README.md` says how, and how exact they are.
"""

from __future__ import annotations

import csv
import pathlib

import numpy as np

from dreamerv2_transfer.plotting.curves import Series

FOLDER = pathlib.Path(__file__).parent / "paper_curves"
# What our runs call the quantity of a figure: the paper's losses are without the
# constants of the Normals, and its returns are those of training episodes.
METRICS = {"return": "train_return", "model_loss": "model_error"}
# By figure: the game, and our name of the metric.
FIGURES = {
    f"{task}_{quantity}": (task, METRICS[quantity])
    for task, quantity in (
        ("minatar_space_invaders", "return"),
        ("minatar_space_invaders", "model_loss"),
        ("minatar_seaquest", "return"),
        ("atari_breakout", "return"),
        ("atari_breakout", "model_loss"),
    )
}


def curves(figure: str) -> dict[str, Series]:
    """The curves of a figure by arm: training steps, and return or loss in nats.

    Args:
        figure: One of `FIGURES`.
    """
    with open(FOLDER / f"{figure}.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        point = float(row["step"]), float(row["value"])
        points.setdefault(row["arm"], []).append(point)
    return {arm: tuple(np.array(sorted(pairs)).T) for arm, pairs in points.items()}


def behind(task: str, metric: str) -> dict[str, Series]:
    """The paper's curves of a metric of ours on a game; none where it shows none."""
    names = [name for name, shown in FIGURES.items() if shown == (task, metric)]
    return curves(names[0]) if names else {}
