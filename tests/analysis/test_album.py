"""Pictures as files."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dreamerv2_transfer.analysis.album import Album
from dreamerv2_transfer.common.files.atomic import OutputError


@pytest.fixture
def album(tmp_path):
    return Album(tmp_path / "new", fps=4)


def test_pictures_are_listed_in_the_order_in_which_they_were_added(album, tmp_path):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [1, 0])
    album.add_figure(figure, "figure.png", "Figure", "What it shows.")
    album.add_image(np.zeros((4, 6, 3), np.uint8), "image.png", "Image", "Black.")
    assert album.pictures == [
        {"file": "figure.png", "title": "Figure", "caption": "What it shows."},
        {"file": "image.png", "title": "Image", "caption": "Black."},
    ]
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["figure.png", "image.png"]


def test_a_figure_is_drawn_at_its_size_in_few_colours(album, tmp_path):
    album.add_figure(Figure(figsize=(2, 1)), "figure.png", "", "")
    image = Image.open(tmp_path / "new" / "figure.png")
    assert image.size == (180, 90) and image.mode == "P"


def test_an_animation_has_fewer_shades_and_the_albums_speed(album, tmp_path):
    frames = np.stack([np.full((8, 8, 3), x, np.uint8) for x in (0x1F, 0xFF, 0x7F)])
    album.add_animation(frames, "dream.gif", "", "")
    image = Image.open(tmp_path / "new" / "dream.gif")
    assert image.convert("RGB").getpixel((4, 4)) == (0, 0, 0)
    image.seek(1)
    assert image.n_frames == 3 and image.info["duration"] == 250
    assert image.convert("RGB").getpixel((4, 4)) == (0xE0, 0xE0, 0xE0)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    album = Album(tmp_path / "file", fps=4)
    with pytest.raises(OutputError, match="file"):
        album.add_figure(Figure(figsize=(1, 1)), "figure.png", "", "")
    assert album.pictures == []
