"""Pictures of a step: the dream, the game, how they differ, and the latent state.

All are uint8 arrays, one pixel a cell of planes or a pixel of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.common.logger import video

SIZE = 160  # Pixels of a panel of an animation, at least half of them.
GAP = 4  # Pixels between panels.
SAMPLED, LIKELY = 255, 190  # Brightness of the class of a latent, and of probable ones.
CALM, LIT = np.array([24, 26, 40]), np.array([255, 214, 102])  # Of the latents.


def drawn(image: np.ndarray, planes: int | None) -> np.ndarray:
    """Draws what the model or the player sees, `(H, W, 3)`.

    Args:
        image: Bytes, booleans, or floats from 0 to 1, `(H, W, C)`.
        planes: Number of planes that are not padding; None if they are no planes.
    """
    if planes is not None:
        return video.planes_to_rgb(image, 1, planes)
    return np.array(video.gray_to_rgb(video.merged(image)))


def unit(image: np.ndarray) -> np.ndarray:
    """Returns an image as floats from 0 to 1."""
    return image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)


def latent(probabilities: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Returns how bright each class of each latent is, `(latents, classes)`.

    Args:
        probabilities: From 0 to 1.
        sample: 1 for the class that was drawn, else 0.
    """
    likely = np.rint(LIKELY * probabilities)
    return np.where(sample > 0.5, SAMPLED, likely).astype(np.uint8)


def lit(brightness: np.ndarray) -> np.ndarray:
    """Colours the picture of the latents, `(H, W, 3)`."""
    share = brightness[..., None] / 255
    return np.rint(CALM * (1 - share) + LIT * share).astype(np.uint8)


def side_by_side(
    panels: Sequence[tuple[str, tuple[int, int, int], np.ndarray | None]],
) -> np.ndarray:
    """Lays pictures side by side, scaled to one height, under their names.

    Args:
        panels: The name, its colour, and the picture; None is black.

    Returns:
        uint8 RGB `(H, W, 3)`.
    """
    framed = []
    for name, color, picture in panels:
        square = np.zeros((SIZE, SIZE, 3), np.uint8)
        if picture is not None:
            picture = picture[:: (step := -(-max(picture.shape[:2]) // SIZE)), ::step]
            large = video.upscale(picture, SIZE // max(picture.shape[:2]))
            top, left = ((SIZE - x) // 2 for x in large.shape[:2])
            square[top : top + large.shape[0], left : left + large.shape[1]] = large
        framed.append(video.caption(square, [(name, color)]))
    return video.grid(np.stack(framed)[:, None], GAP)[0]
