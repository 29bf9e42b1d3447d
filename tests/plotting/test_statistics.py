"""Estimates from few runs: equations with known answers, and the package rliable."""

import json
import math
import pathlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dreamerv2_transfer.plotting import statistics
from dreamerv2_transfer.plotting.statistics import Estimate

NUMBERS = st.floats(0.1, 100)
# See record_rliable.py.
RLIABLE = json.loads(pathlib.Path(__file__).with_name("rliable.json").read_text())


def scores(arm):
    return [np.array(game) for game in RLIABLE[arm]]


@pytest.mark.parametrize(
    ("name", "statistic", "samples"),
    [
        ("interquartile_mean", statistics.interquartile_mean, scores("arm")),
        ("improvement", statistics.improvement, scores("arm") + scores("other")),
        (
            "profile",
            lambda drawn: statistics.profile(drawn, np.array(RLIABLE["thresholds"])),
            scores("arm"),
        ),
    ],
)
def test_values_and_intervals_are_those_of_rliable(name, statistic, samples):
    low, value, high = statistics.bootstrap(statistic, samples, expand=False)
    theirs = RLIABLE[name]
    np.testing.assert_allclose(np.ravel(value), theirs["value"], rtol=1e-12)
    # Both are random: of 10,000 and of 5,000 resamples.
    ends = np.array([np.ravel(low), np.ravel(high)])
    np.testing.assert_allclose(ends, theirs["ends"], atol=0.035)


def test_the_interval_of_a_mean_is_students():
    sample = [4.0, 5.0, 9.0]
    expected = stats.t.interval(0.95, 2, np.mean(sample), stats.sem(sample))
    found = statistics.mean_estimate(sample)
    assert found.value == 6
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.high == pytest.approx(6 + 4.302653 * np.sqrt(7 / 3), rel=1e-6)


def test_the_interval_of_a_difference_is_welchs():
    x, y = [4.0, 5.0, 9.0], [1.0, 2.0, 2.5, 8.0]
    expected = stats.ttest_ind(x, y, equal_var=False).confidence_interval()
    found = statistics.difference(x, y)
    assert found.value == pytest.approx(2.625)
    assert (found.low, found.high) == pytest.approx([*expected])


def test_a_ratio_at_the_end_of_its_interval_is_just_rejected():
    x, y = np.array([4.0, 5.0, 6.0]), np.array([2.0, 2.5, 2.2, 1.9])
    found = statistics.ratio(x, y)
    assert found.value == pytest.approx(5 / 2.15)
    errors = x.var(ddof=1) / 3, y.var(ddof=1) / 4
    t = statistics.quantile(
        statistics.freedom((errors[0], found.value**2 * errors[1]), (3, 4))
    )
    for end in (found.low, found.high):
        error = np.sqrt(errors[0] + end**2 * errors[1])
        assert abs(5 - end * 2.15) == pytest.approx(t * error)
    assert found.low < found.value < found.high


def test_a_paired_ratio_loses_what_pairs_have_in_common():
    x, y = np.array([4.0, 5.1, 6.0]), np.array([2.0, 2.5, 3.05])
    paired, apart = statistics.paired_ratio(x, y), statistics.ratio(x, y)
    assert paired.value == apart.value == pytest.approx(2)
    assert 1.9 < paired.low < paired.high < 2.1
    assert apart.low < 1.4 and apart.high > 2.9
    rest = x - 2 * y
    half = 4.302653 * np.sqrt((rest**2).sum() / 2 / 3) / y.mean()
    assert paired.high - paired.value == pytest.approx(half, rel=1e-3)
    with pytest.raises(ValueError, match="2 and 1 numbers are not pairs"):
        statistics.paired_ratio([1.0, 2.0], [1.0])


def test_an_arm_without_return_has_an_interval_that_begins_at_zero():
    found = statistics.ratio([0.0, 0.3, 0.0], [4.0, 4.4, 4.2])
    assert found.value == pytest.approx(0.1 / 4.2) and found.low == 0
    assert 0.1 < found.high < 0.2
    assert statistics.ratio([0.0, -0.3, 0.0], [4.0, 4.4, 4.2]).low < -0.1


