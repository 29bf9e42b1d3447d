"""Arms beside fine-tuning with nothing frozen, from the same pre-trained models.

Two runs that begin with the same model share its luck. So they are compared in pairs,
which is exact where comparing the arms' means is not: most of the spread drops out. A
model that several runs of an arm begin with counts once, by the mean of their areas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.plotting import arms, gains, gains_table, statistics
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.plotting.gains_table import RETURNS
from dreamerv2_transfer.plotting.labels import PRETRAINED
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.statistics import Estimate
from dreamerv2_transfer.plotting.views import Arm

HEADINGS = ("task", "metric", "arm", "pairs (coverage)", "area ratio", "higher in")


@dataclasses.dataclass(frozen=True)
class Pair:
    """An arm against the fine-tuned one, over their common models.

    Attributes:
        task: The game.
        metric: The metric.
        arm: The arm.
        ratio: The ratio of the mean areas under the curves.
        by_model: The ratio of each model's mean areas; None where the fine-tuned one is
            not positive.
        higher: In how many pairs the arm is above the fine-tuned one.
    """

    task: str
    metric: str
    arm: str
    ratio: Estimate
    by_model: tuple[float | None, ...]
    higher: int


def make(panels: Sequence[Panel]) -> list[Pair]:
    """Compares each arm that has a model in common with the fine-tuned one.

    Only steps that all curves of the pairs cover count; without any there is no pair.
    """
    found = []
    for panel in panels:
        if panel.metric in RETURNS and PRETRAINED in panel.arms:
            tuned = by_model(panel.arms[PRETRAINED])
            others = {n: by_model(x) for n, x in panel.arms.items() if n != PRETRAINED}
            found += [_pair(panel, name, of, tuned) for name, of in others.items()]
    return [pair for pair in found if pair]


def row(pair: Pair) -> tuple[str, ...]:
    """Returns the texts of a comparison, to go below `HEADINGS`."""
    number = len(pair.by_model)
    return (
        pair.task,
        pair.metric,
        pair.arm,
        gains_table.seeds_text(f"{number}", number, "pairs"),
        gains_table.interval_text(dataclasses.asdict(pair.ratio), ".2f"),
        f"{pair.higher} of {number}",
    )


def by_model(arm: Arm) -> dict[str, list[Series]]:
    """Returns the curves of an arm by the model that their runs begin with."""
    known: dict[str, list[Series]] = {}
    for run, curve in zip(arm.runs, arm.curves, strict=False):
        if model := arms.model_of(run):
            known.setdefault(model, []).append(curve)
    return known


def _pair(
    panel: Panel,
    name: str,
    arm: dict[str, list[Series]],
    tuned: dict[str, list[Series]],
) -> Pair | None:
    pairs = [(arm[model], tuned[model]) for model in arm if model in tuned]
    curves = [curve for pair in pairs for runs in pair for curve in runs]
    start = max((float(steps[0]) for steps, _ in curves), default=0.0)
    end = min((float(steps[-1]) for steps, _ in curves), default=0.0)
    if end <= start:
        return None
    areas = [
        [np.mean([gains.area(curve, start, end) for curve in runs]) for runs in pair]
        for pair in pairs
    ]
    ours, theirs = zip(*areas, strict=True)
    found = statistics.paired_ratio(ours, theirs)
    each = tuple(x / y if y > 0 else None for x, y in areas)
    higher = sum(bool(x > y) for x, y in areas)
    return Pair(panel.task, panel.metric, name, found, each, higher)
