"""What a sweep runs: the jobs of each trial, and how the trial is judged."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.sweeps.space import Space, as_text

RETURN = "train_return"
ENDLESS = 10**9  # Updates of a run that only its minutes end.
# Share of the steps until a moment over which an objective is averaged: a line of the
# log holds few episodes.
RECENT = 0.2


@dataclasses.dataclass(frozen=True)
class Objective:
    """What makes a trial good.

    Attributes:
        metric: As it is logged.
        minimize: Whether less of it is better.
        returns: By game, the returns that become 0 and 1; empty to take the metric as
            it is.
    """

    metric: str
    minimize: bool = False
    returns: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """What to call it."""
        return f"normalized {self.metric}" if self.returns else self.metric

    def level(self, series: Series | None, until: float) -> float | None:
        """Returns the mean over the last `RECENT` of the steps until a step.

        If none was logged there, that is the last value before; None without any.
        """
        steps, values = series or (np.array([]), np.array([]))
        known = values[steps <= until]
        if not len(known):
            return None
        recent = values[(steps > until * (1 - RECENT)) & (steps <= until)]
        return float(recent.mean() if len(recent) else known[-1])

    def score(self, levels: Sequence[tuple[str, float]]) -> float:
        """Returns the mean of a trial's levels, each given with its game."""
        low_high = [self.returns.get(game, (0.0, 1.0)) for game, _ in levels]
        return float(
            np.mean(
                [
                    (level - low) / (high - low)
                    for (_, level), (low, high) in zip(levels, low_high, strict=True)
                ]
            )
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        logdir: Its folder, for everything.
        blocks: The names after `--configs`.
        flags: The other flags of each run.
        games: The games that each trial is trained on; '' mixes those of the key
            `tasks`, as in pre-training.
        seeds: The seeds with which each of them is.
        space: What is searched.
        objective: What makes a trial good.
        updates: Updates of a run.
        minutes: Minutes after which a run ends in any case; 0 is never.
        baseline: What the first trial tries, as Optuna would have drawn it; None to
            draw that too.
    """

    logdir: pathlib.Path
    blocks: tuple[str, ...]
    flags: tuple[str, ...]
    games: tuple[str, ...]
    seeds: tuple[int, ...]
    space: Space
    objective: Objective
    updates: int
    minutes: float = 0.0
    baseline: Mapping[str, Any] | None = None

    @property
    def budget(self) -> float:
        """What a run may take, in `unit`."""
        return 60 * self.minutes or self.updates

    @property
    def unit(self) -> str:
        """What the budget counts."""
        return "second" if self.minutes else "update"

    def jobs(self, number: int, drawn: Mapping[str, Any]) -> dict[Job, str]:
        """Returns the jobs of a trial, each with its game.

        Args:
            number: The trial's number.
            drawn: What Optuna drew, by parameter.
        """
        searched = [
            text
            for parameter in self.space.parameters
            for key in parameter.keys
            for text in (
                f"--{key}",
                as_text(parameter.value(drawn[parameter.name])),
            )
        ]
        jobs = {}
        for place, (game, seed) in self.places().items():
            logdir = self.logdir / "trials" / f"{number:03}" / place
            args = ("--configs", *self.blocks, *self.flags)
            args += ("--task", game) if game else ()
            args += ("--seed", str(seed), "--steps", str(self.updates), *searched)
            job = Job(
                name=f"{number:03}/{place}",
                script="train",
                args=(*args, "--logdir", str(logdir)),
                needs=(),
                logdir=logdir,
                units=self.budget,
                unit=self.unit,
            )
            jobs[job] = game
        return jobs

    def places(self) -> dict[str, tuple[str, int]]:
        """Returns game and seed of each run of a trial, by the name of its folder."""
        found = {}
        for game in self.games:
            for seed in self.seeds:
                name = game or "run"
                name += f"_seed{seed}" if len(self.seeds) > 1 else ""
                found[name] = game, seed
        return found

    def definition(self) -> dict[str, Any]:
        """Returns, as values for JSON, what must not change while a sweep is under way.

        More trials may be added, and run on other machines.
        """
        return {
            "configs": " ".join(self.blocks),
            "flags": " ".join(self.flags),
            "games": " ".join(self.games),
            "seeds": " ".join(map(str, self.seeds)),
            "objective": self.objective.name,
            "minimize": self.objective.minimize,
            "minutes": self.minutes,
            "steps": self.updates,
            **self.space.plain(),
        }


def make_objective(
    metric: str, minimize: bool, games: Sequence[str], space: Space
) -> Objective:
    """Returns what the trials of a sweep are judged by.

    Args:
        metric: The metric; '' is the return, normalized if there are several games.
        minimize: Whether less is better.
        games: The games of a trial.
        space: Has the returns that normalization needs.

    Raises:
        ConfigError: They are missing.
    """
    if metric or len(games) == 1:
        return Objective(metric or RETURN, minimize)
    lacking = [game for game in games if game not in space.returns]
    if lacking:
        raise ConfigError(
            "The returns of several games differ in size, so the file of the space has "
            "to name those of random play and of a good player. Add a section returns "
            f"with {lacking[0]}: [RANDOM, GOOD], or choose an --objective. It lacks "
            f"{', '.join(lacking)}."
        )
    return Objective(RETURN, minimize, {game: space.returns[game] for game in games})
