"""Whether games share the directions in which a model's features hold a variable.

A probe learned in one game is used in another. If both games hold, say, the player's
column along the same direction, it predicts there too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.analysis import correlations, permutations, probes
from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.analysis.splits import Split

# Most frames of a game in each part: less than for the probes of one game, as all games
# are in memory at the same time.
SIZES = (6000, 2000, 4000)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some frames of a game.

    Attributes:
        features: float32 `(N, F)`.
        variables: `(N,)` by name, in standard deviations; all NaN if constant.
        episode: int `(N,)`, the number of each frame's episode.
        rows: The parts of the frames.
    """

    features: np.ndarray
    variables: dict[str, np.ndarray]
    episode: np.ndarray
    rows: Split


def sample(features: np.ndarray, frames: Frames, rows: Split) -> Sample:
    """Samples frames of each part.

    The variables get mean 0 and deviation 1 on the training frames: if games use
    different units, or have more or fewer enemies, that is no difference of directions.
    """
    parts = []
    for part, most in zip((rows.train, rows.choose, rows.test), SIZES, strict=True):
        if len(part) > most:  # Evenly spaced.
            part = part[np.linspace(0, len(part) - 1, most).astype(int)]
        parts.append(part)
    taken = np.concatenate(parts)
    ends = np.cumsum([len(part) for part in parts])
    new = Split(*np.split(np.arange(len(taken)), ends[:-1]))
    variables = {}
    for name, values in frames.variables.items():
        values = values[taken]
        known = values[new.train][~np.isnan(values[new.train])]
        if len(known) and np.ptp(known):
            variables[name] = (values - known.mean()) / known.std()
        else:
            variables[name] = np.full_like(values, np.nan)
    return Sample(features[taken], variables, frames.episode[taken], new)


def compare(
    samples: Mapping[str, Sample], number: int, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Uses the probes of each game in each game, for every variable that games share.

    Args:
        samples: Samples of one model, by game.
        number: How many shuffles of a game's held-out episodes a permutation test has.
        rng: Draws them.

    Returns:
        For each variable that can be probed in at least two games: `games`, their
        names; by game of the probe and game of use, `r`, the correlation with the truth
        on held-out episodes, `r2` in the units of the game of use, and `p` of an `r`
        as large, near 1 if it is negative; `cosine` of the probes' directions. By game
        of use, `others_r` of one probe for all other games together, and `joint_r2` of
        one probe for all games together; the game's own is on the diagonal of `r2`.
    """
    own = {g: _fit([s]) for g, s in samples.items()}
    others = {g: _fit([s for name, s in samples.items() if name != g]) for g in samples}
    joint = _fit(samples.values())
    orders = {
        g: [*permutations.shuffles(s.episode[s.rows.test], number, rng)]
        for g, s in samples.items()
    }
    scale = np.concatenate([s.features[s.rows.train] for s in samples.values()]).std(0)
    found = {}
    for name in dict.fromkeys(name for fitted in own.values() for name in fitted):
        games = [g for g in own if name in own[g]]
        if len(games) < 2:
            continue
        scores = [
            [_score(own[a][name], samples[b], name, orders[b]) for b in games]
            for a in games
        ]
        away = [_score(others[g][name], samples[g], name, orders[g]) for g in games]
        whole = [_score(joint[name], samples[g], name, orders[g]) for g in games]
        vectors = np.stack([own[g][name].weights * scale for g in games])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        units = vectors / np.where(lengths > 0, lengths, 1)
        found[name] = {
            "games": games,
            **{key: [[s[key] for s in row] for row in scores] for key in scores[0][0]},
            "cosine": (units @ units.T).tolist(),
            "others_r": [score["r"] for score in away],
            "joint_r2": [score["r2"] for score in whole],
        }
    return found


def _fit(samples: Iterable[Sample]) -> dict[str, probes.Probe]:
    """Fits probes for all samples together; a game may lack a variable."""
    samples = list(samples)
    starts = np.cumsum([0, *(len(s.episode) for s in samples)])[:-1]
    shifted = [
        [part + start for part in (s.rows.train, s.rows.choose, s.rows.test)]
        for s, start in zip(samples, starts, strict=True)
    ]
    rows = Split(*(np.concatenate(parts) for parts in zip(*shifted, strict=True)))
    missing = [np.full(len(s.episode), np.nan, np.float32) for s in samples]
    pairs = [*zip(samples, missing, strict=True)]
    variables = {
        name: np.concatenate([s.variables.get(name, nan) for s, nan in pairs])
        for name in dict.fromkeys(name for s in samples for name in s.variables)
    }
    features = np.concatenate([s.features for s in samples])
    return probes.fit(features, variables, rows)


def _score(
    probe: probes.Probe, drawn: Sample, name: str, orders: list[np.ndarray]
) -> dict[str, float]:
    truth = drawn.variables[name][drawn.rows.test].astype(np.float64)
    predicted = probe(drawn.features[drawn.rows.test]).astype(np.float64)
    r = _correlation(predicted, truth)
    null = np.array([_correlation(predicted, truth[order]) for order in orders])
    known = ~np.isnan(truth)
    residual = np.square(truth - predicted)[known].mean()
    p = permutations.p_value(r, null)
    return {"r": r, "r2": float(1 - residual / truth[known].var()), "p": p}


def _correlation(predicted: np.ndarray, truth: np.ndarray) -> float:
    known = ~np.isnan(truth)
    return correlations.correlation(predicted[known], truth[known])
