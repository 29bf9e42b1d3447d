"""The transfer metrics of all arms on some panels, as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dreamerv2_transfer.plotting import gains
from dreamerv2_transfer.plotting.plot import Panel

SCRATCH = "scratch"
RETURNS = ("train_return", "eval_return_mean", "eval_return")
HEADINGS = (
    "task",
    "metric",
    "arm",
    "seeds",
    "area ratio",
    "jump start",
    "asymptotic difference",
    "threshold",
    "steps to threshold",
    "of scratch",
)


def numbers(panels: Sequence[Panel], threshold: float | None = None) -> list[dict]:
    """What each arm is worth against scratch, on each panel of returns.

    Args:
        panels: Those without returns, or without runs from scratch, give none.
        threshold: See `transfer_metrics.compare`, whose results these are, with
            `metric`, `task` and `arm`.
    """
    return [
        {
            "metric": panel.metric,
            "task": panel.task,
            "arm": name,
            **gains.compare(arm.curves, panel.arms[SCRATCH].curves, threshold),
        }
        for panel in panels
        if panel.metric in RETURNS and SCRATCH in panel.arms
        for name, arm in panel.arms.items()
        if name != SCRATCH
    ]


def row(numbers: dict[str, Any]) -> tuple[str, ...]:
    """One of `numbers` as texts below `HEADINGS`."""
    seeds = numbers["seeds"]
    threshold = numbers["threshold"]
    return (
        numbers["task"],
        numbers["metric"],
        numbers["arm"],
        f"{seeds['transfer']} against {seeds['scratch']}",
        *(shown(numbers[k]) for k in ("area_ratio", "jump_start")),
        shown(numbers["asymptotic_difference"]),
        "-" if threshold is None else f"{threshold:.3g}",
        *(_reached(numbers[f"steps_to_threshold{k}"]) for k in ("", "_scratch")),
    )


def shown(estimate: dict | None, digits: str = ".3g") -> str:
    """An `Estimate` as a dict, as a text: its value and, if there is one, interval."""
    if estimate is None or estimate["value"] is None:
        return "-"
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if low is None:
        return f"{value:{digits}}"
    return f"{value:{digits}} ({low:{digits}} to {high:{digits}})"


def _reached(estimate: dict | None) -> str:
    """The steps, or how many seeds got there."""
    if estimate is None or estimate["value"] is not None:
        return shown(estimate, ",.0f")
    return f"reached by {estimate['reached']} of {len(estimate['by_seed'])}"
