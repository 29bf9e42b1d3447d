"""What features have to do with what happens in a game, measured on held-out episodes.

Frames of an episode resemble each other, so neither a share of the frames nor a
shuffle of them would do: episodes are held out as a whole, and a permutation test
joins the values of whole episodes in another order (see `shuffles`).
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Iterator

import numpy as np
from scipy import stats
from sklearn.cluster import MiniBatchKMeans
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.metrics import mutual_info_score

from dreamerv2_transfer.common.errors import UserError

SHARES = (0.6, 0.2, 0.2)  # Of the frames: to learn from, to choose by, to measure on.
RESTARTS = 3  # First centres of k-means, of which the best are taken.
BATCH = 4096  # Frames of an iteration of k-means.
COMPONENTS = 50  # Principal components that canonical correlations are sought in.
RESAMPLES = 1000  # Of a bootstrap.
FEW = 5  # Episodes, below which there are no intervals.
MIN_CHANGE = 1e-6  # Standard deviation below which a feature counts as constant.


class AnalysisError(UserError):
    """There is too little to be analysed."""


@dataclasses.dataclass(frozen=True)
class Split:
    """Numbers of frames, those of an episode in one part only.

    Attributes:
        train: what is learned from.
        choose: what settings are chosen by.
        test: what is measured on.
    """

    train: np.ndarray
    choose: np.ndarray
    test: np.ndarray


def split(episode: np.ndarray, rng: np.random.Generator) -> Split:
    """Splits frames by their episodes, at random, in about the shares of `SHARES`.

    Args:
        episode: int `(N,)`, the number of each frame's episode.
        rng: draws.

    Raises:
        AnalysisError: there are fewer than three episodes.
    """
    numbers, lengths = np.unique(episode, return_counts=True)
    if len(numbers) < len(SHARES):
        raise AnalysisError(
            "To hold episodes out, there must be at least 3 of them; raise --frames or "
            f"--envs. Received: {len(numbers)}"
        )
    order = rng.permutation(len(numbers))
    # In which share the middle of each episode lies, the parts laid end to end.
    middle = np.cumsum(lengths[order]) - lengths[order] / 2
    part = np.searchsorted(np.cumsum(SHARES)[:-1], middle / lengths.sum())
    part[[0, -1]] = 0, 2
    if 1 not in part:
        part[len(part) // 2] = 1
    parts = [
        np.flatnonzero(np.isin(episode, numbers[order[part == i]])) for i in (0, 1, 2)
    ]
    return Split(*parts)


def shuffles(
    episode: np.ndarray, number: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Orders for permutation tests: whole episodes in another order, then rolled.

    What is put into such an order changes over time as it did before, but belongs to
    other frames. The whole is rolled by a random number of frames, which makes a test
    of few long episodes possible.

    Args:
        episode: int `(N,)`, the number of each frame's episode; these are in one piece.
        number: how many orders.
        rng: draws.

    Yields:
        int `(N,)`, an order of the frames.
    """
    starts = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    pieces = np.split(np.arange(len(episode)), starts[1:])
    for _ in range(number):
        order = np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])
        yield np.roll(order, rng.integers(len(order)))


def p_value(value: float, null: np.ndarray) -> float:
    """Share of values as large under the null hypothesis, the value itself included."""
    return float((1 + np.sum(null >= value - 1e-12)) / (1 + len(null)))


def cluster(
    features: np.ndarray, train: np.ndarray, number: int, seed: int
) -> np.ndarray:
    """k-means in small batches (Sculley 2010), learned on some frames.

    Args:
        features: `(N, F)`.
        train: numbers of the frames to learn from.
        number: of clusters; as many as frames where these are fewer.
        seed: of the first centres and the batches.

    Returns:
        int `(N,)`, the cluster of each frame.
    """
    kmeans = MiniBatchKMeans(
        min(number, len(train)), batch_size=BATCH, n_init=RESTARTS, random_state=seed
    )
    return kmeans.fit(features[train]).predict(features)


