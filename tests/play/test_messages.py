"""What a page and a session tell each other."""

import base64
import io
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from dreamerv2_transfer.common.errors import EnvError, UserError
from dreamerv2_transfer.play.messages import Table, failed
from tests.play import dreams

GAMES = {"minatar_breakout": True, "dummy_count": False}
ABOUT = {"name": "a model", "no_agent": ""}


class Tabled(Table):
    """A table, with the sessions that it made."""

    def __init__(self):
        self.made = []
        super().__init__(self._start_one, GAMES, ABOUT, seed=3)

    def _start_one(self, task, seed):
        if seed == 13:
            raise EnvError("minatar_breakout could not be made.")
        self.made.append(dreams.make_session())
        return self.made[-1]

    def ask(self, **message):
        return json.loads(json.dumps(self.answer(json.dumps(message)), allow_nan=False))


@pytest.fixture
def table():
    return Tabled()


def pixels(picture):
    data = np.frombuffer(base64.b64decode(picture["data"]), np.uint8)
    return data.reshape(picture["height"], picture["width"], -1)


def test_a_page_learns_which_games_there_are(table):
    hello = table.greet()
    assert (hello["type"], hello["seed"], hello["name"]) == ("hello", 3, "a model")
    assert hello["games"] == [
        {"task": "minatar_breakout", "label": "Breakout (MinAtar)", "is_known": True},
        {"task": "dummy_count", "label": "dummy_count", "is_known": False},
    ]


def test_a_start_tells_all_that_a_page_shows(table):
    started = table.ask(type="start", task="dummy_count", seed=5)
    assert started["type"] == "started" and started["seed"] == 5
    assert started["actions"] == ["NOOP", "LEFT", "RIGHT"]
    assert started["used"] == [0, 1, 2] and started["unit"] == "summed over an image"
    assert [x["name"] for x in started["objects"]] == ["one", "two"]
    assert len(started["course"]) == 1 and started["step"] == 0
    assert started["branches"] == [{"parent": -1, "fork": 0, "last": 0}]


def test_a_step_tells_its_numbers_and_its_pictures(table):
    table.ask(type="start")
    shown = table.ask(type="step", action=2, look=False)
    assert (shown["type"], shown["step"], shown["branch"]) == ("shown", 1, 0)
    assert "course" not in shown
    assert shown["row"] == {
        "action": 2,
        "looked": False,
        "dreamed": 0.25,
        "discount": 0.9,
        "reward": 1.0,
        "raw": 2.0,
        "error": 1.0,
        "over": False,
    }
    now = table.made[0].now
    for name in ("dream", "game", "difference"):
        np.testing.assert_array_equal(
            pixels(shown["pictures"][name]), getattr(now, name)
        )
    assert pixels(shown["pictures"]["latent"])[..., 0].tolist() == [[2] * 3] * 2


def test_a_branch_comes_with_its_whole_course(table):
    table.ask(type="start")
    for action in (1, 2):
        table.ask(type="step", action=action)
    rewound = table.ask(type="rewind", step=1)
    assert rewound["step"] == 1 and "course" not in rewound
    branched = table.ask(type="step", agent=True, look=True)
    assert [x["action"] for x in branched["course"]] == [None, 1, 1]
    assert branched["row"]["looked"] and branched["branch"] == 1
    back = table.ask(type="rewind", branch=0, step=2)
    assert [x["action"] for x in back["course"]] == [None, 1, 2]
    assert [x["last"] for x in back["branches"]] == [2, 2]


def test_what_is_not_finite_or_not_there_is_null(table):
    table.ask(type="start")
    session = table.made[0]
    session._dreamer.squashed = lambda reward: float("nan")
    assert table.ask(type="step", action=1)["row"]["reward"] is None
    for _ in range(5):
        shown = table.ask(type="step", action=0)
    assert shown["row"]["error"] is None and shown["row"]["over"]
    assert shown["pictures"]["difference"] is None


def test_a_recording_is_a_gif(table):
    table.ask(type="start")
    table.ask(type="step", action=1)
    recorded = table.ask(type="record", fps=9999)
    with Image.open(io.BytesIO(base64.b64decode(recorded["data"]))) as gif:
        assert (gif.format, gif.n_frames) == ("GIF", 2)
        gif.seek(1)
        assert gif.info["duration"] == 20


def test_a_new_game_closes_the_one_before(table):
    table.ask(type="start")
    with pytest.raises(EnvError, match="could not be made"):
        table.ask(type="start", seed=13)
    first = table.made[0]
    assert not first.game.closed and table.ask(type="step", action=1)["step"] == 1
    table.ask(type="start")
    assert first.game.closed
    table.close()
    table.close()
    assert table.made[1].game.closed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "A message must be JSON. Received: '{'"),
        (b"\xff\xfe\x00", "A message must be JSON"),
        ("[" * 2000, "A message must be JSON"),
        ('{"type": "step", "action": ' + "9" * 4000 + "}", "actions 0 to 2"),
        ("[1]", "must be a JSON object"),
        ("{}", "no message of this type"),
        ('{"type": ["step"]}', "no message of this type"),
        ('{"type": "step"}', "action must be a whole number. Received: None"),
        ('{"type": "step", "action": true}', "action must be a whole number"),
        ('{"type": "step", "action": 1.5}', "whole number. Received: 1.5"),
        ('{"type": "step", "action": NaN}', "whole number. Received: nan"),
        ('{"type": "step", "action": 3}', "There are actions 0 to 2. Received: 3"),
        ('{"type": "rewind", "step": 9}', "There are steps 0 to 0. Received: 9"),
        ('{"type": "rewind", "step": 0, "branch": -1}', "branches 0 to 0"),
        ('{"type": "start", "task": "minatar_pong"}', "Received: 'minatar_pong'"),
        ('{"type": "start", "task": []}', r"can play .*Received: \[\]"),
        ('{"type": "start", "seed": -1}', "A seed is 0 to 4294967295. Received: -1"),
        ('{"type": "record", "fps": "fast"}', "fps must be a whole number"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused(table, text, message):
    table.ask(type="start")
    with pytest.raises(UserError, match=message):
        table.answer(text)
    assert table.ask(type="step", action=0)["step"] == 1


def test_there_is_no_step_before_a_start(table):
    with pytest.raises(UserError, match="no game yet"):
        table.ask(type="step", action=0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = st.sampled_from(["type", "action", "step", "branch", "seed", "task", "look"])
KINDS = st.sampled_from(["start", "step", "rewind"])
MESSAGES = st.dictionaries(NAMES, JSON | KINDS, max_size=5)


@hypothesis.given(messages=st.lists(MESSAGES | JSON, max_size=8))
def test_any_message_is_answered_or_refused(messages):
    table = Tabled()
    for message in messages:
        try:
            table.answer(json.dumps(message))
        except UserError as error:
            assert failed(str(error))["reason"]
