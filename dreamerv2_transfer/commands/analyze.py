"""Analyses the world model of a run.

Plays episodes of games and measures what the run's world model makes of them: how its
features relate to what is where in a game, and how accurate its dreams are. Writes
figures and analysis.json to LOGDIR/analysis and prints what was found. Several games
are analysed with the one model, and then compared.
"""

from __future__ import annotations

import functools

from dreamerv2_transfer.commands import configuration
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import blocks, cli, progress

OPTIONS = {
    "logdir": path_option("The run's folder.", is_required=True),
    "task": Option(
        [""], "Games, with commas between; by default those that the run learned."
    ),
    "frames": Option(100_000, "Frames to play per game.", least=1),
    "seed": Option(0, "Seed of episodes, latents and statistics.", least=0),
    "policy": Option(
        "auto",
        "auto is the run's actor if it has one, else random play; or random, actor, or "
        "the path of a DQN player or of a folder of them, as for collections.",
    ),
    # One episode each to learn from, to choose by and to measure on.
    "envs": Option(32, "Environments that are stepped together.", least=3),
    "clusters": Option(16, "Clusters of k-means.", least=2),
    "permutations": Option(
        500, "Permutations of a test, so p values are at least 1/501.", least=1
    ),
    "context": Option(5, "Frames that the model sees before it dreams.", least=1),
    "horizon": Option(45, "Most frames that it dreams.", least=1),
    "sequences": Option(256, "Most dreams.", least=1),
    "output": path_option("Folder for the results; by default LOGDIR/analysis."),
} | configuration.TRUST
USAGE = Usage(
    forms=("--logdir LOGDIR --task TASK[,TASK...] [--frames 100000 ...]",),
    examples={
        "--logdir logdir/small --task minatar_asterix,minatar_breakout": (
            "what the model knows about two games"
        ),
    },
    options={"": OPTIONS},
)


def main(argv: list[str]) -> int:
    options = options_lib.parse(OPTIONS, argv)

    from dreamerv2_transfer.common import envs
    from dreamerv2_transfer.common.files import remote

    logdir = remote.fetched(options.logdir, *remote.WEIGHTS)
    is_trusted = options.trust or any(options.task)
    settings = configuration.of_run(logdir, is_trusted)
    # In full precision, so that the numbers do not depend on the machine.
    settings = settings.update(precision="32", expl_noise=0.0)
    named = [task for task in options.task if task]
    tasks = named or list(blocks.learned_games(settings))
    if not is_trusted:
        blocks.check_task(tasks, logdir / "config.yaml")

    with progress.explained("Loading TensorFlow"):
        from dreamerv2_transfer.analysis import models, players
        from dreamerv2_transfer.analysis.analyze import Analysis

    def make_env(task: str):
        # In this process, so that the games can be read.
        made = envs.options(settings, task)
        return envs.make_vector_env(task, options.envs, fit=envs.fit(settings), **made)

    load = functools.partial(models.load, settings, logdir)
    play = functools.partial(players.choose, options.policy, options.seed, settings)
    with remote.opened(options.output or logdir / "analysis") as folder:
        analysis = Analysis(settings, options, folder.path, make_env, load, play)
        result = analysis.run(tasks)
    cli.show("\n".join(result["findings"]))
    file = folder.path / "analysis.json"
    print(f"Saved {len(result['figures'])} figures and {file}.")
    return 0
