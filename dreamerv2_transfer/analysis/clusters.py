"""Clusters of features, and what they tell about events."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import stats
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import mutual_info_score

from dreamerv2_transfer.analysis.permutations import p_value

RESTARTS = 3  # Initialisations of k-means, the best of which is used.
BATCH = 4096  # Frames per iteration of k-means.


def cluster(
    features: np.ndarray, train: np.ndarray, number: int, seed: int
) -> np.ndarray:
    """Clusters frames by k-means in small batches (Sculley 2010).

    Args:
        features: `(N, F)`.
        train: Numbers of the frames to learn the centres from.
        number: Number of clusters; if there are fewer frames, one for each.
        seed: Seed of the first centres and the batches.

    Returns:
        int `(N,)`, the cluster of each frame.
    """
    kmeans = MiniBatchKMeans(
        min(number, len(train)), batch_size=BATCH, n_init=RESTARTS, random_state=seed
    )
    return kmeans.fit(features[train]).predict(features)


def association(
    labels: np.ndarray, event: np.ndarray, orders: Iterable[np.ndarray]
) -> dict[str, float]:
    """Measures how much clusters tell about an event, by mutual information.

    Args:
        labels: int `(N,)`, the cluster of each frame.
        event: bool `(N,)`.
        orders: Orders of the frames from `shuffles`, for the p value.

    Returns:
        `bits`, the mutual information; `null_bits`, its mean if labels and event are
        unrelated; `share`, the part of the event's entropy; and `p`.
    """
    bits = _bits(labels, event)
    null = np.array([_bits(labels, event[order]) for order in orders])
    entropy = stats.entropy(np.bincount(event.astype(int)), base=2)
    return {
        "bits": bits,
        "null_bits": float(null.mean()),
        "share": bits / float(entropy) if entropy else 0.0,
        "p": p_value(bits, null),
    }


def rates(labels: np.ndarray, event: np.ndarray, number: int) -> np.ndarray:
    """Returns the rate of an event in each cluster, `(number,)`; NaN if it is empty."""
    frames = np.bincount(labels, minlength=number)
    happened = np.bincount(labels, event, minlength=number)
    return np.divide(happened, frames, np.full(number, np.nan), where=frames > 0)


def _bits(labels: np.ndarray, event: np.ndarray) -> float:
    """Mutual information in bits (scikit-learn's is in nats)."""
    table = np.bincount(labels * 2 + event, minlength=2 * (labels.max() + 1))
    nats = mutual_info_score(None, None, contingency=table.reshape(-1, 2))
    return float(nats / np.log(2))
