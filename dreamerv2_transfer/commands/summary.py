"""What a command says at its end: where things are, and what to do next."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.text import Text

from dreamerv2_transfer.commands import configuration, program, screen
from dreamerv2_transfer.common import blocks, flags
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.distributed import cluster
from dreamerv2_transfer.common.files import paths
from dreamerv2_transfer.plotting import metrics_file

# What a run may leave in its folder.
FILES = {
    "metrics.jsonl": "all metrics, which plot and report draw",
    "world_model.weights.h5": "the world model, from which finetune starts",
    "actor_critic.weights.h5": "actor and critic, which evaluate plays",
    "model_*.weights.h5": "players, with which collect plays",
    "videos": "predictions and episodes as GIFs",
    "dataset": "the episodes that were collected",
    "train_episodes": "the episodes that were played",
    "checkpoints": "all state, from which the same command resumes",
    "config.yaml": "the configuration",
}
METRICS = (
    *("eval_return_mean", "train_return", "eval_model_error", "model_error"),
    *("eval_reward_auc", "eval_reward_auc_dreamed"),
)
TAIL = 1 << 17  # Bytes at the end of the metrics that are searched for the last values.
# Keys of one run alone; the next run's networks and games are like this one's.
OWN = (
    *("logdir", "seed", "steps", "log_every", "eval_every", "checkpoint_every"),
    *("stage", "task", "init.path", "init.components", "dataset.directory"),
    *("eval_dataset", "collect.steps", "dqn.checkpoints"),
)
ALIKE = ("minatar", "atari")  # Suites whose games can all be played by one agent.
PLACEHOLDER = "GAME"

Step = tuple[str, list[str]]


def print_run(
    command: str, argv: Sequence[str], config: Config, folder: pathlib.Path, done: bool
) -> None:
    """Prints the summary of a run, unless another process of it does.

    Args:
        command: The command, such as `train`.
        argv: What was typed after it.
        config: The run's configuration.
        folder: The run's folder on this machine.
        done: Whether the run is complete.
    """
    if not cluster.is_chief(config):
        return
    out = screen.console()
    if done:
        reached = ", ".join(f"{name} {value:.4g}" for name, value in last(folder))
        out.print("\nDone" + (f": {reached}" if reached else ""), style=screen.HEADING)
        out.print(f"\nIn {config.logdir}", style=screen.HEADING)
        for name, text in FILES.items():
            if any(folder.glob(name)):
                out.print(screen.entry(Text(name, screen.NAME), text, out.width))
    print_next(command, argv, config, done)


def print_seeds(
    argv: Sequence[str], config: Config, logdirs: Sequence[str], done: bool
) -> None:
    """Prints what each of a run's seeds reached, and what to do next.

    Args:
        argv: What was typed after `train`.
        config: The configuration of all seeds; its logdir has those of the seeds.
        logdirs: The logdirs of the seeds.
        done: Whether all are complete.
    """
    if not done:
        return print_next("train", argv, config, done)
    out = screen.console()
    out.print("\nDone", style=screen.HEADING)
    for logdir in map(paths.local, logdirs):
        reached = ", ".join(f"{name} {value:.4g}" for name, value in last(logdir))
        out.print(screen.entry(Text(logdir.name, screen.NAME), reached, out.width))
    plot = ["plot", "--runs", _shown(config.logdir), "--out", "curves.png"]
    _print_steps([("Draw their curves", plot)])
    return None


def print_next(command: str, argv: Sequence[str], config: Config, done: bool) -> None:
    """Prints commands to copy: what can be done next or, if not done, how to resume."""
    steps = next_steps(argv, config) if done else [("Resume", [command, *argv])]
    _print_steps(steps)


def _print_steps(steps: Iterable[Step]) -> None:
    out = screen.console()
    for title, words in steps:
        name, *rest = words
        start = program.words(name) if name in program.COMMANDS else [name]
        out.print(f"\n{title}", style=screen.HEADING)
        out.print(f"  {shlex.join([*start, *rest])}")


def last(folder: pathlib.Path) -> Iterator[tuple[str, float]]:
    """Yields the last step that was logged, and the last values of `METRICS`."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().splitlines()
    found: dict[str, Any] = {}
    for line in lines:  # The first may be cut.
        found |= metrics_file.parse(line) or {}
    for name in ("step", *METRICS):
        if metrics_file.is_number(found.get(name)):
            yield name, found[name]