@pytest.mark.parametrize(
    ("arm", "scratch", "expected"),
    [
        ([6.0], [4.0, 5.0], Estimate(6 / 4.5)),  # One seed has no interval.
        ([6.0, 7.0], [4.0], Estimate(1.625)),
        ([6.0, 7.0], [0.0, 0.0], Estimate()),  # Nothing to divide by.
        ([6.0, 7.0], [-1.0, 0.0], Estimate()),
        ([6.0, 7.0], [0.1, 9.9], Estimate(1.3)),  # Scratch may be 0.
        ([6.0, np.nan], [4.0, 4.0], Estimate(1.5)),  # A run that is missing.
        ([np.nan], [4.0, 4.0], Estimate()),
        ([], [4.0, 4.0], Estimate()),
        ([6.0, 6.0], [4.0, 4.0], Estimate(1.5, 1.5, 1.5)),
    ],
)
def test_a_ratio_that_has_no_interval(arm, scratch, expected):
    assert statistics.ratio(arm, scratch) == expected


def test_numbers_that_are_missing_are_left_out_of_means_and_pairs():
    assert statistics.mean_estimate([np.nan, 3.0]) == Estimate(3.0)
    assert statistics.mean_estimate([np.inf]) == Estimate()
    assert statistics.difference([], [1.0]) == Estimate()
    assert statistics.difference([1.0], [3.0, 5.0]) == Estimate(-3.0)
    found = statistics.paired_ratio([2.0, np.nan, 4.0], [1.0, 5.0, 2.0])
    assert found.value == found.low == found.high == 2


def test_games_count_alike_whatever_their_numbers_of_seeds():
    few, many = np.array([1.0, 1.0]), np.array([3.0] * 6)
    assert statistics.interquartile_mean([few, many]) == 2
    assert statistics.improvement([few, many, many, few]) == 0.5
    assert statistics.profile([few, many], np.array([0.0, 2.0, 3.0])).tolist() == [
        1,
        0.5,
        0,
    ]


