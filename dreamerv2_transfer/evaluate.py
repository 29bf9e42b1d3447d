"""Plays whole episodes with a policy and says what they return."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common.driver import Driver, Policy, episode_seed
from dreamerv2_transfer.common.replay.store import Episode, episode_return, eplen

RESAMPLES = 10_000
CONFIDENCE = 95  # Per cent.


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the episodes 0, 1, 2, ... of a seed came to.

    Attributes:
        returns: The sum of rewards of each episode.
        lengths: Its steps.
        seed: Of the episodes.
        kept: The first few episodes themselves, to be looked at.
    """

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    seed: int
    kept: tuple[Episode, ...] = ()

    def summary(self) -> dict[str, Any]:
        """The figures by name; `return_ci95` is a bootstrap interval of the mean."""
        return {
            "episodes": len(self.returns),
            "return_mean": float(np.mean(self.returns)),
            "return_ci95": list(bootstrap(self.returns, self.seed)),
            "length_mean": float(np.mean(self.lengths)),
            "seed": self.seed,
        }

    def metrics(self) -> dict[str, float]:
        """The same figures as scalars, for a log."""
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
) -> Evaluation:
    """Plays the episodes 0 to `episodes - 1` of a seed, each of them once.

    So the short episodes are not favoured, which are the first to end where several
    environments are stepped together.

    Args:
        policy: As `Driver` takes it.
        env: One or several environments.
        episodes: How many.
        seed: Of the environments.
        keep: How many of the first episodes to return as a whole.
        on_episode: Called at the end of each.
    """
    counter = itertools.count()
    numbers = [0] * env.num_envs
    finished: dict[int, tuple[float, int, Episode | None]] = {}

    def start(worker: int) -> int:
        numbers[worker] = next(counter)
        return episode_seed(numbers[worker], seed, "eval")

    def finish(episode: Episode, worker: int) -> None:
        number = numbers[worker]
        if number >= episodes:
            return
        kept = episode if number < keep else None
        finished[number] = episode_return(episode), eplen(episode), kept
        on_episode()

    driver = Driver(env, seeds=start)
    driver.on_episode(finish)
    while len(finished) < episodes:
        driver(policy, steps=1)
    returns, lengths, kept = zip(*(finished[n] for n in range(episodes)), strict=True)
    return Evaluation(returns, lengths, seed, kept[:keep])


def bootstrap(values, seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean (Efron 1979), 95%.

    Args:
        values: At least one number.
        seed: Of the resampling.
    """
    values = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (RESAMPLES, len(values))).mean(1)
    outside = (100 - CONFIDENCE) / 2
    low, high = np.percentile(means, [outside, 100 - outside])
    return float(low), float(high)
