import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamerv2_transfer.validation import scores


@pytest.mark.parametrize(
    ("values", "events", "wanted"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),  # Three of four pairs.
        ([1.0, 1.0, 2.0], [1, 0, 0], 0.25),  # A tie and a loss.
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 0.0),
        ([0.3] * 5, [0, 1, 0, 1, 0], 0.5),  # Constant predictions.
        ([-np.inf, 0.0, np.inf], [0, 0, 1], 1.0),
    ],
)
def test_the_auc_counts_pairs_in_the_right_order(values, events, wanted):
    assert scores.auc(values, events) == wanted


@pytest.mark.parametrize(
    ("values", "events"),
    [([1.0, 2.0], [0, 0]), ([1.0, 2.0], [1, 1]), ([], []), ([np.nan, 2.0], [0, 1])],
)
def test_without_events_or_others_or_numbers_there_is_no_auc(values, events):
    assert np.isnan(scores.auc(np.array(values), np.array(events)))


def test_events_without_weight_do_not_count():
    assert np.isnan(scores.auc([1.0, 2.0], [1, 0], np.array([0.0, 1.0])))


SAMPLES = st.lists(
    st.tuples(st.integers(-3, 3), st.booleans(), st.integers(1, 4)), min_size=2
)


@given(SAMPLES)
def test_a_weight_is_so_many_samples(samples):
    values, events, weights = map(np.array, zip(*samples, strict=True))
    repeated = np.repeat(values, weights), np.repeat(events, weights)
    pairs = [
        (a > b) + (a == b) / 2
        for a in repeated[0][repeated[1]]
        for b in repeated[0][~repeated[1]]
    ]
    wanted = pytest.approx(np.mean(pairs) if pairs else np.nan, nan_ok=True)
    assert scores.auc(values, events, weights) == wanted
    assert scores.auc(*repeated) == wanted


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    predicted, true = [0.6, 0.2, 0.6, 0.2], [1, 0, 0, 0]
    # Bins of two: 0.2 where nothing is, and 0.6 where 0.5 is.
    error = scores.calibration_error(predicted, true, bins=2)
    assert error == pytest.approx((2 * 0.2 + 2 * 0.1) / 4)
    # A single bin: the means are 0.4 and 0.25.
    assert scores.calibration_error(predicted, true, bins=1) == pytest.approx(0.15)


def test_the_calibration_error_of_weights():
    weights = np.array([1.0, 3.0])
    error = scores.calibration_error([0.9, 0.1], [1, 0], weights, bins=2)
    assert error == pytest.approx((0.1 + 3 * 0.1) / 4)


def test_equal_predictions_share_a_bin():
    # Bins of one would find a gap of 0.5 in each.
    assert scores.calibration_error([0.5] * 4, [0, 1, 0, 1], bins=4) == 0


@pytest.mark.parametrize("predicted", [[], [np.nan]])
def test_without_numbers_there_is_no_calibration_error(predicted):
    assert np.isnan(scores.calibration_error(predicted, np.zeros(len(predicted))))
