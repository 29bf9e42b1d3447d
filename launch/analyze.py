"""Analyses a run. `python launch/analyze.py --logdir LOGDIR --task TASK[,TASK...]`

Plays episodes of games and measures what the run's world model makes of them: how its
features relate to what is where in a game, and how accurate its dreams are. Writes
figures and analysis.json to LOGDIR/analysis and prints what was found. Several games
are analysed with the one model, and then compared.
"""

from __future__ import annotations

import functools
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dreamerv2_transfer.common import blocks, cli, config, envs, flags
from dreamerv2_transfer.common.files import remote

OPTIONS = {
    "logdir": "",  # The run's folder.
    "task": [""],  # Games, with commas between; '' is the run's own.
    "frames": 100_000,  # Frames to play per game.
    "seed": 0,  # Of episodes, latents and statistics.
    # The run's actor if it has one, else random play; or random, actor, or the path of
    # a DQN player or of a folder of them, as in collect.py.
    "policy": "auto",
    "envs": 32,  # Environments that are stepped together.
    "clusters": 16,  # Of k-means.
    "permutations": 500,  # Of a test, so p values are at least 1/501.
    "context": 5,  # Frames that the model sees before it dreams.
    "horizon": 45,  # Most frames that it dreams.
    "sequences": 256,  # Most dreams.
    "output": "",  # '' is LOGDIR/analysis.
}
LEAST = {
    "frames": 1,
    "seed": 0,
    "envs": 3,  # An episode each to learn from, to choose by and to measure on.
    "clusters": 2,
    "permutations": 1,
    "context": 1,
    "horizon": 1,
    "sequences": 1,
}


def main(argv: list[str]) -> int:
    options = flags.Flags(OPTIONS).parse(argv)
    if not options.logdir:
        raise config.ConfigError("Name the run to analyse: --logdir LOGDIR.")
    config.check_least(options, LEAST)
    logdir = remote.fetched(options.logdir, *remote.WEIGHTS)
    settings, notes = blocks.load_old(logdir / "config.yaml")
    print(*notes, sep="\n", end="\n" if notes else "")
    # In full precision, so that the numbers do not depend on the machine.
    settings = settings.update(precision="32", expl_noise=0.0)
    tasks = [task for task in options.task if task] or [settings.task]
    directory = pathlib.Path(options.output or logdir / "analysis").expanduser()

    from dreamerv2_transfer.analysis import models, players
    from dreamerv2_transfer.analysis.analyze import Analysis

    def make_env(task: str):
        # In this process, so that the games can be read.
        return envs.make_vector_env(task, options.envs, **envs.options(settings, task))

    load = functools.partial(models.load, settings, logdir)
    play = functools.partial(players.choose, options.policy, options.seed, settings)
    analysis = Analysis(settings, options, directory, make_env, load, play)
    result = analysis.run(tasks)
    print(*result["findings"], sep="\n")
    print(f"Saved {len(result['figures'])} figures and {directory / 'analysis.json'}.")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
