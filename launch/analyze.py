"""Analyses a run. `python launch/analyze.py --logdir LOGDIR --task TASK[,TASK...]`

Plays episodes of games and asks what the run's world model makes of them: what its
features have to do with what is where in a game, and how far its dreams come true.
Writes figures and analysis.json to LOGDIR/analysis and prints what was found. Several
games are analysed with the one model, and then compared.
"""

from __future__ import annotations

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dreamerv2_transfer.common import blocks, cli, config, envs, flags
from dreamerv2_transfer.common.files import remote

OPTIONS = {
    "logdir": "",  # Of the run.
    "task": [""],  # Games, with commas between; '' is the run's own.
    "frames": 100_000,  # Frames to play, a game.
    "seed": 0,  # Of episodes, latents and statistics.
    # The run's actor if it has one and else random play; or random, actor, or the path
    # of a DQN agent or of a folder of them, as collect.py takes it.
    "policy": "auto",
    "envs": 32,  # Environments that are stepped together.
    "clusters": 16,  # Of k-means.
    "permutations": 500,  # Of a test, so p values are 1/501 or more.
    "context": 5,  # Frames that the model sees before it dreams.
    "horizon": 45,  # Frames that it dreams, at most.
    "sequences": 256,  # Dreams, at most.
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
    check(options)
    logdir = remote.fetched(options.logdir, *remote.WEIGHTS)
    settings, notes = blocks.load_old(logdir / "config.yaml")
    print(*notes, sep="\n", end="")
    # In full precision, so that an analysis does not depend on the machine.
    settings = settings.update(precision="32", expl_noise=0.0)
    tasks = [task for task in options.task if task] or [settings.task]
    directory = pathlib.Path(options.output or logdir / "analysis").expanduser()
    result = analysis(options, settings, logdir, directory).run(tasks)
    print(*result["findings"], sep="\n")
    print(f"Saved {len(result['figures'])} figures and {directory / 'analysis.json'}.")
    return 0


def check(options: config.Config) -> None:
    if not options.logdir:
        raise config.ConfigError("Name the run to analyse: --logdir LOGDIR.")
    config.check_least(options, LEAST)


def analysis(options, settings, logdir: pathlib.Path, directory: pathlib.Path):
    """The stage, wired to the run."""
    from dreamerv2_transfer.analysis.analyze import Analysis

    return Analysis(
        settings,
        options,
        directory,
        # In this process, where the games can be looked into.
        lambda task: envs.make_vector_env(
            task, options.envs, **envs.options(settings, task)
        ),
        lambda env: models(settings, logdir, env),
        lambda env, task, loaded: player(options, settings, env, task, loaded),
    )


def models(settings, logdir: pathlib.Path, env):
    """Loads the run's model, and makes one that has learned nothing."""
    from dreamerv2_transfer import agent as agent_lib
    from dreamerv2_transfer.analysis.analyze import Models
    from dreamerv2_transfer.common import machine
    from dreamerv2_transfer.transfer import weights

    world_model = weights.find_weights(logdir)
    print(machine.setup(settings), flush=True)
    spaces = envs.obs_space(env), envs.act_space(env)
    fresh = settings.update(seed=settings.seed + 1)
    untrained = agent_lib.make_world_model(fresh, *spaces)
    actor_critic = logdir / weights.ACTOR_CRITIC
    if not actor_critic.is_file():
        trained = agent_lib.make_world_model(settings, *spaces)
        weights.load_weights(world_model, trained.components)
        return Models(trained, untrained)
    agent = agent_lib.make_agent(settings, *spaces)
    weights.load_weights(world_model, agent.wm.components)
    weights.load_weights(actor_critic, agent.task_behavior.components)
    return Models(agent.wm, untrained, agent)


def player(options, settings, env, task: str, loaded):
    """Who plays, see `players`."""
    from dreamerv2_transfer import agent as agent_lib
    from dreamerv2_transfer.analysis import players

    choice = options.policy
    if choice == "auto":
        choice = "actor" if loaded.agent else "random"
    if choice == "random":
        return players.random(env, task, options.seed)
    if choice != "actor":
        return players.dqn(choice, env, task, options.seed, settings)
    if not loaded.agent:
        raise players.PlayerError(
            "The run has no actor (actor_critic.weights.h5); use --policy random or "
            f"the path of a DQN agent. Received: --policy {options.policy}"
        )
    loaded.agent.rng.reset_from_seed(options.seed)
    return players.actor(agent_lib.acting(loaded.agent, "train"), options.seed)


if __name__ == "__main__":
    sys.exit(cli.run(main))
