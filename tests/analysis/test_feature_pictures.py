"""Pictures of features."""

import numpy as np
import pytest

from dreamerv2_transfer.analysis import feature_pictures
from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.analysis.latents import Found, Targets
from dreamerv2_transfer.analysis.splits import Split
from tests.analysis.drawn import Drawn

EVENT = {"rates": [0.0, 0.8], "rate": 0.1, "share": 0.5, "p_adjusted": 0.01}
BEST = {"train_r": -0.7, "test_r": 0.6}
NUMBERS = {
    "probes": {
        "player_x": {
            "trained": {"r2": 0.9, "low": 0.8, "high": 0.95},
            "untrained": {"r2": 0.2, "low": float("nan"), "high": float("nan")},
        }
    },
    "events": {"reward": {"trained": EVENT}},
    "cluster_sizes": [0.25, 0.75],
    "best_feature": {
        "variable": "player_x",
        "features": 384,
        **dict.fromkeys(("trained", "untrained", "random"), BEST),
    },
    "canonical": {
        "variables": ["player_x", "player_y"],
        **dict.fromkeys(("trained", "untrained", "random"), [0.4, -0.2]),
    },
}


def draw(numbers=NUMBERS, place=("player_x",)):
    shown = np.arange(4)
    frames = Frames({}, {"player_x": np.arange(6.0)}, {}, np.zeros(6, int))
    none = np.array([], int)
    targets = Targets(frames, Split(none, none, shown), [], [], place)
    points = np.arange(8.0).reshape(4, 2)
    held = {"best_feature": {"null": [0.1, 0.2, 0.3]}, "explained": [0.5, 0.25]}
    found = Found(held, points, shown, np.array([0, 1, 0, 1, 1, 1]))
    album = Drawn()
    feature_pictures.draw(album, "atari_pong", numbers, found, targets)
    return album


@pytest.fixture(scope="module")
def album():
    return draw()


def axes(album, name):
    return album.added[f"atari_pong_{name}.png"].axes


def test_every_picture_has_a_title_and_a_caption(album):
    names = ("probes", "clusters", "single", "scatter")
    assert list(album.added) == [f"atari_pong_{name}.png" for name in names]
    for title, caption in album.texts.values():
        assert title.startswith("Pong (Atari): ") and caption.endswith(".")


def test_figures_name_the_game_as_those_of_curves_do(album):
    heads = [figure.get_suptitle() for figure in album.added.values()]
    heads += [place.get_title() for place in axes(album, "probes")]
    assert heads[2:] == [
        "Pong (Atari)",
        "Pong (Atari): principal components of held-out features",
        "Pong (Atari): linear probes",
    ]


def test_probes_are_bars_with_their_intervals(album):
    (place,) = axes(album, "probes")
    assert [bar.get_width() for bar in place.patches] == [0.9, 0.2]
    trained, untrained = (x for x in place.collections)
    assert trained.get_segments()[0][:, 0].tolist() == pytest.approx([0.8, 0.95])
    # Without an interval the line has no length.
    assert untrained.get_segments()[0][:, 0].tolist() == pytest.approx([0.2, 0.2])


def test_clusters_are_ordered_by_size_and_small_rates_are_not_written(album):
    place, _ = axes(album, "clusters")
    names = [text.get_text() for text in place.get_xticklabels()]
    assert names == ["1\n75%", "0\n25%"]
    assert [text.get_text() for text in place.texts] == ["80%"]
    (event,) = place.get_yticklabels()
    assert event.get_text() == "reward (10.0%)\n50% told, p 0.010"


def test_the_single_feature_is_compared_by_its_size(album):
    left, middle, right = axes(album, "single")
    lines = [line.get_xdata()[0] for line in left.lines]
    assert lines == [0.7, 0.7, 0.7]
    assert middle.get_ylabel() == "r with player_x (training > 0)"


def test_bars_below_zero_are_correlations_that_other_episodes_turn(album):
    _, middle, right = axes(album, "single")
    assert [bar.get_height() for bar in middle.patches] == [0.7, -0.6] * 3
    assert [bar.get_height() for bar in right.patches] == [0.4, -0.2] * 3
    assert middle.get_ylim()[0] < -0.6 and right.get_ylim()[0] < -0.2


def test_points_are_coloured_by_cluster_and_by_variable(album):
    left, right, _ = axes(album, "scatter")
    assert left.collections[0].get_array().tolist() == [0, 1, 0, 1]
    assert right.collections[0].get_array().tolist() == [0, 1, 2, 3]
    assert right.get_title() == "colour: player_x"


def test_what_was_not_found_is_not_drawn():
    less = {**NUMBERS, "probes": {}, "events": {}}
    assert draw(less, place=()).added == {}
