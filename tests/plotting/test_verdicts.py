"""What runs show, in words."""

import numpy as np
import pytest

from dreamerv2_transfer.plotting import verdicts
from dreamerv2_transfer.plotting.aggregates import Aggregate
from dreamerv2_transfer.plotting.claims import Claim
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.statistics import Estimate
from dreamerv2_transfer.plotting.views import View


def ratio(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def compared(estimate, arm="pretrained", metric="train_return", seeds=(3, 2)):
    return {
        "task": "minatar_seaquest",
        "metric": metric,
        "arm": arm,
        "area_ratio": estimate,
        "seeds": dict(zip(("transfer", "scratch"), seeds, strict=True)),
    }


def panel(metric="train_return", **arms):
    return Panel("minatar_seaquest", metric, arms, {})


def arm(*levels):
    steps = np.arange(11.0)
    # The last tenth is the level, what comes before is not.
    return View().arm([], [(steps, np.where(steps < 9, 0, x)) for x in levels])


@pytest.mark.parametrize(
    ("estimate", "seeds", "text", "tone"),
    [
        (ratio(1.5, 1.01, 2.0), 2, "better", "good"),
        (ratio(0.5, 0.1, 0.99), 2, "worse", "bad"),
        (ratio(1.5, 0.99, 2.0), 2, "not settled", "open"),
        (ratio(1.5), 1, "too few seeds", "open"),
        (ratio(1.5), 2, "no interval", "open"),
        (ratio(1.5), 10, "no interval", "open"),
        (ratio(None), 10, "cannot be compared", "open"),
        (None, 1, "cannot be compared", "open"),
    ],
)
def test_the_interval_decides(estimate, seeds, text, tone):
    badge = verdicts.judge(estimate, seeds)
    assert (badge.text, badge.tone) == (text, tone)


def test_a_lone_comparison_is_told_with_its_interval():
    assert verdicts.sentence([compared(ratio(1.234, 1.1, 1.5))]) == (
        "On Seaquest (MinAtar), pre-trained is better than training from scratch: 1.23 "
        "times the return of training episodes over all steps (95% interval 1.10 to "
        "1.50)."
    )
    assert verdicts.sentence([compared(ratio(0.5))]) == (
        "On Seaquest (MinAtar), pre-trained has no interval against training from "
        "scratch: 0.50 times the return of training episodes over all steps."
    )
    assert verdicts.sentence([compared(ratio(0.5), seeds=(3, 1))]) == (
        "On Seaquest (MinAtar), pre-trained has too few seeds to be compared with "
        "training from scratch: 0.50 times the return of training episodes over all "
        "steps."
    )
    assert verdicts.sentence([compared(None)]) == (
        "On Seaquest (MinAtar), pre-trained cannot be compared with training from "
        "scratch."
    )


def test_several_comparisons_are_counted_and_the_highest_is_named():
    found = [
        compared(ratio(0.5, 0.1, 0.9)),
        compared(ratio(0.6, 0.2, 0.9)),
        compared(ratio(2.0, 0.9, 4.0), "dqn"),
        compared(ratio(None)),
    ]
    assert verdicts.sentence(found) == (
        "Of 4 comparisons with training from scratch, 2 are worse, 1 is not settled "
        "and 1 cannot be compared. The highest is DQN on Seaquest (MinAtar): 2.00 "
        "times the return of training episodes over all steps (95% interval 0.90 to "
        "4.00)."
    )


def test_a_ratio_without_an_interval_is_the_highest_only_among_its_like():
    single, open_ = compared(ratio(3.0), "dqn"), compared(ratio(1.2, 0.9, 1.5))
    assert "The highest is pre-trained on" in verdicts.sentence([single, open_])
    lone = compared(ratio(2.0), seeds=(3, 1))
    assert (
        "1 has too few seeds to tell and 1 has no interval. The highest is DQN on"
        in (verdicts.sentence([single, lone]))
    )
    assert verdicts.sentence([compared(None), compared(None)]) == (
        "Of 2 comparisons with training from scratch, 2 cannot be compared."
    )


def test_the_first_metric_is_the_main_one():
    first, second = ratio(2.0, 1.5, 3.0), ratio(0.5, 0.4, 0.6)
    found = [compared(first), compared(second, metric="eval_return_mean")]
    verdict = verdicts.make([panel(scratch=arm(1))], found)
    assert verdict.metric == "train_return"
    assert verdict.sentence.startswith("On Seaquest (MinAtar), pre-trained is better")
    (card,) = verdict.cards
    assert (card.title, card.arm, card.number) == (
        "Seaquest (MinAtar)",
        "pretrained",
        "2.00×",
    )
    assert card.seeds == "3 against 2 seeds" and card.badge == verdicts.BETTER
    assert card.unit == "return of training episodes of training from scratch"
    assert card.interval.text == "2.00 (1.50 to 3.00)" and card.interval.low > 50


def test_without_scratch_the_last_levels_are_told():
    panels = [panel("model_error", pretrain=arm(4, 6)), panel("model_loss", dqn=arm(1))]
    verdict = verdicts.make(panels, [])
    assert verdict.metric == "model_error"
    assert verdict.sentence == (
        "Nothing is compared: no game has both runs from scratch and other runs with "
        "returns over steps of the same kind. The numbers are the last level of the "
        "model error (nats a step)."
    )
    (card,) = verdict.cards
    assert (card.arm, card.number, card.seeds) == ("pretrain", "5", "2 seeds")
    assert card.badge is None and card.interval is None


def test_claims_are_counted_by_their_verdict():
    agrees = Claim("t", "m", "a", 5, 1.5, Estimate(1.4, 1.2, 1.8), (3, 3))
    disagrees = Claim("t", "m", "a", 5, 0.5, Estimate(1.4, 1.2, 1.8), (3, 3))
    found = verdicts.claims_counted([disagrees, agrees, agrees])
    assert [(x.text, x.tone) for x in found] == [
        ("2 × agrees", "good"),
        ("1 × disagrees", "bad"),
    ]
    assert verdicts.claim_badge(disagrees).tone == "bad"


def test_several_games_together_are_told_in_a_sentence():
    games = ("a", "b", "c")
    middle, better = Estimate(1.4, 1.1, 1.8), Estimate(0.9)
    together = Aggregate("m", "pretrained", games, (3, 3), middle, better, 2, {})
    assert verdicts.over(together) == (
        "Over 3 games together, pre-trained is better than training from scratch: the "
        "interquartile mean of its runs' areas is 1.40 (1.10 to 1.80) times scratch's, "
        "and it is better in 2 of 3 games."
    )
