"""Pictures and animations that are part of a page."""

from __future__ import annotations

import base64
import dataclasses
import io

from PIL import Image, ImageSequence

# Files that a browser shows as pictures.
MEDIA = {
    ".png": "image/png",
    ".gif": "image/gif",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
WIDE = 2.0  # Width over height from which a picture gets a row of its own.
PIXELS = 2**27  # An animation of more pixels in all is embedded as it is.


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


def embed(data: bytes, suffix: str, title: str, caption: str = "") -> Picture:
    """Returns a file's content as a picture of the page.

    Args:
        data: The content.
        suffix: The ending of the file's name, one of `MEDIA`.
        title: What the picture is.
        caption: What to see in it.
    """
    size = None
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
            if image.format == "GIF":
                data, suffix = smaller(image, data)
    except Exception:
        # Pillow raises anything on damaged files, IndexError and struct.error included.
        # A browser may still show them.
        pass
    uri = f"data:{MEDIA[suffix]};base64,{base64.b64encode(data).decode()}"
    return Picture(uri, title, caption, size)


def smaller(image: Image.Image, data: bytes) -> tuple[bytes, str]:
    """Returns a GIF as lossless WebP, if that is smaller, and the suffix of the result.

    WebP takes about a tenth for what this project records: few colors, few changes.

    Args:
        image: The opened GIF.
        data: The content of its file.
    """
    if image.size[0] * image.size[1] * image.n_frames > PIXELS:
        return data, ".gif"
    frames, durations = [], []
    for frame in ImageSequence.Iterator(image):
        durations.append(frame.info.get("duration") or 100)  # As browsers do.
        frames.append(frame.convert("RGBA"))
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
    return (packed, ".webp") if len(packed) < len(data) else (data, ".gif")
