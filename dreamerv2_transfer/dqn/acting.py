"""Q-networks in numpy, which act in many processes at once.

A framework would cost each of these processes seconds, memory and threads.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np

Layer = tuple[np.ndarray, np.ndarray]  # Kernel, with the outputs last, and bias.


class QNetwork(abc.ABC):
    """A trained Q-network: `network(images)` returns the values of the actions.

    Attributes:
        kind: `mlp`, `conv`, `atari` or `atari_c51`.
        actions: Number of actions.
        stack: Number of frames that it looks at.
    """

    kind: str
    actions: int
    stack: int = 1

    @abc.abstractmethod
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Computes the values of the actions.

        Args:
            images: MinAtar: bool `[B, 10, 10, P]`; a network uses the first planes, as
                many as its game has. Atari: uint8 `[B, 4, 84, 84]`, the oldest frame
                first.

        Returns:
            float32 `[B, actions]`.
        """


class Mlp(QNetwork):
    """Dense layers on MinAtar's flattened planes, with ReLU in between.

    Args:
        layers: `[100 * planes, .]`, ..., `[., actions]`.
    """

    kind = "mlp"

    def __init__(self, layers: Sequence[Layer]):
        self._layers = layers
        self._planes = len(layers[0][0]) // 100
        self.actions = len(layers[-1][1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `QNetwork`."""
        x = images[..., : self._planes].reshape(len(images), -1).astype(np.float32)
        return _dense(x, self._layers)


class Conv(QNetwork):
    """The network of the MinAtar paper: one convolution, two dense layers, ReLU.

    Young and Tian, 2019, "MinAtar: An Atari-Inspired Testbed".

    Args:
        layers: `[3, 3, planes, .]`, `[., .]` and `[., actions]`.
    """

    kind = "conv"

    def __init__(self, layers: Sequence[Layer]):
        self._conv, *self._dense = layers
        self._planes = self._conv[0].shape[2]
        self.actions = len(layers[-1][1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `QNetwork`."""
        x = images[..., : self._planes].astype(np.float32)
        x = _conv(x, *self._conv)
        return _dense(x.reshape(len(x), -1), self._dense)


class Atari(QNetwork):
    """The network of DQN on four frames; with a support, that of C51.

    Mnih et al., 2015, "Human-level control through deep reinforcement learning";
    Bellemare et al., 2017, "A Distributional Perspective on Reinforcement Learning".

    The first convolution, 8x8 with stride 4, is computed as one of 2x2 with stride 1 on
    blocks of 4x4 pixels. Its windows then hold each number 4 times in long runs,
    instead of 16 times in short ones.

    Args:
        layers: As PyTorch has them, but with the outputs last: `[8, 8, 4, 32]`,
            `[4, 4, 32, 64]`, `[3, 3, 64, 64]`, `[3136, 512]` and `[512, actions]`, or
            `[512, actions * atoms]`. The 3136 inputs are the flattened channels, rows
            and columns.
        support: Values of the atoms, for C51.
    """

    stack = 4

    def __init__(self, layers: Sequence[Layer], support: np.ndarray | None = None):
        first, *convs, hidden, out = layers
        kernel = first[0].reshape(2, 4, 2, 4, 4, 32).transpose(0, 2, 4, 1, 3, 5)
        # On bytes instead of numbers from 0 to 1.
        on_blocks = kernel.reshape(2, 2, 64, 32) / np.float32(255), first[1]
        self._convs = [on_blocks, *convs]
        # Channels are last here.
        kernel = hidden[0].reshape(64, 7, 7, 512).transpose(1, 2, 0, 3)
        hidden = np.ascontiguousarray(kernel.reshape(3136, 512)), hidden[1]
        self._head = [hidden, out]
        self._support = support
        self.kind = "atari" if support is None else "atari_c51"
        self.actions = len(out[1]) // (1 if support is None else len(support))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `QNetwork`."""
        batch, frames, height, width = images.shape
        # Each row of a block, four bytes, is moved as one number.
        rows = np.ascontiguousarray(images).view(np.uint32)
        rows = rows.reshape(batch, frames, height // 4, 4, width // 4)
        rows = np.ascontiguousarray(rows.transpose(0, 2, 4, 1, 3))
        blocks = rows.view(np.uint8).reshape(batch, height // 4, width // 4, -1)
        x = blocks.astype(np.float32)
        for layer, stride in zip(self._convs, (1, 2, 1), strict=True):
            x = _conv(x, *layer, stride)
        x = _dense(x.reshape(batch, -1), self._head)
        if self._support is None:
            return x
        logits = x.reshape(batch, self.actions, -1)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        return weights @ self._support / weights.sum(-1)


MINATAR = {"mlp": Mlp, "conv": Conv}  # The networks of MinAtar by their kind.


def _dense(x: np.ndarray, layers: Sequence[Layer]) -> np.ndarray:
    """Applies dense layers, with ReLU after all but the last."""
    *hidden, (kernel, bias) = layers
    for layer in hidden:
        x = _relu(x, *layer)
    x = x @ kernel
    x += bias
    return x


def _conv(
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int = 1
) -> np.ndarray:
    """Applies a convolution without padding, and ReLU, to images `[B, H, W, C]`.

    It is one matrix product over all windows.
    """
    size, outputs = len(kernel), kernel.shape[-1]
    batch, height, width, channels = x.shape
    rows, columns = ((n - size) // stride + 1 for n in (height, width))
    b, h, w, c = x.strides
    windows = np.lib.stride_tricks.as_strided(
        x,
        (batch, rows, columns, size, size, channels),
        (b, stride * h, stride * w, h, w, c),
        writeable=False,
    )
    flat = windows.reshape(batch * rows * columns, -1)
    x = _relu(flat, kernel.reshape(-1, outputs), bias)
    return x.reshape(batch, rows, columns, outputs)


def _relu(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Applies a dense layer and ReLU."""
    x = x @ kernel
    x += bias
    return np.maximum(x, 0, out=x)
