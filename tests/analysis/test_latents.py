"""What features tell about frames whose relation is known."""

import numpy as np
import pytest

from dreamerv2_transfer.analysis import latents
from dreamerv2_transfer.analysis.frames import Frames

EPISODE = np.repeat(np.arange(40), 25)
NUMBER = len(EPISODE)


def make_frames(**changed):
    """A player that walks, an event in a tenth of the frames, and a rare one."""
    rng = np.random.default_rng(0)
    column = rng.integers(10, size=NUMBER).astype(np.float32)
    variables = {
        "player_x": column,
        "score": np.arange(NUMBER, dtype=np.float32),
        "constant": np.ones(NUMBER, np.float32),
        **changed,
    }
    events = {"at_left": column == 0, "once": np.arange(NUMBER) == 3}
    return Frames({}, variables, events, EPISODE)


FRAMES = make_frames()


@pytest.fixture(scope="module")
def targets():
    return latents.prepare(FRAMES, 19, np.random.default_rng(0))


@pytest.fixture(scope="module")
def features():
    """Of eight features one is the player's column, and the others are noise."""
    made = np.random.default_rng(1).standard_normal((NUMBER, 8)).astype(np.float32)
    made[:, 3] = 5 * FRAMES.variables["player_x"]
    return made


def test_the_place_is_the_players_and_else_what_every_game_has(targets):
    assert targets.place == ("player_x",)
    assert len(targets.train_orders) == len(targets.test_orders) == 19
    still = make_frames(player_x=np.zeros(NUMBER, np.float32))
    prepared = latents.prepare(still, 1, np.random.default_rng(0))
    assert prepared.place == ("score",)


def test_features_that_hold_the_column_tell_it(features, targets):
    steps = []
    found = latents.analyze(features, targets, 10, 0, report=lambda: steps.append(1))
    numbers = found.numbers
    assert numbers["best_feature"]["feature"] == 3
    assert numbers["canonical"][0] > 0.99
    assert numbers["probes"]["player_x"]["r2"] > 0.99
    assert list(numbers["probes"]) == ["player_x", "score"]
    assert numbers["explained"][0] > 0.9
    assert len(steps) == latents.STEPS
    assert found.labels.shape == (NUMBER,) and found.scatter.shape[1] == 2
    assert len(found.scatter) == len(found.shown) == len(targets.rows.test)


def test_noise_tells_nothing_and_is_not_probed(targets):
    noise = np.random.default_rng(2).standard_normal((NUMBER, 8)).astype(np.float32)
    numbers = latents.analyze(noise, targets, 10, 0, probing=False).numbers
    assert abs(numbers["canonical"][0]) < 0.2 and numbers["probes"] == {}
    assert numbers["events"]["at_left"]["share"] < 0.2


def test_events_are_analysed_unless_they_are_rare(targets):
    labels = FRAMES.variables["player_x"][targets.rows.test].astype(int)
    found = latents.events(labels, targets, 10)
    assert list(found) == ["at_left"]
    event = found["at_left"]
    assert event["rates"][:2] == [1, 0] and event["share"] == pytest.approx(1)
    assert event["p_adjusted"] == event["p"] == 0.05


def test_a_probe_is_measured_where_its_variable_is_known(features):
    column = FRAMES.variables["player_x"].copy()
    column[::2] = np.nan
    frames = make_frames(enemy_x=column)
    targets = latents.prepare(frames, 1, np.random.default_rng(0))
    found = latents.probe(features, targets, 0)["enemy_x"]
    assert found["frames"] == np.sum(~np.isnan(column[targets.rows.test]))
    assert found["low"] <= found["r2"] <= found["high"] and found["r2"] > 0.99
