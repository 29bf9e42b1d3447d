"""Prints what each arm of the studies earns and what its model misses, game by game.

python results/tables.py
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np

from dreamerv2_transfer.plotting import metrics_file

HERE = pathlib.Path(__file__).parent
STUDIES = (
    "minatar_leave_one_out",
    "minatar_pretraining_length",
    "minatar_learned_games",
    "minatar_adapters",
)
SCRATCH = HERE / "minatar_small_returns" / "runs"  # Further seeds of these arms.
AT = (1_000, 2_000, 5_000)  # Updates of the greedy evaluations that are shown.
EARLY = ((0, 50), (50, 1_000))  # Updates over which early errors are averaged.
LATE = (4_000, 5_000)  # Updates over which losses are averaged.
LOSSES = ("image_loss", "kl_loss", "model_error")
# What is logged at evaluations of the games that a model knows.
KNOWN = ("eval_known_model_error", "eval_forgetting")


def read(arm: pathlib.Path) -> list[dict]:
    """The metrics of the runs of an arm, a folder each."""
    game = arm.parent.name.removeprefix("minatar_")
    folders = sorted(arm.glob("*"))
    folders += sorted(SCRATCH.glob(f"{game}_*")) if arm.name == "scratch" else []
    return [metrics_file.read(folder / "metrics.jsonl")[0] for folder in folders]


def at(run: dict, name: str, update: int) -> float:
    """What was logged at an update; NaN if nothing was."""
    steps, values = run.get(name, (np.array([]), np.array([])))
    return float(values[steps == update][0]) if update in steps else np.nan


def average(run: dict, name: str, after: int, until: int) -> float:
    """The mean of what was logged in some updates."""
    steps, values = run[name]
    return float(np.mean(values[(steps > after) & (steps <= until)]))


def row(found: list[dict]) -> list[float]:
    """The means over the runs of an arm, in the order of the columns."""
    # Of the runs that logged so early; others have one mean over more updates.
    often = [run for run in found if EARLY[0][1] in run["model_error"][0]]
    return [
        *(np.mean([at(run, "eval_return_mean", x) for run in found]) for x in AT),
        *(np.mean([average(run, x, *LATE) for run in found]) for x in LOSSES),
        *(np.mean([average(run, "model_error", *x) for run in often]) for x in EARLY),
        *(np.mean([at(run, x, AT[-1]) for run in found]) for x in KNOWN),
    ]


def main() -> int:
    heads = [f"greedy at {update:,}" for update in AT]
    heads += [*LOSSES, *(f"model_error to {until:,}" for _, until in EARLY), *KNOWN]
    for study in STUDIES:
        print(f"\n{study}\n")
        print("| game | arm | seeds |", " | ".join(heads), "|")
        print("|---" * (3 + len(heads)) + "|")
        for arm in sorted((HERE / study).glob("**/on_*/minatar_*/*")):
            found = read(arm)
            cells = [f"{x:.2f}" for x in row(found)]
            print(f"| {arm.parent.name} | {arm.name} | {len(found)} |", end=" ")
            print(" | ".join(cells).replace("nan", ""), "|")
    return 0


if __name__ == "__main__":
    sys.exit(main())
