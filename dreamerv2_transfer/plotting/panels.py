"""Which curves of which runs are shown on which panel of a figure."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.plotting import arms, paper
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.plotting.labels import PAPER_ARMS
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.views import Arm, View

# The metrics shown by default: the first group in which any run has a metric.
USUAL = (
    ("train_return", "eval_return_mean", "model_error", "eval_forgetting"),
    ("model_error", "eval_model_error", "eval_reward_auc", "eval_reward_auc_dreamed"),
    ("model_loss",),
)

NO_PAPER = (
    "The paper's curves and ratios are left out: they are over updates, so they need "
    "--xaxis step and --xmult 1."
)


class PanelError(UserError):
    """Nothing to draw, or a selection that is not a regular expression."""


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """The content of a pair of axes.

    Attributes:
        task: The game; '' if unknown.
        metric: What is shown, as it is logged.
        arms: By name.
        paper: The paper's own curves, drawn behind, by arm.
        view: How the curves were made.
    """

    task: str
    metric: str
    arms: dict[str, Arm]
    paper: dict[str, Series]
    view: View = View()

    def units(self, *names: str) -> set[str]:
        """Returns what places on the horizontal axis count, as far as it is known.

        Args:
            *names: The arms to look at.
        """
        if self.view.xaxis != "step":
            return {self.view.xaxis}
        found = {arms.unit_of(run) for name in names for run in self.arms[name].runs}
        return found - {""}


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which metrics of which games and arms are shown.

    Attributes:
        metrics: As logged; if empty, the usual ones that the runs have.
        tasks: Regular expressions; a game is shown if one of them is found in it.
        methods: The same for arms, which come in this order.
        figures: Game and metric of figures of the paper, see `paper.chosen`; if there
            are any, only these are shown, whatever `metrics` and `tasks` say.
    """

    metrics: Sequence[str] = ()
    tasks: Sequence[str] = (".*",)
    methods: Sequence[str] = (".*",)
    figures: Sequence[tuple[str, str]] = ()


def usual(found: Sequence[Run]) -> tuple[str, ...]:
    """Returns the metrics to show by default, given what the runs have."""
    for group in USUAL:
        held = [name for name in group if any(_has(run, name) for run in found)]
        if any("return" in name for name in held) or (held and group is not USUAL[0]):
            return tuple(held)
    return (next(iter(found[0].metrics)),)


def make(
    found: Sequence[Run],
    selection: Selection | None = None,
    view: View | None = None,
    behind: bool = False,
) -> tuple[list[Panel], list[str]]:
    """Makes a panel for each metric and game; `METRIC/GAME` belongs to that game.

    Args:
        found: The runs.
        selection: What to show of them.
        view: How to make curves of it.
        behind: Whether to add the paper's own curves, which are over updates.

    Returns:
        The panels, and a sentence about each run that lacks a metric of `selection`,
        about each of its expressions for arms that no run matches, and about the
        paper's curves if they have another horizontal axis.

    Raises:
        PanelError: No curve is left, or an expression cannot be read.
    """
    selection, view = selection or Selection(), view or View()
    metrics, tasks = selection.metrics or usual(found), selection.tasks
    if selection.figures:
        metrics = tuple(dict.fromkeys(metric for _, metric in selection.figures))
        tasks = [f"^{task}$" for task, _ in selection.figures]
    shown_tasks, shown_arms = _compile(tasks), _compile(selection.methods)
    chosen = [run for run in found if _matches(arms.arm_of(run), shown_arms)]
    panels, notes = [], _unmatched(found, shown_arms)
    if behind and not view.is_as_logged:
        notes.append(f"{NO_PAPER} Received: {view.xaxis} times {view.xmult:g}")
    for metric in metrics:
        groups, lacking = _group(chosen, metric, view)
        # Usual metrics are shown as far as there are any: pre-training has no returns.
        notes += lacking if selection.metrics or selection.figures else []
        for task in sorted(task for task in groups if _matches(task, shown_tasks)):
            members = groups[task]
            names = sorted(members, key=lambda name: _order(name, shown_arms))
            drawn = {n: view.arm(*zip(*members[n], strict=True)) for n in names}
            known = paper.behind(task, metric) if behind and view.is_as_logged else {}
            panels.append(Panel(task, metric, drawn, known, view))
    if not panels:
        raise PanelError(
            "No run has a curve to draw. There are tasks "
            f"{', '.join(sorted({arms.task_of(run) for run in found}))} and methods "
            f"{', '.join(sorted({arms.arm_of(run) for run in found}))}. Received: "
            f"--yaxis {' '.join(metrics)} --tasks {' '.join(tasks)} --methods "
            f"{' '.join(selection.methods)}. {' '.join(notes)}".rstrip()
        )
    figures = selection.figures
    return (of_figures(panels, figures) if figures else panels), notes


