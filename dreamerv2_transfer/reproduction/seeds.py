"""Seeds of a run that train at the same time, each as a run of its own.

LOGDIR/seed0, LOGDIR/seed1, ...   the runs: `train --seed 0 --logdir LOGDIR/seed0`, ...
LOGDIR/logs/                      what they print
LOGDIR/reproduce.json             which of them are done

Each seed is a process, so it makes the numbers of a single run. They share a GPU, which
one small run leaves idle for the most part, or the cores.
"""

from __future__ import annotations

from collections.abc import Sequence

from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.distributed import cores
from dreamerv2_transfer.common.files import paths, remote
from dreamerv2_transfer.reproduction import engines
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.processes import visible_gpus
from dreamerv2_transfer.reproduction.runner import Runner

RETRIES = 2  # How often a seed whose process is killed starts again.


def check(config: Config) -> None:
    """Checks that a run can have several seeds at once.

    Raises:
        ConfigError: Its logdir is a URL or that of a single run, or it is one run of
            several processes.
    """
    if remote.is_remote(config.logdir):
        raise ConfigError(
            "--seeds keeps its logs in a local folder. Start each seed by a command of "
            f"its own, or name a local --logdir. Received: --logdir {config.logdir}"
        )
    if (paths.local(config.logdir) / "config.yaml").exists():
        raise ConfigError(
            f"{config.logdir} has a single run. Choose another --logdir for --seeds, "
            "which makes a folder for each seed in it."
        )
    if config.strategy == "multiworker":
        raise ConfigError(
            "With --seeds each seed is one process, which --seeds starts. Received: "
            "--strategy multiworker"
        )


def jobs(args: Sequence[str], configs: Sequence[Config]) -> list[Job]:
    """Returns a job for each seed.

    Args:
        args: The arguments of `train`, without seed and logdir.
        configs: The configuration of each seed.
    """
    return [
        Job(
            name=f"seed{config.seed}",
            script="train",
            args=(*args, "--seed", str(config.seed), "--logdir", config.logdir),
            needs=(),
            logdir=paths.local(config.logdir),
            units=float(config.steps),
            unit="update",
        )
        for config in configs
    ]


def places(count: int) -> int:
    """Returns how many seeds run at once: all on GPUs, else at most one per core."""
    return count if visible_gpus() else min(count, cores.count())


def run(config: Config, made: Sequence[Job]) -> bool:
    """Runs all seeds; returns whether all of them are done.

    Ctrl-C stops them at their next checkpoint. The same call resumes each of them.

    Args:
        config: A configuration with the logdir of them all.
        made: A job for each seed.

    Raises:
        StudyError: Seeds failed, or another process runs them.
    """
    engine = engines.local(places(len(made)), cores=0)
    return Runner(paths.local(config.logdir), engine, RETRIES).run(made)
