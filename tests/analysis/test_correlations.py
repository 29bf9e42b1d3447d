"""Correlations of features whose relation to variables is known."""

import numpy as np
import pytest

from dreamerv2_transfer.analysis import correlations
from tests.analysis.walks import ROWS, orders, rng, walk


def test_slow_values_are_not_taken_for_signal():
    """Two independent slow values correlate, which a shuffle of frames would miss."""
    slow = rng(2).choice([-1, 1], (60, 20)).cumsum(1).reshape(-1, 1)
    found = correlations.best_feature(
        slow.astype(np.float32), walk(), ROWS, orders(ROWS.train), orders(ROWS.test)
    )
    # Of 720 independent frames, |r| would be significant from 0.073 on.
    assert np.quantile(found["null"], 0.95) > 0.15 and found["train_p"] > 0.05


def test_correlations_are_pearsons():
    features = rng().standard_normal((50, 3)).astype(np.float32) + 100
    features[:, 2] = 7
    values = rng(4).standard_normal((50, 2))
    found = correlations.correlations(features, values)
    for i in range(2):
        for j in range(2):
            wanted = np.corrcoef(features[:, i], values[:, j])[0, 1]
            assert found[i, j] == pytest.approx(wanted, abs=1e-3)
    assert (found[2] == 0).all()


def test_the_best_feature_is_found_and_holds_on_other_episodes():
    target = walk()
    features = rng(4).standard_normal((1200, 40)).astype(np.float32)
    features[:, 17] -= target / 2
    found = correlations.best_feature(
        features, target, ROWS, orders(ROWS.train), orders(ROWS.test)
    )
    assert found["feature"] == 17
    assert found["train_r"] < -0.6 and found["test_r"] < -0.6
    assert found["train_p"] == found["test_p"] == 0.01 and len(found["null"]) == 99


def test_a_feature_whose_sign_turns_on_other_episodes_is_not_confirmed():
    target = walk()
    features = target[:, None].astype(np.float32)
    features[ROWS.test] *= -1
    found = correlations.best_feature(
        features, target, ROWS, orders(ROWS.train), orders(ROWS.test)
    )
    assert found["train_r"] == pytest.approx(1, abs=1e-3)
    assert found["test_r"] == pytest.approx(-1, abs=1e-3)
    assert found["train_p"] == 0.01 and found["test_p"] == 1


def test_the_largest_of_many_chance_correlations_is_not_significant():
    features = rng(4).standard_normal((1200, 400)).astype(np.float32)
    found = correlations.best_feature(
        features, walk(), ROWS, orders(ROWS.train), orders(ROWS.test)
    )
    # One try would count as significant from 0.073 on.
    assert abs(found["train_r"]) > 0.08 and found["train_p"] > 0.05


def test_canonical_correlations_find_mixed_directions():
    targets = np.stack([walk(), rng(4).standard_normal(1200)], 1)
    noise = rng(5).standard_normal((1200, 6))
    mixed = np.concatenate([targets, noise], 1) @ rng(6).standard_normal((8, 8))
    first, second = correlations.canonical(mixed, targets, ROWS)
    assert first > 0.95 and second > 0.95
    for r in correlations.canonical(noise, targets, ROWS):
        assert abs(r) < 0.25


def test_components_are_learned_from_the_training_frames_alone():
    features = rng().standard_normal((1200, 5)).astype(np.float32)
    features[:, 2] *= 10
    changed = features.copy()
    changed[ROWS.test, 4] *= 100
    found, explained = correlations.project(features, ROWS.train, 0, number=2)
    assert found.shape == (1200, 2) and explained[0] > 0.9
    other, _ = correlations.project(changed, ROWS.train, 0, number=2)
    np.testing.assert_allclose(found[ROWS.train], other[ROWS.train], atol=1e-4)
