"""Pictures and animations that are part of a page."""

from __future__ import annotations

import base64
import dataclasses
import io
import pathlib

from PIL import Image, ImageSequence

from dreamerv2_transfer.common import errors
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import documents, paths

# Files that a browser shows as pictures, with their type and Pillow's name of it. An
# SVG is a document that may hold scripts and addresses, so it is none of them.
MEDIA = {
    ".png": ("image/png", "PNG"),
    ".gif": ("image/gif", "GIF"),
    ".jpg": ("image/jpeg", "JPEG"),
    ".webp": ("image/webp", "WEBP"),
}
BYTES = 2**26  # Of a file.
WIDE = 2.0  # Width over height from which a picture gets a row of its own.
PIXELS = 2**27  # Of a picture. An animation of more in all is embedded as it is.
LEAST_FRAME = 2**12  # Pixels that a frame counts as at least, as it takes time too.


class PictureError(UserError):
    """A file that is not the picture that its name says, or too large for a page."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture within the page.

    Attributes:
        uri: The picture itself, as a `data:` address.
        title: What it is.
        caption: What to see in it.
        size: Width and height in pixels; None if unknown.
    """

    uri: str
    title: str
    caption: str = ""
    size: tuple[int, int] | None = None

    @property
    def is_wide(self) -> bool:
        """Whether it is much wider than high."""
        return self.size is not None and self.size[0] > WIDE * self.size[1]


def read(
    path: pathlib.Path, folder: pathlib.Path, title: str, caption: str = ""
) -> Picture:
    """Reads a picture that a run left.

    Args:
        path: The file.
        folder: The run's folder, in which the file has to be.
        title: What the picture is.
        caption: What to see in it.

    Raises:
        PathError: The file is a link to somewhere else.
        PictureError: It cannot be read, or as for `embed`.
    """
    paths.check_within(path, folder)
    try:
        data = documents.read(path, BYTES)
    except OSError as error:
        raise PictureError(f"{path.name} cannot be read: {error.strerror}.") from error
    try:
        return embed(data, path.suffix, title, caption)
    except PictureError as error:
        raise PictureError(f"{path.name} {error}") from error


def embed(data: bytes, suffix: str, title: str, caption: str = "") -> Picture:
    """Returns a file's content as a picture of the page.

    Args:
        data: The content.
        suffix: The ending of the file's name.
        title: What the picture is.
        caption: What to see in it.

    Raises:
        PictureError: The ending is none of `MEDIA`, the content is not such a picture,
            or it has more than `PIXELS`.
    """
    if suffix not in MEDIA:
        raise PictureError(f"is not of a kind that a page shows: {', '.join(MEDIA)}.")
    try:
        with Image.open(io.BytesIO(data), formats=[MEDIA[suffix][1]]) as image:
            size = image.size
            if size[0] * size[1] > PIXELS:
                raise PictureError(f"has {size[0]} x {size[1]} pixels, too many.")
            image.load()
            if image.format == "GIF":
                data, suffix = smaller(image, data)
    except PictureError:
        raise
    except Exception as error:
        # Pillow raises anything on damaged files, IndexError and struct.error included.
        raise PictureError(
            f"is not the picture that its name says: {errors.describe(error)}"
        ) from error
    encoded = base64.b64encode(data).decode()
    return Picture(f"data:{MEDIA[suffix][0]};base64,{encoded}", title, caption, size)


def smaller(image: Image.Image, data: bytes) -> tuple[bytes, str]:
    """Returns a GIF as lossless WebP, if that is smaller, and the suffix of the result.

    WebP takes about a tenth for what this project records: few colors, few changes.

    Args:
        image: The opened GIF.
        data: The content of its file.
    """
    kept = data, ".gif"
    frames, durations = [], []
    most = PIXELS // max(image.size[0] * image.size[1], LEAST_FRAME)
    try:
        for frame in ImageSequence.Iterator(image):
            if len(frames) >= most:
                return kept
            durations.append(frame.info.get("duration") or 100)  # As browsers do.
            frames.append(frame.convert("RGBA"))
    except Exception:  # A later frame is damaged; a browser shows those before it.
        return kept
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        lossless=True,
        minimize_size=True,
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=image.info.get("loop", 1),  # A GIF without a number plays once.
    )
    packed = buffer.getvalue()
    return (packed, ".webp") if len(packed) < len(data) else kept