def association(
    labels: np.ndarray, event: np.ndarray, orders: list[np.ndarray]
) -> dict[str, float]:
    """How much clusters tell about an event, by mutual information.

    Args:
        labels: int `(N,)`, the cluster of each frame.
        event: bool `(N,)`.
        orders: of the frames, from `shuffles`, for the p value.

    Returns:
        `bits`, mutual information; `null_bits`, its mean where labels and event have
        nothing to do with each other; `share`, of the event's entropy; and `p`.
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


def _bits(labels: np.ndarray, event: np.ndarray) -> float:
    """Mutual information in bits (scikit-learn's is in nats)."""
    table = np.bincount(labels * 2 + event, minlength=2 * (labels.max() + 1))
    nats = mutual_info_score(None, None, contingency=table.reshape(-1, 2))
    return float(nats / np.log(2))


def adjust(p_values: list[float]) -> list[float]:
    """p values for the false discovery rate (Benjamini and Hochberg 1995)."""
    return stats.false_discovery_control(p_values).tolist() if p_values else []


def rates(labels: np.ndarray, event: np.ndarray, number: int) -> np.ndarray:
    """How often an event happens in each cluster, `(number,)`; NaN in an empty one."""
    frames = np.bincount(labels, minlength=number)
    happened = np.bincount(labels, event, minlength=number)
    return np.divide(happened, frames, np.full(number, np.nan), where=frames > 0)


def project(features: np.ndarray, train: np.ndarray, number: int, seed: int):
    """The first principal components of each frame, learned on some.

    Returns:
        `(N, number)`, and the share of the variance that each explains.
    """
    sample = features[train]
    pca = PCA(min(number, *sample.shape), random_state=seed).fit(sample)
    return pca.transform(features), pca.explained_variance_ratio_


def canonical(components: np.ndarray, targets: np.ndarray, rows: Split) -> list[float]:
    """Canonical correlations (Hotelling 1936) on held-out frames.

    Args:
        components: `(N, C)`, principal components of features.
        targets: `(N, T)`, without NaN and not constant, C >= T.
        rows: the frames to learn from and to measure on.

    Returns:
        T correlations.
    """
    train, test = rows.train, rows.test
    cca = CCA(targets.shape[1], max_iter=2000)
    with warnings.catch_warnings():  # Where one target is all that the other is.
        warnings.filterwarnings("ignore", "y residual is constant")
        cca.fit(components[train], targets[train])
    ours, theirs = cca.transform(components[test], targets[test])
    return [correlation(a, b) for a, b in zip(ours.T, theirs.T, strict=True)]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two variables; 0 where one is constant."""
    if min(np.std(a), np.std(b)) < MIN_CHANGE:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def correlations(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each feature with each variable; 0 for what is constant.

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
) -> dict:
    """The single feature that is most correlated with a variable.

    It is chosen on training episodes, where the largest of as many correlations is
    compared with the largest ones that shuffled values have: this corrects for the
    number of features (Westfall and Young 1993). On held-out episodes it is one
    feature, and its p value is that of one.

    Args:
        features: float32 `(N, F)`.
        target: `(N,)`, without NaN.
        rows: the frames to choose from and to measure on.
        train_orders: of the training frames, from `shuffles`.
        test_orders: of the held-out frames.

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
    return {
        "feature": best,
        "train_r": float(found[best, 0]),
        "train_p": p_value(largest[0], largest[1:]),
        "test_r": float(held_out[0]),
        "test_p": p_value(abs(held_out[0]), np.abs(held_out[1:])),
        "null": largest[1:].tolist(),
    }


def r2_interval(
    truth: np.ndarray,
    predicted: np.ndarray,
    episode: np.ndarray,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """The 95% bootstrap interval of R2, whole episodes drawn with replacement.

    NaN where there are fewer than `FEW` episodes: their bootstrap would be too sure.

    Args:
        truth: `(N,)`, without NaN.
        predicted: `(N,)`.
        episode: int `(N,)`.
        rng: draws.
    """
    _, number = np.unique(episode, return_inverse=True)
    if number.max() + 1 < FEW:
        return float("nan"), float("nan")
    values = np.stack([truth * 0 + 1, truth, truth**2, (truth - predicted) ** 2])
    sums = np.stack([np.bincount(number, row) for row in values.astype(np.float64)], 1)
    share = np.full(len(sums), 1 / len(sums))
    count, total, square, error = (
        rng.multinomial(len(sums), share, RESAMPLES) @ sums
    ).T
    spread = square - total**2 / count
    # A draw of episodes in which the variable does not change says nothing.
    r2 = 1 - error[spread > MIN_CHANGE] / spread[spread > MIN_CHANGE]
    low, high = np.percentile(r2, [2.5, 97.5])
    return float(low), float(high)
