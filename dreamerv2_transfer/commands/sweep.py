"""Searches for a better configuration by many short runs.

A small file names keys with ranges or choices. In each trial Optuna draws their values,
by what came out so far, and runs train with them, on one game or on several; the first
trial is the configuration as it is. Trials that are worse than others at the same time
are pruned. It writes a page with tables and figures, results.csv, results.json, and
best.yaml, which --configs takes. The same command resumes a sweep that was stopped,
with the trials that were under way, and adds trials if --trials is more. It needs the
extra: pip install '.[sweep]'.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dreamerv2_transfer.commands import configuration
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import cli
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.distributed import cores
from dreamerv2_transfer.common.files import paths

if TYPE_CHECKING:
    from dreamerv2_transfer.sweeps.plan import Plan

PRUNERS = ("median", "halving", "none")
OPTIONS = {
    "space": path_option(
        "The search space: a file NAME.yaml, or the NAME of one in sweep_spaces/.",
        is_required=True,
    ),
    "logdir": path_option("The folder; by default logdir/sweep_NAME."),
    "trials": Option(20, "Trials in all.", least=1),
    "parallel": Option(0, "Jobs at once; 0 is one per GPU or else per core.", least=0),
    "failures": Option(3, "Failed trials in a row that end the sweep.", least=1),
}
JUDGED = {
    "games": Option([""], "Games of each trial; by default the key task."),
    "seeds": Option(1, "Seeds of each game, from the key seed on.", least=1),
    "objective": Option(
        "",
        "Metric, as its mean over the last fifth of a run; by default the return of "
        "training episodes, normalized if there are several games.",
    ),
    "minimize": Option(False, "Look for a low value instead of a high one."),
    "minutes": Option(0.0, "Budget of a run; 0 is --steps updates.", least=0),
    "prune": Option("median", "How trials are pruned.", PRUNERS),
}
USAGE = Usage(
    forms=("--space SPACE --configs BLOCK [...] [--trials 20 ...] [--KEY VALUE ...]",),
    examples={
        "--space minatar --configs minatar small scratch "
        "--steps 2000": "20 trials of 2,000 updates on Space Invaders",
        "--space minatar --configs minatar small scratch "
        "--games minatar_breakout minatar_seaquest --minutes 15": (
            "the same, on two games, each for 15 minutes"
        ),
    },
    options={
        "": OPTIONS,
        "How trials are judged": JUDGED,
        "Blocks": configuration.TEMPLATE | configuration.TRUST,
    },
    blocks=True,
)


def main(argv: list[str]) -> int:
    options, rest = options_lib.parse_known(OPTIONS | JUDGED, argv)

    from dreamerv2_transfer.plotting.report import PAGE
    from dreamerv2_transfer.reproduction.processes import Processes, visible_gpus
    from dreamerv2_transfer.sweeps import results, runner, search

    search.load_optuna()
    plan = make_plan(options, rest)
    available, gpus = cores.count(), visible_gpus()
    parallel = options.parallel or len(gpus) or available
    print(f"Logdir {plan.logdir}", flush=True)
    if plan.baseline is None:
        print("The configuration as it is lies outside of the space and is not tried.")
    pool = Processes(parallel, available, gpus)
    try:
        done = runner.run(plan, pool, options.trials, options.failures, options.prune)
    finally:
        for name in (PAGE, results.BEST):
            if (plan.logdir / name).exists():
                cli.show(f"Saved {plan.logdir / name}")
    return 0 if done else cli.INTERRUPTED


def make_plan(options: Config, argv: Sequence[str]) -> Plan:
    """Returns the sweep that a command line asks for.

    Args:
        options: The command's own options.
        argv: The other arguments, which each run gets too.

    Raises:
        ConfigError: The configuration, the space or an option does not allow a sweep.
    """
    from dreamerv2_transfer import train
    from dreamerv2_transfer.sweeps import plan, space

    stages = ", ".join(train.STAGES)
    hint = f"Name the stage of the trials in --configs: one of {stages}."
    config = configuration.load(argv, train.STAGES, hint)
    train.check(config)
    file = space_file(options.space)
    searched = space.read(file, config)
    games = _games(options.games, config)
    steps_given = configuration.resolve(argv).origins["steps"] == "--steps"
    updates = int(config.steps)
    if options.minutes and not steps_given:
        updates = plan.ENDLESS
    if config.log_every > updates:
        raise ConfigError(
            "A run logs nothing within its budget. Received: "
            f"log_every={config.log_every:g}, steps={updates}. Set a lower --log_every."
        )
    blocks, flags = configuration.split(argv)
    return plan.Plan(
        logdir=_logdir(options.logdir or f"logdir/sweep_{file.stem}"),
        blocks=blocks,
        flags=tuple(flags),
        games=games,
        seeds=tuple(range(config.seed, config.seed + options.seeds)),
        space=searched,
        objective=plan.make_objective(
            options.objective, options.minimize, games, searched
        ),
        updates=updates,
        minutes=options.minutes,
        baseline=searched.baseline(config),
    )


def space_file(name: str) -> pathlib.Path:
    """Returns the file of a search space, given its path or a shipped one's name.

    Raises:
        ConfigError: There is none of this name.
    """
    return configuration.shipped("--space", name, configuration.spaces())


def _logdir(folder: str) -> pathlib.Path:
    from dreamerv2_transfer.common.files import remote

    if remote.is_remote(folder):
        raise ConfigError(
            "A sweep works in one local folder, as it reads what its runs log. "
            f"Received: --logdir {folder}"
        )
    return paths.local(folder).resolve()


def _games(named: Sequence[str], config: Config) -> tuple[str, ...]:
    """Returns the games of a trial; '' mixes those of the key `tasks`."""
    games = tuple(game for game in named if game)
    if len({*games}) < len(games):
        raise ConfigError(f"--games names a game twice. Received: {' '.join(games)}")
    if config.get("multi_game"):
        raise ConfigError(
            "A sweep trains one agent on each game: name the games by --games. "
            f"Received: --tasks {' '.join(config.tasks)}, which is one agent for all."
        )
    if config.stage != "pretrain":
        return games or (config.task,)
    if games:
        raise ConfigError(
            "Pre-training mixes the games of --tasks. Received: --games "
            f"{' '.join(games)}"
        )
    return ("",)
