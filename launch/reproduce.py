"""Runs a study of the paper. `python launch/reproduce.py minatar --scale small`

From nothing to a report: DQN agents, episodes of all games, world models of all games
but one, then the arms on that one, for several seeds, evaluation, analysis and the
report. It prints its plan first; `--dry-run` is that alone. The same command goes on
with a study that was stopped; what is done stays done.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
from collections.abc import Sequence

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import cli, config, flags
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.reproduction import plan, publish, runner, stages

SUITES = ("minatar", "atari")
SCALES = {"paper": (), "small": ("small",), "debug": ("debug",)}
OPTIONS = {
    "scale": "paper",  # paper, small or debug
    "seeds": 3,  # Of each arm.
    "logdir": "",  # '' is logdir/reproduce_SUITE_SCALE.
    "leave_out": "",  # The new game, such as asterix; '' is the paper's; or all.
    "beyond": False,  # Single frozen sublayers, and other lengths of pre-training too.
    "best": [""],  # Sublayers such as img_in, of which --beyond runs all seeds.
    "parallel": 0,  # Stages at the same time; 0 is one a GPU or, without, one a core.
    "only": [""],  # Regular expressions; stages in whose names one is found.
    "dry_run": False,
    "publish": "",  # A folder for small files of what is there, in place of running.
}
BARE = ("--dry-run", "--beyond")  # Which stand for themselves.
# Of minatar small, on a core of a virtual AMD EPYC (Zen 5) at 3 to 4 GHz; until stages
# of this study say it better. The atari blocks take so many times as long an update.
SECONDS = {
    "step of an agent": 9e-4,
    "step collected": 1e-4,
    "update of a world model": 0.04,
    "update of an agent": 0.09,
    "episode evaluated": 0.1,
    "frame analysed": 2e-3,
    "report": 10.0,
}
# Against `minatar small`: by their operations and by what was measured.
SLOWER = {("minatar",): 25, ("minatar", "small"): 1, ("atari",): 60}
# Bytes on disk of a stage: checkpoints, videos and logs of a run, or of 1,000 steps.
MEBIBYTES = {"step collected": 3e-4, "update of an agent": 6e-3}


def main(argv: list[str]) -> int:
    suite, options = parse(argv)
    blocks = (suite, *SCALES[options.scale])
    settings = blocks_lib.load_config(blocks, [])
    logdir = options.logdir or f"logdir/reproduce_{suite}_{options.scale}"
    logdir = pathlib.Path(logdir).expanduser().resolve()
    study = plan.Study(
        blocks,
        settings,
        logdir,
        options.seeds,
        plan.new_games(settings, options.leave_out),
        options.beyond,
        plan.sublayers(options.best),
    )
    wanted = [pattern for pattern in options.only if pattern]
    made = plan.make(study)
    chosen = stages.select(made, wanted) if wanted else made
    cores = len(os.sched_getaffinity(0))
    names = gpus()
    parallel = options.parallel or len(names) or cores
    run = runner.Runner(logdir, parallel, cores, names)
    print(describe(chosen, run, blocks, parallel), flush=True)
    if options.publish:
        made = publish.publish(logdir, pathlib.Path(options.publish).expanduser())
        print(f"Published {len(made)} runs in {options.publish}.")
        return 0
    if options.dry_run:
        return 0
    return 0 if run.run(chosen) else cli.INTERRUPTED


def parse(argv: Sequence[str]) -> tuple[str, config.Config]:
    """The suite, and the options."""
    suite, rest = (argv[0], argv[1:]) if argv else ("", [])
    if suite not in SUITES and suite != "--help":
        raise config.ConfigError(
            f"Name the study first: {' or '.join(SUITES)}. Received: {suite}"
        )
    rest = [suite] if suite == "--help" else written_out(rest)
    options = flags.Flags(OPTIONS).parse(rest)
    if options.scale not in SCALES:
        raise config.ConfigError(
            f"--scale is one of {', '.join(SCALES)}. Received: {options.scale}"
        )
    if remote.is_remote(options.logdir):
        raise config.ConfigError(
            "A study works in one local folder, as its stages read what others wrote. "
            f"Received: --logdir {options.logdir}"
        )
    config.check_least(options, {"seeds": 1, "parallel": 0})
    return suite, options


def written_out(argv: Sequence[str]) -> list[str]:
    """With the values of flags that stand for themselves, and `_` for `-` in names."""
    result = []
    for argument, after in zip(argv, [*argv[1:], "--"], strict=True):
        name = argument.split("=")[0]
        if argument.startswith("--"):
            argument = (
                name.replace("-", "_").replace("__", "--", 1) + argument[len(name) :]
            )
        bare = name in BARE and "=" not in argument and after.startswith("--")
        result += [argument, "True"] if bare else [argument]
    return result


def gpus() -> list[str]:
    """The GPUs to be used, as `CUDA_VISIBLE_DEVICES` names them.

    Those that NVIDIA's driver lists: TensorFlow would take seconds to say so.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    folder = pathlib.Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(folder.glob("*"))))]


def describe(chosen, run: runner.Runner, blocks: tuple[str, ...], parallel: int) -> str:
    """The plan: what is done, and what the rest will take on this machine."""
    factor = SLOWER.get(blocks, 1)
    known = run.costs()
    rows, total, disk = [("stage", "work", "minutes", "needs")], 0.0, 0.0
    for stage in chosen:
        cost = known.get(stage.unit, SECONDS[stage.unit] * factor)
        done = run.is_done(stage)
        total += 0 if done else stage.units * cost
        disk += 0 if done else stage.units * MEBIBYTES.get(stage.unit, 0)
        minutes = "done" if done else f"{stage.units * cost / 60:.1f}"
        needs = ", ".join(stage.needs[:3]) + (", ..." if len(stage.needs) > 3 else "")
        rows.append((stage.name, f"{stage.units:,.0f} x {stage.unit}", minutes, needs))
    source = "as measured here" if known else "guessed from another machine"
    free = shutil.disk_usage(existing(run.logdir)).free / 2**30
    return (
        config.table(f"{len(chosen)} stages in {run.logdir}:", rows)
        + f"\nAbout {total / 3600 / parallel:.1f} hours, {parallel} at a time "
        f"({source}); {disk / 1024:.1f} GiB of disk, {free:.1f} are free."
    )


def existing(path: pathlib.Path) -> pathlib.Path:
    return next(p for p in (path, *path.parents) if p.exists())


if __name__ == "__main__":
    sys.exit(cli.run(main))
