"""Linear probes: what can be read off features by a weighted sum, and where else.

Alain and Bengio 2016, "Understanding intermediate layers using linear classifier
probes"; here regressions with an L2 penalty.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import linalg
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from dreamerv2_transfer.analysis.statistics import Split

# On the squared weights of standardized features, beside the mean squared error.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Frames of one value at least, in each part: what never changes cannot be probed.
MIN_FRAMES = 10


@dataclasses.dataclass(frozen=True)
class Probe:
    """A weighted sum of features that predicts a variable.

    Attributes:
        weights: float `(F,)`.
        bias: number.
        penalty: the one of `PENALTIES` that was chosen.
        r2: on held-out frames; 1 is perfect, 0 as good as the mean.
    """

    weights: np.ndarray
    bias: float
    penalty: float
    r2: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The predictions `(N,)` for features `(N, F)`."""
        return features @ self.weights + self.bias


def can_be_probed(values: np.ndarray, rows: Split) -> bool:
    """Whether a variable is there and changes in each part of the frames."""
    parts = [_there(values, part) for part in (rows.train, rows.choose, rows.test)]
    return all(len(x) >= MIN_FRAMES and np.ptp(values[x]) > 0 for x in parts)


def fit(
    features: np.ndarray, variables: dict[str, np.ndarray], rows: Split
) -> dict[str, Probe]:
    """A probe for each variable that can be probed.

    Each is learned from the frames in which its variable is not NaN. The penalty is
    chosen on episodes of its own.

    Args:
        features: float32 `(N, F)`.
        variables: `(N,)` by name, maybe with NaN.
        rows: the parts of the frames.
    """
    kept = {k: v for k, v in variables.items() if can_be_probed(v, rows)}
    groups: dict[bytes, list[str]] = {}
    for name, values in kept.items():
        groups.setdefault(np.isnan(values).tobytes(), []).append(name)
    probes = {}
    for names in groups.values():  # Those of a group are there in the same frames.
        values = np.stack([kept[name] for name in names], 1)
        probes |= dict(zip(names, _fit(features, values, rows), strict=True))
    return {name: probes[name] for name in kept}


def _fit(features: np.ndarray, values: np.ndarray, rows: Split) -> list[Probe]:
    """Probes for variables `(N, V)` that are there in the same frames."""
    train, choose, test = (
        _there(values[:, 0], part) for part in (rows.train, rows.choose, rows.test)
    )
    weights, bias = _ridge(features[train], values[train])
    r2 = _r2(features[choose], values[choose], weights, bias)
    best = r2.argmax(0)
    each = np.arange(len(best))
    weights, bias = weights[best, each], bias[best, each]
    r2 = _r2(features[test], values[test], weights[None], bias[None])[0]
    return [
        Probe(w.astype(np.float32), float(b), PENALTIES[k], float(r))
        for w, b, k, r in zip(weights, bias, best, r2, strict=True)
    ]


def _ridge(features: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights `(P, V, F)` and biases `(P, V)` for each penalty and variable.

    The features are standardized in place, for they may be half of all memory. By the
    eigenvectors of their correlations all penalties cost as much as one (Hastie,
    Tibshirani and Friedman 2009, section 3.4.1).
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


def _r2(features, values, weights, bias) -> np.ndarray:
    """R2 `(P, V)` of each penalty and variable."""
    predicted = np.einsum("nf,pvf->pnv", features, weights, optimize=True)
    predicted += bias[:, None]
    return np.array([r2_score(values, x, multioutput="raw_values") for x in predicted])


def _there(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return rows[~np.isnan(values[rows])]
