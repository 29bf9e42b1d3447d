"""The report's tables of runs, of gains over scratch and of the paper's claims."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import aggregates as aggregates_lib
from dreamerv2_transfer.plotting import (
    arms,
    claims,
    gains_table,
    labels,
    tables,
    verdicts,
)
from dreamerv2_transfer.plotting import pairs as pairs_lib
from dreamerv2_transfer.plotting.aggregates import Aggregate
from dreamerv2_transfer.plotting.claims import Claim
from dreamerv2_transfer.plotting.pairs import Pair
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.tables import Cell, Name, Row, Table

# Metrics whose last values are in the table of runs.
LEVELS = (
    *("train_return", "eval_return_mean", "model_error", "eval_model_error"),
    *("eval_reward_auc", "eval_reward_auc_dreamed"),
    *("eval_known_model_error", "eval_forgetting"),
)


def facts(found: Sequence[Run]) -> list[tuple[str, str]]:
    """Returns what is compared: pairs of a name and a number."""
    groups = collections.Counter((arms.task_of(run), arms.arm_of(run)) for run in found)
    games: set[str] = set()
    for run in found:
        known = run.config and not run.layout
        games |= {*(blocks.learned_games(run.config) if known else [arms.task_of(run)])}
    fewest, most = min(groups.values()), max(groups.values())
    seeds = f"{most}" if fewest == most else f"{fewest} to {most}"
    return [
        ("Runs", f"{len(found)}"),
        ("Games", f"{len(games)}"),
        ("Arms", f"{len({arm for _, arm in groups})}"),
        ("Seeds per arm and game", seeds),
        ("Last step", f"{max(map(_last_step, found)):,.0f}"),
    ]


def summary(run: Run) -> dict[str, Any]:
    """Returns what the table of runs says of one, with the last value of each level."""
    logged = [run.series(name) for name in LEVELS]
    return {
        "name": run.name,
        "task": arms.task_of(run),
        "arm": arms.arm_of(run),
        "seed": arms.seed_of(run),
        "step": _last_step(run),
        "levels": [float(series[1][-1]) if series else None for series in logged],
    }


def runs(found: Sequence[Run], order: dict[str, int]) -> Table:
    """Returns the table of runs, by game and arm, with the means of each arm.

    Args:
        found: The runs.
        order: The number of each arm that is drawn.
    """
    groups: dict[tuple[str, str], list[dict]] = {}
    for one in map(summary, found):
        groups.setdefault((one["task"], one["arm"]), []).append(one)
    shown = [
        at for at in range(len(LEVELS)) if any(run.series(LEVELS[at]) for run in found)
    ]
    rows = []
    for (task, arm), members in groups.items():
        name = f"{labels.task_label(task) or 'unknown game'}: {labels.arm_label(arm)}"
        cells = [""] * (2 + len(shown))
        if len(members) > 1:
            levels = [[one["levels"][at] for one in members] for at in shown]
            known = [[x for x in column if x is not None] for column in levels]
            means = [np.mean(column) if column else None for column in known]
            cells = ["mean", "", *(tables.number(mean, ".4g") for mean in means)]
        heading = (Name(name, order.get(arm)), *cells)
        rows.append(Row(heading, is_heading=True))
        for one in members:
            texts = [tables.number(one["levels"][at], ".4g") for at in shown]
            rows.append(Row((one["name"], one["seed"], f"{one['step']:,.0f}", *texts)))
    names = [labels.metric_label(LEVELS[at]) for at in shown]
    return Table(
        headings=("run", "seed", "last step", *names),
        rows=tuple(rows),
        note="The last logged value of each metric.",
    )


def gains(compared: Sequence[dict[str, Any]], order: dict[str, int]) -> Table | None:
    """Returns the table of gains over scratch; None if there are none.

    Args:
        compared: What the arms gain, as of `gains_table.numbers`.
        order: The number of each arm that is drawn.
    """
    if not compared:
        return None
    scale = tables.Scale.of(compared)
    rows = []
    for one in compared:
        task, metric, arm, seeds, text, *rest = gains_table.row(one)
        name = Name(labels.arm_label(arm), order.get(arm))
        ours = scale.interval(text, one["area_ratio"], seeds=tables.seeds_of(one))
        badge = verdicts.badge_of(one)
        rows.append((task, metric, (name, badge, ours, _short(seeds), *rest)))
    _, _, arm, seeds, ratio, *rest = gains_table.HEADINGS
    return Table((arm, "verdict", ratio, seeds, *rest), _grouped(rows), texts=3)


def paper(made: Sequence[Claim], order: dict[str, int]) -> Table | None:
    """Returns the table of the paper's ratios and ours; None if there are none.

    Args:
        made: The claims.
        order: The number of each arm that is drawn.
    """
    if not made:
        return None
    scale = tables.Scale(
        x for one in made for x in (one.paper, one.ours.low, one.ours.high)
    )
    rows = []
    for one in made:
        task, metric, arm, until, theirs, text, seeds, _ = claims.row(one)
        name = Name(labels.arm_label(arm), order.get(arm))
        ours = scale.interval(
            text, dataclasses.asdict(one.ours), one.paper, one.by_seed
        )
        badge = verdicts.claim_badge(one)
        cells = (name, badge, ours, theirs, until, _short(seeds))
        rows.append((task, metric, cells))
    headings = ("arm", "verdict", "ours", "the paper", "up to step", "seeds")
    return Table(headings, _grouped(rows), texts=3)


def aggregates(
    made: Sequence[Aggregate], pairs: Sequence[Pair], order: dict[str, int]
) -> list[Table]:
    """Returns the tables of several games together, and of arms in pairs.

    Args:
        made: The arms against scratch, over games.
        pairs: The arms against the fine-tuned one, over common models.
        order: The number of each arm that is drawn.
    """
    found = []
    if made:
        scale = tables.Scale(
            x
            for one in made
            for x in dataclasses.asdict(one.interquartile_mean).values()
        )
        rows = []
        groups = aggregates_lib.by_games(made)
        for games, one in ((name, x) for name, group in groups.items() for x in group):
            _, metric, arm, seeds, text, *rest = aggregates_lib.row(one)
            middle = dataclasses.asdict(one.interquartile_mean)
            name = Name(labels.arm_label(arm), order.get(arm))
            badge = verdicts.judge(middle, one.seeds[0])
            cells = (name, badge, scale.interval(text, middle))
            rows.append((games, metric, (*cells, seeds, *rest)))
        _, _, arm, seeds, middle, *rest = aggregates_lib.HEADINGS
        headings = (arm, "verdict", middle, seeds, *rest)
        title = "Several games together"
        found.append(Table(headings, _grouped(rows), title, texts=3))
    if pairs:
        scale = tables.Scale(
            x for pair in pairs for x in (*pair.by_model, pair.ratio.low)
        )
        rows = []
        for pair in pairs:
            task, metric, arm, number, text, higher = pairs_lib.row(pair)
            ratio = dataclasses.asdict(pair.ratio)
            dots = [x for x in pair.by_model if x is not None]
            name = Name(labels.arm_label(arm), order.get(arm))
            cells = (name, scale.interval(text, ratio, seeds=dots), number, higher)
            rows.append((task, metric, cells))
        _, _, arm, number, ratio, higher = pairs_lib.HEADINGS
        headings = (arm, ratio, number, higher)
        title = "Against fine-tuning with nothing frozen"
        found.append(Table(headings, _grouped(rows), title, texts=2))
    return found


def _grouped(rows: Iterable[tuple[str, str, tuple[Cell, ...]]]) -> tuple[Row, ...]:
    """Returns rows below headings; each is given with its task and its metric."""
    found = []
    for (task, metric), group in itertools.groupby(rows, lambda row: row[:2]):
        game = labels.task_label(task) or "unknown game"
        heading = f"{game}: {labels.metric_label(metric)}"
        found.append(Row((heading,), is_heading=True))
        found += [Row(cells) for _, _, cells in group]
    return tuple(found)


def _short(seeds: str) -> str:
    return seeds.replace(" against ", "\N{NO-BREAK SPACE}vs\N{NO-BREAK SPACE}")


def _last_step(run: Run) -> float:
    return max(float(steps[-1]) for steps, _ in run.metrics.values())
