"""Panels as pictures and as numbers for the browser."""

import json

import numpy as np
import pytest

from dreamerv2_transfer.plotting import charts
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.views import View

LINE = np.array([0.0, 10.0, 20.0]), np.array([1.0, 2.0, 1 / 3])


def arm(*lines, agg="ci95"):
    return View(agg=agg).arm([], lines)


def panel(metric="train_return", task="minatar_seaquest", paper=None, **arms):
    return Panel(task, metric, arms or {"scratch": arm(LINE)}, paper or {})


def test_an_arm_has_one_line_on_all_panels_and_a_bright_one_on_a_dark_page():
    lines = charts.lines([panel(scratch=arm(LINE)), panel(dqn=arm(LINE))])
    assert [(x.arm, x.name, x.color, x.dark, x.dash) for x in lines] == [
        ("scratch", "from scratch", "#000000", "#e4e6ea", "solid"),
        ("dqn", "DQN", "#0072B2", "#4c9cc9", "solid"),
    ]


def test_the_curve_of_one_seed_has_no_band():
    (curve,) = charts.numbers(panel(), {"scratch": 3})
    assert curve == {
        "arm": 3,
        "paper": False,
        "x": [0, 10, 20],
        "y": [1, 2, 0.33333],
    }


def test_the_curve_of_several_seeds_has_a_band_where_there_are_several():
    short = LINE[0][:2], LINE[1][:2] + 2
    (curve,) = charts.numbers(panel(scratch=arm(LINE, short)), {"scratch": 0})
    assert curve["y"] == [2, 3, 0.33333] and curve["count"] == [2, 2, 1]
    # Student's t of two seeds is 12.7.
    assert curve["low"] == [-10.706, -9.7062, None]
    assert curve["high"] == [14.706, 15.706, None]
    assert [seed["y"] for seed in curve["seeds"]] == [[1, 2, 0.33333], [3, 4]]


def test_without_a_band_each_run_has_a_curve():
    drawn = panel(scratch=arm(LINE, LINE, agg="none"))
    assert len([*charts.numbers(drawn, {"scratch": 0})]) == 2


def test_the_papers_curves_come_first_so_that_ours_cover_them():
    drawn = panel(paper={"scratch": LINE, "pretrained": LINE}, scratch=arm(LINE))
    order = {"scratch": 0, "pretrained": 1}
    found = [(x["arm"], x["paper"]) for x in charts.numbers(drawn, order)]
    assert found == [(0, True), (1, True), (0, False)]


def test_charts_have_pictures_of_one_size_and_know_their_arms():
    falling = np.array([0.0, 1.0]), np.array([100.0, 1.0])
    made = charts.make(
        [
            panel(pretrained=arm(LINE)),
            panel("model_error", "", scratch=arm(falling), dqn=arm(falling)),
        ],
        "environment step",
        dpi=50,
    )
    assert [x.picture.size for x in made] == [(280, 160)] * 2
    assert [x.title for x in made] == ["Seaquest (MinAtar)", "unknown game"]
    # Scratch, pretrained and DQN in the order of the legend.
    assert [x.lines for x in made] == [(1,), (0, 2)]
    assert [x.plot["log"] for x in made] == [False, True]
    assert made[0].plot["x"] == "environment step"
    assert made[1].plot["y"] == "model error (nats a step)"
    json.dumps([x.plot for x in made], allow_nan=False)
    assert made[0].picture.title == (
        "return of training episodes, Seaquest (MinAtar): pre-trained"
    )


@pytest.mark.parametrize(
    ("color", "dark"), [("#000000", "#e4e6ea"), ("#0a64ff", "#5492ff")]
)
def test_colors_of_a_dark_page_are_brighter(color, dark):
    assert charts.brighter(color) == dark
