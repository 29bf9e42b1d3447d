"""Cells and scales of tables."""

import math

import pytest

from dreamerv2_transfer.plotting import tables


def test_a_scale_of_ratios_is_logarithmic_with_one_in_the_middle():
    scale = tables.Scale([0.5, None, 0.0])
    # The furthest ratio lies at 1 / 1.1 of the way.
    assert scale.position(1.0) == 50
    assert scale.position(0.5) == round(50 - 50 / 1.1, 2)
    assert scale.position(2.0) == round(50 + 50 / 1.1, 2)


@pytest.mark.parametrize(("ratio", "end"), [(1e6, 100), (1e-6, 0), (0.0, 0)])
def test_a_ratio_beyond_the_scale_is_at_its_end(ratio, end):
    assert tables.Scale([ratio]).position(ratio) == end


def test_no_scale_goes_beyond_a_ratio_of_4():
    scale = tables.Scale([1e6])
    assert scale.position(2.0) == 75 and scale.position(0.25) == 0


def test_a_scale_is_wide_enough_for_ratios_close_to_one():
    assert tables.Scale([1.01]).position(2.0) == 100
    assert tables.Scale([]).position(math.sqrt(2)) == 75


def test_an_unknown_ratio_has_no_position():
    scale = tables.Scale([None, math.inf])
    assert scale.position(None) is None and scale.position(math.nan) is None
    assert scale.interval("-", None) == tables.Interval("-", 50.0)


def test_an_interval_has_the_positions_of_an_estimate_and_of_another_ratio():
    scale = tables.Scale([])
    estimate = {"value": 1.0, "low": 0.5, "high": 2.0}
    cell = scale.interval("1 (0.5 to 2)", estimate, math.sqrt(0.5))
    assert (cell.one, cell.value, cell.low, cell.high, cell.other) == (
        50,
        50,
        0,
        100,
        25,
    )


def test_bars_stay_within_their_track():
    assert tables.share(0.256, mark=-0.3) == tables.Bar("0.26", 25.6, 0.0)
    assert tables.share(-0.1).percent == 0 and tables.share(1.5).percent == 100
    assert tables.share(None) == tables.Bar("-", 0.0)
    assert tables.of(3, 4) == tables.Bar("3 of 4", 75.0)
    assert tables.of(0, 0) == tables.Bar("0 of 0", 0.0)


def test_each_seed_has_a_position_in_an_interval():
    one = {
        "area_ratio": {"value": 1.0, "low": 0.5, "high": 2.0},
        "normalized": {"transfer": [0.5, 1.0, 2.0], "scratch": [1.0]},
    }
    scale = tables.Scale.of([one])
    cell = scale.interval("1", one["area_ratio"], seeds=tables.seeds_of(one))
    assert cell.seeds == (cell.low, 50, cell.high)
    assert tables.seeds_of({"normalized": None}) == []
