"""Arms beside the fine-tuned one, from the same models."""

import dataclasses
import pathlib

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import pairs
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.views import Arm

CONFIG = blocks.load_config(["minatar", "debug", "finetune"])


def arm(**levels):
    """Runs by the model that they begin with."""
    steps = np.arange(11.0)
    runs = [
        Run(model, pathlib.Path(model), CONFIG.update({"init.path": model}), {})
        for model in levels
    ]
    return Arm(runs, [(steps, np.full(11, x)) for x in levels.values()], [], None)


def panel(metric="train_return", **arms):
    return Panel("minatar_seaquest", metric, arms, {})


def test_runs_of_one_model_are_a_pair():
    tuned, frozen = arm(m0=4.0, m1=5.0, m2=6.0), arm(m2=6.1, m0=3.9, m9=50.0)
    (found,) = pairs.make([panel(pretrained=tuned, frozen=frozen)])
    assert (found.task, found.arm) == ("minatar_seaquest", "frozen")
    assert found.by_model == pytest.approx((6.1 / 6, 3.9 / 4))
    assert found.ratio.value == pytest.approx(1) and found.higher == 1
    assert pairs.row(found)[2:4] == ("frozen", "2 (94%)")
    assert pairs.row(found)[-1] == "1 of 2"


def test_a_model_counts_by_the_mean_of_its_runs():
    def joined(*arms):
        runs = [run for of in arms for run in of.runs]
        return Arm(runs, [curve for of in arms for curve in of.curves], [], None)

    tuned = joined(arm(m0=4.0, m1=5.0), arm(m0=6.0))
    frozen = joined(arm(m0=3.0), arm(m0=4.0), arm(m0=5.0, m1=7.5))
    (found,) = pairs.make([panel(pretrained=tuned, frozen=frozen)])
    assert found.by_model == pytest.approx((4 / 5, 7.5 / 5))
    assert found.ratio.value == pytest.approx(11.5 / 10)


def test_without_common_models_or_steps_there_is_no_pair():
    tuned = arm(m0=4.0)
    late = dataclasses.replace(tuned, curves=[(np.array([20.0, 30.0]), np.ones(2))])
    others = {"apart": arm(m1=4.0), "late": late, "scratch": Arm([], [], [], None)}
    assert pairs.make([panel(pretrained=tuned, **others)]) == []
    assert pairs.make([panel("model_error", pretrained=tuned, frozen=tuned)]) == []
    assert pairs.make([panel(frozen=tuned)]) == []


def test_a_pair_without_return_has_no_ratio():
    (found,) = pairs.make([panel(pretrained=arm(m0=0.0), frozen=arm(m0=1.0))])
    assert found.by_model == (None,) and found.ratio.value is None
    assert pairs.row(found)[3:] == ("1", "-", "1 of 1")


@pytest.mark.parametrize(
    ("tuned", "frozen", "higher"),
    [
        ((-20.0, -19.0, -18.0), (-5.0, -6.0, -4.0), "3 of 3"),
        ((-5.0, -6.0, -4.0), (-20.0, -19.0, -18.0), "0 of 3"),
        ((0.0, 0.0, 3.0), (5.0, 6.0, 4.0), "3 of 3"),
        ((0.0, 1.0, 3.0), (0.0, 1.0, 3.0), "0 of 3"),
    ],
)
def test_a_return_that_is_not_positive_can_be_the_lower_of_a_pair(
    tuned, frozen, higher
):
    names = ("m0", "m1", "m2")
    arms = [arm(**dict(zip(names, x, strict=True))) for x in (tuned, frozen)]
    (found,) = pairs.make([panel(pretrained=arms[0], frozen=arms[1])])
    assert pairs.row(found)[-1] == higher
