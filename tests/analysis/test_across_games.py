"""Probes from game to game."""

import numpy as np
import pytest

from dreamerv2_transfer.analysis import across_games, splits
from dreamerv2_transfer.analysis.frames import Frames

SIZE = 6


def sample(seed, direction, names=("player_x",), scale=1.0, offset=0.0):
    """A game whose variables are one and the same feature."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((600, SIZE)).astype(np.float32)
    value = (scale * features[:, direction] + offset).astype(np.float32)
    episode = np.repeat(np.arange(30), 20)
    frames = Frames({}, dict.fromkeys(names, value), {}, episode)
    return across_games.sample(features, frames, splits.split(episode, rng))


def compare(**samples):
    return across_games.compare(samples, 39, np.random.default_rng(0))


def test_the_same_direction_works_in_other_units_too():
    same = compare(a=sample(0, 2), b=sample(1, 2, scale=9.0, offset=40.0))["player_x"]
    assert same["games"] == ["a", "b"]
    for key in ("r", "r2", "cosine"):
        np.testing.assert_allclose(same[key], np.ones((2, 2)), atol=0.05)
    np.testing.assert_allclose(same["joint_r2"], 1, atol=0.05)
    np.testing.assert_allclose(same["others_r"], 1, atol=0.05)
    assert np.max(same["p"]) == pytest.approx(1 / 40)


def test_different_directions_do_not_work_elsewhere():
    found = compare(a=sample(0, 2), b=sample(1, 4))["player_x"]
    assert np.diag(found["r"]).min() > 0.99
    assert abs(found["r"][0][1]) < 0.2 and abs(found["cosine"][0][1]) < 0.1
    assert np.abs(found["others_r"]).max() < 0.2
    # In either game one half of what the joint probe adds up is noise.
    assert max(found["joint_r2"]) < 0.7


def test_opposite_directions_show_as_a_negative_correlation():
    found = compare(a=sample(0, 2), b=sample(1, 2, scale=-1.0))["player_x"]
    assert found["r"][0][1] < -0.99 and found["cosine"][0][1] < -0.99
    # A probe that is wrong by its sign has learned nothing that the other game uses.
    assert found["p"] == [[1 / 40, 1], [1, 1 / 40]]


def test_only_what_two_games_have_is_compared():
    games = {
        "a": sample(0, 1, ("player_x", "ball_x")),
        "b": sample(1, 1, ("player_x", "enemies")),
        "c": sample(2, 1, ("enemies", "player_x")),
    }
    found = compare(**games)
    assert {name: x["games"] for name, x in found.items()} == {
        "player_x": ["a", "b", "c"],
        "enemies": ["b", "c"],
    }


def test_a_sample_is_limited_and_its_parts_stay_apart(monkeypatch):
    monkeypatch.setattr(across_games, "SIZES", (100, 30, 50))
    drawn = sample(0, 1)
    rows = drawn.rows
    assert [len(x) for x in (rows.train, rows.choose, rows.test)] == [100, 30, 50]
    assert len(drawn.features) == len(drawn.variables["player_x"]) == 180
    episodes = [set(drawn.episode[x]) for x in (rows.train, rows.choose, rows.test)]
    assert not episodes[0] & episodes[2] and not episodes[1] & episodes[2]
    assert drawn.variables["player_x"][rows.train].std() == pytest.approx(1, abs=1e-3)
