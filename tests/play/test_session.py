"""A dream beside its game: steps, rewinding, branches, recording."""

import io

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from dreamerv2_transfer.play import session as session_lib
from dreamerv2_transfer.play.session import PlayError
from tests.play import dreams


def actions(session):
    return [step.action for step in session.steps]


def test_a_session_starts_with_what_the_model_sees():
    session = dreams.make_session()
    start = session.now
    assert (start.action, start.looked, session.cursor) == (None, True, 0)
    assert start.dreamed.state == [("look", None, 0)]
    assert start.error == 0 and not start.is_over


def test_a_step_has_the_dream_the_game_and_their_difference():
    step = dreams.make_session().step(2)
    assert (step.action, step.looked) == (2, False)
    assert step.dreamed.state[-1] == ("dream", 2, 1)
    assert (step.error, step.reward, step.seen.reward) == (1.0, 1.0, 2.0)
    assert step.dream.shape == step.game.shape == step.difference.shape == (4, 4, 3)
    # The game has set two cells, the dream one: it misses the second, so that is red.
    assert step.game[0, :3, 0].tolist() == [255, 255, 0]
    assert step.dream[0, :3, 0].tolist() == [255, 0, 0]
    assert step.difference[0, :3].tolist() == [[0, 0, 0], [255, 0, 0], [0, 0, 0]]


def test_a_cell_of_the_wrong_category_counts_once(monkeypatch):
    def categories(count):
        cells = np.arange(16).reshape(4, 4) < count
        return np.eye(11)[np.where(cells, 1, 0)]

    monkeypatch.setattr(dreams, "image", categories)
    monkeypatch.setattr(dreams.Game, "task", "minatar_breakout")
    session = dreams.make_session()
    step = session.step(2)
    assert step.error == 1.0 and session.unit == "wrong cells an image"
    # The first cell is the paddle's, others are empty; the dream misses the second.
    assert step.game[0, :, 0].astype(bool).tolist() == [True, True, False, False]
    assert step.difference[0, :3].tolist() == [[0, 0, 0], [255, 0, 0], [0, 0, 0]]


def test_where_the_model_looks_it_is_right():
    session = dreams.make_session()
    assert session.step(2).error == 1.0
    looked = session.step(2, look=True)
    assert looked.looked and looked.error == 0.0
    assert looked.dreamed.state[-1] == ("look", 2, 2)


def test_the_agent_chooses_from_the_state_of_the_dream():
    session = dreams.make_session()
    assert [session.step(None).action for _ in range(3)] == [2, 1, 2]


def test_a_model_without_an_agent_says_why():
    with pytest.raises(PlayError, match="was pre-trained alone"):
        dreams.make_session("It was pre-trained alone.").step(None)


def test_an_action_after_rewinding_begins_a_branch():
    session = dreams.make_session()
    for action in (1, 2, 1):
        session.step(action)
    old = session.now
    assert session.rewind(1).action == 1
    session.step(0)
    assert actions(session) == [None, 1, 0]
    assert (session.branch, session.cursor) == (1, 2)
    second = session.branches[1]
    assert (second.parent, second.fork) == (0, 1)
    assert session.now.game[0, :2, 0].tolist() == [255, 0]  # The game went back too.
    assert session.rewind(3, 0) is old
    session.step(2)  # The end of a branch is no fork.
    assert (session.branch, session.cursor) == (0, 4) and len(session.branches) == 2


def test_the_same_actions_on_another_branch_lead_to_the_same_dream():
    session = dreams.make_session()
    first = [session.step(2) for _ in range(3)]
    session.rewind(0)
    for expected in first:
        again = session.step(2)
        assert again.dreamed.state == expected.dreamed.state
        np.testing.assert_array_equal(again.game, expected.game)
    assert session.branch == 1


def test_the_dream_goes_on_after_the_game_has_ended():
    session = dreams.make_session(length=1)
    ended = session.step(2)
    assert ended.is_over and ended.seen.ended and ended.error == 1.0
    after = session.step(1)
    assert after.is_over and after.seen is after.error is after.reward is None
    assert after.difference is None and after.game is ended.game
    with pytest.raises(PlayError, match="has ended: the model has nothing to see"):
        session.step(1, look=True)
    session.rewind(0)
    assert not session.step(0).seen.reward  # Another branch plays the game again.


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda x: x.step(3), "There are actions 0 to 2. Received: 3"),
        (lambda x: x.step(-1), "There are actions 0 to 2. Received: -1"),
        (lambda x: x.rewind(2), "There are steps 0 to 1. Received: 2"),
        (lambda x: x.rewind(-1), "There are steps 0 to 1. Received: -1"),
        (lambda x: x.rewind(0, 1), "There are branches 0 to 0. Received: 1"),
    ],
)
def test_what_there_is_not_is_refused_and_changes_nothing(step, message):
    session = dreams.make_session()
    session.step(1)
    with pytest.raises(PlayError, match=message):
        step(session)
    assert (session.branch, session.cursor, actions(session)) == (0, 1, [None, 1])


def test_a_game_that_does_not_repeat_itself_cannot_be_taken_back():
    # It is asked for the start, before and after a step, and then for the start again.
    session = dreams.make_session(luck=(0, 0, 0, 5))
    session.step(1)
    session.rewind(0)
    with pytest.raises(PlayError, match="dummy_count does not repeat its episodes"):
        session.step(1)


def test_there_is_a_limit_of_steps(monkeypatch):
    monkeypatch.setattr(session_lib, "MOST_STEPS", 2)
    session = dreams.make_session()
    session.step(1)
    session.rewind(0)
    session.step(2)
    with pytest.raises(PlayError, match="2 steps are the most. Start a new game"):
        session.step(1)


def test_a_recording_has_a_frame_of_each_step_up_to_the_current_one(monkeypatch):
    session = dreams.make_session(length=2)
    for _ in range(4):
        session.step(1)
    session.rewind(3)
    monkeypatch.setattr(session_lib, "MOST_FRAMES", 3)
    with Image.open(io.BytesIO(session.record(fps=10))) as gif:
        assert gif.format == "GIF" and gif.n_frames == 3
        gif.seek(1)
        assert gif.info["duration"] == 100


def test_closing_frees_the_game():
    session = dreams.make_session()
    session.close()
    assert session.game.closed


MOVES = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("rewind"), st.floats(0, 1), st.floats(0, 1)),
)


@hypothesis.given(moves=st.lists(MOVES, max_size=25))
def test_whatever_is_done_each_branch_is_what_its_actions_lead_to(moves):
    session = dreams.make_session(length=6)
    for kind, first, second in moves:
        if kind == "step":
            session.step(first, second and not session.now.is_over)
        else:
            branch = int(second * (len(session.branches) - 1))
            last = len(session.branches[branch].steps) - 1
            session.rewind(int(first * last), branch)
    for branch in session.branches:
        fork = branch.fork + 1
        if branch.parent >= 0:
            shared = session.branches[branch.parent].steps[:fork]
            assert branch.steps[:fork] == shared
        done = [step.action or 0 for step in branch.steps]
        for number, step in enumerate(branch.steps):
            kind = "look" if step.looked else "dream"
            assert step.dreamed.state[-1] == (kind, step.action, number)
            assert len(step.dreamed.state) == number + 1
            played = sum(done[: min(number, 6) + 1])
            assert (step.game[..., 0] > 0).sum() == min(played, 16)
            assert (step.seen is None) == (number > 6)
