"""The picture of gains: rows of ratios, and profiles of several games."""

import numpy as np
import pytest

from dreamerv2_transfer.plotting import gains_picture
from dreamerv2_transfer.plotting.comparison import Comparison
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.views import Arm

STEPS = np.linspace(0, 5000, 11)


def arm(*levels):
    return Arm([], [(STEPS, np.full(11, float(x))) for x in levels], [], None)


def panel(task, paper=None, **arms):
    return Panel(task, "train_return", arms, paper or {})


ONE = panel(
    "minatar_seaquest",
    {"scratch": (STEPS, np.full(11, 2.0)), "pretrained": (STEPS, np.full(11, 3.0))},
    scratch=arm(4, 5, 6),
    pretrained=arm(6, 8, 7),
)
TWO = panel("minatar_asterix", scratch=arm(2, 2, 3), pretrained=arm(2, 3, 4))


def rows(*panels):
    return gains_picture.rows(Comparison([], panels), "train_return")


def test_below_a_game_stand_scratch_and_its_arms_with_their_seeds():
    heading, scratch, pretrained = rows(ONE)
    assert (heading.name, heading.estimate) == ("Seaquest (MinAtar)", None)
    assert scratch.name == "from scratch" and scratch.seeds == pytest.approx(
        [0.8, 1, 1.2]
    )
    assert pretrained.estimate["value"] == pytest.approx(1.4)
    assert pretrained.seeds == pytest.approx([1.2, 1.6, 1.4])
    assert pretrained.paper == 1.5


def test_several_games_end_with_all_together_and_have_profiles():
    found = rows(ONE, TWO)
    assert [line.name for line in found[-2:]] == [
        "2 games, interquartile mean of all runs",
        "pre-trained",
    ]
    drawn = gains_picture.draw(Comparison([], [ONE, TWO]))
    left, right = drawn.axes
    assert right.get_title() == "Performance profiles"
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        "pre-trained",
        "from scratch",
    ]
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in dots) == 12


def test_an_axis_fits_the_seeds_and_ends_longer_intervals_in_arrows():
    (place,) = gains_picture.draw(Comparison([], [ONE])).axes
    low, high = place.get_xlim()
    assert low == 0 and high == pytest.approx(1.12 * 1.6)
    texts = [text.get_text() for text in place.texts]
    assert texts[1].startswith("1.40 (0.9")
    arrows = [line for line in place.lines if line.get_marker() in ("<", ">")]
    assert [line.get_marker() for line in arrows] == [">"]
    assert arrows[0].get_xdata() == [high]


def test_an_arm_of_one_seed_or_without_return_has_no_interval():
    alone = panel("minatar_breakout", scratch=arm(2), pretrained=arm(3))
    zero = panel("minatar_freeway", scratch=arm(0, 0), pretrained=arm(3, 4))
    (place,) = gains_picture.draw(Comparison([], [alone, zero])).axes
    assert [text.get_text() for text in place.texts] == ["", "1.50", "", ""]


def test_a_ratio_of_zero_is_written():
    nothing = panel("minatar_freeway", scratch=arm(2, 3), pretrained=arm(0, 0))
    (place,) = gains_picture.draw(Comparison([], [nothing])).axes
    assert [text.get_text() for text in place.texts] == ["", "0.00 (0.00 to 0.00)"]


def test_arms_on_other_games_stand_below_a_heading_of_their_own():
    level = arm(2, 2, 3)
    third = panel("minatar_freeway", scratch=arm(1, 9), frozen=level, deep=level)
    both = panel("minatar_asterix", scratch=level, pretrained=level, frozen=level)
    deep = panel("minatar_breakout", scratch=level, deep=level)
    compared = Comparison([], [ONE, both, third, deep])
    lines = gains_picture.rows(compared, "train_return")
    assert [line.name for line in lines[-6:]] == [
        "2 games (Seaquest, Asterix), interquartile mean of all runs",
        "pre-trained",
        "2 games (Asterix, Freeway), interquartile mean of all runs",
        "frozen",
        "2 games (Freeway, Breakout), interquartile mean of all runs",
        "deep",
    ]
    _, profiles = gains_picture.draw(compared).axes
    drawn = {line.get_label(): line for line in profiles.lines}
    assert [*drawn] == [
        "pre-trained",
        "from scratch, 2 games (Seaquest, Asterix)",
        "frozen",
        "from scratch, 2 games (Asterix, Freeway)",
        "deep",
        "from scratch, 2 games (Freeway, Breakout)",
    ]
    assert [line.get_linestyle() for line in drawn.values()][::2] == ["-", "-.", ":"]
    # At a score of 1: on Seaquest and Asterix, 1 of 3 and 1 of 3 are above.
    at_one = [line.get_ydata()[20] for line in drawn.values()]
    assert at_one[1::2] == pytest.approx(
        [1 / 3, (1 / 3 + 1 / 2) / 2, (1 / 2 + 1 / 3) / 2]
    )


def test_sets_of_games_of_different_numbers_are_told_apart_by_these():
    level = arm(2, 2, 3)
    third = panel("minatar_freeway", scratch=level, pretrained=level)
    both = panel("minatar_asterix", scratch=level, pretrained=level, frozen=level)
    one = panel("minatar_seaquest", scratch=level, pretrained=level, frozen=level)
    headings = [line.name for line in rows(one, both, third) if not line.estimate]
    assert [name for name in headings if "games" in name] == [
        "3 games, interquartile mean of all runs",
        "2 games, interquartile mean of all runs",
    ]
