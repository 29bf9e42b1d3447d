import numpy as np
import pytest

from dreamerv2_transfer.common.replay import rows
from dreamerv2_transfer.common.replay.law import Law


def pieces(total, count=20_000, **options):
    """Starts and lengths of pieces of an episode of `total` steps."""
    starts, totals = np.array([0]), np.array([total + 1])
    source = rows.Pieces([(starts, totals)], Law(**options))
    rng = np.random.default_rng(0)
    begin, size = source.draw(np.zeros(count, int), 1, rng)
    return begin[:, 0], size[:, 0]


def test_piece_lengths_are_the_originals():
    # 50 - randint(10), but never under 10.
    _, size = pieces(99, minlen=10, maxlen=50, prioritize_ends=False)
    assert np.array_equal(np.unique(size), np.arange(41, 51))
    _, size = pieces(14, minlen=10, maxlen=50, prioritize_ends=False)
    assert np.array_equal(np.unique(size), [10, 11, 12, 13, 14, 15])
    assert np.mean(size == 10) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("prioritize_ends", "share"), [(False, 1 / 51), (True, 11 / 61)]
)
def test_ends_are_as_likely_as_the_original_has_them(prioritize_ends, share):
    begin, size = pieces(
        99, minlen=10, maxlen=50, prioritize_ends=prioritize_ends, count=100_000
    )
    full = size == 50
    assert np.mean(begin[full] == 50) == pytest.approx(share, abs=0.006)
    assert np.array_equal(np.unique(begin[full]), np.arange(51))
    assert (begin + size <= 100).all()


def test_pieces_are_joined_until_rows_are_full():
    # The first row begins in a piece of which 3 steps are left, the second in none.
    sizes = np.array([[3, 4, 9], [0, 5, 8]])
    start, taken, is_first = rows.join(sizes, 10)
    assert start.tolist() == [[0, 3, 7], [0, 0, 5]]
    assert taken.tolist() == [[3, 4, 3], [0, 5, 5]]
    assert [np.flatnonzero(x).tolist() for x in is_first] == [[3, 7], [0, 5]]


def test_pieces_beyond_a_row_are_not_taken():
    start, taken, is_first = rows.join(np.array([[12, 5], [10, 5]]), 10)
    assert start.tolist() == [[0, 12], [0, 10]]
    assert taken.tolist() == [[10, 0], [10, 0]]
    assert not is_first.any()


@pytest.mark.parametrize(
    ("length", "index", "first"),
    [
        (4, [[20, 21, 22, 23], [10, 11, 12, 13]], [[0], [0]]),
        (5, [[20, 21, 22, 23, 24], [10, 11, 12, 13, 0]], [[0], [0, 4]]),
        (6, [[20, 21, 22, 23, 24, 10], [11, 12, 13, 0, 1, 20]], [[0, 5], [3, 5]]),
    ],
)
def test_rows_are_filled_with_the_longest_first(length, index, first):
    starts, totals = np.array([0, 10, 20]), np.array([2, 4, 5])
    found, is_first = rows.longest_first(starts, totals, 2, length)
    assert found.tolist() == index
    assert [np.flatnonzero(x).tolist() for x in is_first] == first


def test_a_long_episode_fills_several_rows():
    found, is_first = rows.longest_first(np.array([0, 10]), np.array([3, 9]), 3, 4)
    assert found.tolist() == [[10, 11, 12, 13], [14, 15, 16, 17], [0, 1, 2, 0]]
    assert [np.flatnonzero(x).tolist() for x in is_first] == [[0], [0], [0, 3]]


def stream(seed=0, weights=(1, 1), length=8):
    """Rows of two games: one episode of 5 steps, and two of 20."""
    episodes = [
        (np.array([0]), np.array([5])),
        (np.array([0, 20]), np.array([20, 20])),
    ]
    pieces = rows.Pieces(episodes, Law(minlen=2, maxlen=6))
    return rows.Rows(pieces, weights, 4, length, np.random.default_rng(seed))


def test_a_row_continues_in_its_piece_unless_its_game_changes():
    made = stream()
    before, index, _ = made.next()
    for _ in range(50):
        left = np.array(made.state()["left"])
        game, following, is_first = made.next()
        goes_on = (game == before) & (left > 0)
        assert np.array_equal(~is_first[:, 0], goes_on)
        assert (following[goes_on, 0] == index[goes_on, -1] + 1).all()
        before, index = game, following


def test_rows_continue_from_their_state():
    made = stream(seed=3)
    made.next()
    state, expected = made.state(), made.next()
    resumed = stream(seed=4)
    resumed.load_state(state)
    for one, other in zip(expected, resumed.next(), strict=True):
        assert np.array_equal(one, other)


def test_a_game_without_weight_is_not_drawn():
    made = stream(weights=(0, 1))
    assert {*np.concatenate([made.next()[0] for _ in range(20)])} == {1}
