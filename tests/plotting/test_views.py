"""Curves made of what runs logged."""

import pathlib

import numpy as np
import pytest

from dreamerv2_transfer.plotting import runs
from dreamerv2_transfer.plotting.views import View, ViewError


def make_run(**metrics):
    """A run whose metrics are given as values at the steps 1, 2, 3, ..."""
    held = {
        key: (np.arange(1.0, len(values) + 1), np.array(values, float))
        for key, values in metrics.items()
    }
    return runs.Run("run", pathlib.Path("/a/b"), None, held)


def make_arm(view, *logged):
    found = [make_run(loss=values) for values in logged]
    return view.arm(found, [view.curve(run, "loss") for run in found])


def test_a_metric_can_be_the_horizontal_axis():
    run = make_run(loss=[5, 6, 7], total=[100, 300])
    steps, values = View(xaxis="total", xmult=0.5).curve(run, "loss")
    assert steps.tolist() == [50, 150] and values.tolist() == [5, 6]
    assert View(xaxis="frames").curve(run, "loss") is None
    assert View().curve(run, "kl") is None


def test_of_several_values_at_one_place_the_last_counts():
    run = make_run(loss=[5, 6, 7, 8], total=[10, 10, 20, 20])
    steps, values = View(xaxis="total").curve(run, "loss")
    assert steps.tolist() == [10, 20] and values.tolist() == [6, 8]


def test_bins_smoothing_and_bounds_are_of_what_is_drawn():
    arm = make_arm(View(bins=2, maxval=6), [0, 2, 4, 900])
    assert arm.lines[0][0].tolist() == [2, 4]
    assert arm.lines[0][1].tolist() == [1, 5]
    assert arm.curves[0][1].tolist() == [0, 2, 4, 6]
    arm = make_arm(View(smooth=2, agg="none"), [0, 2, 4, 900])
    assert arm.lines[0][1].tolist() == [0, 1, 3, 452] and arm.band is None


def test_the_band_is_of_the_chosen_kind():
    arm = make_arm(View(agg="per0"), [0, 1], [2, 3], [7, 9])
    assert arm.band.low.tolist() == [0, 1]
    assert arm.band.mean.tolist() == [2, 3]
    assert arm.band.high.tolist() == [7, 9]


def test_an_unknown_band_is_an_error():
    with pytest.raises(ViewError, match="ci95, std1, .*, none. Received: mean"):
        View(agg="mean")
