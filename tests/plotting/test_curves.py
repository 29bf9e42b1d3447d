"""Curves of several seeds, on common steps."""

import numpy as np
import pytest

from dreamerv2_transfer.plotting import curves


def curve(steps, values):
    return np.array(steps, float), np.array(values, float)


def test_bins_are_means_placed_at_their_right_border():
    steps, values = curves.binned(curve([0, 1, 10, 11, 35], [9, 2, 4, 6, 8]), 10)
    assert steps.tolist() == [0, 10, 20, 40]
    assert values.tolist() == [9, 3, 6, 8]


def test_a_border_is_found_in_spite_of_rounding():
    steps, values = curves.binned(curve([0.1, 3 * 0.1], [1, 2]), 0.1)
    assert steps.tolist() == pytest.approx([0.1, 0.3])
    assert values.tolist() == [1, 2]


def test_smoothing_looks_back_only():
    line = curve([0, 10, 20, 30], [0, 0, 6, 0])
    assert curves.smooth(line, 20)[1].tolist() == [0, 0, 3, 3]
    assert curves.smooth(line, 0)[1] is line[1]


def test_curves_are_aligned_by_straight_lines_within_their_own_steps():
    steps, values = curves.align([curve([0, 10], [0, 10]), curve([5, 20], [1, 4])])
    assert steps.tolist() == [0, 5, 10, 20]
    np.testing.assert_array_equal(values, [[0, 5, 10, np.nan], [np.nan, 1, 2, 4]])


def test_very_many_points_are_binned():
    long = curve(range(5000), np.ones(5000))
    steps, values = curves.align([long, curve(np.arange(5000) + 0.5, np.ones(5000))])
    assert 900 < len(steps) <= curves.MAX_POINTS
    assert values[0, 1:-1].tolist() == [1.0] * (len(steps) - 2)


def test_a_band_covers_only_steps_where_there_are_runs():
    band = curves.band(
        [curve([0, 1, 2], [1, 1, 1]), curve([0, 1], [3, 5]), curve([9], [7])]
    )
    assert band.steps.tolist() == [0, 1, 2, 9]
    assert band.count.tolist() == [2, 2, 1, 1]
    assert band.mean.tolist() == [2, 3, 1, 7]
    assert np.isnan(band.low).tolist() == [False, False, True, True]
    assert (band.low[0], band.high[0]) == pytest.approx((2 - 12.7062, 2 + 12.7062))


def test_the_band_is_students_interval_of_the_mean():
    values = np.random.default_rng(0).normal(size=50)
    band = curves.band([curve([0], [value]) for value in values])
    half = 2.009575 * values.std(ddof=1) / np.sqrt(50)
    assert band.mean[0] == pytest.approx(values.mean())
    assert band.low[0] == pytest.approx(values.mean() - half)
    assert band.high[0] == pytest.approx(values.mean() + half)


def test_the_same_curves_have_the_same_band():
    lines = [curve([0, 1], [value, 2]) for value in (1, 2, 5)]
    assert curves.band(lines).low.tolist() == curves.band(lines).low.tolist()


def test_one_seed_has_no_band():
    for kind in curves.KINDS:
        band = curves.band([curve([0, 1], [1, 2])], kind)
        assert band.mean.tolist() == [1, 2]
        assert np.isnan([band.low, band.high]).all()


@pytest.mark.parametrize(
    ("kind", "edges"),
    [
        ("std1", (3.5 - np.sqrt(8.75), 3.5, 3.5 + np.sqrt(8.75))),
        ("per0", (0, 3, 8)),
        ("per5", (0.3, 3, 7.4)),
        ("per25", (1.5, 3, 5)),
    ],
)
def test_the_bands_of_the_original(kind, edges):
    band = curves.band([curve([0], [value]) for value in (0, 2, 4, 8)], kind)
    assert (band.low[0], band.mean[0], band.high[0]) == pytest.approx(edges)
