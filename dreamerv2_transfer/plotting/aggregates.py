"""What an arm gains over scratch on several games together (Agarwal et al. 2021).

The score of a run is the area under its curve of returns over the mean of scratch on
that game, so that games can be put together.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.plotting import gains_table, labels, statistics
from dreamerv2_transfer.plotting.statistics import Estimate

HEADINGS = (
    "games",
    "metric",
    "arm",
    gains_table.SEEDS,
    "interquartile mean",
    "probability of improvement",
    "better in",
)
THRESHOLDS = np.linspace(0, 3, 61)  # Of performance profiles.


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """An arm against scratch, over games.

    Attributes:
        metric: The metric.
        arm: The arm.
        games: The games on which both can be compared.
        seeds: The fewest and the most seeds of an arm on a game.
        interquartile_mean: The mean of the middle half of the arm's scores.
        improvement: The probability that a run of the arm is above one of scratch.
        better: On how many games the ratio of areas is above 1.
        profiles: By arm, `low`, `value` and `high` of the share of runs whose score is
            above each of `THRESHOLDS`; the ends are NaN if a game has one seed.
    """

    metric: str
    arm: str
    games: tuple[str, ...]
    seeds: tuple[int, int]
    interquartile_mean: Estimate
    improvement: Estimate
    better: int
    profiles: dict[str, tuple[np.ndarray, ...]]


def make(compared: Sequence[dict[str, Any]]) -> list[Aggregate]:
    """Returns each arm that was compared with scratch on several games.

    Games on which scratch has no positive area are left out.

    Args:
        compared: What the arms gain, as of `gains_table.numbers`.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in compared:
        if one.get("normalized"):
            groups.setdefault((one["metric"], one["arm"]), []).append(one)
    return [_over(*key, group) for key, group in groups.items() if len(group) > 1]


def by_games(together: Sequence[Aggregate]) -> dict[str, list[Aggregate]]:
    """Groups arms by their games, which are named if others are as many."""
    sizes = collections.Counter(len(x) for x in {one.games for one in together})
    groups: dict[str, list[Aggregate]] = {}
    for one in together:
        number = len(one.games)
        shown = ", ".join(labels.game_label(game) for game in one.games)
        name = f"{number} games" + (f" ({shown})" if sizes[number] > 1 else "")
        groups.setdefault(name, []).append(one)
    return groups


def row(aggregate: Aggregate) -> tuple[str, ...]:
    """Returns the texts of an aggregate, to go below `HEADINGS`."""
    fewest, most = aggregate.seeds
    seeds = f"{most}" if fewest == most else f"{fewest} to {most}"
    number = len(aggregate.games)
    middle, better = (
        gains_table.interval_text(dataclasses.asdict(estimate), ".2f")
        for estimate in (aggregate.interquartile_mean, aggregate.improvement)
    )
    return (
        f"{number} games",
        aggregate.metric,
        aggregate.arm,
        gains_table.seeds_text(seeds, fewest, "games"),
        middle,
        better,
        f"{aggregate.better} of {number}",
    )


def plain(aggregate: Aggregate) -> dict[str, Any]:
    """Returns an aggregate as values for JSON."""
    shown = {
        arm: [
            [None if x != x else x for x in line] for line in np.stack(lines).tolist()
        ]
        for arm, lines in aggregate.profiles.items()
    }
    known = {**dataclasses.asdict(aggregate), "profiles": shown}
    return known | {"thresholds": THRESHOLDS.tolist()}


def _over(metric: str, arm: str, group: Sequence[dict[str, Any]]) -> Aggregate:
    scores = [np.array(one["normalized"]["transfer"]) for one in group]
    scratch = [np.array(one["normalized"]["scratch"]) for one in group]
    # Games whose runs begin with the same models share these models' luck.
    models = [tuple(one.get("models", ())) for one in group]
    strata = [x if all(x) and x else f"arm on game {i}" for i, x in enumerate(models)]
    strata += [f"scratch on game {i}" for i in range(len(group))]
    middle, better = (
        statistics.bootstrap_estimate(statistic, [*scores, *scratch], strata)
        for statistic in (statistics.interquartile_ratio, statistics.improvement)
    )
    numbers = [len(sample) for sample in (*scores, *scratch)]
    return Aggregate(
        metric=metric,
        arm=arm,
        games=tuple(one["task"] for one in group),
        seeds=(min(numbers), max(numbers)),
        interquartile_mean=middle,
        improvement=better,
        better=sum(one["area_ratio"]["value"] > 1 for one in group),
        profiles={
            name: statistics.bootstrap(
                lambda drawn: statistics.profile(drawn, THRESHOLDS), sample, labels
            )
            for name, sample, labels in (
                (arm, scores, strata[: len(group)]),
                ("scratch", scratch, strata[len(group) :]),
            )
        },
    )
