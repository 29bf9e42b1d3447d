"""Runs a study of the paper.

From nothing to a report: DQN players, episodes of all games, world models of all games
but one, then the arms on that one with several seeds, evaluation, analysis and the
report. It prints its plan first; with --dry-run nothing else. The same command resumes
a study that was stopped; finished jobs are not run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dreamerv2_transfer.commands import configuration
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import cli, progress
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.files import paths

if TYPE_CHECKING:
    from dreamerv2_transfer.reproduction.study import Study

SUITES = ("minatar", "atari")
SCALES = {
    "paper": (),
    "small": ("small",),
    "small_v1": ("small_v1",),
    "debug": ("debug",),
}
ENGINES = ("local", "ray")
OPTIONS = {
    "scale": Option("paper", "Size of networks and runs.", (*SCALES,)),
    "seeds": Option(3, "Seeds of each arm.", least=1),
    "logdir": path_option("The folder; by default logdir/reproduce_SUITE_SCALE."),
    "runs": path_option("A URL for runs and episodes, such as s3://bucket/study."),
    "leave_out": Option("", "The new game, such as asterix, or all; else the paper's."),
    "beyond": Option(False, "Also single sublayers frozen, and other pre-trainings."),
    "best": Option([""], "Sublayers, as img_in, that --beyond runs with all seeds."),
    "arms": path_option("Arms: a file NAME.yaml, or the NAME of one in study_arms/."),
    "set": Option([""], "Keys of all jobs: loss_scales.kl=0.1,decoder.cnn_dist=mse."),
    "parallel": Option(0, "Jobs at once; 0 is one per GPU or else per core.", least=0),
    "engine": Option("local", "Run jobs on this machine or a Ray cluster.", ENGINES),
    "cores": Option(0, "Cores of each job; 0 shares them out.", least=0),
    "retries": Option(2, "How often a job that is killed is started again.", least=0),
    "only": Option([""], "Regular expressions for the names of the jobs to run."),
    "dry_run": Option(False, "Print the plan only."),
    "publish": path_option("Runs nothing, but copies small files to this folder."),
}
USAGE = Usage(
    forms=("minatar|atari [--scale paper|small|small_v1|debug] [--seeds 3 ...]",),
    examples={
        "minatar --scale debug": "everything at once, in tiny sizes",
        "minatar --scale small --seeds 3 --dry-run": "the plan and its hours",
        "minatar --scale small --arms leave_one_out": "each game in turn is new",
    },
    options={"": OPTIONS},
    words=SUITES,
)


def main(argv: list[str]) -> int:
    suite, options = parse(argv)

    from dreamerv2_transfer.reproduction import (
        costs,
        engines,
        jobs,
        ledger,
        plan,
        publish,
        runner,
    )
    from dreamerv2_transfer.reproduction import settings as settings_lib

    study = make_study(suite, options)
    logdir = study.logdir
    patterns = [pattern for pattern in options.only if pattern]
    planned = plan.make(study)
    chosen = jobs.select(planned, patterns) if patterns else planned
    if options.dry_run or options.publish:
        engine, parallel = None, engines.places(options.parallel, options.engine)
    else:
        engine = engines.make(
            options.engine,
            options.parallel,
            options.cores,
            is_shared=not options.runs,
        )
        parallel = engine.places
    known = ledger.Ledger(logdir)
    told = costs.describe(chosen, logdir, known, study.blocks, parallel)
    (cli.show if options.dry_run else progress.write)(told)
    if options.publish:
        made = publish.publish(logdir, paths.local(options.publish))
        print(f"Published {len(made)} runs in {options.publish}.")
        return 0
    if engine is None:
        return 0
    arms = {arm.name: arm.definition() for arm in study.arms}
    settings_lib.remember(logdir, study.settings, arms)
    done = runner.Runner(logdir, engine, options.retries).run(chosen)
    for page in sorted(logdir.glob("*/report/index.html")):
        print(f"Report: {page}")
    return 0 if done else cli.INTERRUPTED


def make_study(suite: str, options: Config) -> Study:
    """Returns the study that a command line asks for.

    Raises:
        ConfigError: It names an unknown game or sublayer, or a key or value that the
            jobs would not take; or the file of arms does.
    """
    from dreamerv2_transfer.reproduction import arms_file, settings, study

    blocks = (suite, *SCALES[options.scale])
    chosen, file = settings.read(options.set, blocks), None
    if options.arms:
        place = configuration.shipped("--arms", options.arms, configuration.arms())
        file = arms_file.read(place, blocks)
        chosen = {**file.settings, **chosen}
    config = settings.of_study(blocks, chosen)
    named = file.new_games(config) if file and not options.leave_out else ()
    logdir = options.logdir or f"logdir/reproduce_{suite}_{options.scale}"
    return study.Study(
        blocks=blocks,
        config=config,
        logdir=paths.local(logdir).resolve(),
        seeds=options.seeds,
        new=named or study.new_games(config, options.leave_out),
        beyond=options.beyond,
        best=study.sublayers(options.best),
        settings=chosen,
        arms=file.arms(config, chosen, options.seeds) if file else (),
        runs=options.runs,
    )


def parse(argv: list[str]) -> tuple[str, Config]:
    """Returns the suite, and the options."""
    suite, *rest = argv
    options_lib.check_choice("The study", suite, SUITES)
    options = options_lib.parse(OPTIONS, rest)

    from dreamerv2_transfer.common.files import remote

    if remote.is_remote(options.logdir):
        raise ConfigError(
            "A study keeps its pages and logs in a local folder; its runs may be on a "
            f"store: --runs {options.logdir}. Received: --logdir {options.logdir}"
        )
    if options.runs and not remote.is_remote(options.runs):
        raise ConfigError(
            "--runs is a URL, such as s3://bucket/study; runs on this machine are in "
            f"--logdir. Received: --runs {options.runs}"
        )
    if options.runs and options.publish:
        raise ConfigError(
            "--publish copies from one folder. Copy the runs from the store to "
            f"--logdir first, and leave --runs out. Received: --runs {options.runs}"
        )
    if options.arms and options.beyond:
        raise ConfigError(
            "--beyond adds arms to the paper's. Leave it out, and name them in the "
            f"file of --arms. Received: --arms {options.arms}"
        )
    return suite, options
