"""Q-networks in numpy, which act in many processes at once.

A framework would cost each of these processes seconds, memory and threads.
"""

import abc
from collections.abc import Sequence

import numpy as np

Layer = tuple[np.ndarray, np.ndarray]  # Kernel, with the outputs last, and bias.


class Agent(abc.ABC):
    """A Q-network: `agent(images)` are the values of the actions.

    Attributes:
        kind: `mlp`, `conv`, `atari` or `atari_c51`.
        actions: number of actions.
        stack: number of frames that it looks at.
    """

    kind: str
    actions: int
    stack: int = 1

    @abc.abstractmethod
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Values of the actions.

        Args:
            images: MinAtar: bool `[B, 10, 10, P]`, of which an agent takes as many
                planes as its game has. Atari: uint8 `[B, 4, 84, 84]`, the oldest
                frame first.

        Returns:
            float32 `[B, actions]`.
        """


class Mlp(Agent):
    """Dense layers on MinAtar's flattened planes, with ReLU in between."""

    kind = "mlp"

    def __init__(self, layers: Sequence[Layer]):
        """Takes layers `[100 * planes, .]`, ..., `[., actions]`."""
        self._layers = layers
        self._planes = len(layers[0][0]) // 100
        self.actions = len(layers[-1][1])

    def __call__(self, images):
        """See `Agent`."""
        x = images[..., : self._planes].reshape(len(images), -1).astype(np.float32)
        return _dense(x, self._layers)


class Conv(Agent):
    """The network of the MinAtar paper: one convolution, two dense layers, ReLU.

    Young and Tian, 2019, "MinAtar: An Atari-Inspired Testbed".
    """

    kind = "conv"

    def __init__(self, layers: Sequence[Layer]):
        """Takes layers `[3, 3, planes, .]`, `[., .]` and `[., actions]`."""
        self._conv, *self._dense = layers
        self._planes = self._conv[0].shape[2]
        self.actions = len(layers[-1][1])

    def __call__(self, images):
        """See `Agent`."""
        x = images[..., : self._planes].astype(np.float32)
        x = _conv(x, *self._conv)
        return _dense(x.reshape(len(x), -1), self._dense)


class Atari(Agent):
    """The network of DQN on four frames; with a support, that of C51.

    Mnih et al., 2015, "Human-level control through deep reinforcement learning";
    Bellemare et al., 2017, "A Distributional Perspective on Reinforcement Learning".
    """

    stack = 4

    def __init__(self, layers: Sequence[Layer], support: np.ndarray | None = None):
        """Takes what PyTorch has, with the outputs last.

        Args:
            layers: `[8, 8, 4, 32]`, `[4, 4, 32, 64]`, `[3, 3, 64, 64]`, `[3136, 512]`
                and `[512, actions]`, or `[512, actions * atoms]`. The 3136 inputs are
                the flattened channels, rows and columns.
            support: values of the atoms, for C51.
        """
        first, *convs = layers[:3]
        self._convs = [_on_blocks(first), *convs]
        self._head = [_channels_last(layers[3]), layers[4]]
        self._support = support
        self.kind = "atari" if support is None else "atari_c51"
        self.actions = len(layers[4][1]) // (1 if support is None else len(support))

    def __call__(self, images):
        """See `Agent`."""
        x = _blocks(images)
        for layer, stride in zip(self._convs, (1, 2, 1), strict=True):
            x = _conv(x, *layer, stride)
        x = _dense(x.reshape(len(x), -1), self._head)
        return x if self._support is None else self._expectation(x)

    def _expectation(self, logits: np.ndarray) -> np.ndarray:
        logits = logits.reshape(len(logits), self.actions, -1)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        return weights @ self._support / weights.sum(-1)


def _dense(x: np.ndarray, layers: Sequence[Layer]) -> np.ndarray:
    """Dense layers, with ReLU after all but the last."""
    *hidden, (kernel, bias) = layers
    for layer in hidden:
        x = _relu(x, *layer)
    x = x @ kernel
    x += bias
    return x


def _conv(
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int = 1
) -> np.ndarray:
    """Convolution `[B, H, W, C]` and ReLU, unpadded: one matmul over its windows."""
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
    x = x @ kernel
    x += bias
    return np.maximum(x, 0, out=x)


def _blocks(images: np.ndarray) -> np.ndarray:
    """`[B, 4, 84, 84]` bytes as `[B, 21, 21, 64]` floats: each 4x4 block's pixels.

    A convolution 8x8 with stride 4 is one of 2x2 blocks with stride 1, whose windows
    hold each number 4 times in long runs, in place of 16 times in short ones.
    """
    batch, frames, height, width = images.shape
    # Four bytes, one row of a block, move as one number.
    rows = np.ascontiguousarray(images).view(np.uint32)
    rows = rows.reshape(batch, frames, height // 4, 4, width // 4)
    rows = np.ascontiguousarray(rows.transpose(0, 2, 4, 1, 3))
    blocks = rows.view(np.uint8).reshape(batch, height // 4, width // 4, -1)
    return blocks.astype(np.float32)


def _on_blocks(layer: Layer) -> Layer:
    """A layer `[8, 8, C, O]` on images from 0 to 1 as one on `_blocks` of bytes."""
    kernel, bias = layer
    *_, channels, outputs = kernel.shape
    kernel = kernel.reshape(2, 4, 2, 4, channels, outputs).transpose(0, 2, 4, 1, 3, 5)
    return kernel.reshape(2, 2, -1, outputs) / np.float32(255), bias


def _channels_last(layer: Layer) -> Layer:
    """A dense layer on flattened channels, rows and columns; here channels are last."""
    kernel, bias = layer
    outputs = len(bias)
    kernel = kernel.reshape(64, 7, 7, outputs).transpose(1, 2, 0, 3)
    return np.ascontiguousarray(kernel.reshape(-1, outputs)), bias
