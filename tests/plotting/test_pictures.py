"""Pictures that are part of a page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dreamerv2_transfer.common.files.paths import PathError
from dreamerv2_transfer.plotting import pictures
from dreamerv2_transfer.plotting.pictures import PictureError


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


def test_a_gif_whose_later_frames_are_damaged_is_embedded_as_it_is():
    data = saved(moving(), duration=150)
    data = data[: len(data) * 2 // 3]
    picture = pictures.embed(data, ".gif", "")
    assert picture.uri == f"data:image/gif;base64,{base64.b64encode(data).decode()}"


PNG = saved(np.zeros([1, 10, 30, 3], np.uint8), "PNG")
KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        *((KEY, suffix) for suffix in pictures.MEDIA),
        *((saved(moving())[:cut], ".gif") for cut in (0, 6, 20, 500)),
        (PNG, ".gif"),
        (PNG[:45], ".png"),
        (saved(moving(2)), ".png"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ".png"),
    ],
)
def test_what_is_not_the_picture_that_its_name_says_is_refused(data, suffix):
    with pytest.raises(PictureError, match="is not the picture that its name says"):
        pictures.embed(data, suffix, "")


def test_a_picture_that_would_fill_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(pictures, "PIXELS", 299)
    with pytest.raises(PictureError, match="has 30 x 10 pixels, too many"):
        pictures.embed(PNG, ".png", "")
    bomb = bytearray(saved(moving(1)))
    bomb[6:10] = b"\xff" * 4  # Claims 65,535 x 65,535 pixels.
    with pytest.raises(PictureError, match="decompression bomb"):
        pictures.embed(bytes(bomb), ".gif", "")


def test_an_animation_of_very_many_tiny_frames_is_not_decoded(monkeypatch):
    monkeypatch.setattr(pictures, "PIXELS", 2**14)
    frames = np.arange(5 * 4 * 4 * 3, dtype=np.uint8).reshape(5, 4, 4, 3)
    media, _ = content(pictures.embed(saved(frames), ".gif", ""))
    assert media == "data:image/gif"


def test_a_picture_is_read_from_its_own_folder_alone(tmp_path, monkeypatch):
    run, outside = tmp_path / "run", tmp_path / "outside.png"
    (run / "videos").mkdir(parents=True)
    outside.write_bytes(PNG)
    file = run / "videos" / "a.png"
    file.write_bytes(PNG)
    inner, outer = run / "videos" / "b.png", run / "videos" / "c.png"
    inner.symlink_to("a.png")
    outer.symlink_to(outside)
    for path in (file, inner):
        assert pictures.read(path, run, "A title").size == (30, 10)
    with pytest.raises(PathError, match="c.png is a link to a file outside"):
        pictures.read(outer, run, "")
    (run / "other").symlink_to(tmp_path)
    with pytest.raises(PathError, match="link to a file outside"):
        pictures.read(run / "other" / "outside.png", run, "")
    monkeypatch.setattr(pictures, "BYTES", len(PNG) - 1)
    with pytest.raises(PictureError, match="a.png cannot be read: It has more than"):
        pictures.read(file, run, "")
    with pytest.raises(PictureError, match="d.gif is not the picture"):
        (run / "d.gif").write_bytes(b"")
        pictures.read(run / "d.gif", run, "")


def test_an_animation_too_large_to_be_decoded_is_embedded_as_it_is(monkeypatch):
    monkeypatch.setattr(pictures, "PIXELS", 96 * 96 * 11)
    media, _ = content(pictures.embed(saved(moving()), ".gif", ""))
    assert media == "data:image/gif"
    monkeypatch.setattr(pictures, "PIXELS", 96 * 96 * 12)
    media, _ = content(pictures.embed(saved(moving()), ".gif", ""))
    assert media == "data:image/webp"


def test_a_drawing_is_not_embedded():
    with pytest.raises(PictureError, match="a page shows: .png, .gif, .jpg, .webp"):
        pictures.embed(b"<svg/>", ".svg", "")
