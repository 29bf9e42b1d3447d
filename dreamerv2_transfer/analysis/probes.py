"""Linear probes: what a weighted sum of features predicts.

Alain and Bengio 2016, "Understanding intermediate layers using linear classifier
probes"; here regressions with an L2 penalty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy import linalg
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from dreamerv2_transfer.analysis.correlations import MIN_CHANGE
from dreamerv2_transfer.analysis.splits import Split

# On the squared weights of standardized features, beside the mean squared error.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Fewest frames with a value, in each part.
MIN_FRAMES = 10
RESAMPLES = 1000  # Of the bootstrap.
FEW = 5  # Episodes; with fewer there is no interval.


@dataclasses.dataclass(frozen=True)
class Probe:
    """A weighted sum of features that predicts a variable.

    Attributes:
        weights: float `(F,)`.
        bias: A number.
        penalty: The chosen one of `PENALTIES`.
        r2: On held-out frames; 1 is perfect, 0 as good as the mean.
    """

    weights: np.ndarray
    bias: float
    penalty: float
    r2: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Returns the predictions `(N,)` for features `(N, F)`."""
        return features @ self.weights + self.bias


def can_be_probed(values: np.ndarray, rows: Split) -> bool:
    """Whether a variable has values, and changes, in each part of the frames."""
    parts = [_known(values, part) for part in (rows.train, rows.choose, rows.test)]
    return all(len(x) >= MIN_FRAMES and np.ptp(values[x]) > 0 for x in parts)


def fit(
    features: np.ndarray, variables: Mapping[str, np.ndarray], rows: Split
) -> dict[str, Probe]:
    """Fits a probe for each variable that can be probed.

    Each is learned from the frames in which its variable is not NaN. The penalty is
    chosen on separate episodes.

    Args:
        features: float32 `(N, F)`.
        variables: `(N,)` by name, maybe with NaN.
        rows: The parts of the frames.
    """
    kept = {k: v for k, v in variables.items() if can_be_probed(v, rows)}
    groups: dict[bytes, list[str]] = {}
    for name, values in kept.items():
        groups.setdefault(np.isnan(values).tobytes(), []).append(name)
    probes = {}
    for names in groups.values():  # With values in the same frames.
        values = np.stack([kept[name] for name in names], 1)
        probes |= dict(zip(names, _fit(features, values, rows), strict=True))
    return {name: probes[name] for name in kept}


def ridge(features: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solves ridge regressions for all penalties and variables at once.

    The eigenvectors of the features' correlations make all penalties cost as much as
    one (Hastie, Tibshirani and Friedman 2009, section 3.4.1). The features are
    standardized in place, because they may take half of all memory.

    Args:
        features: float32 `(N, F)`; overwritten.
        values: `(N, V)`.

    Returns:
        Weights `(P, V, F)` and biases `(P, V)`, for the features as they were.
    """
    scaler = StandardScaler(copy=False)
    scaled = scaler.fit_transform(features)
    mean = values.mean(0, dtype=np.float64)
    targets = (values - mean).astype(np.float32)
    product = (scaled.T @ targets).astype(np.float64) / len(scaled)
    size, vectors = linalg.eigh((scaled.T @ scaled).astype(np.float64) / len(scaled))
    # Rounding makes the smallest ones a little negative.
    shrunk = 1 / (np.maximum(size, 0) + np.array(PENALTIES)[:, None])
    weights = (vectors * shrunk[:, None]) @ (vectors.T @ product)
    weights = weights.transpose(0, 2, 1) / scaler.scale_
    return weights, mean - weights @ scaler.mean_


def r2_interval(
    truth: np.ndarray,
    predicted: np.ndarray,
    episode: np.ndarray,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Returns the 95% bootstrap interval of R2, by resampling whole episodes.

    NaN if there are fewer than `FEW` episodes: their bootstrap would be too confident.

    Args:
        truth: `(N,)`, without NaN.
        predicted: `(N,)`.
        episode: int `(N,)`, the number of each frame's episode.
        rng: Draws the episodes.
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


def _fit(features: np.ndarray, values: np.ndarray, rows: Split) -> list[Probe]:
    """Fits probes for variables `(N, V)` that have values in the same frames."""
    train, choose, test = (
        _known(values[:, 0], part) for part in (rows.train, rows.choose, rows.test)
    )
    weights, bias = ridge(features[train], values[train])
    r2 = _r2(features[choose], values[choose], weights, bias)
    best = r2.argmax(0)
    each = np.arange(len(best))
    weights, bias = weights[best, each], bias[best, each]
    r2 = _r2(features[test], values[test], weights[None], bias[None])[0]
    return [
        Probe(w.astype(np.float32), float(b), PENALTIES[k], float(r))
        for w, b, k, r in zip(weights, bias, best, r2, strict=True)
    ]


def _r2(
    features: np.ndarray, values: np.ndarray, weights: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    """R2 `(P, V)` of each penalty and variable."""
    predicted = np.einsum("nf,pvf->pnv", features, weights, optimize=True)
    predicted += bias[:, None]
    return np.array([r2_score(values, x, multioutput="raw_values") for x in predicted])


def _known(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows in which a variable is not NaN."""
    return rows[~np.isnan(values[rows])]
