"""Whether games share the directions in which a model's features hold a variable.

A probe that was learned in one game is used in another. Where both hold the player's
column, say, along the same direction, it predicts there too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from dreamerv2_transfer.analysis import probes, statistics
from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.analysis.statistics import Split

# Frames of a game in each part: less than for the probes of one game, as all games are
# in memory at the same time.
SIZES = (6000, 2000, 4000)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some frames of a game.

    Attributes:
        features: float32 `(N, F)`.
        variables: `(N,)` by name, in standard deviations; all NaN if constant.
        episode: int `(N,)`.
        rows: which of the frames are for what.
    """

    features: np.ndarray
    variables: dict[str, np.ndarray]
    episode: np.ndarray
    rows: Split


def sample(features: np.ndarray, frames: Frames, rows: Split) -> Sample:
    """Some frames of each part.

    The variables have mean 0 and deviation 1 in what is learned from: that games count
    in other units, and have more enemies or fewer, is no difference of directions.
    """
    parts = [
        _some(part, most)
        for part, most in zip((rows.train, rows.choose, rows.test), SIZES, strict=True)
    ]
    taken = np.concatenate(parts)
    ends = np.cumsum([len(part) for part in parts])
    new = Split(*np.split(np.arange(len(taken)), ends[:-1]))
    variables = {
        name: _standardized(values[taken], new.train)
        for name, values in frames.variables.items()
    }
    return Sample(features[taken], variables, frames.episode[taken], new)


def _standardized(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """With mean 0 and deviation 1 in the training frames, NaN left out."""
    known = values[train][~np.isnan(values[train])]
    if not len(known) or not np.ptp(known):
        return np.full_like(values, np.nan)
    return (values - known.mean()) / known.std()


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def transfer(
    samples: Mapping[str, Sample], permutations: int, rng: np.random.Generator
) -> dict[str, dict]:
    """Probes of each game in each game, for every variable that games share.

    Args:
        samples: of one model, by game.
        permutations: shuffles of a game's held-out episodes, for the p values.
        rng: draws them.

    Returns:
        For each variable that can be probed in two games or more `games`, their names,
        and, by game learned from and game predicted, `r`, the correlation with the
        truth on held-out episodes, `r2` in the units of the game predicted, and `p`,
        of a correlation as large; `cosine` of the probes' directions. By game predicted
        `others_r`, of one probe for all other games together, and `joint_r2`, of one
        probe for all games together, beside the game's own on the diagonal of `r2`.
    """
    own = {g: _fit([s]) for g, s in samples.items()}
    shared = _shared(own)
    others = {g: _fit([s for name, s in samples.items() if name != g]) for g in samples}
    joint = _fit(list(samples.values()))
    orders = {g: _orders(s, permutations, rng) for g, s in samples.items()}
    scale = np.concatenate([s.features[s.rows.train] for s in samples.values()]).std(0)
    found = {}
    for name, games in shared.items():
        probe = {g: own[g][name] for g in games}
        score = lambda p, g, name=name: _score(p, samples[g], name, orders[g])  # noqa: E731
        scores = [[score(probe[a], b) for b in games] for a in games]
        weights = np.stack([probe[g].weights * scale for g in games])
        found[name] = {
            "games": games,
            **{key: [[s[key] for s in row] for row in scores] for key in scores[0][0]},
            "cosine": _cosines(weights).tolist(),
            "others_r": [score(others[g][name], g)["r"] for g in games],
            "joint_r2": [score(joint[name], g)["r2"] for g in games],
        }
    return found


def _shared(own: Mapping[str, Mapping]) -> dict[str, list[str]]:
    """The games of each variable that two or more of them have probes for."""
    names = dict.fromkeys(name for fitted in own.values() for name in fitted)
    games = {name: [g for g in own if name in own[g]] for name in names}
    return {name: found for name, found in games.items() if len(found) > 1}


def _fit(samples: list[Sample]) -> dict[str, probes.Probe]:
    """Probes for all of the samples together; a game may lack a variable."""
    starts = np.cumsum([0, *(len(s.episode) for s in samples)])[:-1]
    part = lambda key: np.concatenate(  # noqa: E731
        [getattr(s.rows, key) + start for s, start in zip(samples, starts, strict=True)]
    )
    names = dict.fromkeys(name for s in samples for name in s.variables)
    missing = [np.full(len(s.episode), np.nan, np.float32) for s in samples]
    variables = {
        name: np.concatenate(
            [s.variables.get(name, m) for s, m in zip(samples, missing, strict=True)]
        )
        for name in names
    }
    features = np.concatenate([s.features for s in samples])
    rows = Split(part("train"), part("choose"), part("test"))
    return probes.fit(features, variables, rows)


def _orders(drawn: Sample, number: int, rng: np.random.Generator) -> list[np.ndarray]:
    return [*statistics.shuffles(drawn.episode[drawn.rows.test], number, rng)]


def _score(
    probe: probes.Probe, drawn: Sample, name: str, orders: list[np.ndarray]
) -> dict[str, float]:
    truth = drawn.variables[name][drawn.rows.test].astype(np.float64)
    predicted = probe(drawn.features[drawn.rows.test]).astype(np.float64)
    r = _correlation(predicted, truth)
    null = np.array([_correlation(predicted, truth[order]) for order in orders])
    there = ~np.isnan(truth)
    residual = np.square(truth - predicted)[there].mean()
    p = statistics.p_value(abs(r), np.abs(null))
    return {"r": r, "r2": float(1 - residual / truth[there].var()), "p": p}


def _correlation(predicted: np.ndarray, truth: np.ndarray) -> float:
    there = ~np.isnan(truth)
    return statistics.correlation(predicted[there], truth[there])


def _cosines(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    return unit @ unit.T