def _unmatched(found: Iterable[Run], methods: Iterable[re.Pattern]) -> list[str]:
    names = sorted({arms.arm_of(run) for run in found})
    return [
        f"--methods {method.pattern} matches no run; the arms are {', '.join(names)}."
        for method in methods
        if not any(map(method.search, names))
    ]


def of_figures(
    panels: Sequence[Panel], figures: Sequence[tuple[str, str]]
) -> list[Panel]:
    """Returns the panels of the paper's figures, in the order of the figures.

    Args:
        panels: Panels of these and maybe other games and metrics.
        figures: Game and metric of each figure.

    Raises:
        PanelError: None of the panels belongs to one of the figures.
    """
    by_figure = {(panel.task, panel.metric): panel for panel in panels}
    chosen = [by_figure[figure] for figure in figures if figure in by_figure]
    if not chosen:
        raise PanelError(
            "No run has what the figures show, which are "
            f"{', '.join(f'{metric} of {task}' for task, metric in figures)}. "
            f"Received: runs with {', '.join(describe(panels))}"
        )
    return chosen


def describe(panels: Sequence[Panel]) -> list[str]:
    """Returns a line per game and arm: its runs, its metrics and their last steps."""
    lines: dict[str, list[str]] = {}
    for panel in panels:
        for name, arm in panel.arms.items():
            seeds = [arms.seed_of(run) for run in arm.runs]
            s = "s" if len(seeds) > 1 else ""
            runs = f"{len(seeds)} run{s} (seed{s} {', '.join(seeds)})"
            ends = [float(steps[-1]) for steps, _ in arm.curves]
            more = f", fewer runs to {max(ends):g}" if min(ends) < max(ends) else ""
            line = f"{panel.task or 'game unknown'}, {name}, {runs}"
            metric = f"{panel.metric} to step {min(ends):g}{more}"
            lines.setdefault(line, []).append(metric)
    return [f"{line}: {'; '.join(metrics)}" for line, metrics in lines.items()]


def _group(
    chosen: Iterable[Run], metric: str, view: View
) -> tuple[dict[str, dict[str, list[tuple[Run, Series]]]], list[str]]:
    """Groups the curves of a metric and of its `METRIC/GAME` by game and by arm.

    Also returns notes on runs that have no such curve.
    """
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    notes, prefix = [], f"{metric}/"
    for run in sorted(chosen, key=arms.seed_order):
        names = {metric: arms.task_of(run)}
        names |= {
            x: x.removeprefix(prefix) for x in run.metrics if x.startswith(prefix)
        }
        # By game, as a run on a single game logs the same values under both names.
        curves = {task: view.curve(run, name) for name, task in names.items()}
        for task in filter(curves.get, curves):
            groups[task][arms.arm_of(run)].append((run, curves[task]))
        if not any(curves.values()):
            notes.append(run.lacking(view.xaxis if run.series(metric) else metric))
    return groups, notes


def _has(run: Run, metric: str) -> bool:
    """Whether a run has a metric, or `METRIC/GAME` of any game."""
    by_game = f"{metric}/"
    return bool(run.series(metric) or any(x.startswith(by_game) for x in run.metrics))


def _order(arm: str, shown: Sequence[re.Pattern]) -> tuple:
    first = next(i for i, pattern in enumerate(shown) if pattern.search(arm))
    rank = PAPER_ARMS.index(arm) if arm in PAPER_ARMS else len(PAPER_ARMS)
    return first, rank, arm


def _compile(patterns: Sequence[str]) -> list[re.Pattern]:
    try:
        return [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise PanelError(
            f"--tasks and --methods are regular expressions, such as '.*invaders': "
            f"{error}. Received: {' '.join(patterns)}"
        ) from error


def _matches(name: str, patterns: Iterable[re.Pattern]) -> bool:
    return any(pattern.search(name) for pattern in patterns)
