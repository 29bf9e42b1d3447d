"""Records what the authors' package rliable says of some scores, as rliable.json.

    python -m venv VENV && VENV/bin/pip install rliable==1.2.0 'arch<8' 'pandas<3'
    VENV/bin/python tests/plotting/record_rliable.py

The scores are made up: an arm and another on five games, with three and four seeds.
rliable is no dependency of the project or of its tests.
"""

import json
import pathlib

import numpy as np
from rliable import library, metrics

REPEATS = 5_000
THRESHOLDS = [0.5, 1.0, 1.25, 1.5, 2.0]


def interval(scores, statistic):
    """The value of a statistic, and its interval (2, ...)."""
    values, ends = library.get_interval_estimates(
        {"arm": scores}, statistic, reps=REPEATS, random_state=np.random.RandomState(0)
    )
    return {"value": values["arm"].tolist(), "ends": ends["arm"].tolist()}


def main():
    rng = np.random.default_rng(0)
    means = np.array([0.9, 1.2, 1.4, 1.6, 2.5])
    # rliable has runs by games.
    arm = np.round(means * rng.lognormal(0, 0.3, (3, 5)), 2)
    other = np.round(rng.lognormal(0, 0.3, (4, 5)), 2)
    taus = np.array(THRESHOLDS)
    found = {
        "arm": arm.T.tolist(),
        "other": other.T.tolist(),
        "thresholds": THRESHOLDS,
        "interquartile_mean": interval(
            arm, lambda x: np.array([metrics.aggregate_iqm(x)])
        ),
        "improvement": interval(
            (arm, other),
            lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
        ),
    }
    profiles, ends = library.create_performance_profile(
        {"arm": arm}, taus, reps=REPEATS
    )
    profile = {"value": profiles["arm"].tolist(), "ends": ends["arm"].tolist()}
    found["profile"] = profile
    path = pathlib.Path(__file__).with_name("rliable.json")
    path.write_text(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
