"""Reads the files of trained agents, ours and published ones, into `acting`'s networks.

Nothing of a file is trusted: names, shapes and numbers are checked, and no code runs.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.errors import UserError, describe
from dreamerv2_transfer.dqn import acting, torch_files

Shape = tuple[int, ...]

SUPPORT = "_AtariNet__support"  # Values of C51's atoms.
ATOMS = 51


class AgentError(UserError):
    """An agent that cannot be found, or whose file cannot be used."""


class _Layout(NamedTuple):
    """How a kind of file names a layer's kernel and bias, and turns the kernel."""

    kernel: str
    bias: str
    stored: Callable[[Shape], Shape]  # From a shape that has the outputs last.
    turned: Callable[[np.ndarray], np.ndarray]  # Back from what is stored.


def read_minatar_torch(path: pathlib.Path, task: str, actions: int) -> acting.Agent:
    """Reads the paper authors' kind: a state dict of `layer1` to `layer3`.

    Args:
        path: of the file.
        task: that the agent must be made for.
        actions: number of actions of that task.

    Raises:
        UserError: names the file and what is wrong with it.
    """
    shapes = _mlp_shapes(envs.native_planes(task), actions)
    return acting.Mlp(_layers(path, torch_files.read(path), shapes, _TORCH))


def read_minatar_h5(path: pathlib.Path, task: str, actions: int) -> acting.Agent:
    """Reads our own kind; see `read_minatar_torch`."""
    try:
        with h5py.File(path, "r") as file:
            make, kernels = _architecture(path, task, file.attrs)
            shapes = kernels(envs.native_planes(task), actions)
            return make(_layers(path, _datasets(file), shapes, _HDF5))
    except UserError:
        raise
    except Exception as error:  # Damaged bytes raise nearly anything in HDF5.
        raise AgentError(f"{path} cannot be read: {describe(error)}") from error


def read_atari_torch(path: pathlib.Path, task: str, actions: int) -> acting.Agent:
    """Reads what floringogianu/atari-agents publishes; see `read_minatar_torch`."""
    weights = torch_files.read(path)
    if SUPPORT not in weights:
        return acting.Atari(_layers(path, weights, _atari_shapes(actions), _TORCH))
    support = _checked(path, weights, {SUPPORT: (ATOMS,)}, surplus=True)[SUPPORT]
    rest = {name: array for name, array in weights.items() if name != SUPPORT}
    layers = _layers(path, rest, _atari_shapes(actions * ATOMS), _TORCH)
    return acting.Atari(layers, support)


def _architecture(path: pathlib.Path, task: str, attributes: Mapping[str, Any]):
    trained, network = attributes.get("task"), attributes.get("network")
    if trained != task:
        raise AgentError(f"{path} is for task={trained}, not for {task}.")
    if network not in _NETWORKS:
        raise AgentError(
            f"{path} has network={network}. It must be {' or '.join(_NETWORKS)}."
        )
    return _NETWORKS[network]


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(visit)  # It does not follow links out of the file.
    return found


def _mlp_shapes(planes: int, actions: int) -> dict[str, Shape]:
    return {
        "layer1": (100 * planes, 128),
        "layer2": (128, 128),
        "layer3": (128, actions),
    }


def _conv_shapes(planes: int, actions: int) -> dict[str, Shape]:
    return {
        "conv": (3, 3, planes, 16),
        "hidden": (1024, 128),
        "out": (128, actions),
    }


def _atari_shapes(outputs: int) -> dict[str, Shape]:
    return {
        "_AtariNet__features.0": (8, 8, 4, 32),
        "_AtariNet__features.2": (4, 4, 32, 64),
        "_AtariNet__features.4": (3, 3, 64, 64),
        "_AtariNet__head.0": (3136, 512),
        "_AtariNet__head.2": (512, outputs),
    }


def _layers(
    path: pathlib.Path,
    weights: Mapping[str, Any],
    shapes: Mapping[str, Shape],
    layout: _Layout,
) -> list[acting.Layer]:
    """Kernels, the outputs last, and biases, once all of them are as they must be."""
    expected = {}
    for name, shape in shapes.items():
        expected[name + layout.kernel] = layout.stored(shape)
        expected[name + layout.bias] = shape[-1:]
    arrays = _checked(path, weights, expected)
    return [
        (layout.turned(arrays[name + layout.kernel]), arrays[name + layout.bias])
        for name in shapes
    ]


def _checked(
    path: pathlib.Path,
    weights: Mapping[str, Any],
    expected: Mapping[str, Shape],
    surplus: bool = False,
) -> dict[str, np.ndarray]:
    """The expected arrays in float32; `surplus` allows for others beside them."""
    # Shapes first: what says that it is huge is not read.
    if fault := _misfit(weights, expected, surplus):
        raise AgentError(f"{path} is of another architecture or game: {fault}.")
    with np.errstate(over="ignore"):
        arrays = {name: np.array(weights[name], np.float32) for name in expected}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise AgentError(f"{path} has numbers in {name} that are not finite.")
    return arrays


def _misfit(
    weights: Mapping[str, Any], expected: Mapping[str, Shape], surplus: bool
) -> str:
    if missing := [name for name in expected if name not in weights]:
        return f"it lacks {_some(missing)}"
    others = [name for name in weights if name not in expected]
    if others and not surplus:
        return f"it has {_some(others)} in addition"
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            return f"{name} has shape {tuple(weights[name].shape)}, not {shape}"
        if weights[name].dtype.kind != "f":
            return f"{name} holds {weights[name].dtype}, not floats"
    return ""


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _to_torch(shape: Shape) -> Shape:
    """PyTorch's shape of a kernel: outputs and inputs come first."""
    return (shape[-1], shape[-2], *shape[:-2])


def _from_torch(kernel: np.ndarray) -> np.ndarray:
    axes = (*range(2, kernel.ndim), 1, 0)
    return np.ascontiguousarray(kernel.transpose(axes))


_TORCH = _Layout(".weight", ".bias", _to_torch, _from_torch)
_HDF5 = _Layout("/kernel", "/bias", tuple, np.asarray)
_NETWORKS = {"mlp": (acting.Mlp, _mlp_shapes), "conv": (acting.Conv, _conv_shapes)}
