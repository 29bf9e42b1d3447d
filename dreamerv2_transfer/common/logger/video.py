"""Turns observations into pictures and videos.

Frames are uint8 RGB arrays of shape (T, H, W, 3), where T is time.
"""

from __future__ import annotations

import functools
import io
import os
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamerv2_transfer.common.files import atomic

PLANE_SCALE = 16  # Pixels per cell of MinAtar planes.
PALETTE_COLORS = 10  # Planes of a padded MinAtar observation.
CATEGORIES = PALETTE_COLORS + 1  # Of a cell in MinAtar's collapsed view.
PANEL = 160  # Pixels; the size to which a small image is enlarged by default.
BORDER = 4  # Pixels.
CAPTION = 20  # Pixels.
FONT, LEAST_FONT = 13, 8  # Pixels.
SEPARATOR = (90, 90, 90)
OBSERVED = (70, 200, 90)
DREAMED = (240, 70, 60)
MISSED = (255, 90, 90)
INVENTED = (0, 230, 230)
TEXT = (230, 230, 230)


def planes_to_rgb(
    planes: np.ndarray, scale: int = PLANE_SCALE, colors: int = PALETTE_COLORS
) -> np.ndarray:
    """Draws MinAtar planes in the colors of MinAtar's own display.

    Each plane covers those with lower numbers, and is as opaque as its value. So planes
    of 0 and 1 give exactly MinAtar's picture (the active plane with the highest number
    wins), and an uncertain prediction looks dim.

    Args:
        planes: Booleans, or probabilities from 0 to 1, of shape (..., H, W, C). Other
            values are clipped. Categories are drawn as the planes that they stand for.
        scale: Pixels per cell.
        colors: Size of the palette. The default, the number of padded planes, is one
            palette for all games. MinAtar itself gives each game a palette with as many
            colors as the game has planes (4, 6, 7 or 10), in which the first planes,
            the player's, are brighter. Planes beyond the palette must be empty padding
            and are not drawn.

    Returns:
        uint8 RGB of shape (..., H * scale, W * scale, 3).
    """
    planes = as_planes(planes)
    opacity = _clip(planes)[..., None]
    picture = np.zeros((*planes.shape[:-1], 3), np.float32)
    for index, color in enumerate(_palette(colors)[: planes.shape[-1]]):
        alpha = opacity[..., index, :]
        picture = picture * (1 - alpha) + color * alpha
    return upscale(np.rint(picture).astype(np.uint8), scale)


def as_planes(images: np.ndarray) -> np.ndarray:
    """Returns MinAtar's categories (..., 11) without that of an empty cell.

    The others stand for one plane each, see `envs.minatar.collapsed`. Other images are
    returned as they are.
    """
    return images[..., 1:] if images.shape[-1] == CATEGORIES else images


def upscale(images: np.ndarray, scale: int) -> np.ndarray:
    """Repeats each pixel: (..., H, W, C) becomes (..., H * scale, W * scale, C)."""
    return images.repeat(scale, axis=-3).repeat(scale, axis=-2)


def gray_to_rgb(images: np.ndarray) -> np.ndarray:
    """Turns uint8, boolean or 0..1 images (..., H, W, 1 or 3) into uint8 RGB.

    Raises:
        ValueError: The images have neither 1 nor 3 channels.
    """
    images = np.asarray(images)
    if images.ndim < 3 or images.shape[-1] not in (1, 3):
        raise ValueError(
            "Images must have 1 or 3 channels in their last axis. "
            f"Received: shape={images.shape}"
        )
    return np.broadcast_to(_to_uint8(images), (*images.shape[:-1], 3))


def merged(images: np.ndarray) -> np.ndarray:
    """Returns images of any number of channels with one or three.

    What has neither is taken for stacked frames, of which this is the mean: RGB if the
    channels are a multiple of three, else gray.

    Args:
        images: (..., H, W, C), of bytes or of floats.
    """
    channels = images.shape[-1]
    if channels in (1, 3):
        return images
    size = 1 if channels % 3 else 3
    mean = images.reshape(*images.shape[:-1], -1, size).mean(-2)
    return np.rint(mean).astype(np.uint8) if images.dtype == np.uint8 else mean


