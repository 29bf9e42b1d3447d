"""The page about a sweep, in the style of the report, which contains all it shows."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex
from typing import TYPE_CHECKING, Any

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.plotting import charts, labels, runs, tables, template
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.report import PAGE
from dreamerv2_transfer.plotting.tables import Badge, Bar, Name, Row, Table
from dreamerv2_transfer.plotting.views import View
from dreamerv2_transfer.sweeps import figures, results
from dreamerv2_transfer.sweeps.plan import Plan
from dreamerv2_transfer.sweeps.space import shown

if TYPE_CHECKING:
    from dreamerv2_transfer.sweeps.search import Search

TEMPLATE = "sweep.html"
DRAWN = 7  # Trials whose curves are drawn; more would hide each other.
SMOOTHED = 0.1  # Share of the steps over which these curves take a running mean.
DPI = 130.0
FAILED = Badge("failed", "bad")
BEST = Badge("best", "good")

Rows = list[dict[str, Any]]


def write(plan: Plan, search: Search) -> pathlib.Path:
    """Writes the page and returns its path.

    Raises:
        OutputError: It cannot be written.
    """
    path = plan.logdir / PAGE
    page = render(plan, search).encode()
    with atomic.atomic_write(path) as file:
        file.write(page)
    return path


def render(plan: Plan, search: Search) -> str:
    """Returns the page as HTML."""
    rows = ranked(plan, [results.row(plan, trial) for trial in search.ended])
    panels, notes = curves(plan, rows)
    lines = charts.lines(panels)
    order = {line.arm: number for number, line in enumerate(lines)}
    drawn = charts.make(panels, "training step (update)", DPI)
    best = search.best
    words = results.usage(plan, best) if best else []
    usage = shlex.join(["dreamerv2-transfer", "train", *words])
    return template.render(
        TEMPLATE,
        title=f"Sweep: {plan.logdir.name}",
        verdict=verdict(plan, rows),
        facts=facts(plan, rows),
        parameters=parameters(plan, search),
        best=results.BEST,
        usage=usage if best else "",
        pictures=figures.make(plan, search),
        drawn=drawn,
        lines=lines,
        metric=labels.metric_label(plan.objective.metric),
        data={
            "lines": [dataclasses.asdict(line) for line in lines],
            "plots": [chart.plot for chart in drawn],
        },
        trials=trials(plan, rows, order),
        notes=[
            *(f"Trial {x['trial']} failed: {x['error']}" for x in rows if x["error"]),
            *notes,
        ],
    )


def ranked(plan: Plan, rows: Rows) -> Rows:
    """Returns trials from the best to the worst: complete, then pruned, then failed."""
    states = [*results.STATES.values()]
    sign = 1 if plan.objective.minimize else -1
    return sorted(
        rows, key=lambda x: (states.index(x["state"]), sign * (x["value"] or 0))
    )


def verdict(plan: Plan, rows: Rows) -> str:
    """Returns what came out, in a sentence."""
    if not rows or rows[0]["state"] != "complete":
        return "No trial is complete yet."
    best, name = rows[0], plan.objective.name
    said = f"Trial {best['trial']} is best, with a {name} of {best['value']:.4g}"
    base = next((x for x in rows if x["trial"] == 0 and x["value"] is not None), None)
    if plan.baseline is None or base is None:
        return f"{said}."
    if base is best:
        return f"{said}: no other beats the configuration as it was."
    return f"{said}; the configuration as it was, trial 0, has {base['value']:.4g}."


def facts(plan: Plan, rows: Rows) -> list[tuple[str, str]]:
    """Returns what was run: pairs of a name and a number."""
    counts = [
        (name.capitalize(), f"{sum(x['state'] == name for x in rows)}")
        for name in results.STATES.values()
    ]
    budget = (
        f"{plan.minutes:g} minutes" if plan.minutes else f"{plan.updates:,} updates"
    )
    hours = sum(x["minutes"] for x in rows) / 60
    runs_each = len(plan.games) * len(plan.seeds)
    return [
        ("Trials", f"{len(rows)}"),
        *counts,
        ("Runs per trial", f"{runs_each}"),
        ("Budget of a run", budget),
        ("Hours of runs", f"{hours:.2g}"),
    ]


def parameters(plan: Plan, search: Search) -> Table:
    """Returns the table of what was searched, the most important first."""
    shares, best = search.importances(), search.best
    found = []
    for parameter in plan.space.parameters:
        name = parameter.name
        share = shares.get(name)
        bar: Bar | str = "-" if share is None else tables.share(share)
        tried = [
            shown(parameter.value(x[name])) if x and name in x else "-"
            for x in (best and best.params, plan.baseline)
        ]
        found.append((share or 0.0, Row((name, str(parameter), *tried, bar))))
    found.sort(key=lambda x: -x[0])
    return Table(
        headings=("parameter", "searched", "best trial", "as it was", "importance"),
        rows=tuple(row for _, row in found),
        note="Importance (PED-ANOVA, Watanabe et al. 2023): how much the values of the "
        "better complete trials differ from those of all. With few trials it is noise.",
        texts=2,
    )


def curves(plan: Plan, rows: Rows) -> tuple[list[Panel], list[str]]:
    """Returns a panel for each game with the curves of the best trials.

    Returns:
        The panels, and a sentence about each run that cannot be read.
    """
    best = [x for x in rows if x["state"] != "failed"][:DRAWN]
    first = [x for x in rows if x["trial"] == 0 and x not in best]
    panels: dict[str, Panel] = {}
    notes = []
    metric = plan.objective.metric
    for one in [*best[: DRAWN - len(first)], *first]:
        folder = plan.logdir / "trials" / f"{one['trial']:03}"
        by_game: dict[str, list] = {}
        for place, (game, _) in plan.places().items():
            try:
                run = runs.load(folder / place)
            except UserError as error:
                notes.append(f"Trial {one['trial']}: {error}")
                continue
            series = run.series(metric)
            if series:
                by_game.setdefault(game, []).append((run, series))
        for game, known in by_game.items():
            panel = panels.setdefault(game, Panel(game, metric, {}, {}))
            last = max(float(steps[-1]) for _, (steps, _) in known)
            view = View(smooth=SMOOTHED * last)
            arm = view.arm(*zip(*known, strict=True))
            panel.arms[f"trial {one['trial']}"] = arm
    return [*panels.values()], notes


def trials(plan: Plan, rows: Rows, order: dict[str, int]) -> Table:
    """Returns the table of all trials.

    Args:
        plan: The sweep.
        rows: The trials in the order of the table.
        order: The number of each line that is drawn.
    """
    names = [parameter.name for parameter in plan.space.parameters]
    games = [game for game in plan.games if game] if len(plan.games) > 1 else []
    found = []
    for one in rows:
        name = f"trial {one['trial']}"
        levels = [tables.number(one["levels"].get(game), ".4g") for game in games]
        tried = [shown(one["parameters"].get(key, "-")) for key in names]
        found.append(
            Row(
                (
                    Name(name, order.get(name)),
                    _badge(one, rows),
                    tables.number(one["value"], ".4g"),
                    *levels,
                    *tried,
                    f"{one['share']:.0%}",
                    f"{one['minutes']:.1f}",
                )
            )
        )
    columns = [labels.game_label(game) for game in games]
    return Table(
        headings=(
            *("trial", "", plan.objective.name),
            *(*columns, *names, "budget used", "minutes"),
        ),
        rows=tuple(found),
        note="The value of a pruned trial is its last one. Folders: trials/NUMBER.",
        texts=2,
    )


def _badge(one: dict[str, Any], rows: Rows) -> Badge:
    """Returns how a trial ended; the best one is the first of all that are complete."""
    if one["state"] == "failed":
        return FAILED
    is_best = one is rows[0] and one["state"] == "complete"
    return BEST if is_best else Badge(one["state"])
