"""Q-networks for MinAtar, in Keras, and the files in which they travel.

`acting` has the same networks in numpy, for where nothing is learned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import h5py
import keras
import numpy as np

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.dqn import acting

SIZE = 10  # Pixels, of both sides of an image.


def make_network(
    kind: str, planes: int, actions: int, seed: int, name: str = "q"
) -> keras.Sequential:
    """Makes a network with fresh weights (Glorot and Bengio 2010).

    It takes planes, float32 [B, 10, 10, planes], and returns the values of all actions,
    float32 [B, actions], whatever the global precision: so small a network gains
    nothing from less.

    Args:
        kind: `mlp`, of `layer1` to `layer3`, the network of "Adapting to the
            Unfamiliar" (Schulz, von Briel, Soler), 2.4; or `conv`, of `conv`, `hidden`
            and `out`, that of the MinAtar paper (Young and Tian 2019).
        planes: of the game.
        actions: of the game.
        seed: of the weights.
        name: of the network.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind not in _LAYERS:
        raise ConfigError(
            f"Received: dqn.network={kind}. It must be {' or '.join(_LAYERS)}."
        )
    layers = [keras.Input((SIZE, SIZE, planes)), *_LAYERS[kind](actions)]
    seeds = np.random.SeedSequence(seed).generate_state(len(layers))
    for layer, number in zip(layers[1:], seeds.tolist(), strict=False):
        if hasattr(layer, "kernel_initializer"):
            layer.kernel_initializer = keras.initializers.GlorotUniform(number)
    return keras.Sequential(layers, name=name)


def weights(network: keras.Sequential) -> list[acting.Layer]:
    """Kernel and bias of each layer that has them, from the image to the values."""
    return [
        (layer.kernel.numpy(), layer.bias.numpy())
        for layer in network.layers
        if layer.weights
    ]


def actor(kind: str, network: keras.Sequential) -> acting.Agent:
    """A copy of the network in numpy, which acts faster in few environments."""
    return _ACTORS[kind](weights(network))


def save(
    path: str | os.PathLike,
    network: keras.Sequential,
    attributes: Mapping[str, str | int],
) -> None:
    """Writes an agent's file, atomically: HDF5 with `LAYER/kernel` and `LAYER/bias`.

    Args:
        path: `model_STEPS.weights.h5`.
        network: Whose weights to write, in float32.
        attributes: Of the file's root: `task`, `steps`, `seed` and `network`, which is
            the kind.

    Raises:
        OutputError: If the file cannot be written.
    """
    with atomic.atomic_write(path) as file, h5py.File(file, "w") as written:
        written.attrs.update(attributes)
        for layer in network.layers:
            for variable in layer.variables:
                written[f"{layer.name}/{variable.name}"] = variable.numpy()


def _mlp(actions: int) -> list[keras.layers.Layer]:
    return [
        keras.layers.Flatten(dtype="float32"),
        _dense(128, "layer1"),
        _dense(128, "layer2"),
        _dense(actions, "layer3", None),
    ]


def _conv(actions: int) -> list[keras.layers.Layer]:
    return [
        keras.layers.Conv2D(16, 3, activation="relu", name="conv", dtype="float32"),
        keras.layers.Flatten(dtype="float32"),
        _dense(128, "hidden"),
        _dense(actions, "out", None),
    ]


def _dense(units: int, name: str, activation: str | None = "relu"):
    return keras.layers.Dense(units, activation, name=name, dtype="float32")


_LAYERS = {"mlp": _mlp, "conv": _conv}
_ACTORS = {"mlp": acting.Mlp, "conv": acting.Conv}
