"""Evaluates a policy on whole episodes: returns, lengths and a confidence interval."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.driver import Driver, Policy, episode_seed
from dreamerv2_transfer.common.replay.store import Episode, episode_return, eplen

SEED = 0  # Of evaluations while training: only what is evaluated differs.
RESAMPLES = 10_000
CONFIDENCE = 95  # Per cent.
PATIENCE = 120.0  # Seconds until it is said that episodes have not ended.


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The outcome of episodes 0, 1, 2, ... of a seed.

    Attributes:
        returns: The sum of rewards of each episode.
        lengths: The number of steps of each episode.
        seed: The seed that the episodes' seeds derive from.
        kept: The first few episodes themselves, for videos.
    """

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    seed: int
    kept: tuple[Episode, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Returns the figures by name.

        `return_ci95` is the pair of limits of a bootstrap interval of the mean.
        """
        return {
            "episodes": len(self.returns),
            "return_mean": float(np.mean(self.returns)),
            "return_ci95": list(bootstrap(self.returns, self.seed)),
            "length_mean": float(np.mean(self.lengths)),
            "seed": self.seed,
        }

    def metrics(self) -> dict[str, float]:
        """Returns the figures of `summary` as scalars, for a log."""
        summary = self.summary()
        low, high = summary.pop("return_ci95")
        del summary["seed"]
        return {**summary, "return_ci95_low": low, "return_ci95_high": high}


def evaluate(
    policy: Policy,
    env: VectorEnv,
    episodes: int,
    seed: int = 0,
    keep: int = 0,
    on_episode: Callable[[], Any] = lambda: None,
    on_start: Callable[[int, int], Any] = lambda worker, seed: None,
) -> Evaluation:
    """Plays episodes 0 to `episodes - 1` of a seed, each of them once.

    Counting the first episodes to end instead would favour short ones where several
    environments are stepped together.

    Args:
        policy: The policy, as `Driver` takes it.
        env: One or several environments.
        episodes: The number of episodes.
        seed: The seed that each episode's seed derives from.
        keep: How many of the first episodes to return as a whole.
        on_episode: Called at the end of each counted episode.
        on_start: Called as `on_start(worker, seed)` before the first observation of an
            environment's next episode.
    """
    counter = itertools.count()
    numbers = [0] * env.num_envs
    finished: dict[int, tuple[float, int, Episode | None]] = {}

    def start(worker: int) -> int:
        numbers[worker] = next(counter)
        drawn = episode_seed(numbers[worker], seed, "eval")
        on_start(worker, drawn)
        return drawn

    def finish(episode: Episode, worker: int) -> None:
        number = numbers[worker]
        if number >= episodes:
            return
        kept = episode if number < keep else None
        finished[number] = episode_return(episode), eplen(episode), kept
        on_episode()

    driver = Driver(env, seeds=start)
    driver.on_episode(finish)
    remind, steps = progress.Reminder(PATIENCE), itertools.count(1)
    while len(finished) < episodes:
        driver(policy, steps=1)
        remind(
            f"Evaluation: {len(finished)} of {episodes} episodes have ended after "
            f"{next(steps)} steps each. If they never end, set --time_limit."
        )
    returns, lengths, kept = zip(*(finished[n] for n in range(episodes)), strict=True)
    return Evaluation(returns, lengths, seed, kept[:keep])


def bootstrap(values, seed: int = 0) -> tuple[float, float]:
    """Returns the 95% percentile bootstrap interval of the mean (Efron 1979).

    Args:
        values: At least one number.
        seed: The seed of the resampling.
    """
    values = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (RESAMPLES, len(values))).mean(1)
    outside = (100 - CONFIDENCE) / 2
    low, high = np.percentile(means, [outside, 100 - outside])
    return float(low), float(high)
