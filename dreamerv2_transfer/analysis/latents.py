"""What one kind of features tells about a game, measured on held-out episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from dreamerv2_transfer.analysis import (
    clusters,
    correlations,
    permutations,
    probes,
    splits,
)
from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.analysis.splits import Split

PLAYER = ("player_x", "player_y")
EVERY_GAME = ("score", "step")  # Used if the player's place is unknown.
RARE = 5  # Fewest held-out frames with an event, and without, to analyse it.
SHOWN = 800  # About how many frames are in the scatter plots.
STEPS = 5  # Parts of `analyze`, for its progress.

Numbers = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Targets:
    """What all kinds of features of a game are analysed against.

    Attributes:
        frames: N frames.
        rows: Their parts.
        train_orders: Shuffles of the training frames.
        test_orders: Shuffles of the held-out frames.
        place: The variables for canonical correlations; single features are compared
            by the first of them.
    """

    frames: Frames
    rows: Split
    train_orders: list[np.ndarray]
    test_orders: list[np.ndarray]
    place: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found in one kind of features.

    Attributes:
        numbers: `explained`, `canonical`, `best_feature`, `probes` and `events`.
        scatter: Two principal components of some frames, `(S, 2)`.
        shown: The numbers of these frames, int `(S,)`.
        labels: The cluster of each frame, int `(N,)`.
    """

    numbers: Numbers
    scatter: np.ndarray
    shown: np.ndarray
    labels: np.ndarray


def prepare(frames: Frames, number: int, rng: np.random.Generator) -> Targets:
    """Splits the frames and shuffles them, once for all kinds of features.

    Args:
        frames: The frames of a game.
        number: How many shuffles a permutation test has.
        rng: Draws the split and the shuffles.

    Raises:
        AnalysisError: There are too few episodes.
    """
    rows = splits.split(frames.episode, rng)
    orders = [
        list(permutations.shuffles(frames.episode[part], number, rng))
        for part in (rows.train, rows.test)
    ]
    changing = [
        name
        for name in (*PLAYER, *EVERY_GAME)
        if name in frames.variables
        and probes.can_be_probed(frames.variables[name], rows)
    ]
    place = tuple(name for name in changing if name in PLAYER) or tuple(changing)
    return Targets(frames, rows, *orders, place)


def analyze(
    features: np.ndarray,
    targets: Targets,
    number: int,
    seed: int,
    probing: bool = True,
    report: Callable[[], Any] = lambda: None,
) -> Found:
    """Analyses one kind of features.

    Args:
        features: float32 `(N, F)`.
        targets: What they are analysed against.
        number: Number of clusters.
        seed: Seed of the clusters and of the intervals.
        probing: Whether to fit probes too.
        report: Called after each of the `STEPS` parts.
    """
    rows, variables = targets.rows, targets.frames.variables
    components, explained = correlations.project(features, rows.train, seed)
    report()
    numbers: Numbers = {"explained": explained[:2].tolist()}
    if targets.place:
        values = np.stack([variables[name] for name in targets.place], 1)
        numbers["canonical"] = correlations.canonical(components, values, rows)
        numbers["best_feature"] = correlations.best_feature(
            features, values[:, 0], rows, targets.train_orders, targets.test_orders
        )
    report()
    labels = clusters.cluster(features, rows.train, number, seed)
    report()
    numbers["events"] = events(labels[rows.test], targets, number)
    report()
    numbers["probes"] = probe(features, targets, seed) if probing else {}
    report()
    shown = rows.test[:: max(1, len(rows.test) // SHOWN)]
    return Found(numbers, components[shown, :2], shown, labels)


def events(labels: np.ndarray, targets: Targets, number: int) -> Numbers:
    """Measures what the clusters tell about each event that is not rare.

    Args:
        labels: int, the cluster of each held-out frame.
        targets: The events.
        number: Number of clusters.

    Returns:
        By event, see `clusters.association`; `rate`; `rates` in each cluster; and
        `p_adjusted` for the number of events.
    """
    found = {}
    for name, event in targets.frames.events.items():
        event = event[targets.rows.test]
        if RARE <= event.sum() <= len(event) - RARE:
            found[name] = {
                **clusters.association(labels, event, targets.test_orders),
                "rate": float(event.mean()),
                "rates": clusters.rates(labels, event, number).tolist(),
            }
    adjusted = permutations.adjust([x["p"] for x in found.values()])
    for numbers, p in zip(found.values(), adjusted, strict=True):
        numbers["p_adjusted"] = p
    return found


def probe(features: np.ndarray, targets: Targets, seed: int) -> Numbers:
    """Fits probes and measures them on held-out frames.

    Args:
        features: float32 `(N, F)`.
        targets: The variables.
        seed: Seed of the intervals.

    Returns:
        By variable, `r2` with the interval `low` to `high`, the `penalty`, and the
        number of held-out `frames` that have a value.
    """
    rows, frames = targets.rows, targets.frames
    rng = np.random.default_rng(seed)
    held_out = features[rows.test]
    found = {}
    for name, fitted in probes.fit(features, frames.variables, rows).items():
        truth = frames.variables[name][rows.test]
        known = ~np.isnan(truth)
        low, high = probes.r2_interval(
            truth[known],
            fitted(held_out)[known],
            frames.episode[rows.test][known],
            rng,
        )
        found[name] = {
            "r2": fitted.r2,
            "low": low,
            "high": high,
            "penalty": fitted.penalty,
            "frames": int(known.sum()),
        }
    return found
