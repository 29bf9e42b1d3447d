"""Prints what each arm earns and what its model misses, game by game.

The arms are those of `minatar_leave_one_out`, of `minatar_pretraining_length`, and the
fixed models that know the game of `minatar_learned_games`.

python results/tables.py
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np

from dreamerv2_transfer.plotting import metrics_file

HERE = pathlib.Path(__file__).parent
SCRATCH = HERE / "minatar_small_returns" / "runs"
LEFT_OUT = f"{HERE}/minatar_leave_one_out/{{game}}/on_new"
LENGTHS = f"{HERE}/minatar_pretraining_length/{{game}}/on_new"
LEARNED = f"{HERE}/minatar_learned_games/space_invaders/on_learned"
GAMES = ("space_invaders", "breakout", "seaquest", "asterix", "freeway")
# Where the folders `minatar_GAME` of an arm are, given `game`; LEFT_OUT by default.
ELSEWHERE = {
    "pretrained_2500": LENGTHS,
    "pretrained_10000": LENGTHS,
    "pretrained_40000": LENGTHS,
    "pretrained_fixed_world_model": LEARNED,
}
ARMS = ("scratch", "pretrained", "fresh_heads", "frozen_img_in", *ELSEWHERE)
AT = (1_000, 2_000, 5_000)  # Updates of the greedy evaluations that are shown.
EARLY = ((0, 50), (50, 1_000))  # Updates over which early errors are averaged.
LATE = (4_000, 5_000)  # Updates over which losses are averaged.
LOSSES = ("image_loss", "kl_loss", "model_error")


def runs(game: str, arm: str) -> list[dict]:
    """The metrics of the runs of an arm."""
    study = ELSEWHERE.get(arm, LEFT_OUT).format(game=game)
    found = sorted(pathlib.Path(study, f"minatar_{game}", arm).glob("*"))
    found += sorted(SCRATCH.glob(f"{game}_*")) if arm == "scratch" else []
    return [metrics_file.read(run / "metrics.jsonl")[0] for run in found]


def greedy(run: dict, update: int) -> float:
    steps, values = run["eval_return_mean"]
    return float(values[steps == update][0])


def average(run: dict, name: str, after: int, until: int) -> float:
    """The mean of what was logged in some updates."""
    steps, values = run[name]
    return float(np.mean(values[(steps > after) & (steps <= until)]))


def main() -> int:
    heads = [f"greedy at {update:,}" for update in AT]
    heads += [*LOSSES, *(f"model_error to {until:,}" for _, until in EARLY)]
    print("| game | arm | seeds |", " | ".join(heads), "|")
    print("|---" * (3 + len(heads)) + "|")
    for game in GAMES:
        for arm in ARMS:
            found = runs(game, arm)
            if not found:
                continue
            returns = [np.mean([greedy(run, x) for run in found]) for x in AT]
            losses = [
                np.mean([average(run, x, *LATE) for run in found]) for x in LOSSES
            ]
            # Of the runs that logged so early; others have one mean over more updates.
            often = [run for run in found if EARLY[0][1] in run["model_error"][0]]
            losses += [
                np.mean([average(run, "model_error", *span) for run in often])
                for span in EARLY
            ]
            cells = [f"{x:.2f}" for x in (*returns, *losses)]
            print(f"| {game} | {arm} | {len(found)} |", " | ".join(cells), "|")
    return 0


if __name__ == "__main__":
    sys.exit(main())
