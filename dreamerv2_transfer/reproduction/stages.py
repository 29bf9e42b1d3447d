"""A stage of a study: a command, what it waits for, and what it costs."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Sequence

from dreamerv2_transfer.common.config import ConfigError


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command that goes on by itself where it was stopped.

    Attributes:
        name: Of the stage, and of its log.
        script: In `launch/`, without the ending.
        args: The command line.
        needs: Names of the stages that come before.
        logdir: What it makes.
        units: How much of its work there is.
        unit: What that counts, a key of the costs.
    """

    name: str
    script: str
    args: tuple[str, ...]
    needs: tuple[str, ...]
    logdir: pathlib.Path
    units: float
    unit: str


def select(stages: Sequence[Stage], patterns: Iterable[str]) -> list[Stage]:
    """The stages in whose names one of some regular expressions is found.

    Raises:
        ConfigError: A pattern is none, or finds nothing.
    """
    try:
        wanted = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise ConfigError(f"--only takes regular expressions: {error}.") from error
    for pattern in wanted:
        if not any(pattern.search(stage.name) for stage in stages):
            names = ", ".join(stage.name for stage in stages)
            raise ConfigError(
                f"--only finds no stage. Received: {pattern.pattern}; there are {names}"
            )
    return [s for s in stages if any(pattern.search(s.name) for pattern in wanted)]