def test_the_interquartile_mean_leaves_out_a_quarter_at_both_ends():
    assert statistics.interquartile_mean([np.array([1.0, 2.0, 4.0, 90.0])]) == 3
    # As many as are whole: one of six.
    assert statistics.interquartile_mean([np.array([0.0, 1, 2, 3, 4, 90])]) == 2.5


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=6), min_size=1, max_size=4))
def test_runs_count_as_if_they_were_repeated_to_a_common_number(games):
    common = math.lcm(*map(len, games))
    runs = np.sort(np.concatenate([np.repeat(x, common // len(x)) for x in games]))
    cut = len(runs) // 4
    found = statistics.interquartile_mean([np.array(x) for x in games])
    assert found == pytest.approx(runs[cut : len(runs) - cut].mean(), rel=1e-12)


def test_a_run_that_is_cut_off_may_be_infinite():
    games = [np.array([1.0, np.inf, -np.inf]), np.array([2.0, 4.0])]
    # Of 2, 1 and -inf twice, and 2 and 4 three times, 3 are cut off at either end.
    assert statistics.interquartile_mean(games) == pytest.approx(
        (1 + 3 * 2 + 2 * 4) / 6
    )


def test_games_of_7_to_11_seeds_need_no_more_memory_than_their_runs():
    """Their least common multiple is 27,720."""
    games = [np.ones((100, seeds)) for seeds in range(7, 12)]
    tracemalloc.start()
    found = statistics.interquartile_mean(games)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.tolist() == [1] * 100
    assert most < 1_000_000


def test_scores_over_scratch_use_its_mean_on_each_game():
    samples = [np.array([2.0, 2.0]), np.array([30.0, 30.0])]
    scratch = [np.array([0.5, 1.5]), np.array([10.0])]
    assert statistics.interquartile_ratio([*samples, *scratch]) == 2.5


def test_scratch_that_may_have_nothing_leaves_no_interval():
    samples = [np.array([2.0, 3.0, 4.0])] * 2
    scratch = [np.array([0.0, 0.0, 3.0]), np.array([1.0, 1.0, 1.0])]
    found = statistics.bootstrap_estimate(
        statistics.interquartile_ratio, [*samples, *scratch]
    )
    assert found == Estimate(3.0)


@given(
    st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=4),
    st.lists(NUMBERS, min_size=2, max_size=5),
)
def test_statistics_of_games_keep_their_laws(games, other):
    samples, others = [*map(np.array, games)], [np.array(other)] * len(games)
    middle = statistics.interquartile_mean(samples)
    assert middle == pytest.approx(stats.trim_mean(np.ravel(games), 0.25))
    above = statistics.improvement([*samples, *others])
    assert 0 <= above <= 1
    below = statistics.improvement([*others, *samples])
    assert above + below == pytest.approx(1)


@given(st.lists(NUMBERS, min_size=2, max_size=6), st.lists(NUMBERS, min_size=2))
def test_a_ratio_does_not_depend_on_the_unit(arm, scratch):
    arm, scratch = np.array(arm), np.array(scratch)
    found, larger = (
        statistics.ratio(arm, scratch),
        statistics.ratio(8 * arm, 8 * scratch),
    )
    assert larger.value == pytest.approx(found.value)
    if found.low is not None and larger.low is not None:
        assert found.low <= found.value <= found.high
        assert larger.low == pytest.approx(found.low, abs=1e-6)


def test_a_bootstrap_is_wider_by_as_much_as_few_seeds_need():
    samples = scores("arm")
    plain = statistics.bootstrap(statistics.interquartile_mean, samples, expand=False)
    wider = statistics.bootstrap(statistics.interquartile_mean, samples)
    assert plain[1] == wider[1]
    assert wider[0] < plain[0] and plain[2] < wider[2]


def test_samples_of_one_label_are_drawn_together():
    def difference(drawn):
        return (drawn[0] - drawn[1]).mean(-1)

    x = np.array([1.0, 5.0, 9.0])
    together = statistics.bootstrap(difference, [x + 1, x], ["model", "model"])
    assert [float(end) for end in together] == [1, 1, 1]
    apart = statistics.bootstrap(difference, [x + 1, x])
    assert apart[0] < 0 < 2 < apart[2]
    with pytest.raises(ValueError, match="model have different"):
        statistics.bootstrap(statistics.improvement, [x, x[:2]], ["model", "model"])


def test_a_bootstrap_of_one_seed_or_of_a_dot_has_no_interval():
    alone = [np.array([2.0]), np.array([1.0, 3.0])]
    assert statistics.bootstrap_estimate(statistics.improvement, alone) == Estimate(0.5)
    above = [np.array([5.0, 6.0]), np.array([1.0, 3.0])]
    assert statistics.bootstrap_estimate(statistics.improvement, above) == Estimate(1.0)


def test_intervals_cover_the_truth_as_often_as_is_said():
    rng = np.random.default_rng(0)
    for seeds in (2, 3):
        held = pairs = 0
        for arm, scratch, model in rng.normal(1, 0.2, (1000, 3, seeds)):
            found = statistics.ratio(1.25 * arm, scratch)
            held += found.low is None or found.low <= 1.25 <= found.high
            found = statistics.paired_ratio(1.25 * arm * model, scratch * model)
            pairs += found.low <= 1.25 <= found.high
        assert held / 1000 == pytest.approx(statistics.coverage(seeds), abs=0.025)
        said = statistics.coverage(seeds, "pairs")
        assert pairs / 1000 == pytest.approx(said, abs=0.025)


def test_the_coverage_said_is_that_of_the_fewest_seeds():
    said = [statistics.coverage(seeds) for seeds in (1, 2, 3, 4, 10, 50)]
    assert said == [None, 0.97, 0.97, 0.97, 0.95, 0.95]
    assert statistics.coverage(3, "games") == 0.95
