"""What the features of one game tell, beside those of an untrained model and noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from dreamerv2_transfer.analysis import probes, statistics
from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.analysis.statistics import Split

PLAYER = ("player_x", "player_y")
EVERY_GAME = ("score", "step")  # What stands for a player that cannot be found.
RARE = 5  # Held-out frames with an event, below which nothing is said about it.
SHOWN = 800  # Frames in the scatter plots.
STEPS = 5  # Parts of `look`, for its progress.
COMPONENTS = 50  # Principal components that canonical correlations are sought in.

Numbers = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """What all kinds of features of a game are analysed against.

    Attributes:
        frames: N frames.
        rows: which of them are for what.
        train_orders: shuffles of the training frames.
        test_orders: shuffles of the held-out frames.
        place: the variables that canonical correlations are sought with; the first of
            them is the one that single features are compared by.
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
        numbers: `canonical`, `best_feature`, `probes` and `events`.
        scatter: two principal components of some frames, `(S, 2)`.
        shown: the numbers of these frames, int `(S,)`.
        labels: the cluster of each frame, int `(N,)`.
    """

    numbers: Numbers
    scatter: np.ndarray
    shown: np.ndarray
    labels: np.ndarray


def prepare(frames: Frames, permutations: int, rng: np.random.Generator) -> Task:
    """Splits the frames and shuffles them, once for all kinds of features.

    Raises:
        AnalysisError: there are too few episodes.
    """
    rows = statistics.split(frames.episode, rng)
    orders = [
        list(statistics.shuffles(frames.episode[part], permutations, rng))
        for part in (rows.train, rows.test)
    ]
    changing = [
        name
        for name in (*PLAYER, *EVERY_GAME)
        if name in frames.variables
        and probes.can_be_probed(frames.variables[name], rows)
    ]
    place = tuple(n for n in changing if n in PLAYER) or tuple(changing)
    return Task(frames, rows, *orders, place)


def look(
    features: np.ndarray,
    task: Task,
    clusters: int,
    seed: int,
    probing: bool = True,
    report: Callable[[], Any] = lambda: None,
) -> Found:
    """Analyses one kind of features.

    Args:
        features: float32 `(N, F)`.
        task: what there is to find.
        clusters: of k-means.
        seed: of k-means and intervals.
        probing: whether to learn probes too.
        report: called after each of the `STEPS` parts.
    """
    rows = task.rows
    components, explained = statistics.project(features, rows.train, COMPONENTS, seed)
    report()
    numbers: Numbers = {"explained": explained[:2].tolist()}
    numbers |= _place(features, components, task) if task.place else {}
    report()
    labels = statistics.cluster(features, rows.train, clusters, seed)
    report()
    numbers["events"] = _events(labels, task, clusters)
    report()
    numbers["probes"] = _probes(features, task, seed) if probing else {}
    report()
    shown = rows.test[:: max(1, len(rows.test) // SHOWN)]
    return Found(numbers, components[shown, :2], shown, labels)


def _place(features: np.ndarray, components: np.ndarray, task: Task) -> Numbers:
    variables = task.frames.variables
    targets = np.stack([variables[name] for name in task.place], 1)
    return {
        "canonical": statistics.canonical(components, targets, task.rows),
        "best_feature": statistics.best_feature(
            features, targets[:, 0], task.rows, task.train_orders, task.test_orders
        ),
    }


def _events(labels: np.ndarray, task: Task, clusters: int) -> Numbers:
    """For each event that is not rare what the clusters tell about it."""
    labels = labels[task.rows.test]
    found = {}
    for name, event in task.frames.events.items():
        event = event[task.rows.test]
        if RARE <= event.sum() <= len(event) - RARE:
            found[name] = {
                **statistics.association(labels, event, task.test_orders),
                "rate": float(event.mean()),
                "rates": statistics.rates(labels, event, clusters).tolist(),
            }
    adjusted = statistics.adjust([x["p"] for x in found.values()])
    for numbers, p in zip(found.values(), adjusted, strict=True):
        numbers["p_adjusted"] = p
    return found


def _probes(features: np.ndarray, task: Task, seed: int) -> Numbers:
    rows, frames = task.rows, task.frames
    rng = np.random.default_rng(seed)
    held_out = features[rows.test]
    found = {}
    for name, probe in probes.fit(features, frames.variables, rows).items():
        truth = frames.variables[name][rows.test]
        there = ~np.isnan(truth)
        low, high = statistics.r2_interval(
            truth[there],
            probe(held_out)[there],
            frames.episode[rows.test][there],
            rng,
        )
        numbers = {"r2": probe.r2, "low": low, "high": high, "penalty": probe.penalty}
        found[name] = {**numbers, "frames": int(there.sum())}
    return found


def noise(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Features that know nothing: independent normal numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
