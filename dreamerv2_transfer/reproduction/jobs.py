"""A job of a study: a command, what it waits for, and what it costs."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Sequence

from dreamerv2_transfer.common.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Job:
    """A command that resumes where it was stopped.

    Attributes:
        name: Name of the job, and of its log.
        script: The command, called like its script in `launch/`.
        args: The command line.
        needs: Names of the jobs that must be done before.
        logdir: What it writes.
        units: How much work it is.
        unit: What these units count, a key of the costs.
        here: Whether it writes into the study's own folder, wherever the runs are.
        store: The URL to which it writes a run or episodes; '' if that is `logdir`.
    """

    name: str
    script: str
    args: tuple[str, ...]
    needs: tuple[str, ...]
    logdir: pathlib.Path
    units: float
    unit: str
    here: bool = False
    store: str = ""


def select(jobs: Sequence[Job], patterns: Iterable[str]) -> list[Job]:
    """Returns the jobs in whose names one of some regular expressions is found.

    Raises:
        ConfigError: A pattern is not a regular expression, or finds nothing.
    """
    try:
        expressions = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise ConfigError(f"--only takes regular expressions: {error}.") from error
    for expression in expressions:
        if not any(expression.search(job.name) for job in jobs):
            raise ConfigError(
                f"--only finds no job. Received: {expression.pattern}; the jobs are "
                f"{', '.join(job.name for job in jobs)}"
            )
    return [job for job in jobs if any(x.search(job.name) for x in expressions)]
