"""Reads checkpoints of the original DreamerV2.

The original's `variables.pkl` is a pickled tuple of arrays without names, in the order
in which `tf.Module` lists the variables of its agent. `load_variables` reads it without
running code from it; `original_order` lists our variables in that order.
"""

from __future__ import annotations

import io
import pathlib
import pickle
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common.errors import UserError


class PortError(UserError):
    """An old checkpoint that cannot be read or does not fit."""


# All that a pickle of numpy arrays and numpy scalars refers to. numpy 1 and numpy 2
# wrote different module paths.
_ALLOWED = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
        (f"{package}.numeric", "_frombuffer"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    )
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and containers of them, and refuses everything else."""

    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it refers to {module}.{name}, which is no numpy array"
            )
        return super().find_class(module, name)


def load_variables(path: str | pathlib.Path) -> tuple[np.ndarray, ...]:
    """Reads the arrays of an original `variables.pkl`.

    Raises:
        PortError: If the file is missing, truncated, or holds anything but a tuple of
            numeric arrays. Nothing of it is executed.
    """
    path = pathlib.Path(path)
    try:
        values = ArrayUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise PortError(f"Cannot read {path}: {error.strerror}.") from error
    except Exception as error:  # A damaged pickle can raise anything.
        raise PortError(
            f"{path} is not a variables.pkl of DreamerV2: {error}. None of it was run."
        ) from error
    if not isinstance(values, tuple | list) or not all(map(_is_numeric, values)):
        raise PortError(
            f"{path} is not a variables.pkl of DreamerV2: it holds "
            f"{type(values).__name__}, not a tuple of numeric arrays."
        )
    return tuple(np.asarray(value) for value in values)


def _is_numeric(value) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf"


def original_order(agent) -> list[tf.Variable]:
    """Our agent's variables in the order of the original's checkpoint.

    `tf.Module` lists a module's own variables first and then its submodules', both
    sorted by attribute name, each variable once:

        tfstep
        _task_behavior   _updates (with a slow target), _target_critic, actor, critic,
                         rewnorm.mag
        wm               encoder, heads (decoder, discount, reward), rssm

    Without a slow target, `_target_critic` is the critic itself and so comes first.
    """
    behavior = agent.task_behavior
    slow = agent.config.slow_target
    critics = [behavior.target_critic, behavior.actor]
    if slow:
        critics.append(behavior.critic)
    world_model = dict(agent.wm.components)
    components = [world_model.pop("encoder"), *_sorted_heads(world_model)]
    return [
        agent.tfstep,
        *([behavior.updates] if slow else []),
        *(v for c in critics for v in layer_variables(c)),
        behavior.rewnorm.mag,
        *(v for c in components for v in layer_variables(c)),
    ]


def _sorted_heads(components: dict) -> list[keras.layers.Layer]:
    """The heads by name, then the RSSM, which is an attribute of its own."""
    rssm = components.pop("rssm")
    return [*(components[name] for name in sorted(components)), rssm]


def layer_variables(component: keras.layers.Layer) -> list[tf.Variable]:
    """A component's variables, sublayers sorted by name as `tf.Module` does.

    Within a layer they stay as created: kernel before bias, gamma before beta.
    """
    variables = sorted(component.variables, key=lambda v: v.path.split("/")[:-1])
    return [v.value for v in variables]


def assign(variables: Sequence[tf.Variable], values: Sequence[np.ndarray]) -> None:
    """Fills variables with arrays of the same number and shapes.

    Raises:
        PortError: If they do not fit, naming both shapes.
    """
    if len(variables) != len(values):
        raise PortError(
            f"The checkpoint holds {len(values)} arrays, but this configuration has "
            f"{len(variables)} variables. Pass the configuration that it was made with."
        )
    for index, (variable, value) in enumerate(zip(variables, values, strict=True)):
        if tuple(variable.shape) != tuple(value.shape):
            raise PortError(
                f"Array {index} of the checkpoint has shape {value.shape}, but "
                f"{variable.name} has {tuple(variable.shape)} with this configuration."
            )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(tf.cast(value, variable.dtype))
