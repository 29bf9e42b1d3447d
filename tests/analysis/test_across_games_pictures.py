"""Pictures of probes from game to game."""

import numpy as np

from dreamerv2_transfer.analysis import across_games_pictures
from tests.analysis.drawn import Drawn

FOUND = {
    "games": ["minatar_space_invaders", "minatar_asterix"],
    "r": [[0.9, 0.2], [-0.7, 0.8]],
    "r2": [[0.8, -3.0], [0.1, 0.6]],
    "joint_r2": [0.5, 0.3],
    "others_r": [-0.9, 0.1],
}


def test_matrices_show_both_models_and_what_one_lacks_is_empty():
    album = Drawn()
    trained = {"player_x": FOUND, "enemies": FOUND}
    names = ["player_x", "enemies"]
    across_games_pictures.draw_matrices(album, trained, {"player_x": FOUND}, names)
    *grid, _ = album.added["transfer.png"].axes
    assert [place.get_title() for place in grid] == [
        "player_x, trained",
        "enemies, trained",
        "player_x, untrained",
        "enemies, untrained",
    ]
    assert [text.get_text() for text in grid[0].texts] == [
        "0.90",
        "0.20",
        "-0.70",
        "0.80",
    ]
    assert grid[0].get_yticklabels()[0].get_text() == "Space\nInvaders"
    assert np.isnan(grid[3].images[0].get_array().filled(np.nan)).all()


def test_bars_are_means_and_dots_are_games_cut_off_at_the_floor():
    album = Drawn()
    across_games_pictures.draw_together(album, {"player_x": FOUND}, ["player_x"])
    (place,) = album.added["transfer_together.png"].axes
    heights = [bar.get_height() for bar in place.patches]
    np.testing.assert_allclose(heights, [0.7, 0.4, -0.3])
    dots = [line.get_ydata().tolist() for line in place.lines[:3]]
    assert dots == [[0.8, 0.6], [0.5, 0.3], [-0.3, 0.1]]
    names = [text.get_text() for text in place.get_legend().get_texts()]
    assert names[0] == "R² of the game's own probe" and len(names) == 3
