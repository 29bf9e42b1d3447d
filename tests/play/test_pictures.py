"""Pictures of a step."""

import numpy as np
import pytest

from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.play import pictures


def test_planes_are_drawn_as_in_videos_one_pixel_a_cell():
    planes = np.random.default_rng(0).random((10, 10, 10)) < 0.1
    drawn = pictures.drawn(planes, 4)
    np.testing.assert_array_equal(drawn, video.planes_to_rgb(planes, 1, 4))
    assert drawn.shape == (10, 10, 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_drawn_as_they_are(channels):
    image = np.full((4, 6, channels), 128, np.uint8)
    assert pictures.drawn(image, None).tolist() == np.full((4, 6, 3), 128).tolist()


def test_bytes_become_shares():
    assert pictures.unit(np.array([0, 255], np.uint8)).tolist() == [0.0, 1.0]
    assert pictures.unit(np.array([False, True])).tolist() == [0.0, 1.0]


def test_the_class_that_was_drawn_is_brightest():
    found = pictures.latent(np.array([[1.0, 0.0], [0.5, 0.5]]), np.eye(2)[[0, 1]])
    assert found.tolist() == [[255, 0], [95, 255]]
    assert pictures.lit(found)[0].tolist() == [[255, 214, 102], [24, 26, 40]]


def test_panels_are_squares_of_one_size_under_their_names():
    small, wide = np.full((10, 10, 3), 9, np.uint8), np.full((2, 4, 3), 7, np.uint8)
    panels = [("a", (1, 1, 1), small), ("b", (1, 1, 1), wide), ("c", (1, 1, 1), None)]
    frame = pictures.side_by_side(panels)
    side, gap = pictures.SIZE, pictures.GAP
    assert frame.shape == (side + video.CAPTION, 3 * side + 2 * gap, 3)
    below = frame[video.CAPTION :]
    assert (below[:, :side] == 9).all()
    middle = below[:, side + gap : 2 * side + gap]
    assert (middle == 7).all(-1).sum() == side * side // 2 and (middle[0] == 0).all()
    assert (below[:, -side:] == 0).all()
    long = np.full((32, pictures.SIZE + 1, 3), 9, np.uint8)  # Each second cell.
    shown = pictures.side_by_side([("d", (1, 1, 1), long)])[video.CAPTION :]
    assert shown.shape == (side, side, 3)
    assert (shown == 9).all(-1).sum() == 16 * (pictures.SIZE // 2 + 1)
