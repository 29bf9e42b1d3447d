"""Kinds of features side by side."""

import types

import numpy as np
import pytest

from dreamerv2_transfer.analysis import kinds
from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.analysis.latents import Found, Targets
from dreamerv2_transfer.analysis.splits import Split

NONE = np.array([], int)
ROWS = Split(NONE, NONE, np.arange(1, 5))
FRAMES = Frames({}, {}, {}, np.zeros(5, int))


def found(r, null=(0.1, 0.3), probes=None):
    best = {"feature": 2, "train_r": r, "null": list(null)}
    numbers = {
        "canonical": [abs(r)],
        "best_feature": best,
        "events": {"reward": {"p": r}},
        "probes": probes or {},
    }
    labels = np.array([0, 0, 1, 1, 1])
    return Found(numbers, np.zeros((0, 2)), NONE, labels)


ALL = {
    "trained": found(-0.6, probes={"score": {"r2": 0.9}}),
    "untrained": found(0.3, probes={"score": {"r2": 0.1}}),
    "random": found(0.1),
}


def side_by_side(place=("player_x",)):
    targets = Targets(FRAMES, ROWS, [], [], place)
    return kinds.side_by_side(ALL, targets, number=3, size=8)


def test_numbers_are_by_name_and_then_by_kind():
    numbers = side_by_side()
    assert numbers["events"]["reward"] == {
        "trained": {"p": -0.6},
        "untrained": {"p": 0.3},
        "random": {"p": 0.1},
    }
    assert numbers["probes"] == {
        "score": {"trained": {"r2": 0.9}, "untrained": {"r2": 0.1}}
    }
    assert numbers["canonical"] == {
        "variables": ["player_x"],
        "trained": [0.6],
        "untrained": [0.3],
        "random": [0.1],
    }


def test_clusters_are_counted_on_held_out_frames():
    numbers = side_by_side()
    assert numbers["clusters"] == 3 and numbers["cluster_sizes"] == [0.25, 0.75, 0]


def test_the_best_feature_is_compared_with_the_other_kinds():
    best = side_by_side()["best_feature"]
    assert (best["variable"], best["features"], best["shuffles"]) == ("player_x", 8, 2)
    assert best["ratio_to_random"] == pytest.approx(6)
    assert best["ratio_to_untrained"] == pytest.approx(2)
    assert best["trained"]["null_median"] == pytest.approx(0.2)
    assert best["trained"]["null_max"] == 0.3 and "null" not in best["trained"]


def test_without_a_place_there_are_no_correlations():
    assert list(side_by_side(place=())) == [
        "clusters",
        "cluster_sizes",
        "events",
        "probes",
    ]


def test_noise_has_the_size_of_the_features_and_a_seed():
    rssm = types.SimpleNamespace(feat_size=4)
    models = types.SimpleNamespace(trained=types.SimpleNamespace(rssm=rssm))
    ours, same, other = (
        kinds.make("random", models, FRAMES, None, seed, "game") for seed in (1, 1, 2)
    )
    assert ours.shape == (5, 4) and ours.dtype == np.float32
    np.testing.assert_array_equal(ours, same)
    assert not np.array_equal(ours, other)
