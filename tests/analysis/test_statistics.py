"""Statistics on numbers whose relation is known."""

import numpy as np
import pytest

from dreamerv2_transfer.analysis import statistics

EPISODE = np.repeat(np.arange(60), 20)
ROWS = statistics.split(EPISODE, np.random.default_rng(0))


def rng(seed=3):
    return np.random.default_rng(seed)


def orders(rows, number=99):
    return list(statistics.shuffles(EPISODE[rows], number, rng()))


def walk():
    """A value that changes slowly within each episode."""
    steps = rng().choice([-1, 0, 1], (60, 20))
    return steps.cumsum(1).reshape(-1).astype(np.float32)


def test_the_parts_share_no_episode_and_leave_none_out():
    parts = [set(EPISODE[x]) for x in (ROWS.train, ROWS.choose, ROWS.test)]
    assert [len(x) for x in parts] == [36, 12, 12]
    assert set.union(*parts) == set(range(60))


@pytest.mark.parametrize("lengths", [[100, 1, 1], [1, 100, 1, 100], [5] * 4])
def test_no_part_is_empty(lengths):
    episode = np.repeat(np.arange(len(lengths)), lengths)
    for seed in range(10):
        rows = statistics.split(episode, np.random.default_rng(seed))
        parts = [set(episode[x]) for x in (rows.train, rows.choose, rows.test)]
        assert all(parts) and sum(map(len, parts)) == len(lengths)


def test_two_episodes_are_too_few():
    with pytest.raises(statistics.AnalysisError, match="Received: 2"):
        statistics.split(np.array([0, 0, 1]), rng())


def test_a_shuffle_keeps_what_follows_within_an_episode():
    for order in orders(np.arange(1200), 5):
        assert sorted(order) == list(range(1200))
        # Two neighbours go apart at the ends of 60 episodes and at the roll only.
        assert (np.diff(order) != 1).sum() <= 61
        assert (order != np.arange(1200)).mean() > 0.5


def test_a_p_value_counts_the_value_itself():
    assert statistics.p_value(5, np.array([1, 2, 3, 4])) == 0.2
    assert statistics.p_value(2, np.array([1, 2, 3, 4])) == 0.8


def test_clusters_that_are_the_event_tell_all_of_it():
    event = rng().random(1200) < 0.25
    features = event[:, None] + 0.01 * rng(4).standard_normal((1200, 3))
    features = features.astype(np.float32)
    labels = statistics.cluster(features, ROWS.train, 2, seed=0)
    test = ROWS.test
    found = statistics.association(labels[test], event[test], orders(test))
    assert found["share"] == pytest.approx(1) and found["p"] == 0.01
    # The entropy of 1 in 4 is 0.811 bits.
    assert found["bits"] == pytest.approx(0.811, abs=0.05)
    assert found["null_bits"] < 0.02


def test_clusters_of_noise_tell_nothing():
    event = walk() > 2
    labels = rng(4).integers(4, size=1200)
    found = statistics.association(labels, event, orders(np.arange(1200)))
    assert found["share"] < 0.02 and found["p"] > 0.05


def test_slow_values_are_not_taken_for_signal():
    """Two independent slow values correlate, which a shuffle of frames would miss."""
    slow = rng(2).choice([-1, 1], (60, 20)).cumsum(1).reshape(-1, 1)
    found = statistics.best_feature(
        slow.astype(np.float32), walk(), ROWS, orders(ROWS.train), orders(ROWS.test)
    )
    # Of 720 independent frames, |r| would be significant from 0.073 on.
    assert np.quantile(found["null"], 0.95) > 0.15 and found["train_p"] > 0.05


def test_rates_are_by_cluster():
    labels = np.array([0, 0, 2, 2])
    event = np.array([True, False, True, True])
    found = statistics.rates(labels, event, 3)
    assert found[0] == 0.5 and np.isnan(found[1]) and found[2] == 1


def test_p_values_are_adjusted_for_false_discoveries():
    assert statistics.adjust([0.01, 0.02, 0.9]) == pytest.approx([0.03, 0.03, 0.9])
    assert statistics.adjust([]) == []


def test_correlations_are_pearsons():
    features = rng().standard_normal((50, 3)).astype(np.float32) + 100
    features[:, 2] = 7
    values = rng(4).standard_normal((50, 2))
    found = statistics.correlations(features, values)
    for i in range(2):
        for j in range(2):
            wanted = np.corrcoef(features[:, i], values[:, j])[0, 1]
            assert found[i, j] == pytest.approx(wanted, abs=1e-3)
    assert (found[2] == 0).all()


def test_the_best_feature_is_found_and_holds_on_other_episodes():
    target = walk()
    features = rng(4).standard_normal((1200, 40)).astype(np.float32)
    features[:, 17] -= target / 2
    found = statistics.best_feature(
        features, target, ROWS, orders(ROWS.train), orders(ROWS.test)
    )
    assert found["feature"] == 17
    assert found["train_r"] < -0.6 and found["test_r"] < -0.6
    assert found["train_p"] == found["test_p"] == 0.01 and len(found["null"]) == 99


def test_the_largest_of_many_chance_correlations_is_not_significant():
    features = rng(4).standard_normal((1200, 400)).astype(np.float32)
    found = statistics.best_feature(
        features, walk(), ROWS, orders(ROWS.train), orders(ROWS.test)
    )
    # One try would count as significant from 0.073 on.
    assert abs(found["train_r"]) > 0.08 and found["train_p"] > 0.05


def test_canonical_correlations_find_mixed_directions():
    targets = np.stack([walk(), rng(4).standard_normal(1200)], 1)
    noise = rng(5).standard_normal((1200, 6))
    mixed = np.concatenate([targets, noise], 1) @ rng(6).standard_normal((8, 8))
    first, second = statistics.canonical(mixed, targets, ROWS)
    assert first > 0.95 and second > 0.95
    for r in statistics.canonical(noise, targets, ROWS):
        assert abs(r) < 0.25


def test_components_are_learned_from_the_training_frames_alone():
    features = rng().standard_normal((1200, 5)).astype(np.float32)
    features[:, 2] *= 10
    changed = features.copy()
    changed[ROWS.test, 4] *= 100
    found, explained = statistics.project(features, ROWS.train, 2, seed=0)
    assert found.shape == (1200, 2) and explained[0] > 0.9
    other, _ = statistics.project(changed, ROWS.train, 2, seed=0)
    np.testing.assert_allclose(found[ROWS.train], other[ROWS.train], atol=1e-4)


def test_an_interval_of_r2_is_wider_for_fewer_episodes():
    truth = rng().standard_normal(1200)
    predicted = truth + 0.5 * rng(4).standard_normal(1200)
    low, high = statistics.r2_interval(truth, predicted, EPISODE, rng())
    assert 0.65 < low < 0.75 < high < 0.85
    few = slice(0, 200)
    wide = statistics.r2_interval(truth[few], predicted[few], EPISODE[few], rng())
    assert wide[1] - wide[0] > high - low


def test_a_handful_of_episodes_has_no_interval():
    found = statistics.r2_interval(np.arange(8.0), np.arange(8.0), EPISODE[:8], rng())
    assert np.isnan(found).all()
