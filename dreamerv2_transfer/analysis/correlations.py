"""Correlations of features with variables: single, canonical, and against chance."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA

from dreamerv2_transfer.analysis.permutations import p_value
from dreamerv2_transfer.analysis.splits import Split

COMPONENTS = 50  # Principal components in which canonical correlations are sought.
MIN_CHANGE = 1e-6  # Standard deviation below which a feature counts as constant.


def project(
    features: np.ndarray, train: np.ndarray, seed: int, number: int = COMPONENTS
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the first principal components of all frames, learned from some.

    Args:
        features: `(N, F)`.
        train: Numbers of the frames to learn from.
        seed: Seed of the approximation.
        number: Most components.

    Returns:
        `(N, number)`, and the share of the variance that each component explains.
    """
    sample = features[train]
    pca = PCA(min(number, *sample.shape), random_state=seed).fit(sample)
    return pca.transform(features), pca.explained_variance_ratio_


def canonical(components: np.ndarray, targets: np.ndarray, rows: Split) -> list[float]:
    """Computes canonical correlations (Hotelling 1936) on held-out frames.

    Args:
        components: `(N, C)`, principal components of features.
        targets: `(N, T)`, without NaN and not constant, C >= T.
        rows: The frames to learn from and to measure on.

    Returns:
        T correlations.
    """
    train, test = rows.train, rows.test
    cca = CCA(targets.shape[1], max_iter=2000)
    with warnings.catch_warnings():  # If one target determines the other.
        warnings.filterwarnings("ignore", "y residual is constant")
        cca.fit(components[train], targets[train])
    ours, theirs = cca.transform(components[test], targets[test])
    return [correlation(a, b) for a, b in zip(ours.T, theirs.T, strict=True)]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Returns Pearson's correlation of two variables; 0 if one is constant."""
    if min(np.std(a), np.std(b)) < MIN_CHANGE:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def correlations(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Correlates each feature with each variable; constant ones have 0.

    Args:
        features: float32 `(N, F)`.
        values: `(N, V)`.

    Returns:
        `(F, V)`.
    """
    values = values - values.mean(0)
    values = values / np.maximum(values.std(0), MIN_CHANGE)
    mean = features.mean(0, dtype=np.float64)
    square = np.einsum("ij,ij->j", features, features, dtype=np.float64)
    deviation = np.sqrt(np.maximum(square / len(features) - mean**2, 0))
    # The values have mean 0, so the features need not be centred.
    product = features.T @ values.astype(np.float32) / len(features)
    changes = deviation > MIN_CHANGE
    return product / np.where(changes, deviation, 1)[:, None] * changes[:, None]


def best_feature(
    features: np.ndarray,
    target: np.ndarray,
    rows: Split,
    train_orders: Iterable[np.ndarray],
    test_orders: Iterable[np.ndarray],
) -> dict[str, Any]:
    """Finds the single feature that is most correlated with a variable.

    It is chosen on training episodes, where its correlation is compared with the
    largest one of each shuffle of the values: this corrects for the number of features
    (Westfall and Young 1993). On held-out episodes it is one feature with a sign, so
    its p value needs no correction, and counts shuffles whose correlation is as large
    with the sign of training: the opposite sign confirms nothing.

    Args:
        features: float32 `(N, F)`.
        target: `(N,)`, without NaN.
        rows: The frames to choose from and to measure on.
        train_orders: Orders of the training frames, from `shuffles`.
        test_orders: Orders of the held-out frames.

    Returns:
        `feature`, its number; `train_r` and `train_p`, corrected; `test_r` and
        `test_p`; and `null`, the largest |r| of each shuffle.
    """
    train, test = target[rows.train], target[rows.test]
    shuffled = np.stack([train, *(train[order] for order in train_orders)], 1)
    found = correlations(features[rows.train], shuffled)
    largest = np.abs(found).max(0)
    best = int(np.abs(found[:, 0]).argmax())
    shuffled = np.stack([test, *(test[order] for order in test_orders)], 1)
    held_out = correlations(features[rows.test][:, [best]], shuffled)[0]
    confirming = np.sign(found[best, 0]) * held_out
    return {
        "feature": best,
        "train_r": float(found[best, 0]),
        "train_p": p_value(largest[0], largest[1:]),
        "test_r": float(held_out[0]),
        "test_p": p_value(confirming[0], confirming[1:]),
        "null": largest[1:].tolist(),
    }
