"""What the arms on some panels gain over scratch, as numbers and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dreamerv2_transfer.plotting import arms, gains, statistics
from dreamerv2_transfer.plotting.labels import SCRATCH
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.views import Arm

RETURNS = ("train_return", "eval_return_mean", "eval_return")
SEEDS = "seeds (coverage)"
HEADINGS = (
    "task",
    "metric",
    "arm",
    SEEDS,
    "area ratio",
    "jump start",
    "asymptotic difference",
    "threshold",
    "steps to threshold",
    "of scratch",
)


def numbers(panels: Sequence[Panel], threshold: float | None = None) -> list[dict]:
    """Compares each arm with scratch, on each panel of returns.

    Args:
        panels: Those without returns or without runs from scratch are left out, and
            arms whose steps count something else than those of scratch.
        threshold: See `gains.compare`.

    Returns:
        The results of `gains.compare`, with `metric`, `task`, `arm` and the pre-trained
        `models` that its runs begin with, '' for none.
    """
    return [
        {
            "metric": panel.metric,
            "task": panel.task,
            "arm": name,
            "models": [arms.model_of(run) for run in arm.runs],
            **gains.compare(arm.curves, panel.arms[SCRATCH].curves, threshold),
        }
        for panel, name, arm in _beside_scratch(panels)
        if len(panel.units(name, SCRATCH)) < 2
    ]


def notes(panels: Sequence[Panel]) -> list[str]:
    """Returns a sentence about each arm whose steps are not those of scratch."""
    return [
        f"{name} of {panel.task or 'an unknown game'} is not compared with scratch in "
        f"{panel.metric}: their steps count "
        f"{' and '.join(sorted(panel.units(name, SCRATCH)))}."
        for panel, name, _ in _beside_scratch(panels)
        if len(panel.units(name, SCRATCH)) > 1
    ]


def row(compared: dict[str, Any]) -> tuple[str, ...]:
    """Returns the texts of one of `numbers`, to go below `HEADINGS`."""
    seeds, threshold = compared["seeds"], compared["threshold"]
    return (
        compared["task"],
        compared["metric"],
        compared["arm"],
        seeds_text(
            f"{seeds['transfer']} against {seeds['scratch']}", min(seeds.values())
        ),
        interval_text(compared["area_ratio"]),
        interval_text(compared["jump_start"]),
        interval_text(compared["asymptotic_difference"]),
        "-" if threshold is None else f"{threshold:.3g}",
        _steps_text(compared["steps_to_threshold"]),
        _steps_text(compared["steps_to_threshold_scratch"]),
    )


def seeds_text(seeds: str, fewest: int, of: str = "ratio") -> str:
    """Adds to numbers of seeds how often intervals of so few cover the truth.

    Args:
        seeds: The numbers.
        fewest: The fewest seeds of an arm.
        of: A key of `statistics.COVERAGE`.
    """
    covered = statistics.coverage(fewest, of)
    return seeds if covered is None else f"{seeds} ({covered:.0%})"


def interval_text(estimate: dict | None, digits: str = ".3g") -> str:
    """Formats an `Estimate` in dict form: its value and, if known, its interval."""
    if estimate is None or estimate["value"] is None:
        return "-"
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if low is None:
        return f"{value:{digits}}"
    return f"{value:{digits}} ({low:{digits}} to {high:{digits}})"


def _beside_scratch(panels: Sequence[Panel]) -> Iterator[tuple[Panel, str, Arm]]:
    """Yields each arm on a panel of returns that has runs from scratch."""
    for panel in panels:
        if panel.metric in RETURNS and SCRATCH in panel.arms:
            for name, arm in panel.arms.items():
                if name != SCRATCH:
                    yield panel, name, arm


def _steps_text(estimate: dict | None) -> str:
    """Formats the steps, or how many seeds reached the threshold."""
    if estimate is None or estimate["value"] is not None:
        return interval_text(estimate, ",.0f")
    return f"reached by {estimate['reached']} of {len(estimate['by_seed'])}"
