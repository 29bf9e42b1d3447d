"""Our ratios of areas beside the paper's."""

import pathlib

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import claims, paper
from dreamerv2_transfer.plotting.claims import Claim
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.statistics import Estimate
from dreamerv2_transfer.plotting.views import Arm


@pytest.mark.parametrize(
    ("figure", "arm", "until", "expected"),
    [
        ("minatar_space_invaders_return", "pretrained", 10_000, 1.39),
        ("minatar_space_invaders_return", "pretrained", 20_000, 1.24),
        ("minatar_space_invaders_return", "pretrained_frozen_rssm", 20_000, 0.07),
        ("minatar_space_invaders_model_loss", "pretrained", 5_000, 0.55),
        ("minatar_seaquest_return", "pretrained_fixed_world_model", 5_000, 1.35),
        ("minatar_seaquest_return", "pretrained_fixed_world_model", 20_000, 0.94),
    ],
)
def test_the_papers_own_ratios(figure, arm, until, expected):
    curves = paper.curves(figure)
    start = max(float(steps[0]) for steps, _ in curves.values())
    found = claims.ratio([curves[arm]], [curves["scratch"]], start, until)
    assert found.value == pytest.approx(expected, abs=0.006)
    assert found.low is None


def curve(level, end=5000.0):
    return np.array([0.0, end]), np.array([level, level])


def make_panel(arm_levels, scratch_levels, end=5000.0, runs=()):
    arms = {
        "pretrained": Arm([*runs], [curve(x, end) for x in arm_levels], [], None),
        "scratch": Arm([], [curve(x, end) for x in scratch_levels], [], None),
    }
    known = {"pretrained": curve(3.0), "scratch": curve(2.0)}
    return Panel("minatar_breakout", "train_return", arms, known)


def test_a_claim_is_the_ratio_of_mean_areas_with_its_interval():
    (claim,) = claims.make([make_panel([2.9, 3.0, 3.1], [1.0, 1.0, 1.0])])
    assert (claim.arm, claim.until, claim.seeds) == ("pretrained", 5000, (3, 3))
    assert claim.paper == 1.5 and claim.ours.value == pytest.approx(3)
    assert claim.by_seed == pytest.approx((2.9, 3.0, 3.1))
    # t of two degrees of freedom, times the error of the mean.
    half = 4.302653 * 0.1 / 3**0.5
    ends = claim.ours.low, claim.ours.high
    assert ends == pytest.approx((3 - half, 3 + half))
    assert claims.row(claim)[4:] == (
        "1.50",
        "3.00 (2.75 to 3.25)",
        "3 against 3 (97%)",
        "same direction",
    )
    assert claims.plain(claim)["verdict"] == "same direction"


def test_steps_that_ours_did_not_reach_give_no_claim():
    assert claims.make([make_panel([2.0], [1.0], end=4000.0)]) == []
    assert len(claims.make([make_panel([2.0], [1.0], end=4950.0)])) == 1


@pytest.mark.parametrize(("stage", "number"), [("finetune", 1), ("", 0)])
def test_frames_of_the_original_are_no_updates_of_the_paper(stage, number):
    config = blocks.load_config(["minatar", "debug", *filter(None, [stage])])
    runs = [Run("run", pathlib.Path("run"), config, {})]
    assert len(claims.make([make_panel([2.0], [1.0], runs=runs)])) == number


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ((1.4, 1.2, 1.6), "agrees"),
        ((1.4, 0.9, 1.6), "agrees, but ours is not settled"),
        ((1.2, 0.9, 1.3), "ours is not settled"),
        ((1.2, 1.1, 1.3), "same direction"),
        ((0.8, 0.7, 0.9), "disagrees"),
        ((1.5, None, None), "no interval: scratch may be 0"),
    ],
)
def test_the_verdict_is_what_the_interval_says(ours, expected):
    ours, seeds = Estimate(*ours), (3, 3)
    claim = Claim("game", "train_return", "pretrained", 5000, 1.5, ours, seeds)
    assert claim.verdict == expected


def test_one_seed_shows_little():
    ours = Estimate(1.5)
    claim = Claim("game", "train_return", "pretrained", 5000, 1.5, ours, (3, 1))
    assert claim.verdict == "one seed shows little"


def test_areas_end_where_the_shortest_curve_does():
    panel = make_panel([2.0], [1.0])
    short = Arm([], [curve(1.0, 4950.0)], [], None)
    arms = {**panel.arms, "scratch": short}
    (claim,) = claims.make([Panel(panel.task, panel.metric, arms, panel.paper)])
    assert claim.ours.value == 2.0 and claim.paper == 1.5
