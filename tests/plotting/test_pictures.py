"""Pictures that are part of a page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dreamerv2_transfer.plotting import pictures


def saved(frames, file_format="GIF", **options):
    """Frames as a file's content."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    first.save(buffer, file_format, save_all=True, append_images=rest, **options)
    return buffer.getvalue()


def content(picture):
    """The media type of a picture, and its bytes."""
    head, text = picture.uri.split(";base64,")
    return head, base64.b64decode(text)


def moving(number=12, size=96):
    """A square that moves over noise that does not, in few colors."""
    still = np.random.default_rng(0).integers(2, size=[size, size, 1], dtype=np.uint8)
    frames = np.repeat(np.tile(still * 90, [1, 1, 3])[None], number, 0)
    for index in range(number):
        frames[index, 8:24, index * 4 : index * 4 + 16] = (200, 40, 90)
    return frames


def test_a_gif_becomes_smaller_without_loss():
    frames = moving()
    data = saved(frames, duration=150, loop=0)
    media, packed = content(pictures.embed(data, ".gif", "A title", "A caption"))
    assert media == "data:image/webp" and len(packed) < 0.9 * len(data)
    image = Image.open(io.BytesIO(packed))
    shown = [frame.convert("RGB") for frame in ImageSequence.Iterator(image)]
    np.testing.assert_array_equal(np.stack(shown), frames)
    assert image.info["loop"] == 0 and image.info["duration"] == 150


def test_a_picture_keeps_its_file_and_knows_its_size():
    data = saved(np.zeros([1, 10, 30, 3], np.uint8), "PNG")
    picture = pictures.embed(data, ".png", "A title", "A caption")
    assert picture.uri == f"data:image/png;base64,{base64.b64encode(data).decode()}"
    assert (picture.title, picture.caption) == ("A title", "A caption")
    assert picture.size == (30, 10) and picture.is_wide


@pytest.mark.parametrize("cut", [6, 20, 500, 900])
def test_a_damaged_gif_is_embedded_as_it_is(cut):
    data = saved(moving(), duration=150)[:cut]
    picture = pictures.embed(data, ".gif", "")
    assert picture.uri == f"data:image/gif;base64,{base64.b64encode(data).decode()}"


def test_an_animation_too_large_to_be_decoded_is_embedded_as_it_is(monkeypatch):
    monkeypatch.setattr(pictures, "PIXELS", 96 * 96 * 11)
    media, _ = content(pictures.embed(saved(moving()), ".gif", ""))
    assert media == "data:image/gif"
    monkeypatch.setattr(pictures, "PIXELS", 96 * 96 * 12)
    media, _ = content(pictures.embed(saved(moving()), ".gif", ""))
    assert media == "data:image/webp"


def test_a_drawing_has_no_size():
    picture = pictures.embed(b"<svg/>", ".svg", "")
    assert picture.uri == "data:image/svg+xml;base64,PHN2Zy8+"
    assert picture.size is None and not picture.is_wide
