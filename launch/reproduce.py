"""Runs a study of the paper. `python launch/reproduce.py minatar --scale small`

From nothing to a report: DQN players, episodes of all games, world models of all games
but one, then the arms on that one with several seeds, evaluation, analysis and the
report. It prints its plan first; with `--dry-run` nothing else. The same command
resumes a study that was stopped; finished jobs are not run again.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import sys

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import cli, config, flags
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.reproduction import costs, jobs, plan, publish, runner
from dreamerv2_transfer.reproduction.study import Study, new_games, sublayers

SUITES = ("minatar", "atari")
SCALES = {"paper": (), "small": ("small",), "debug": ("debug",)}
OPTIONS = {
    "scale": "paper",  # paper, small or debug
    "seeds": 3,  # Of each arm.
    "logdir": "",  # '' is logdir/reproduce_SUITE_SCALE.
    "leave_out": "",  # The new game, such as asterix; '' is the paper's; or all.
    "beyond": False,  # Also single frozen sublayers, and other lengths of pre-training.
    "best": [""],  # Sublayers, such as img_in, that --beyond runs with all seeds.
    "parallel": 0,  # Jobs at the same time; 0 is one per GPU or, without any, per core.
    "only": [""],  # Regular expressions: only jobs whose names contain one.
    "dry_run": False,
    "publish": "",  # Runs nothing, but copies small files of the study to this folder.
}
BARE = ("--dry-run", "--beyond")  # Flags that need no value.


def main(argv: list[str]) -> int:
    suite, options = parse(argv)
    blocks = (suite, *SCALES[options.scale])
    settings = blocks_lib.load_config(blocks, [])
    logdir = options.logdir or f"logdir/reproduce_{suite}_{options.scale}"
    logdir = pathlib.Path(logdir).expanduser().resolve()
    new, best = new_games(settings, options.leave_out), sublayers(options.best)
    study = Study(blocks, settings, logdir, options.seeds, new, options.beyond, best)
    patterns = [pattern for pattern in options.only if pattern]
    planned = plan.make(study)
    chosen = jobs.select(planned, patterns) if patterns else planned
    cores, gpus = len(os.sched_getaffinity(0)), runner.visible_gpus()
    parallel = options.parallel or len(gpus) or cores
    running = runner.Runner(logdir, parallel, cores, gpus)
    told = costs.describe(chosen, logdir, running.ledger, blocks, parallel)
    print(told, flush=True)
    if options.publish:
        made = publish.publish(logdir, pathlib.Path(options.publish).expanduser())
        print(f"Published {len(made)} runs in {options.publish}.")
        return 0
    if options.dry_run:
        return 0
    return 0 if running.run(chosen) else cli.INTERRUPTED


def parse(argv: list[str]) -> tuple[str, config.Config]:
    """Returns the suite, and the options."""
    suite, rest = (argv[0], argv[1:]) if argv else ("", [])
    if suite not in SUITES and suite != "--help":
        raise config.ConfigError(
            f"Name the study first: {' or '.join(SUITES)}. Received: {suite}"
        )
    written = []
    for argument, after in itertools.zip_longest(rest, rest[1:], fillvalue="--"):
        bare = argument in BARE and after.startswith("--")
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            name = f"--{name[2:].replace('-', '_')}"
        written += [f"{name}{equals}{value}", *(["True"] if bare else [])]
    options = flags.Flags(OPTIONS).parse([suite] if suite == "--help" else written)
    if options.scale not in SCALES:
        raise config.ConfigError(
            f"--scale is one of {', '.join(SCALES)}. Received: {options.scale}"
        )
    if remote.is_remote(options.logdir):
        raise config.ConfigError(
            "A study works in one local folder, as its jobs read what others wrote. "
            f"Received: --logdir {options.logdir}"
        )
    config.check_least(options, {"seeds": 1, "parallel": 0})
    return suite, options


if __name__ == "__main__":
    sys.exit(cli.run(main))
