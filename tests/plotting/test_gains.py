"""What an arm gains over scratch, on curves whose gains are known."""

import json

import numpy as np
import pytest

from dreamerv2_transfer.plotting import gains

LINE = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def curve(values, steps=LINE):
    return np.array(steps, float), np.array(values, float)


def flat(value):
    return curve([value] * len(LINE))


def test_the_area_is_under_straight_lines():
    line = curve([0, 10], steps=[0, 10])
    assert gains.area(line, 0, 10) == 50
    assert gains.area(line, 2, 4) == 6
    assert gains.area(curve([0, 2, 0], steps=[0, 1, 10]), 0, 10) == 10


def test_a_curve_that_is_higher_by_two_everywhere():
    result = gains.compare([flat(6)], [flat(4)])
    assert result["area"]["value"] == 60 and result["area_scratch"]["value"] == 40
    assert result["area_ratio"]["value"] == 1.5
    assert result["jump_start"]["value"] == 2
    assert result["asymptotic_difference"]["value"] == 2
    assert result["threshold"] == 4
    assert result["steps_to_threshold"]["value"] == 0
    json.dumps(result, allow_nan=False)


def test_jump_start_and_asymptote_are_of_the_ends():
    rising, falling = curve(LINE), curve(LINE[::-1])
    result = gains.compare([falling], [rising])
    assert result["area_ratio"]["value"] == 1
    # The first twentieth and the last tenth: means over steps 0 to 0.5 and 9 to 10.
    assert result["jump_start"]["value"] == pytest.approx(9.75 - 0.25)
    assert result["asymptotic_difference"]["value"] == pytest.approx(0.5 - 9.5)


def test_steps_to_a_threshold_are_to_where_it_is_held():
    early, late = curve([0, 0, 0, *[8] * 8]), curve([0, 9, 0, 0, 0, 0, 0, *[8] * 4])
    result = gains.compare([early], [late], threshold=8)
    assert result["steps_to_threshold"]["value"] == 3
    assert result["steps_to_threshold_scratch"]["value"] == 7
    assert result["steps_saved"]["value"] == 4


def test_no_interval_of_steps_begins_before_the_curves():
    early, late = curve([8] * 11), curve([0, 0, 0, *[8] * 8])
    steps = gains.compare([early, late], [flat(8)], threshold=8)["steps_to_threshold"]
    assert (steps["value"], steps["low"]) == (1.5, 0) and steps["high"] > 9


def test_scratch_reaches_the_level_that_it_ends_with():
    rng = np.random.default_rng(0)
    for _ in range(100):  # In spite of rounding.
        scratch = curve(LINE + rng.normal(size=11), LINE + rng.uniform(size=11) / 2)
        end = scratch[0][-1]
        last = 0.1 * (end - scratch[0][0])
        level = gains.area(scratch, end - last, end) / last
        assert gains.steps_to_threshold(scratch, level, scratch[0][0], end) is not None


def test_what_only_the_last_point_reaches_is_not_held():
    line = curve([*[0] * 20, 100], steps=range(21))
    assert gains.steps_to_threshold(line, 50, 0, 20) is None
    assert gains.steps_to_threshold(line, 25, 0, 20) == 18


def test_a_threshold_that_is_not_reached_is_null_and_counted():
    result = gains.compare([flat(1), flat(9)], [flat(5)], threshold=5)
    assert result["steps_to_threshold"] == {
        "value": None,
        "low": None,
        "high": None,
        "reached": 1,
        "by_seed": [None, 0.0],
    }
    assert result["steps_saved"]["value"] is None


def test_one_seed_has_no_interval():
    result = gains.compare([flat(6), flat(7)], [flat(4)])
    assert result["area_ratio"]["low"] is None
    assert result["area_scratch"]["low"] is None
    assert result["area"]["low"] is not None


def test_intervals_are_students_and_know_their_seeds():
    scratch = [flat(4), flat(6)]
    result = gains.compare([flat(10), flat(10)], scratch)
    jump, half = result["jump_start"], 12.7062
    assert jump["value"] == 5
    assert (jump["low"], jump["high"]) == pytest.approx((5 - half, 5 + half))
    ratio = result["area_ratio"]
    # By the spread of two seeds scratch may have no return at all.
    assert (ratio["value"], ratio["low"]) == (2, None)
    assert result["normalized"] == {
        "transfer": pytest.approx([2, 2]),
        "scratch": pytest.approx([0.8, 1.2]),
    }
    assert result["coverage"] == 0.97


def test_the_ratio_of_close_seeds_is_settled():
    scratch = [flat(4.9), flat(5), flat(5.1)]
    ratio = gains.compare([flat(10), flat(10), flat(10)], scratch)["area_ratio"]
    assert 1.8 < ratio["low"] < ratio["value"] == pytest.approx(2)
    assert 2 < ratio["high"] < 2.2


def test_scratch_without_return_has_no_ratio():
    result = gains.compare([flat(1)], [flat(0)])
    assert result["area_ratio"]["value"] is None and result["normalized"] is None
    assert result["jump_start"]["value"] == 1 and result["coverage"] is None


def test_only_steps_that_all_curves_cover_count():
    short = curve([4, 4, 4], steps=[1, 2, 5])
    result = gains.compare([flat(6)], [short, flat(4)])
    assert (result["start"], result["end"]) == (1, 5)
    assert result["area"]["value"] == 24


def test_runs_without_common_steps_compare_to_nothing():
    late = curve([4, 4], steps=[20, 30])
    result = gains.compare([flat(6)], [late])
    assert result["area_ratio"] is None and result["steps_to_threshold"] is None


def test_a_threshold_is_a_number_or_left_to_scratch():
    assert gains.read_threshold("") is None
    assert gains.read_threshold("2.5") == 2.5
    with pytest.raises(gains.ThresholdError, match="Received: high"):
        gains.read_threshold("high")
