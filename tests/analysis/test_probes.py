"""Linear probes."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from dreamerv2_transfer.analysis import probes, splits

EPISODE = np.repeat(np.arange(50), 20)
RNG = np.random.default_rng(0)
ROWS = splits.split(EPISODE, RNG)
FEATURES = (RNG.standard_normal((1000, 12)) * 3 + 5).astype(np.float32)
NOISE = RNG.standard_normal(1000).astype(np.float32)


def test_a_probe_reads_a_weighted_sum():
    target = 2 * FEATURES[:, 3] - FEATURES[:, 5] + 7
    probe = probes.fit(FEATURES, {"sum": target}, ROWS)["sum"]
    assert probe.r2 > 0.999 and probe.penalty == 1e-4
    np.testing.assert_allclose(probe(FEATURES), target, atol=0.02)
    wanted = np.zeros(12)
    wanted[3], wanted[5] = 2, -1
    np.testing.assert_allclose(probe.weights, wanted, atol=0.01)


def test_noise_cannot_be_read():
    probe = probes.fit(FEATURES, {"noise": NOISE}, ROWS)["noise"]
    assert abs(probe.r2) < 0.1


def test_r2_is_that_of_held_out_episodes():
    target = FEATURES[:, 3] + 5 * NOISE
    target[ROWS.test] = NOISE[ROWS.test]
    probe = probes.fit(FEATURES, {"only in training": target}, ROWS)
    assert probe["only in training"].r2 < 0.05


def test_all_penalties_at_once_are_scikit_learns_ridge():
    values = np.stack([FEATURES[:, 1] + NOISE, NOISE], 1)
    weights, bias = probes.ridge(FEATURES.copy(), values)
    scaled = StandardScaler().fit_transform(FEATURES)
    for number, penalty in enumerate(probes.PENALTIES):
        # Its penalty stands beside the sum of squared errors, ours beside their mean.
        wanted = Ridge(penalty * len(values)).fit(scaled, values).predict(scaled)
        found = FEATURES @ weights[number].T + bias[number]
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_variable_is_learned_where_it_is_there():
    target = FEATURES[:, 0].copy()
    target[::2] = np.nan
    found = probes.fit(FEATURES, {"sometimes": target, "always": NOISE}, ROWS)
    assert list(found) == ["sometimes", "always"]
    assert found["sometimes"].r2 > 0.99
    np.testing.assert_allclose(found["sometimes"](FEATURES), FEATURES[:, 0], atol=0.05)


@pytest.mark.parametrize("value", [np.nan, 4.0])
def test_what_is_never_there_or_never_changes_is_left_out(value):
    target = np.full(1000, value, np.float32)
    assert probes.fit(FEATURES, {"nothing": target}, ROWS) == {}


def test_features_that_never_change_do_no_harm():
    features = FEATURES.copy()
    features[:, 7] = 3
    probe = probes.fit(features, {"one": FEATURES[:, 0]}, ROWS)["one"]
    assert probe.r2 > 0.999 and abs(probe.weights[7]) < 1e-9


def test_an_interval_of_r2_is_wider_for_fewer_episodes():
    episode = np.repeat(np.arange(60), 20)
    truth = np.random.default_rng(3).standard_normal(1200)
    predicted = truth + 0.5 * np.random.default_rng(4).standard_normal(1200)
    rng = np.random.default_rng(3)
    low, high = probes.r2_interval(truth, predicted, episode, rng)
    assert 0.65 < low < 0.75 < high < 0.85
    few = slice(0, 200)
    rng = np.random.default_rng(3)
    wide = probes.r2_interval(truth[few], predicted[few], episode[few], rng)
    assert wide[1] - wide[0] > high - low


def test_a_handful_of_episodes_has_no_interval():
    values, rng = np.arange(8.0), np.random.default_rng(3)
    found = probes.r2_interval(values, values, np.zeros(8, int), rng)
    assert np.isnan(found).all()
