"""Draws `curves.png` and prints the table of this folder's README.

python results/minatar_offline/curves.py
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
from matplotlib.figure import Figure

from dreamerv2_transfer.plotting import metrics_file

HERE = pathlib.Path(__file__).parent
ONLINE = HERE.parent / "minatar_small_returns" / "runs"
GAMES = {"space_invaders": "Space Invaders", "breakout": "Breakout"}
RANDOM = {"space_invaders": 2.89, "breakout": 0.53}  # 500 episodes.
SHOWN = (1_000, 2_000, 3_000, 4_000, 5_000)  # Updates.
# Folder, pattern and colour of each arm.
ARMS = {
    "offline": (HERE, "offline_{}_?", "#d95f02"),
    "online, the same model fixed": (HERE, "online_fixed_{}_?", "#7570b3"),
    "online, from scratch": (ONLINE, "{}_20?", "#1f77b4"),
}


def returns(arm: str, game: str) -> np.ndarray:
    """The mean greedy returns (seeds, updates)."""
    folder, pattern, _ = ARMS[arm]
    curves = []
    for path in sorted(folder.glob(f"{pattern.format(game)}/metrics.jsonl")):
        steps, values = metrics_file.read(path)[0]["eval_return_mean"]
        curves.append([values[list(steps).index(step)] for step in SHOWN])
    return np.array(curves)


def main() -> int:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    panels = figure.subplots(1, len(GAMES))
    print("| game | agent | seeds |", " | ".join(f"{x:,}" for x in SHOWN), "|")
    print("|---|---|---|" + "---|" * len(SHOWN))
    for axes, (game, title) in zip(panels, GAMES.items(), strict=True):
        for arm, (_, _, color) in ARMS.items():
            curves = returns(arm, game)
            mean = curves.mean(0)
            axes.plot(SHOWN, curves.T, color=color, linewidth=0.7, alpha=0.6)
            axes.plot(SHOWN, mean, color=color, linewidth=2.2, label=arm)
            shown = " | ".join(f"{value:.1f}" for value in mean)
            print(f"| {title} | {arm} | {len(curves)} | {shown} |")
        axes.axhline(RANDOM[game], color="gray", linestyle=":", label="random play")
        axes.set(title=title, xlabel="updates", ylim=(0, None))
    panels[0].set_ylabel("return, 20 greedy episodes")
    panels[1].legend(fontsize="small")
    figure.savefig(HERE / "curves.png", dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())
