"""Evaluates the agent of a run.

Plays whole episodes with the agent of a run (finetune, offline or scratch) and prints a
JSON object on the last line: `episodes`, `return_mean`, `return_ci95`, `length_mean`,
`seed`, `policy`, `task`, `envs`; with --dataset also `held_out`, the world model's
losses. The same command gives the same figures. --task all plays each game of a run on
several; `games` of the object then has these figures by game.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
from typing import Any

from dreamerv2_transfer.commands import configuration
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import blocks, cli, config, progress
from dreamerv2_transfer.common.files import paths

ALL = "all"  # As `--task`, all games of the run.
MODES = {"greedy": "eval", "sampled": "train"}
OPTIONS = {
    "logdir": path_option("The run's folder.", is_required=True),
    "episodes": Option(100, "Episodes to play.", least=1),
    "seed": Option(0, "Seed of environments and policy.", least=0),
    "policy": Option(
        "greedy", "greedy takes the mode of the actor; sampled samples.", (*MODES,)
    ),
    "task": Option(
        "", "The task to play; by default the run's own. all plays each of several."
    ),
    "envs": Option(16, "Environments that are stepped together.", least=1),
    "videos": Option(0, "Episodes to draw: LOGDIR/videos/evaluate_*.gif.", least=0),
    "dataset": path_option("Also evaluate the world model on its held-out episodes."),
    "batches": Option(50, "Batches of these episodes, of the run's size.", least=1),
    "json": path_option("File for the figures."),
} | configuration.TRUST
USAGE = Usage(
    forms=("--logdir LOGDIR [--episodes 100 ...]",),
    examples={
        "--logdir logdir/agent --episodes 100": "the mean return of 100 episodes",
        "--logdir logdir/agent --episodes 3 --videos 3": "three episodes as videos",
    },
    options={"": OPTIONS},
)


def main(argv: list[str]) -> int:
    options = options_lib.parse(OPTIONS, argv)

    from dreamerv2_transfer.common.files import atomic, remote

    logdir = remote.fetched(options.logdir, *remote.WEIGHTS)
    is_trusted = options.trust or options.task not in ("", ALL)
    settings = configuration.of_run(logdir, is_trusted)
    if settings.stage == "pretrain":
        raise config.ConfigError(
            f"{options.logdir} has no agent to evaluate: pretrain trains a world model "
            "alone. Name a run of finetune, offline or scratch."
        )
    # A failed environment must not become an episode, so it is not restarted.
    settings = settings.update(envs_restart=False, expl_noise=0.0)
    if options.task != ALL:
        result = evaluate(options, settings, logdir, options.task or settings.task)
    else:
        games = blocks.learned_games(settings)
        if not options.trust:
            blocks.check_task(games, logdir / "config.yaml")
        found = {x: evaluate(options, settings, logdir, x, f"{x}_") for x in games}
        result = {"games": found}
    if options.json:
        with atomic.atomic_write(paths.local(options.json)) as file:
            file.write(json.dumps(result).encode() + b"\n")
    cli.show(json.dumps(result))
    return 0


def evaluate(
    options: config.Config,
    settings: config.Config,
    logdir: pathlib.Path,
    task: str,
    prefix: str = "",
) -> dict[str, Any]:
    """Evaluates the agent of a run on a game; returns the figures.

    Args:
        options: The values of `OPTIONS`.
        settings: The configuration of the run.
        logdir: Its folder on this machine.
        task: The game.
        prefix: Begins the names of its videos.
    """
    from dreamerv2_transfer import train
    from dreamerv2_transfer.common import envs

    blocks.game_indices(settings, [task])
    settings, number = settings.update(task=task), min(options.envs, options.episodes)
    if options.dataset:  # It is opened first, as playing takes minutes.
        changes = {"eval_dataset": options.dataset, "eval_batches": options.batches}
        held_out = settings.update(changes, multi_game=False)
        data = train.open_eval_dataset(held_out, logdir)
    with contextlib.closing(make_envs(task, number, settings)) as env:
        with progress.explained("Loading TensorFlow"):
            from dreamerv2_transfer import evaluate as evaluation
            from dreamerv2_transfer import validation

        agent = evaluation.load(settings, logdir, env)
        mode, seed = MODES[options.policy], options.seed
        played = evaluation.play(
            agent, env, mode, options.episodes, seed, keep=options.videos
        )
    planes = envs.native_planes(task)
    evaluation.draw(settings, played.kept, logdir, planes, prefix)
    result = played.summary() | {"policy": options.policy, "task": task, "envs": number}
    if options.dataset:
        agent.rng.reset_from_seed(seed)  # type: ignore[union-attr]
        result["held_out"] = validation.HeldOut(agent.wm, held_out, data).metrics(task)
    return result


def make_envs(task: str, number: int, settings: config.Config):
    from dreamerv2_transfer.common import envs

    try:
        return envs.make_vector_env(task, number, **envs.run_options(settings, task))
    except envs.EnvError as error:
        raise envs.EnvError(
            f"{error} A run of api.train on an environment that has no such name is "
            "evaluated during its training; for one that Gymnasium knows, name it by "
            "--task gym_ID."
        ) from error
