"""An arm against scratch, over several games."""

import json

import numpy as np
import pytest

from dreamerv2_transfer.plotting import aggregates, gains_table
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.views import Arm


def arm(*levels):
    """Runs whose returns stay at these levels for ten steps."""
    steps = np.arange(11.0)
    return Arm([], [(steps, np.full(11, float(x))) for x in levels], [], None)


def compared(**games):
    """Games with the returns of fine-tuned runs and of those from scratch."""
    panels = [
        Panel(game, "train_return", {"scratch": arm(*alone), "pretrained": arm(*x)}, {})
        for game, (x, alone) in games.items()
    ]
    return gains_table.numbers(panels)


TWO = compared(a=([2, 4, 6], [1, 2, 3]), b=([10, 11, 12], [9, 10, 11]))


def test_games_are_put_together_by_their_scores_over_scratch():
    (found,) = aggregates.make(TWO)
    assert (found.games, found.seeds, found.better) == (("a", "b"), (3, 3), 2)
    # Of 1, 2, 3 and 1, 1.1, 1.2 one is left out at each end.
    middle = found.interquartile_mean
    assert middle.value == pytest.approx((1 + 1.1 + 1.2 + 2) / 4)
    assert middle.low < middle.value < middle.high
    # Above in 7.5 of 9 pairs on a, one of which is a draw; in 8 of 9 on b with draws.
    assert found.improvement.value == pytest.approx((7.5 / 9 + 7 / 9) / 2)
    assert aggregates.row(found)[:4] == (
        "2 games",
        "train_return",
        "pretrained",
        "3 (95%)",
    )
    assert aggregates.row(found)[-1] == "2 of 2"


def test_profiles_fall_from_all_runs_to_none():
    (found,) = aggregates.make(TWO)
    shares = found.profiles["pretrained"][1]
    assert shares[0] == 1 and shares[-1] == 0 and (np.diff(shares) <= 0).all()
    assert shares[aggregates.THRESHOLDS.searchsorted(1.15)] == pytest.approx(0.5)
    json.dumps(aggregates.plain(found), allow_nan=False)


def test_one_game_is_no_aggregate_and_scratch_without_return_is_left_out():
    assert aggregates.make(TWO[:1]) == []
    nothing = compared(c=([1, 2], [0, 0]))
    assert aggregates.make([TWO[0], *nothing]) == []
    (found,) = aggregates.make([*TWO, *nothing])
    assert found.games == ("a", "b")


def test_games_may_differ_in_their_seeds_and_one_seed_has_no_interval():
    (found,) = aggregates.make(compared(a=([2, 4], [1, 2, 3]), b=([3], [2, 2])))
    assert found.seeds == (1, 3) and found.interquartile_mean.low is None
    assert aggregates.row(found)[3] == "1 to 3"
    json.dumps(aggregates.plain(found), allow_nan=False)


def test_games_of_the_same_models_are_drawn_together():
    models = {"models": ["m0", "m1", "m2"]}
    apart, together = (
        aggregates.make([one | more for one in TWO])[0].interquartile_mean
        for more in ({}, models)
    )
    assert apart.value == together.value and apart.high < together.high
