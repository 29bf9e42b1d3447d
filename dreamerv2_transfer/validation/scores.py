"""How well predictions tell events from the rest, and how far off they are."""

from __future__ import annotations

import numpy as np

BINS = 10  # Of the calibration error; Guo et al. 2017 take 15.


def auc(
    scores: np.ndarray, events: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Returns the area under the ROC curve.

    It is the probability that an event has a higher score than something else, where
    ties count half: the Mann-Whitney statistic, normalized (Mann and Whitney 1947;
    Fawcett 2006, "An introduction to ROC analysis", section 7). With weights w,

        AUC = sum_ij w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / sum_ij w_i w_j

    over all events i and all others j. Constant scores give 0.5.

    Args:
        scores: `(N,)`, higher where an event is more likely.
        events: `(N,)` bool, where an event is.
        weights: `(N,)`, how many samples each stands for; None for one.

    Returns:
        0 to 1; NaN if there is no event, nothing else, or a score that is NaN.
    """
    scores, events = np.asarray(scores), np.asarray(events, bool)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights)
    if np.isnan(scores).any() or not (0 < events @ weights < weights.sum()):
        return np.nan
    _, rank = np.unique(scores, return_inverse=True)
    at_event = np.bincount(rank, weights * events)
    elsewhere = np.bincount(rank, weights * ~events)
    below = np.cumsum(elsewhere) - elsewhere / 2
    return float(at_event @ below / (at_event.sum() * elsewhere.sum()))


def calibration_error(
    predicted: np.ndarray,
    true: np.ndarray,
    weights: np.ndarray | None = None,
    bins: int = BINS,
) -> float:
    """Returns the expected calibration error, in bins of about the same weight.

        error = sum_b w_b |mean predicted in b - mean true in b| / sum_b w_b

    (Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian
    binning"). A bin holds neighbouring predictions. Bins of the same width would
    leave all steps in one of them, as events are rare (Nixon et al. 2019, "Measuring
    calibration in deep learning"). Equal predictions share a bin.

    Args:
        predicted: `(N,)`.
        true: `(N,)`.
        weights: `(N,)`, how many samples each stands for; None for one.
        bins: Number of bins.

    Returns:
        0 or more, in the unit of the predictions; NaN without samples or with NaN.
    """
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    weights = np.ones(len(predicted)) if weights is None else np.asarray(weights)
    if np.isnan(predicted).any() or not weights.sum() > 0:
        return np.nan
    _, rank = np.unique(predicted, return_inverse=True)
    tied = np.bincount(rank, weights)
    middle = (np.cumsum(tied) - tied / 2) / tied.sum()
    number = np.minimum((middle * bins).astype(int), bins - 1)[rank]
    gaps = np.bincount(number, weights * (predicted - true))
    return float(np.abs(gaps).sum() / weights.sum())
