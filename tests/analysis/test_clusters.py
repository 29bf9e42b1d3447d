"""Clusters of features whose relation to events is known."""

import numpy as np
import pytest

from dreamerv2_transfer.analysis import clusters
from tests.analysis.walks import ROWS, orders, rng, walk


def test_clusters_that_are_the_event_tell_all_of_it():
    event = rng().random(1200) < 0.25
    features = event[:, None] + 0.01 * rng(4).standard_normal((1200, 3))
    features = features.astype(np.float32)
    labels = clusters.cluster(features, ROWS.train, 2, seed=0)
    test = ROWS.test
    found = clusters.association(labels[test], event[test], orders(test))
    assert found["share"] == pytest.approx(1) and found["p"] == 0.01
    # The entropy of 1 in 4 is 0.811 bits.
    assert found["bits"] == pytest.approx(0.811, abs=0.05)
    assert found["null_bits"] < 0.02


def test_clusters_of_noise_tell_nothing():
    event = walk() > 2
    labels = rng(4).integers(4, size=1200)
    found = clusters.association(labels, event, orders(np.arange(1200)))
    assert found["share"] < 0.02 and found["p"] > 0.05


def test_rates_are_by_cluster():
    labels = np.array([0, 0, 2, 2])
    event = np.array([True, False, True, True])
    found = clusters.rates(labels, event, 3)
    assert found[0] == 0.5 and np.isnan(found[1]) and found[2] == 1
