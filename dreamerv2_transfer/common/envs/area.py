"""Shrinks gray frames to the bytes of OpenCV's `INTER_AREA` in half the time.

A pixel of the result is the mean over a rectangle of the frame, the edges of which may
cut pixels. OpenCV adds the pixels of each row one by one. Here a few rows of the result
at a time are a small matrix product with the rows of the frame that they cover.

Why the bytes are the same: with `p` rows of the frame to `q` of the result, in lowest
terms, and `r` columns to `s`, each mean is a whole number of 1 / (p r). If `p r` is
odd, no mean lies halfway between two integers, and none nearer to that than
1 / (2 p r), which the rounding errors of float32 do not reach. Other sizes are left to
OpenCV.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

MOST_PARTS = 700  # Of `p r`: half of its inverse is 3 times the largest error.
ROWS_AT_ONCE = 4  # Rows of the result; more multiply more zeros, fewer take more calls.

Resize = Callable[[np.ndarray, np.ndarray], None]


def make(shape: tuple[int, ...], size: tuple[int, ...]) -> Resize:
    """Returns the fastest function that resizes frames of one size.

    It is called as `resize(frame, image)` with uint8 arrays, and writes into the image.

    Args:
        shape: Shape of the frames, (H, W) or (H, W, 3).
        size: Height and width of the image.
    """
    parts = [n // math.gcd(n, m) for n, m in zip(shape, size, strict=False)]
    is_smaller = all(m <= n for n, m in zip(shape, size, strict=False))
    is_exact = math.prod(parts) % 2 == 1 and math.prod(parts) <= MOST_PARTS
    if len(shape) == 2 and is_smaller and is_exact and not size[0] % ROWS_AT_ONCE:
        return _Products(shape[0], shape[1], size[0], size[1])
    return _opencv


def _opencv(frame: np.ndarray, image: np.ndarray) -> None:
    import cv2

    cv2.resize(frame, image.shape[1::-1], dst=image, interpolation=cv2.INTER_AREA)


class _Products:
    """Resizes gray frames by products of small matrices; keeps its arrays."""

    def __init__(self, height: int, width: int, rows: int, columns: int):
        groups = _weights(height, rows).reshape(-1, ROWS_AT_ONCE, height)
        covered = groups.any(1)
        first = covered.argmax(1)
        number = int(covered.sum(1).max())
        taken = np.minimum(first, height - number)[:, None] + np.arange(number)
        picked = [group[:, x] for group, x in zip(groups, taken, strict=True)]
        self._left = np.stack(picked).astype(np.float32)
        self._taken = taken.ravel()
        # The columns repeat too: as few as make whole ones of the result.
        repeats = math.gcd(width, columns)
        across = _weights(width // repeats, columns // repeats)
        while repeats % 2 == 0 and len(across) < 16:
            across = np.kron(np.eye(2), across)
            repeats //= 2
        self._right = np.ascontiguousarray(across.T, np.float32)
        self._bytes = np.empty((*taken.shape, width), np.uint8)
        self._rows = np.empty(self._bytes.shape, np.float32)
        self._middle = np.empty((len(groups), ROWS_AT_ONCE, width), np.float32)
        self._result = np.empty((rows * repeats, len(across)), np.float32)

    def __call__(self, frame: np.ndarray, image: np.ndarray) -> None:
        flat = self._bytes.reshape(-1, frame.shape[1])
        frame.take(self._taken, 0, out=flat, mode="clip")
        np.copyto(self._rows, self._bytes)
        np.matmul(self._left, self._rows, out=self._middle)
        middle = self._middle.reshape(len(self._result), -1)
        np.matmul(middle, self._right, out=self._result)
        np.rint(self._result, out=self._result)
        np.copyto(image.reshape(self._result.shape), self._result, casting="unsafe")


def _weights(number: int, fewer: int) -> np.ndarray:
    """Returns the part of each of `number` values in `fewer` means, [fewer, number]."""
    edges = np.arange(fewer + 1) * number / fewer
    values = np.arange(number)
    upper = np.minimum(edges[1:, None], values + 1)
    lower = np.maximum(edges[:-1, None], values)
    return np.maximum(upper - lower, 0) * fewer / number
