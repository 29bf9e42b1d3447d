"""The table of gains."""

import pathlib

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import gains_table
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.views import Arm, View


def arm(*levels, stage=""):
    """Runs whose returns stay at these levels for ten steps."""
    steps = np.arange(11.0)
    config = blocks.load_config(["minatar", "debug", stage]) if stage else None
    runs = [Run("run", pathlib.Path("run"), config, {})] * len(levels)
    return Arm(runs, [(steps, np.full(11, float(x))) for x in levels], [], None)


def panel(metric="train_return", **arms):
    return Panel("minatar_seaquest", metric, arms, {})


def test_each_arm_is_compared_with_scratch_on_each_panel_of_returns():
    arms = {"scratch": arm(4), "pretrained": arm(6), "pretrained_cell": arm(2)}
    found = gains_table.numbers(
        [panel(**arms), panel("eval_return", **arms), panel("model_error", **arms)]
    )
    assert [(x["metric"], x["arm"], x["area_ratio"]["value"]) for x in found] == [
        ("train_return", "pretrained", 1.5),
        ("train_return", "pretrained_cell", 0.5),
        ("eval_return", "pretrained", 1.5),
        ("eval_return", "pretrained_cell", 0.5),
    ]
    assert found[0]["task"] == "minatar_seaquest"


def test_without_runs_from_scratch_nothing_is_compared():
    assert gains_table.numbers([panel(pretrained=arm(6))]) == []


def test_environment_steps_of_a_dqn_are_not_compared_with_updates():
    arms = {
        "scratch": arm(4, stage="scratch"),
        "pretrained": arm(6, stage="finetune"),
        "dqn": arm(8, stage="dqn"),
    }
    mixed = panel(**arms)
    assert [x["arm"] for x in gains_table.numbers([mixed])] == ["pretrained"]
    assert gains_table.notes([mixed]) == [
        "dqn of minatar_seaquest is not compared with scratch in train_return: their "
        "steps count environment steps and updates."
    ]
    played = Panel("", "train_return", arms, {}, View(xaxis="train_total_steps"))
    assert [x["arm"] for x in gains_table.numbers([played])] == ["pretrained", "dqn"]
    assert gains_table.notes([played]) == []


def test_a_row_reads_as_the_headings_say():
    (found,) = gains_table.numbers([panel(scratch=arm(4), pretrained=arm(6, 8))])
    row = dict(zip(gains_table.HEADINGS, gains_table.row(found), strict=True))
    assert row == {
        "task": "minatar_seaquest",
        "metric": "train_return",
        "arm": "pretrained",
        "seeds (coverage)": "2 against 1",
        "area ratio": "1.75",
        "jump start": "3",
        "asymptotic difference": "3",
        "threshold": "4",
        "steps to threshold": "0 (0 to 0)",
        "of scratch": "0",
    }


def test_a_threshold_that_some_miss_is_told_by_how_many_reach_it():
    (found,) = gains_table.numbers(
        [panel(scratch=arm(1), pretrained=arm(6, 2))], threshold=5
    )
    assert gains_table.row(found)[-2:] == ("reached by 1 of 2", "reached by 0 of 1")


def test_curves_without_common_steps_have_a_row_of_dashes():
    late = Arm([], [(np.array([20.0, 30.0]), np.ones(2))], [], None)
    (found,) = gains_table.numbers([panel(scratch=arm(1), pretrained=late)])
    assert gains_table.row(found)[4:] == ("-",) * 6


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (None, "-"),
        ({"value": None, "low": None, "high": None}, "-"),
        ({"value": 1.234, "low": None, "high": None}, "1.23"),
        ({"value": 1.234, "low": 1.0, "high": 2.5}, "1.23 (1 to 2.5)"),
    ],
)
def test_an_estimate_is_its_value_and_interval_as_far_as_known(estimate, text):
    assert gains_table.interval_text(estimate) == text