def grid(videos: np.ndarray, gap: int = 2) -> np.ndarray:
    """Lays videos side by side.

    Args:
        videos: uint8 RGB of shape (B, T, H, W, 3).
        gap: Width in pixels of the gray line between two videos.

    Returns:
        uint8 RGB of shape (T, H, B * W + (B - 1) * gap, 3).
    """
    batch, time, height, width, _ = videos.shape
    cells = np.empty((time, height, batch, width + gap, 3), np.uint8)
    cells[:] = SEPARATOR
    cells[:, :, :, :width] = videos.transpose(1, 2, 0, 3, 4)
    return cells.reshape(time, height, -1, 3)[:, :, : batch * (width + gap) - gap]


def strip(frames: np.ndarray, every: int) -> np.ndarray:
    """Puts each `every`-th frame into one picture, with time from left to right.

    Args:
        frames: uint8 RGB of shape (T, H, W, 3).
        every: Interval in frames, from the first frame on.

    Returns:
        uint8 RGB image of shape (H, width, 3).
    """
    return grid(frames[::every, None], gap=8)[0]


def open_loop(
    truth: np.ndarray,
    model: np.ndarray,
    context: int,
    scale: int | None = None,
    colors: int = PALETTE_COLORS,
) -> np.ndarray:
    """Compares what happened with what a world model predicted.

    The rows are the truth, the model and its error; the columns are the sequences.
    The model's border is green while it observes the frames and red when it dreams.
    The error shows the largest difference over the channels: red where the model
    misses something, cyan where it invents something, black where it is right.

    Args:
        truth: Sequences of shape (B, T, H, W, C): gray or RGB images (C is 1 or 3;
            values from 0 to 1, or uint8), else MinAtar planes or categories.
        model: Predictions of the same shape.
        context: Number of frames that the model observes before it dreams.
        scale: Pixels per cell or pixel; by default small images become as large as
            `PANEL`.
        colors: Size of the palette of MinAtar planes, see `planes_to_rgb`.

    Returns:
        uint8 RGB of shape (T, H', W', 3).

    Raises:
        ValueError: The shapes are not equal or not (B, T, H, W, C).
    """
    truth, model = _unit(truth), _unit(model)
    if truth.shape != model.shape or truth.ndim != 5:
        raise ValueError(
            "Truth and model must have the same shape (B, T, H, W, C). "
            f"Received: truth.shape={truth.shape}, model.shape={model.shape}"
        )
    scale = scale or max(1, PANEL // truth.shape[2])
    dreamed = np.arange(truth.shape[1]) >= context
    border = np.where(dreamed[:, None, None, None], DREAMED, OBSERVED)
    rows = [
        _row(_render(truth, scale, colors), SEPARATOR),
        _row(_render(model, scale, colors), border),
        _row(upscale(difference(truth, model), scale), SEPARATOR),
    ]
    return np.stack(
        [
            _caption_frame(step, dreamed[step], panels)
            for step, panels in enumerate(zip(*rows, strict=True))
        ]
    )


def episode(images: np.ndarray, scale: int, planes: int | None) -> np.ndarray:
    """Draws what an agent saw.

    Args:
        images: An episode's planes or categories, or images of bytes, (T, H, W, C); see
            `merged`.
        scale: Pixels per cell of MinAtar planes.
        planes: Number of planes that are not padding; None if they are not planes.

    Returns:
        uint8 RGB of shape (T, H', W', 3).
    """
    if planes is not None:
        return planes_to_rgb(images, scale, planes)
    if images.dtype == np.uint8 or images.shape[-1] in (1, 3):
        return upscale(gray_to_rgb(merged(images)), max(1, PANEL // images.shape[1]))
    return planes_to_rgb(images, max(1, PANEL // images.shape[1]))


def encode_gif(frames: np.ndarray, fps: float) -> bytes:
    """Encodes an endless animation; the first frame is held for a second.

    Args:
        frames: uint8 or 0..1 images of shape (T, H, W, 1 or 3).
        fps: Frames per second, up to 50. GIF counts in hundredths of a second.
    """
    # The default method, median cut, dulls colors of few pixels, and a MinAtar object
    # is one cell. Dithering would speckle flat areas.
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    images = [
        Image.fromarray(frame).quantize(method=method, dither=dither)
        for frame in gray_to_rgb(frames)
    ]
    duration = max(2, round(100 / fps)) * 10  # Milliseconds.
    durations = [max(1000, duration), *[duration] * (len(images) - 1)]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=images[1:],
        duration=durations,
        loop=0,
    )
    return buffer.getvalue()


def encode_png(image: np.ndarray) -> bytes:
    """Encodes a uint8 or 0..1 image of shape (H, W, 1 or 3)."""
    buffer = io.BytesIO()
    Image.fromarray(gray_to_rgb(image)).save(buffer, "PNG")
    return buffer.getvalue()


def gif_path(logdir: str | os.PathLike, name: str) -> pathlib.Path:
    """Returns where a run keeps a video; `/` in a task or key becomes `@`."""
    return pathlib.Path(logdir) / "videos" / f"{name.replace('/', '@')}.gif"


def save_gif(path: str | os.PathLike, frames: np.ndarray, fps: float) -> None:
    """Writes an animation, see `encode_gif`; the file is whole or absent.

    Raises:
        OutputError: The file cannot be written.
    """
    encoded = encode_gif(frames, fps)
    with atomic.atomic_write(path) as file:
        file.write(encoded)


def save_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes a picture, see `encode_png`; the file is whole or absent.

    Raises:
        OutputError: The file cannot be written.
    """
    encoded = encode_png(image)
    with atomic.atomic_write(path) as file:
        file.write(encoded)


def difference(truth: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Draws where predictions in 0..1 are wrong: the largest error of the channels.

    Categories are compared as planes: an empty cell that the model misses is what it
    invents there.

    Returns:
        uint8 RGB, red where the model misses something, cyan where it invents it.
    """
    distance = as_planes(truth - model)
    missed = distance.max(-1).clip(min=0)
    invented = (-distance).max(-1).clip(min=0)
    return _to_uint8(np.stack([missed, invented, invented], -1))


@functools.cache
def _palette(colors: int) -> np.ndarray:
    """Returns Seaborn's "cubehelix" palette, as in MinAtar: uint8 (colors, 3)."""
    import matplotlib

    # Seaborn takes evenly spaced colors and leaves out both ends, black and white.
    positions = np.linspace(0, 1, colors + 2)[1:-1]
    return matplotlib.colormaps["cubehelix"](positions, bytes=True)[:, :3]


def _clip(values: np.ndarray) -> np.ndarray:
    """Returns any values as float32 from 0 to 1; NaN becomes 0."""
    return np.clip(np.nan_to_num(np.asarray(values, np.float32)), 0, 1)


def _unit(images: np.ndarray) -> np.ndarray:
    """Returns images or planes as float32 from 0 to 1; bytes reach 255."""
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    return _clip(images)


def _to_uint8(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images
    return np.rint(_clip(images) * 255).astype(np.uint8)


def _render(videos: np.ndarray, scale: int, colors: int) -> np.ndarray:
    if videos.shape[-1] in (1, 3):
        return upscale(gray_to_rgb(videos), scale)
    return planes_to_rgb(videos, scale, colors)


def _row(videos: np.ndarray, color: tuple | np.ndarray) -> np.ndarray:
    """Draws borders in one color, or in one per frame (T, 1, 1, 3), around videos."""
    batch, time, height, width, _ = videos.shape
    framed = np.empty(
        (batch, time, height + 2 * BORDER, width + 2 * BORDER, 3), np.uint8
    )
    framed[:] = color
    framed[:, :, BORDER:-BORDER, BORDER:-BORDER] = videos
    return grid(framed)


def _caption_frame(step: int, dreamed: bool, rows: tuple) -> np.ndarray:
    state = ("dreams", DREAMED) if dreamed else ("observes", OBSERVED)
    captions = [
        [("truth", TEXT), (f"t={step}", TEXT)],
        [("model", TEXT), state],
        [("error", TEXT), ("missed", MISSED), ("invented", INVENTED)],
    ]
    captioned = [caption(row, words) for row, words in zip(rows, captions, strict=True)]
    return np.concatenate(captioned)


def caption(image: np.ndarray, words: list[tuple[str, tuple]]) -> np.ndarray:
    """Writes colored words on a black bar above the image, smaller if it is narrow."""
    bar = Image.new("RGB", (image.shape[1], CAPTION))
    draw, x = ImageDraw.Draw(bar), BORDER
    text, room = "  ".join(word for word, _ in words), image.shape[1] - 2 * BORDER
    sizes = range(FONT, LEAST_FONT - 1, -1)
    fitting = (n for n in sizes if draw.textlength(text, font=_font(n)) <= room)
    font = _font(next(fitting, LEAST_FONT))
    for word, color in words:
        draw.text((x, CAPTION // 2), word, fill=color, font=font, anchor="lm")
        x += draw.textlength(word + "  ", font=font)
    return np.concatenate([np.asarray(bar), image])


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
