"""Reads files of DQN players, ours and published ones, into the networks of `acting`.

Files are not trusted: names, shapes and numbers are checked, and no code runs.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import hdf5, tensors, torch_file
from dreamerv2_transfer.dqn import acting

Shape = tuple[int, ...]

STATE = "estimator_state"  # Where the public Atari agents keep the network's weights.
SUPPORT = "_AtariNet__support"  # Values of C51's atoms.
ATOMS = 51


class DqnError(UserError):
    """A DQN player cannot be found, or its file cannot be used."""


def read_minatar_torch(path: pathlib.Path, task: str, actions: int) -> acting.QNetwork:
    """Reads the paper authors' kind: a state dict of `layer1` to `layer3`.

    Args:
        path: The file.
        task: The game that the player must have been trained on.
        actions: Number of actions of that game.

    Raises:
        UserError: Names the file and what is wrong with it.
    """
    shapes = _minatar_shapes("mlp", envs.native_planes(task), actions)
    return acting.Mlp(_layers(path, _state_dict(path), shapes, is_torch=True))


def read_minatar_h5(path: pathlib.Path, task: str, actions: int) -> acting.QNetwork:
    """Reads our own kind, HDF5 or safetensors; see `read_minatar_torch`."""
    reader = tensors if path.suffix == tensors.SUFFIX else hdf5
    try:
        with reader.opened(path) as content:
            trained = content.attributes.get("task")
            network = content.attributes.get("network")
            if trained != task:
                raise DqnError(f"{path} is for task={trained}, not for {task}.")
            if network not in acting.MINATAR:
                raise DqnError(
                    f"{path} has network={network}. It must be "
                    f"{' or '.join(acting.MINATAR)}."
                )
            shapes = _minatar_shapes(network, envs.native_planes(task), actions)
            layers = _layers(path, content.arrays, shapes, is_torch=False)
            return acting.MINATAR[network](layers)
    except hdf5.ArraysError as error:
        raise DqnError(f"{path} cannot be read: {error}.") from error


def read_atari_torch(path: pathlib.Path, task: str, actions: int) -> acting.QNetwork:
    """Reads what floringogianu/atari-agents publishes; see `read_minatar_torch`."""
    weights = _state_dict(path)
    support, outputs = None, actions
    if SUPPORT in weights:
        checked = _checked(path, weights, {SUPPORT: (ATOMS,)}, allow_others=True)
        support, outputs = checked[SUPPORT], actions * ATOMS
        weights = {k: array for k, array in weights.items() if k != SUPPORT}
    shapes = {
        "_AtariNet__features.0": (8, 8, 4, 32),
        "_AtariNet__features.2": (4, 4, 32, 64),
        "_AtariNet__features.4": (3, 3, 64, 64),
        "_AtariNet__head.0": (3136, 512),
        "_AtariNet__head.2": (512, outputs),
    }
    return acting.Atari(_layers(path, weights, shapes, is_torch=True), support)


def _state_dict(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads PyTorch's weights by name, of the checkpoint or of a part of it."""
    state = torch_file.read(path)
    if isinstance(state, Mapping) and STATE in state:
        state = state[STATE]
    if not isinstance(state, Mapping) or not all(
        isinstance(x, np.ndarray) for x in state.values()
    ):
        raise DqnError(f"{path} holds no state dict, itself or under {STATE}.")
    return {str(name): array for name, array in state.items()}


def _minatar_shapes(network: str, planes: int, actions: int) -> dict[str, Shape]:
    """Returns the shapes of the kernels by layer, with the outputs last."""
    if network == "mlp":
        return {
            "layer1": (100 * planes, 128),
            "layer2": (128, 128),
            "layer3": (128, actions),
        }
    return {
        "conv": (3, 3, planes, 16),
        "hidden": (1024, 128),
        "out": (128, actions),
    }


def _layers(
    path: pathlib.Path,
    weights: Mapping[str, Any],
    shapes: Mapping[str, Shape],
    is_torch: bool,
) -> list[acting.Layer]:
    """Returns the layers, once all kernels and biases have been checked.

    Args:
        path: The file, for errors.
        weights: Its arrays by name.
        shapes: Of the kernels by layer, with the outputs last.
        is_torch: Whether the arrays have PyTorch's names, and its order of axes:
            outputs and inputs first.
    """
    kernel_name, bias_name = (".weight", ".bias") if is_torch else ("/kernel", "/bias")
    expected = {}
    for name, (*window, inputs, outputs) in shapes.items():
        torch_shape, shape = (outputs, inputs, *window), (*window, inputs, outputs)
        expected[name + kernel_name] = torch_shape if is_torch else shape
        expected[name + bias_name] = (outputs,)
    arrays = _checked(path, weights, expected)
    layers = []
    for name in shapes:
        kernel = arrays[name + kernel_name]
        if is_torch:
            kernel = kernel.transpose(*range(2, kernel.ndim), 1, 0)
        layers.append((np.ascontiguousarray(kernel), arrays[name + bias_name]))
    return layers


def _checked(
    path: pathlib.Path,
    weights: Mapping[str, Any],
    expected: Mapping[str, Shape],
    allow_others: bool = False,
) -> dict[str, np.ndarray]:
    """Returns the expected arrays in float32; fails if there are others, or unfit ones.

    Shapes are compared before anything is read, so that a claim of a huge array is
    refused at no cost.
    """
    faults = []
    if missing := [name for name in expected if name not in weights]:
        faults.append(f"it lacks {_some(missing)}")
    others = [name for name in weights if name not in expected]
    if others and not allow_others:
        faults.append(f"it has {_some(others)} in addition")
    for name in (x for x in expected if x in weights):
        shape, dtype = tuple(weights[name].shape), weights[name].dtype
        if shape != expected[name]:
            faults.append(f"{name} has shape {shape}, not {expected[name]}")
        elif dtype.kind != "f":
            faults.append(f"{name} holds {dtype}, not floats")
    if faults:
        raise DqnError(f"{path} is of another architecture or game: {faults[0]}.")
    with np.errstate(over="ignore"):
        arrays = {name: np.array(weights[name], np.float32) for name in expected}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DqnError(f"{path} has numbers in {name} that are not finite.")
    return arrays


def _some(names: list[str], most: int = 4) -> str:
    """Lists the first few names."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
