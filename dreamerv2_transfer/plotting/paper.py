"""The curves of the paper's five result figures, read off its images.

`paper_curves/README.md` says how they were read and how exact they are.
"""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterable

import numpy as np

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.plotting.curves import Series

FOLDER = pathlib.Path(__file__).parent / "paper_curves"
# Our metric for the quantity of a figure: the paper's losses lack the constants of the
# Normals, and its returns are those of training episodes.
METRICS = {"return": "train_return", "model_loss": "model_error"}
# By figure: the game and our metric.
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


class PaperError(UserError):
    """A figure that the paper does not have."""


def chosen(names: Iterable[str]) -> list[tuple[str, str]]:
    """Returns game and metric of each named figure.

    Raises:
        PaperError: The paper has no such figure.
    """
    names = list(names)
    for name in names:
        if name not in FIGURES:
            raise PaperError(
                f"--figure is one of {', '.join(FIGURES)}. Received: {name}"
            )
    return [FIGURES[name] for name in names]


def curves(figure: str) -> dict[str, Series]:
    """Reads the curves of a figure: training steps, and return or loss in nats, by arm.

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
    """Returns the paper's curves of our metric on a game; {} if it shows none."""
    names = [name for name, shown in FIGURES.items() if shown == (task, metric)]
    return curves(names[0]) if names else {}
