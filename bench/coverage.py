"""Measures how often 95% intervals of few seeds hold the truth, in simulated studies.

Runs of an arm and of scratch are drawn from normal or log-normal distributions, then an
interval of the ratio of their means is computed as `plotting/statistics.py` does, and
by the percentile bootstrap for comparison; the same for runs that share a model, in
pairs; and for five games the interval of the interquartile mean over scratch's means.

    python bench/coverage.py

It prints a table, and as its last line the numbers as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys

import numpy as np

from dreamerv2_transfer.plotting import statistics

RESAMPLES = 2000
SEEDS = (2, 3, 5, 10)
TRUTH = 1.25
# By game; their interquartile mean is what five games are to find.
GAMES = np.array([0.9, 1.2, 1.4, 1.6, 2.5])
SPREADS = (0.15, 0.3)  # Standard deviation over mean, of the runs of an arm.


def draw(rng, means, spread: float, number: int, shape: str) -> np.ndarray:
    """Returns runs (..., number) of arms with these means."""
    noise = rng.normal(size=(*np.shape(means), number))
    if shape == "normal":
        return np.asarray(means)[..., None] * np.abs(1 + spread * noise)
    sigma = math.sqrt(math.log(1 + spread**2))
    return np.asarray(means)[..., None] * np.exp(sigma * noise - sigma**2 / 2)


def percentiles(arm: np.ndarray, scratch: np.ndarray) -> statistics.Estimate:
    """The percentile bootstrap of a ratio, as it was used before."""

    def ratio(drawn):
        return drawn[0].mean(-1) / drawn[1].mean(-1)

    return bootstrap(ratio, [arm, scratch], expand=False)


def of_games(arm: np.ndarray, scratch: np.ndarray, expand: bool) -> statistics.Estimate:
    """The interval of the interquartile mean, over games (games, seeds)."""
    return bootstrap(statistics.interquartile_ratio, [*arm, *scratch], expand)


def bootstrap(statistic, samples, expand: bool) -> statistics.Estimate:
    """The interval of `statistics.bootstrap`, of fewer resamples."""
    low, value, high = statistics.bootstrap(
        statistic, samples, expand=expand, resamples=RESAMPLES
    )
    return statistics.Estimate(float(value), float(low), float(high))


def measure(rng, seeds: int, studies: int, games: int) -> dict[str, float]:
    """Returns how often each interval holds the truth; those without end do."""
    kinds = [(spread, shape) for spread in SPREADS for shape in ("normal", "lognormal")]
    held = dict.fromkeys(
        ("ratio", "percentile", "pairs", "games", "games_percentile"), 0
    )
    for spread, shape in kinds:
        many = draw(rng, GAMES, spread, 20_000, shape)
        truth = float(statistics.interquartile_mean(list(many)))
        for _ in range(studies // len(kinds)):
            arm, scratch = draw(rng, (TRUTH, 1.0), spread, seeds, shape)
            held["ratio"] += holds(statistics.ratio(arm, scratch), TRUTH)
            held["percentile"] += holds(percentiles(arm, scratch), TRUTH)
            models = draw(rng, (1.0,), spread, seeds, shape)[0]
            found = statistics.paired_ratio(arm * models, scratch * models)
            held["pairs"] += holds(found, TRUTH)
        for _ in range(games // len(kinds)):
            arms = draw(rng, GAMES, spread, seeds, shape)
            alone = draw(rng, np.ones(len(GAMES)), spread, seeds, shape)
            held["games"] += holds(of_games(arms, alone, True), truth)
            held["games_percentile"] += holds(of_games(arms, alone, False), truth)
    rounds = {False: studies // len(kinds), True: games // len(kinds)}
    return {
        name: count / (len(kinds) * rounds[name.startswith("games")])
        for name, count in held.items()
    }


def holds(estimate: statistics.Estimate, truth: float) -> bool:
    if estimate.low is None or estimate.high is None:
        return True
    return estimate.low <= truth <= estimate.high


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000, help="of one game")
    parser.add_argument("--games", type=int, default=400, help="of five games")
    parser.add_argument("--json", default="", help="file for the numbers")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    found = {seeds: measure(rng, seeds, args.studies, args.games) for seeds in SEEDS}
    print(f"{'seeds':>5}", *(f"{name:>16}" for name in found[SEEDS[0]]))
    for seeds, shares in found.items():
        print(f"{seeds:>5}", *(f"{share:>16.1%}" for share in shares.values()))
    text = json.dumps({"coverage": found})
    print(text)
    if args.json:
        with open(args.json, "w") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
