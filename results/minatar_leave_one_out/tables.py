"""Prints what each arm earns and what its model misses, game by game.

Also of fixed models that know the game, of `minatar_learned_games`.

python results/minatar_leave_one_out/tables.py
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np

from dreamerv2_transfer.plotting import metrics_file

HERE = pathlib.Path(__file__).parent
SCRATCH = HERE.parent / "minatar_small_returns" / "runs"
LEARNED = HERE.parent / "minatar_learned_games" / "space_invaders" / "on_learned"
GAMES = ("space_invaders", "breakout", "seaquest", "asterix", "freeway")
FIXED = "pretrained_fixed_world_model"
ARMS = ("scratch", "pretrained", "fresh_heads", "frozen_img_in", FIXED)
AT = (1_000, 2_000, 5_000)  # Updates of the greedy evaluations that are shown.
LATE = (4_000, 5_000)  # Updates over which losses are averaged.
LOSSES = ("image_loss", "kl_loss", "model_error")


def runs(game: str, arm: str) -> list[dict]:
    """The metrics of the runs of an arm."""
    study = LEARNED if arm == FIXED else HERE / game / "on_new"
    found = sorted((study / f"minatar_{game}" / arm).glob("*"))
    found += sorted(SCRATCH.glob(f"{game}_*")) if arm == "scratch" else []
    return [metrics_file.read(run / "metrics.jsonl")[0] for run in found]


def greedy(run: dict, update: int) -> float:
    steps, values = run["eval_return_mean"]
    return float(values[steps == update][0])


def late(run: dict, name: str) -> float:
    steps, values = run[name]
    return float(np.mean(values[(steps > LATE[0]) & (steps <= LATE[1])]))


def main() -> int:
    heads = [f"greedy at {update:,}" for update in AT]
    print("| game | arm | seeds |", " | ".join([*heads, *LOSSES]), "|")
    print("|---" * (3 + len(heads) + len(LOSSES)) + "|")
    for game in GAMES:
        for arm in ARMS:
            found = runs(game, arm)
            if not found:
                continue
            returns = [np.mean([greedy(run, x) for run in found]) for x in AT]
            losses = [np.mean([late(run, x) for run in found]) for x in LOSSES]
            cells = [f"{x:.2f}" for x in (*returns, *losses)]
            print(f"| {game} | {arm} | {len(found)} |", " | ".join(cells), "|")
    return 0


if __name__ == "__main__":
    sys.exit(main())
