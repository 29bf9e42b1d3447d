"""How far predictions are from the truth, step by step, compared with baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.analysis.sequences import Sequences
from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.logger import video

RESAMPLES = 2000  # Of the bootstrap.
CONFIDENCE = 95  # Per cent.
LAST_FRAME = "last frame repeated"
MEAN_FRAME = "mean of all frames"
UNITS = {True: "wrong cells an image", False: "summed over an image"}


def unit(task: str) -> str:
    """Returns what the squared error of an image counts."""
    return UNITS[envs.native_planes(task) is not None]


def error(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns the squared error `(...)` of images `(..., H, W, C)`, summed over each.

    If the truth and the prediction are planes of 0 and 1, this counts wrong cells. If
    they are categories, a wrong cell lacks one and has another, so it is halved to
    count cells too. For bytes it is twice the decoder's loss without its constant. It
    is a proper score of probabilities (Brier 1950): uncertainty pays if one cannot
    know.
    """
    scale = 0.5 if true.shape[-1] == video.CATEGORIES else 1.0
    return scale * np.square(true - predicted).sum((-3, -2, -1))


def baselines(true: np.ndarray, context: int) -> dict[str, np.ndarray]:
    """Returns predictions `(S or 1, T or 1, H, W, C)` without a model, by name."""
    return {
        LAST_FRAME: true[:, context - 1 : context],
        MEAN_FRAME: true.mean((0, 1), keepdims=True),
    }


def curve(
    errors: np.ndarray, episode: np.ndarray, rng: np.random.Generator
) -> dict[str, list[float]]:
    """Averages errors at each step, with a 95% bootstrap interval over episodes.

    Args:
        errors: `(S, T)`.
        episode: `(S,)`; the sequences of an episode are drawn together.
        rng: Draws the episodes.

    Returns:
        `mean`, `low` and `high`, each of T numbers.
    """
    _, number = np.unique(episode, return_inverse=True)
    counts = np.bincount(number)
    sums = np.stack([np.bincount(number, column) for column in errors.T], 1)
    drawn = rng.multinomial(len(counts), [1 / len(counts)] * len(counts), RESAMPLES)
    means = drawn @ sums / (drawn @ counts)[:, None]
    outside = (100 - CONFIDENCE) / 2
    low, high = np.percentile(means, [outside, 100 - outside], axis=0)
    mean = errors.mean(0)
    return {"mean": mean.tolist(), "low": low.tolist(), "high": high.tolist()}


def better(
    model: Mapping[str, list[float]], other: Mapping[str, list[float]]
) -> list[int]:
    """Returns the steps, counted from 1, at which one mean error is below another."""
    return (np.flatnonzero(np.less(model["mean"], other["mean"])) + 1).tolist()


def compare(
    true: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    pieces: Sequences,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Compares the errors of predictions with each other.

    Args:
        true: What happened, `(S, T, H, W, C)`.
        predicted: Predictions by name, that of the trained model under `model`.
        pieces: The sequences.
        rng: Draws the bootstraps.

    Returns:
        `error`, a `curve` for each prediction, without the context; `better`, for each
        other prediction, the steps at which the model is better; `context`, `horizon`,
        and the numbers of `sequences` and `episodes`.
    """
    curves = {
        name: curve(error(true, x)[:, pieces.context :], pieces.episode, rng)
        for name, x in predicted.items()
    }
    others = {name: x for name, x in curves.items() if name != "model"}
    return {
        "context": pieces.context,
        "horizon": pieces.horizon,
        "sequences": len(pieces),
        "episodes": len(np.unique(pieces.episode)),
        "error": curves,
        "better": {name: better(curves["model"], x) for name, x in others.items()},
    }
