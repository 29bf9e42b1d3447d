"""How fast episodes are collected, written to disk.

    python bench/collect.py --suite minatar [--checkpoints FOLDER] [--json FILE]
    python bench/collect.py --suite atari --games pong,beam_rider

MinAtar: environment steps a second over all games, as `launch/collect.py` collects
them: with random play, and with the agents of a folder. Atari: the same for random
play, and as a share of what bare ALE makes in the same run, that is ALE alone, in as
many processes, that repeats each action for four frames and fetches no screen.
"""

import argparse
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import tempfile
import time

import numpy as np

from dreamerv2_transfer import collect
from dreamerv2_transfer.common import config, envs

MINATAR = ("asterix", "breakout", "freeway", "seaquest")
ATARI = ("pong", "beam_rider", "riverraid", "phoenix")


def main() -> None:
    """Parses the arguments, measures, prints."""
    args = parse()
    games = args.games.split(",") if args.games else globals()[args.suite.upper()]
    tasks = [f"{args.suite}_{game}" for game in games]
    result = {"suite": args.suite, "tasks": tasks, "steps": args.steps}
    result["processes"] = args.processes or os.cpu_count()
    if args.suite == "atari":
        result["bare_ale"] = bare_ale(games, args.steps, result["processes"])
    result["random"] = rate(args, tasks, {"policies.dqn": 0.0})
    if args.suite == "atari":
        result["share_of_bare_ale"] = result["random"] / result["bare_ale"]
    if args.checkpoints:
        flags = {"policies.random": 0.0, "dqn.checkpoints": args.checkpoints}
        result["dqn"] = rate(args, tasks, flags)
    print(json.dumps(result))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--suite", choices=["minatar", "atari"], default="minatar")
    parser.add_argument("--games", default="", help="names, separated by commas")
    parser.add_argument("--steps", type=int, default=100_000, help="steps a game")
    parser.add_argument("--processes", type=int, default=0, help="0 is one a core")
    parser.add_argument("--checkpoints", default="", help="folder of agents")
    parser.add_argument("--json", default="", help="file for the result")
    return parser.parse_args()


def rate(args: argparse.Namespace, tasks: list[str], flags: dict) -> float:
    """Environment steps a second of a collection, the start of processes included."""
    settings = config.load_config([args.suite, "collect"]).update(flags)
    recipes = {task: collect.make_recipe(settings, task) for task in tasks}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        collect.collect(folder, recipes, steps=args.steps, processes=args.processes)
        return args.steps * len(tasks) / (time.perf_counter() - start)


def bare_ale(games: list[str], steps: int, processes: int) -> float:
    """Steps of four frames a second that ALE alone makes."""
    # Spawned and imported before the clock starts, unlike the collection's processes.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
        list(pool.map(play_bare, games, [10] * len(games)))
        start = time.perf_counter()
        list(pool.map(play_bare, games, [steps] * len(games)))
        return steps * len(games) / (time.perf_counter() - start)


def play_bare(game: str, steps: int) -> None:
    """Plays at random with ALE alone."""
    ale = envs.make_env(f"atari_{game}", all_actions=True).unwrapped.ale
    actions = ale.getLegalActionSet()
    for index in np.random.default_rng(0).integers(len(actions), size=steps):
        for _ in range(4):
            ale.act(actions[index])
        if ale.game_over():
            ale.reset_game()


if __name__ == "__main__":
    main()
