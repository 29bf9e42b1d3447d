import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dreamerv2_transfer.common.replay import windows


def test_windows_repeat_the_context_of_their_first_steps():
    steps, is_first, counts = windows.cut(np.array([10, 30]), np.array([4, 3]), 4, 1)
    assert steps.tolist() == [[10, 11, 12, 13], [13, 30, 31, 32]]
    assert is_first.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert counts.tolist() == [[0, 1, 1, 1], [0, 0, 1, 1]]


def test_the_last_window_is_filled_with_steps_that_do_not_count():
    steps, is_first, counts = windows.cut(np.array([10]), np.array([3]), 5, 2)
    assert steps.tolist() == [[10, 11, 12, 10, 11]]
    assert is_first.tolist() == [[1, 0, 0, 1, 0]]
    assert counts.tolist() == [[0, 0, 1, 0, 0]]


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.integers(1, 5),
    st.integers(1, 6),
)
def test_each_step_with_enough_context_counts_once(lengths, context, more):
    lengths = np.array(lengths)
    starts = 100 * np.arange(len(lengths))
    steps, is_first, counts = windows.cut(starts, lengths, context + more, context)
    wanted = [
        start + step
        for start, length in zip(starts, lengths, strict=True)
        for step in range(context, length)
    ]
    assert sorted(steps[counts].tolist()) == wanted
    # The context of a step that counts is that of its own episode.
    for row, column in np.argwhere(counts):
        before = slice(column - context, column + 1)
        assert np.diff(steps[row, before]).tolist() == [1] * context
        assert not is_first[row, before][1:].any()


def kinds(*members, total):
    made = np.zeros((len(members), total), bool)
    for kind, numbers in zip(made, members, strict=True):
        kind[numbers] = True
    return list(made)


def test_rare_windows_are_chosen_first_and_weights_make_up_for_it():
    given_kinds = kinds([3, 7], [3, 5], total=12)
    chosen, weights = windows.choose(given_kinds, 8, np.random.default_rng(0))
    # Both of the first kind, the only other one of the second, and five of nine.
    assert {3, 5, 7} <= set(chosen.tolist()) and len(set(chosen.tolist())) == 8
    by_window = dict(zip(chosen.tolist(), weights, strict=True))
    assert [by_window.pop(x) for x in (3, 5, 7)] == [1, 1, 1]
    assert set(by_window.values()) == {9 / 5}


def test_a_frequent_kind_gets_half_of_the_windows():
    chosen, weights = windows.choose(
        kinds(range(90), total=100), 8, np.random.default_rng(0)
    )
    assert (chosen < 90).sum() == 4
    assert weights.tolist() == [90 / 4] * 4 + [10 / 4] * 4


def test_all_windows_are_chosen_if_there_are_no_more():
    chosen, weights = windows.choose(
        kinds([1], [], total=5), 5, np.random.default_rng(0)
    )
    assert chosen.tolist() == [0, 1, 2, 3, 4] and weights.tolist() == [1] * 5


@given(st.integers(3, 20), st.integers(0, 10), st.integers(0, 10))
def test_the_weights_add_up_to_all_windows(count, first, second):
    members = kinds(range(first), range(first, first + second), total=24)
    chosen, weights = windows.choose(members, count, np.random.default_rng(1))
    assert len(chosen) == min(count, 24)
    np.testing.assert_allclose(weights.sum(), 24)
    np.testing.assert_allclose(weights[chosen < first].sum(), first)