def next_steps(argv: Sequence[str], config: Config) -> Iterator[Step]:
    """Yields what can be done next: titles, and commands with their arguments."""
    logdir = _shown(config.logdir)
    if config.stage == "collect":
        data = config.dataset.directory or f"{logdir}/dataset"
        yield "Look at the episodes", ["dataset", "info", data]
        train = ["train", *_next(argv, config, "pretrain")]
        yield "Pre-train a world model", [*train, "--dataset.directory", data]
    elif config.stage == "dqn":
        yield "Draw its curves", ["plot", "--runs", logdir, "--out", "curves.png"]
        # A folder with a folder for each game, as it is by default.
        players = str(pathlib.PurePath(logdir).parent)
        collect = ["collect", *_next(argv, config, "collect"), "--tasks", config.task]
        collect += ["--dqn.checkpoints", players]
        yield (
            "Collect episodes",
            [*collect, "--dataset.directory", f"{players}/dataset"],
        )
    elif config.stage == "pretrain":
        yield "Watch its curves", ["tensorboard", "--logdir", logdir]
        tasks = ["--task", ",".join(_playable(config.tasks))]
        yield "Analyse what it knows", ["analyze", "--logdir", logdir, *tasks]
        train = ["train", *_next(argv, config, "finetune"), "--init", logdir]
        train += ["--task", _new_game(config), "--logdir", f"{logdir}_finetune"]
        yield "Fine-tune an agent", train
    else:
        evaluate = ["evaluate", "--logdir", logdir, "--episodes", "100"]
        if len(blocks.learned_games(config)) > 1:
            evaluate += ["--task", "all"]
        trust = ["--trust"] if blocks.IMPORTS.match(config.task) else []
        yield "Evaluate the agent", [*evaluate, *trust]
        yield "Draw its curves", ["plot", "--runs", logdir, "--out", "curves.png"]


def _shown(logdir: str) -> str:
    """Returns a logdir as an argument, which would be a flag if it began like one."""
    logdir = logdir.rstrip("/")
    return f"./{logdir}" if logdir.startswith("--") else logdir


def _playable(tasks: Sequence[str]) -> list[str]:
    """Returns those of a dataset's tasks that are games, or else a placeholder.

    The folders of an own dataset may have any names.
    """
    from dreamerv2_transfer.common.envs import suites

    found = [task for task in tasks if task.partition("_")[0] in suites.SUITES]
    return found or [PLACEHOLDER]


def _new_game(config: Config) -> str:
    """Returns a game whose observations and actions are those of the pre-training.

    The task is that of a block, which knows nothing of an own dataset's games.
    """
    suites = {task.partition("_")[0] for task in config.tasks}
    fits = config.task.partition("_")[0] in suites & set(ALIKE)
    return config.task if fits else _playable(config.tasks)[0]


def _next(argv: Sequence[str], config: Config, stage: str) -> list[str]:
    """Returns the arguments of the next stage that the typed ones are kept in."""
    own = {key: config[key] for key in OWN}
    if stage != "pretrain":
        own["tasks"] = config.tasks
    names, rest = configuration.split(argv)
    _, kept = flags.Flags(own).parse_known(rest)
    # A stage's block, and what belongs to fine-tuning.
    sizes = (x for x in names if x not in config.stages and not x.startswith("freeze_"))
    return ["--configs", *sizes, stage, *kept]
