"""Evaluates. `python launch/evaluate.py --logdir LOGDIR [--episodes 100 ...]`

Plays whole episodes with the agent of an online run (`finetune` or `scratch`) and
prints, on the last line, a JSON object: `episodes`, `return_mean`, `return_ci95`,
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

from dreamerv2_transfer.common import blocks, cli, config, envs, flags, progress
from dreamerv2_transfer.common.files import atomic, remote
from dreamerv2_transfer.common.logger import video

OPTIONS = {
    "logdir": "",  # Of the run.
    "episodes": 100,
    "seed": 0,  # Of environments and policy.
    "policy": "greedy",  # The mode of the actor, or `sampled` from it.
    "task": "",  # '' is the run's own.
    "envs": 16,  # Environments that are stepped together.
    "videos": 0,  # Episodes to draw, as LOGDIR/videos/evaluate_NUMBER_image.gif.
    "dataset": "",  # A folder, on whose held-out episodes the world model is tried.
    "batches": 50,  # Of these, of the size of the run's.
    "json": "",  # A file for the figures.
}
MODES = {"greedy": "eval", "sampled": "train"}


def main(argv: list[str]) -> int:
    options = flags.Flags(OPTIONS).parse(argv)
    check(options)
    logdir = remote.fetched(options.logdir, *remote.WEIGHTS)
    settings, notes = blocks.load_old(logdir / "config.yaml")
    print(*notes, sep="\n", end="")
    task = options.task or settings.task
    number = min(options.envs, options.episodes)
    # A failed environment is no episode, so none is replaced here.
    settings = settings.update(envs_restart=False, expl_noise=0.0)
    make = make_envs(task, number, settings)
    with contextlib.closing(make) as env:
        agent = load(settings, logdir, env)
        played = play(options, agent, env)
    draw(played.kept, logdir, settings, envs.native_planes(task))
    result = {
        **played.summary(),
        "policy": options.policy,
        "task": task,
        "envs": number,
    }
    if options.dataset:
        result["held_out"] = held_out(options, settings, task, logdir, agent)
    if options.json:
        with atomic.atomic_write(pathlib.Path(options.json).expanduser()) as file:
            file.write(json.dumps(result).encode() + b"\n")
    print(json.dumps(result))
    return 0


def make_envs(task: str, number: int, settings: config.Config):
    try:
        return envs.make_vector_env(task, number, **envs.run_options(settings, task))
    except envs.EnvError as error:
        raise envs.EnvError(
            f"{error} A run of api.train on an environment that has no such name is "
            "evaluated during its training; for one that Gymnasium knows, name it by "
            "--task gym_ID."
        ) from error


def check(options: config.Config) -> None:
    if not options.logdir:
        raise config.ConfigError("Name the run to evaluate: --logdir LOGDIR.")
    for name in ("episodes", "envs", "batches"):
        if options[name] < 1:
            raise config.ConfigError(
                f"--{name} must be at least 1. Received: {options[name]}"
            )
    if options.seed < 0:
        raise config.ConfigError(
            f"--seed must not be negative. Received: {options.seed}"
        )
    if options.policy not in MODES:
        raise config.ConfigError(
            f"--policy is one of {', '.join(MODES)}. Received: {options.policy}"
        )


def load(settings: config.Config, logdir: pathlib.Path, env):
    """The agent with the run's weights."""
    from dreamerv2_transfer import agent as agent_lib
    from dreamerv2_transfer.common import machine
    from dreamerv2_transfer.transfer import weights

    actor_critic = weights.find_weights(logdir, weights.ACTOR_CRITIC)
    world_model = weights.find_weights(logdir)
    print(machine.setup(settings), flush=True)
    spaces = envs.obs_space(env), envs.act_space(env)
    agent = agent_lib.make_agent(settings, *spaces)
    weights.load_weights(world_model, agent.wm.components)
    weights.load_weights(actor_critic, agent.task_behavior.components)
    return agent


def play(options, agent, env):
    """Whole episodes."""
    from dreamerv2_transfer import agent as agent_lib
    from dreamerv2_transfer import evaluate

    agent.rng.reset_from_seed(options.seed)
    with progress.Progress(options.episodes, 0, "Evaluation", "episode") as bar:
        return evaluate.evaluate(
            agent_lib.acting(agent, MODES[options.policy]),
            env,
            options.episodes,
            options.seed,
            keep=options.videos,
            on_episode=bar.update,
        )


def held_out(options, settings, task: str, logdir: pathlib.Path, agent) -> dict:
    """Losses of the world model on a dataset's episodes that none is trained on."""
    from dreamerv2_transfer import validation

    changes = {"task": task, "eval_dataset": options.dataset}
    settings = settings.update(changes, eval_batches=options.batches)
    dataset = validation.open_dataset(settings, logdir)
    agent.rng.reset_from_seed(options.seed)
    return validation.HeldOut(agent.wm, settings, dataset).losses(task)


def draw(episodes, logdir: pathlib.Path, settings, planes: int | None) -> None:
    """Saves the kept episodes as GIFs."""
    for number, episode in enumerate(episodes):
        for key in [k for k, v in episode.items() if v.ndim == 4]:
            images = episode[key][: settings.video.episode]
            frames = video.episode(images, settings.video.scale, planes)
            path = logdir / "videos" / f"evaluate_{number}_{key}.gif"
            video.save_gif(path, frames, settings.video.fps)
            print(f"Saved {path}.")


if __name__ == "__main__":
    sys.exit(cli.run(main))
