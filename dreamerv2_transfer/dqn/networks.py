"""Q-networks for MinAtar, in Keras, and the files that hold their weights.

`acting` has the same networks in numpy, for where nothing is learned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import keras
import numpy as np

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import hdf5
from dreamerv2_transfer.dqn import acting

SIZE = 10  # Height and width of an image in pixels.


def make_network(
    kind: str, planes: int, actions: int, seed: int, name: str = "q"
) -> keras.Sequential:
    """Creates a network with fresh weights (Glorot and Bengio 2010).

    It takes planes, float32 `[B, 10, 10, planes]`, and returns the values of all
    actions, float32 `[B, actions]`, whatever the global precision: such a small network
    gains nothing from 16 bits.

    Args:
        kind: `mlp`, with layers `layer1` to `layer3`, the network of "Adapting to the
            Unfamiliar" (Schulz, von Briel, Soler), 2.4; or `conv`, with layers `conv`,
            `hidden` and `out`, that of the MinAtar paper (Young and Tian 2019).
        planes: Number of planes that the game has.
        actions: Number of actions that the game has.
        seed: Seed of the weights.
        name: Name of the network.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind == "mlp":
        layers = [
            keras.layers.Flatten(dtype="float32"),
            _dense(128, "layer1"),
            _dense(128, "layer2"),
            _dense(actions, "layer3", None),
        ]
    elif kind == "conv":
        layers = [
            keras.layers.Conv2D(16, 3, activation="relu", name="conv", dtype="float32"),
            keras.layers.Flatten(dtype="float32"),
            _dense(128, "hidden"),
            _dense(actions, "out", None),
        ]
    else:
        raise ConfigError(
            f"Received: dqn.network={kind}. It must be {' or '.join(acting.MINATAR)}."
        )
    seeds = np.random.SeedSequence(seed).generate_state(len(layers))
    for layer, number in zip(layers, seeds.tolist(), strict=True):
        if hasattr(layer, "kernel_initializer"):
            layer.kernel_initializer = keras.initializers.GlorotUniform(number)
    return keras.Sequential([keras.Input((SIZE, SIZE, planes)), *layers], name=name)


def weights(network: keras.Sequential) -> list[acting.Layer]:
    """Returns kernel and bias of each layer that has them, from image to values."""
    return [
        (layer.kernel.numpy(), layer.bias.numpy())
        for layer in network.layers
        if layer.weights
    ]


def in_numpy(kind: str, network: keras.Sequential) -> acting.QNetwork:
    """Copies a network to numpy, where it acts faster in few environments."""
    return acting.MINATAR[kind](weights(network))


def save(
    path: str | os.PathLike,
    network: keras.Sequential,
    attributes: Mapping[str, str | int],
) -> None:
    """Writes a player's file, atomically: HDF5 with `LAYER/kernel` and `LAYER/bias`.

    The file has checksums, so that reading it notices damage.

    Args:
        path: The file, `model_STEPS.weights.h5`.
        network: The network, whose weights are in float32.
        attributes: Attributes of the file's root: `task`, `steps`, `seed` and
            `network`, the kind.

    Raises:
        OutputError: The file cannot be written.
    """
    arrays = {
        f"{layer.name}/{variable.name}": variable.numpy()
        for layer in network.layers
        for variable in layer.variables
    }
    hdf5.save(path, arrays, attributes)


def _dense(
    units: int, name: str, activation: str | None = "relu"
) -> keras.layers.Dense:
    return keras.layers.Dense(units, activation, name=name, dtype="float32")
