"""Draws this folder's figure, and prints the table of its README.

python results/minatar_small_returns/curves.py
"""

from __future__ import annotations

import json
import pathlib

import matplotlib.pyplot as plt
import numpy as np

from dreamerv2_transfer.plotting import curves, metrics_file, statistics
from dreamerv2_transfer.plotting.curves import Series

HERE = pathlib.Path(__file__).parent
PLAYERS = HERE.parent / "minatar_dqn"
GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
UPDATES_PER_MINUTE = 16.9 * 60  # Alone on both cores, see README.
BEST_PLAYERS = dict(asterix=1.15, breakout=23.63, freeway=28.75, seaquest=1.64)
BEST_PLAYERS["space_invaders"] = 76.4
WINDOW = 1000  # Updates over which returns of training episodes are averaged.
AXES = {"minutes on 2 cores": "minutes", "thousand environment steps": "steps"}


BLOCKS = {  # The folders of a block's runs, and its color.
    "small": (["minatar_small_returns/runs/{}_[0-9]*"], "C0"),
    "small_v1": (
        [
            "minatar_small_returns/small_v1/{}_*",
            "minatar_small/space_invaders/{}_scratch_*",
        ],
        "C7",
    ),
}


def runs(block: str, game: str) -> list[pathlib.Path]:
    patterns = BLOCKS[block][0]
    return [x for p in patterns for x in sorted(HERE.parent.glob(p.format(game)))]


def curve(run: pathlib.Path, across: str) -> Series:
    """Returns of training episodes, over minutes or steps of the environment."""
    metrics = metrics_file.read(run / "metrics.jsonl")[0]
    updates, returns = curves.smooth(metrics["train_return"], WINDOW)
    if across == "minutes":
        return updates / UPDATES_PER_MINUTE, returns
    return np.interp(updates, *metrics["train_total_steps"]) / 1000, returns


def draw(axes: plt.Axes, game: str, across: str) -> None:
    for block, (_, color) in BLOCKS.items():
        found = [curve(run, across) for run in runs(block, game)]
        for line in found:
            axes.plot(*line, color=color, lw=0.7, alpha=0.5)
        if found:
            middle = curves.band(found)
            axes.plot(middle.steps, middle.mean, color=color, lw=1.8, label=block)
    best = BEST_PLAYERS[game]
    axes.axhline(best, color="C2", ls=":", label="best DQN, 1M steps")
    jax = json.loads((HERE / "jax_curves.json").read_text())
    if across == "steps" and game in jax:
        steps, returns = np.array(jax[game]).T
        steps = steps / 1000
        near = steps <= axes.get_xlim()[1]
        axes.plot(steps[near], returns[near], color="C1", ls="--", label="JAX")
    axes.set_ylim(bottom=0)


def picture() -> None:
    figure, grid = plt.subplots(2, 5, figsize=(16, 6), layout="constrained")
    for row, (label, across) in zip(grid, AXES.items(), strict=True):
        for axes, game in zip(row, GAMES, strict=True):
            draw(axes, game, across)
            axes.set_xlabel(label)
        row[0].set_ylabel("return")
        row[-1].legend(fontsize=8)
    for axes, game in zip(grid[0], GAMES, strict=True):
        axes.set_title(game.replace("_", " "))
    figure.savefig(HERE / "curves.png", dpi=90)


def table() -> None:
    """Prints the greedy returns of each seed, and their mean over seeds."""
    print("| game | block | updates | steps | return of each seed | mean | best DQN |")
    print("|---|---|---|---|---|---|---|")
    for game in GAMES:
        for block in BLOCKS:
            found = [r for r in runs(block, game) if (r / "evaluation.json").exists()]
            if not found:
                continue
            ends = [metrics_file.read(r / "metrics.jsonl")[0] for r in found]
            updates = {int(end["train_total_steps"][0][-1]) for end in ends}
            steps = {round(end["train_total_steps"][1][-1] / 1000) for end in ends}
            results = [json.loads((r / "evaluation.json").read_text()) for r in found]
            seeds = ", ".join(
                f"{x['return_mean']:.1f} ({x['return_ci95'][0]:.1f} to "
                f"{x['return_ci95'][1]:.1f})"
                for x in results
            )
            mean = statistics.mean_estimate([x["return_mean"] for x in results])
            middle = f"{mean.value:.1f}"
            if mean.low is not None:
                middle += f" ({mean.low:.1f} to {mean.high:.1f})"
            print(
                f"| {game} | `{block}` | {span(updates)} | {span(steps)}k "
                f"| {seeds} | {middle} | {BEST_PLAYERS[game]} |"
            )


def span(values: set[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


if __name__ == "__main__":
    picture()
    table()
