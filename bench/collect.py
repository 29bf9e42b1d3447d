"""Measures how fast episodes are collected and written to disk.

    python bench/collect.py --suite minatar [--checkpoints FOLDER] [--json FILE]
    python bench/collect.py --suite atari --games pong,beam_rider

`random` and `dqn` are environment steps a second over all games, as `launch/collect.py`
collects them, from the start of its processes to the last file, with random play and
with the players of a folder. For comparison, the same run measures:

- `plain`, a loop in one process that plays at random and does per step and per episode
  what the original DreamerV2's driver and replay do;
- for Atari, with the same number of processes, `bare_ale`, ALE alone, which repeats
  each action for four frames and fetches no screen, and `bare_frames`, which also turns
  the last two of them into the 64x64 frame that an episode holds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import multiprocessing
import os
import pathlib
import tempfile
import time

import cv2
import numpy as np

from dreamerv2_transfer import collect
from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.replay import store

MINATAR = ("asterix", "breakout", "freeway", "seaquest")
ATARI = ("pong", "beam_rider", "riverraid", "phoenix")


def main() -> None:
    """Parses the arguments, measures and prints."""
    args = parse()
    games = args.games.split(",") if args.games else globals()[args.suite.upper()]
    tasks = [f"{args.suite}_{game}" for game in games]
    result = {"suite": args.suite, "tasks": tasks, "steps": args.steps}
    result["processes"] = args.processes or os.cpu_count()
    if args.suite == "atari":
        for name, frames in (("bare_ale", False), ("bare_frames", True)):
            result[name] = bare(games, args.steps, result["processes"], frames)
    result["plain"] = plain(args, tasks)
    result["random"] = rate(args, tasks, {"policies.dqn": 0.0})
    result["ratio"] = result["random"] / result["plain"]
    if args.suite == "atari":
        for name in ("bare_ale", "bare_frames"):
            result[f"share_of_{name}"] = result["random"] / result[name]
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
    parser.add_argument("--steps", type=int, default=100_000, help="steps per game")
    parser.add_argument("--processes", type=int, default=0, help="0 for one per core")
    parser.add_argument("--checkpoints", default="", help="folder of players")
    parser.add_argument(
        "--folder", default="", help="where to write; by default a temporary folder"
    )
    parser.add_argument("--json", default="", help="file for the result")
    return parser.parse_args()


def rate(args: argparse.Namespace, tasks: list[str], flags: dict) -> float:
    """Returns environment steps a second, including the start of processes."""
    settings = blocks.load_config([args.suite, "collect"]).update(flags)
    recipes = {task: collect.make_recipe(settings, task) for task in tasks}
    with tempfile.TemporaryDirectory(dir=args.folder or None) as folder:
        start = time.perf_counter()
        collect.collect(folder, recipes, steps=args.steps, processes=args.processes)
        took = time.perf_counter() - start
        # Episodes are whole, so there are more steps than requested.
        counts = [store.count_episodes(pathlib.Path(folder) / task) for task in tasks]
        return sum(steps for _, steps in counts) / took


def plain(args: argparse.Namespace, tasks: list[str]) -> float:
    """Returns steps a second of a plain loop, measured on a tenth of the steps."""
    settings = blocks.load_config([args.suite, "collect"])
    steps, took = args.steps // 10, 0.0
    for task in tasks:
        env = envs.make_env(task, **envs.options(settings, task))
        env.reset(seed=0)  # Loads what later resets reuse.
        with tempfile.TemporaryDirectory(dir=args.folder or None) as folder:
            start = time.perf_counter()
            play_plain(env, steps, folder)
            took += time.perf_counter() - start
    return steps * len(tasks) / took


def play_plain(env, steps: int, folder: str) -> None:
    """Plays at random with the work of the original's driver and replay.

    The driver stacks the observations of all environments (one here), converts each
    value of a transition and keeps it for the episode's callbacks. The replay keeps the
    transition once more, and converts whole episodes to write a file each.
    """
    rng = np.random.default_rng(0)
    size, obs = int(env.action_space.n), None
    for number in range(steps):
        if obs is None or obs["is_last"]:
            obs = observed(*env.reset(), is_first=True)
            driven, kept = [], {}
            keep(transition(obs, np.zeros(size)), driven, kept)
        stacked = {key: np.stack([value]) for key, value in obs.items()}
        actions = np.eye(size)[rng.integers(size, size=len(stacked["reward"]))]
        action = np.array(actions[0])
        index = int(np.argmax(action))
        if not np.allclose(np.eye(size)[index], action):
            raise ValueError(f"Received: action={action}. It must be one-hot.")
        obs = observed(*env.step(index))
        keep(transition(obs, action), driven, kept)
        if obs["is_last"] or number == steps - 1:
            _ = {k: convert([x[k] for x in driven]) for k in driven[0]}
            store.save_episode(folder, {k: convert(v) for k, v in kept.items()})


def observed(image, *rest, is_first: bool = False) -> dict:
    """Returns the outcome of a step or reset as the original's environments do."""
    reward, terminated, truncated, _ = rest if len(rest) > 1 else (0.0, False, False, 0)
    is_last = terminated or truncated
    flags = dict(is_first=is_first, is_last=is_last, is_terminal=terminated)
    return {**image, "reward": reward, **flags}


def transition(obs: dict, action: np.ndarray) -> dict[str, np.ndarray]:
    """Returns an observation and the action before it, each value converted."""
    return {k: convert(v) for k, v in {**obs, "action": action}.items()}


def keep(step: dict[str, np.ndarray], driven: list, kept: dict[str, list]) -> None:
    """Adds a transition to the lists of the driver and of the replay."""
    driven.append(step)
    for key, value in step.items():
        kept.setdefault(key, []).append(value)


def convert(value) -> np.ndarray:
    """Returns a new array of the stored precision."""
    value = np.array(value)
    if np.issubdtype(value.dtype, np.floating):
        return value.astype(np.float32)
    if np.issubdtype(value.dtype, np.signedinteger):
        return value.astype(np.int32)
    return value


def bare(games: list[str], steps: int, processes: int, frames: bool) -> float:
    """Returns steps (of four frames) a second that ALE alone makes."""
    # They are spawned before the clock starts, unlike the collection's processes.
    context = multiprocessing.get_context("spawn")
    play = functools.partial(play_bare, frames=frames)
    with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
        list(pool.map(play, games, [10] * len(games)))
        start = time.perf_counter()
        list(pool.map(play, games, [steps] * len(games)))
        return steps * len(games) / (time.perf_counter() - start)


def play_bare(game: str, steps: int, frames: bool) -> None:
    """Plays at random with ALE alone, with or without a frame per step."""
    ale = envs.make_env(f"atari_{game}", all_actions=True).unwrapped.ale
    actions = ale.getLegalActionSet()
    screens = np.zeros((2, *ale.getScreenDims()), np.uint8)
    for index in np.random.default_rng(0).integers(len(actions), size=steps):
        for number in range(4):
            ale.act(actions[index])
            if frames and number >= 2:
                ale.getScreenGrayscale(screens[number - 2])
        if frames:
            cv2.resize(screens.max(0), (64, 64), interpolation=cv2.INTER_AREA)
        if ale.game_over():
            ale.reset_game()


if __name__ == "__main__":
    main()
