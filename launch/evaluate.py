"""Evaluates. `python launch/evaluate.py --logdir LOGDIR [--episodes 100 ...]`

Plays whole episodes with the agent of an online run (`finetune` or `scratch`) and
prints a JSON object on the last line: `episodes`, `return_mean`, `return_ci95`,
`length_mean`, `seed`, `policy`, `task`, `envs`; with `--dataset` also `held_out`, the
world model's losses. The same command gives the same figures.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dreamerv2_transfer import train
from dreamerv2_transfer.common import blocks, cli, config, envs, flags
from dreamerv2_transfer.common.files import atomic, remote

OPTIONS = {
    "logdir": "",  # The run's folder.
    "episodes": 100,
    "seed": 0,  # The seed of environments and policy.
    "policy": "greedy",  # The mode of the actor; `sampled` samples from it.
    "task": "",  # The task to play; '' is the run's own.
    "envs": 16,  # Environments that are stepped together.
    "videos": 0,  # Episodes to draw, as LOGDIR/videos/evaluate_NUMBER_image.gif.
    "dataset": "",  # A folder, on whose held-out episodes the world model is tried.
    "batches": 50,  # The number of their batches, which have the run's size.
    "json": "",  # A file for the figures.
}
MODES = {"greedy": "eval", "sampled": "train"}


def main(argv: list[str]) -> int:
    options = flags.Flags(OPTIONS).parse(argv)
    check(options)
    logdir = remote.fetched(options.logdir, *remote.WEIGHTS)
    settings, notes = blocks.load_old(logdir / "config.yaml")
    print(*notes, sep="\n", end="")
    # A failed environment must not become an episode, so it is not restarted.
    settings = settings.update(envs_restart=False, expl_noise=0.0)
    task, number = options.task or settings.task, min(options.envs, options.episodes)
    chosen = {"policy": options.policy, "task": task, "envs": number}
    with contextlib.closing(make_envs(task, number, settings)) as env:
        from dreamerv2_transfer import evaluate, validation

        agent = evaluate.load(settings, logdir, env)
        mode, seed = MODES[options.policy], options.seed
        played = evaluate.play(
            agent, env, mode, options.episodes, seed, keep=options.videos
        )
    evaluate.draw(settings, played.kept, logdir, envs.native_planes(task))
    result = {**played.summary(), **chosen}
    if options.dataset:
        changes = {"task": task, "eval_dataset": options.dataset}
        settings = settings.update(changes, eval_batches=options.batches)
        dataset = train.open_eval_dataset(settings, logdir)
        agent.rng.reset_from_seed(seed)
        held_out = validation.HeldOut(agent.wm, settings, dataset)
        result["held_out"] = held_out.losses(task)
    if options.json:
        with atomic.atomic_write(pathlib.Path(options.json).expanduser()) as file:
            file.write(json.dumps(result).encode() + b"\n")
    print(json.dumps(result))
    return 0


def check(options: config.Config) -> None:
    if not options.logdir:
        raise config.ConfigError("Name the run to evaluate: --logdir LOGDIR.")
    least = {"episodes": 1, "envs": 1, "batches": 1, "seed": 0, "videos": 0}
    config.check_least(options, least)
    if options.policy not in MODES:
        raise config.ConfigError(
            f"--policy is one of {', '.join(MODES)}. Received: {options.policy}"
        )


def make_envs(task: str, number: int, settings: config.Config):
    try:
        return envs.make_vector_env(task, number, **envs.run_options(settings, task))
    except envs.EnvError as error:
        raise envs.EnvError(
            f"{error} A run of api.train on an environment that has no such name is "
            "evaluated during its training; for one that Gymnasium knows, name it by "
            "--task gym_ID."
        ) from error


if __name__ == "__main__":
    sys.exit(cli.run(main))
