"""The pictures of an analysis as files, each with its title and caption."""

from __future__ import annotations

import io
import pathlib

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.plotting.labels import literal

DPI = 90
PALETTE = 256  # Colours of a figure.
SHADES = 0xE0  # Bits of a byte in an animation: fewer make it a third of the size.


class Album:
    """Writes pictures to a folder and lists them.

    Args:
        directory: The folder.
        fps: Frames per second of animations.

    Attributes:
        pictures: `file`, `title` and `caption` of each picture, in order.
    """

    def __init__(self, directory: pathlib.Path, fps: float):
        self.pictures: list[dict[str, str]] = []
        self._directory = directory
        self._fps = fps

    def add_figure(self, figure: Figure, name: str, title: str, caption: str) -> None:
        """Writes a figure as `name`, a PNG, atomically.

        Raises:
            OutputError: It cannot be written.
        """
        drawn = io.BytesIO()
        literal(figure).savefig(drawn, format="png", dpi=DPI)
        # A third of the size, without a visible difference: see `video` for the method.
        how = dict(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        image = Image.open(drawn).convert("RGB").quantize(PALETTE, **how)
        with atomic.atomic_write(self._directory / name) as file:
            image.save(file, "PNG", optimize=True)
        self._list(name, title, caption)

    def add_image(self, image: np.ndarray, name: str, title: str, caption: str) -> None:
        """Writes an image `(H, W, 3)`, uint8 RGB, as `name`, a PNG."""
        video.save_png(self._directory / name, image)
        self._list(name, title, caption)

    def add_animation(
        self, frames: np.ndarray, name: str, title: str, caption: str
    ) -> None:
        """Writes frames `(T, H, W, 3)`, uint8 RGB, as `name`, a GIF."""
        video.save_gif(self._directory / name, frames & SHADES, self._fps)
        self._list(name, title, caption)

    def _list(self, name: str, title: str, caption: str) -> None:
        self.pictures.append({"file": name, "title": title, "caption": caption})
