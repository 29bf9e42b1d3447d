"""How fast episodes are collected, written to disk.

    python bench/collect.py --suite minatar [--checkpoints FOLDER] [--json FILE]
    python bench/collect.py --suite atari --games pong,beam_rider

Environment steps a second over all games, as `launch/collect.py` collects them, from
the start of its processes to the last file: with random play, and with the agents of a
folder. In the same run, to compare: `plain`, a loop in one process that plays at random
and keeps lists of transitions and writes each episode as the original DreamerV2's
driver and replay do; and for Atari `bare_ale`, ALE alone in as many processes, which
repeats each action for four frames and fetches no screen.
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
from dreamerv2_transfer.common import config, envs, store

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
    result["plain"] = plain(args, tasks)
    result["random"] = rate(args, tasks, {"policies.dqn": 0.0})
    result["ratio"] = result["random"] / result["plain"]
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
    parser.add_argument("--folder", default="", help="where to write; a temporary one")
    parser.add_argument("--json", default="", help="file for the result")
    return parser.parse_args()


def rate(args: argparse.Namespace, tasks: list[str], flags: dict) -> float:
    """Environment steps a second of a collection, the start of processes included."""
    settings = config.load_config([args.suite, "collect"]).update(flags)
    recipes = {task: collect.make_recipe(settings, task) for task in tasks}
    with tempfile.TemporaryDirectory(dir=args.folder or None) as folder:
        start = time.perf_counter()
        collect.collect(folder, recipes, steps=args.steps, processes=args.processes)
        took = time.perf_counter() - start
        # Whole episodes, so there are more than were asked for.
        counts = [store.count_episodes(pathlib.Path(folder) / task) for task in tasks]
        return sum(steps for _, steps in counts) / took


def plain(args: argparse.Namespace, tasks: list[str]) -> float:
    """Steps a second of a plain loop in one process, over a tenth of the steps."""
    settings = config.load_config([args.suite, "collect"])
    steps, took = args.steps // 10, 0.0
    for task in tasks:
        env = envs.make_env(task, **envs.options(settings, task))
        env.reset(seed=0)  # What is loaded at first does not count.
        with tempfile.TemporaryDirectory(dir=args.folder or None) as folder:
            start = time.perf_counter()
            play_plain(env, steps, folder)
            took += time.perf_counter() - start
    return steps * len(tasks) / took


def play_plain(env, steps: int, folder: str) -> None:
    """Plays at random, an episode a file."""
    rng = np.random.default_rng(0)
    size, episode = int(env.action_space.n), None
    for number in range(steps):
        action = np.zeros(size, np.float32)
        if episode is None:
            episode, (obs, _) = {}, env.reset()
            reward, terminated, truncated, is_first = 0.0, False, False, True
        else:
            index = rng.integers(size)
            action[index], is_first = 1, False
            obs, reward, terminated, truncated, _ = env.step(index)
        is_last = terminated or truncated
        flags = dict(is_first=is_first, is_last=is_last, is_terminal=terminated)
        for key, value in {**obs, "reward": reward, "action": action, **flags}.items():
            episode.setdefault(key, []).append(store.convert(value))
        if is_last or number == steps - 1:
            store.save_episode(folder, episode)
            episode = None


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
