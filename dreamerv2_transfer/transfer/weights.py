"""Weights that travel between runs, as named arrays in HDF5 files.

`world_model.weights.h5` holds every variable of the world model under its path, such as
`rssm/img_in/kernel`, whose first part is the component's name.
`actor_critic.weights.h5` holds the behaviors likewise. The attribute `step` of such a
file is that of the run whose weights it holds; files of 0.1.0 and ports have none.
"""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common import checkpoint
from dreamerv2_transfer.common.checkpoint import CheckpointError, first_line
from dreamerv2_transfer.common.files import atomic, remote

WORLD_MODEL = "world_model.weights.h5"
ACTOR_CRITIC = "actor_critic.weights.h5"
PORTED = "ported.weights.h5"  # An original agent that the run in this logdir continues.
COMPONENTS = ("encoder", "rssm", "decoder", "reward", "discount", "actor", "critic")
# The most likely reason for a difference in these shapes.
HINTS = {
    "encoder/conv0/kernel": "its image has another number of channels",
    "rssm/img_in/kernel": "the game has another number of actions (for Atari, see "
    "atari_all_actions), or the latents are of another size",
}


def save_weights(
    path: str | os.PathLike,
    components: Mapping[str, Any],
    state: Mapping[str, tf.Variable] | None = None,
    step: int | None = None,
) -> None:
    """Writes the variables of named components to an HDF5 file, atomically.

    Args:
        path: `world_model.weights.h5`, for example.
        components: Keras layers by name, which is the first part of their paths.
        state: Other variables by name.
        step: The step of the run, by which readers know its newest weights.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic.atomic_write(path) as file, h5py.File(file, "w") as weights:
        for layer in components.values():
            for variable in layer.variables:
                weights[variable.path] = np.asarray(variable.value)
        for name, variable in (state or {}).items():
            weights[name] = variable.numpy()
        if step is not None:
            weights.attrs["step"] = step


def save_agent(logdir: pathlib.Path, agent, step: int | None = None) -> None:
    """Writes the weights of an agent: its world model, and its behaviors and state.

    Args:
        logdir: The folder of the files.
        agent: The agent.
        step: See `save_weights`.

    Raises:
        OutputError: A file cannot be written.
    """
    save_weights(logdir / WORLD_MODEL, agent.wm.components, step=step)
    behaviors = logdir / ACTOR_CRITIC
    save_weights(behaviors, agent.behavior_components, agent.state, step)


def step_of(path: str | os.PathLike) -> int | None:
    """Returns the step that weights are from, or None if no readable file tells it."""
    try:
        with h5py.File(path, "r") as weights:
            step = weights.attrs.get("step")
    except Exception:  # Damaged bytes can raise almost anything in HDF5.
        return None
    return int(step) if isinstance(step, np.integer) else None


def warn_if_stale(path: str | os.PathLike) -> None:
    """Says so if weights are not those of the newest checkpoint beside them."""
    saved = checkpoint.steps(pathlib.Path(path).parent / "checkpoints")
    step = step_of(path)
    if saved and step is not None and step != saved[0]:
        print(
            f"Warning: {path} holds the weights of step {step}, but the newest "
            f"checkpoint of that run is of step {saved[0]}. If the run was killed, "
            "start its command again: it writes the weights of its checkpoint.",
            file=sys.stderr,
            flush=True,
        )


def load_state(path: str | os.PathLike, state: Mapping[str, tf.Variable]) -> None:
    """Loads the variables that `save_weights` wrote beside the components.

    Raises:
        CheckpointError: The file cannot be read, or lacks a variable.
    """
    arrays = read_weights(path)
    if missing := [name for name in state if name not in arrays]:
        raise CheckpointError(f"{path} has no {missing[0]}; it has no state of a run.")
    for name, variable in state.items():
        variable.assign(arrays[name])


def load_weights(
    path: str | os.PathLike,
    components: Mapping[str, Any],
    names: Sequence[str] | None = None,
) -> list[str]:
    """Loads the variables of named components, all of them or none.

    Ignores other components in the file, and names that neither the file nor the model
    has, such as `discount` if no discount is predicted.

    Args:
        path: `world_model.weights.h5`, for example.
        components: Keras layers by name.
        names: The components to load; all by default.

    Returns:
        The names of the loaded components.

    Raises:
        CheckpointError: The file cannot be read, or the arrays of a component differ
            from its variables in number or shape.
    """
    arrays = read_weights(path)
    in_file = {key.split("/")[0] for key in arrays}
    wanted = components if names is None else names
    found = [name for name in wanted if name in in_file or name in components]
    for name in found:
        _check_component(path, name, components.get(name), arrays)
    for name in found:
        for variable in components[name].variables:
            variable.assign(arrays[variable.path])
    return found


def find_weights(path: str | os.PathLike, name: str = WORLD_MODEL) -> pathlib.Path:
    """Returns the file of weights that `--init` names: a file, or one in a logdir.

    From a URL, it also fetches the other weights and the configuration of the run.

    Raises:
        CheckpointError: There is no such file.
        RemoteError: It is a URL that cannot be read.
    """
    folder, _, file = str(path).rpartition("/")
    if not remote.is_remote(path):
        path = pathlib.Path(path).expanduser()
    elif file.endswith(".h5"):
        path = remote.fetched(folder, *remote.WEIGHTS) / file
    else:
        path = remote.fetched(path, *remote.WEIGHTS)
    found = path / name if path.is_dir() else path
    if not found.is_file():
        killed = checkpoint.steps(found.parent / "checkpoints")
        hint = " If this run was killed, start its command again, which writes them."
        raise CheckpointError(
            f"There are no weights to start from. Received: {path}. Name the logdir of "
            f"a run with {name}, or such a file." + (hint if killed else "")
        )
    return found


def initialize(
    path: str | os.PathLike, components: Mapping[str, Any], names: Sequence[str]
) -> str:
    """Loads named components of a fresh agent from the weights of another run.

    Args:
        path: A logdir or its `world_model.weights.h5`. `actor` and `critic` are loaded
            from the `actor_critic.weights.h5` beside it.
        components: All components of the agent by name.
        names: The components to load; the target critic is loaded with the critic.

    Returns:
        A sentence about what was loaded and what was left fresh.

    Raises:
        CheckpointError: A file is missing, or a component does not exist or fit.
    """
    known = {*components, *COMPONENTS}
    if unknown := [name for name in names if name not in known]:
        raise CheckpointError(
            f"init.components names a component that does not exist. Received: "
            f"{unknown[0]!r}. Known: {', '.join(sorted(known))}."
        )
    path = find_weights(path)
    model = [name for name in names if name not in ("actor", "critic")]
    behavior = [name for name in names if name in ("actor", "critic")]
    if "critic" in behavior:
        behavior.append("target_critic")
    loaded = load_weights(path, components, model)
    if behavior:
        file = find_weights(path.parent, ACTOR_CRITIC)
        loaded += load_weights(file, components, behavior)
    fresh = [name for name in components if name not in loaded]
    return (
        f"Loaded {', '.join(loaded) or 'nothing'} from {path}; "
        f"left fresh: {', '.join(fresh) or 'nothing'}."
    )


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a file of weights, by their paths.

    Raises:
        CheckpointError: The file cannot be read.
    """
    warn_if_stale(path)
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    try:
        with h5py.File(path, "r") as weights:
            weights.visititems(visit)
    except OSError as error:
        raise CheckpointError(
            f"Cannot read weights from {path}: {first_line(error)}."
        ) from error
    return arrays


def _check_component(
    path: str | os.PathLike, name: str, layer, arrays: Mapping[str, np.ndarray]
) -> None:
    """Checks that arrays of a file are exactly the variables of a component.

    Args:
        path: The file, for the message.
        name: The component's name.
        layer: The component, or None if the model lacks it.
        arrays: All arrays of the file.

    Raises:
        CheckpointError: They are not; the message lists the differences.
    """
    expected = {v.path: tuple(v.shape) for v in layer.variables} if layer else {}
    found = {k: v.shape for k, v in arrays.items() if k.split("/")[0] == name}
    faults = [
        f"{key} has shape {found.get(key, 'none')} in the file and "
        f"{expected.get(key, 'none')} in the model"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key) != found.get(key)
    ]
    if not faults:
        return
    hints = [
        hint
        for key, hint in HINTS.items()
        if key in expected and key in found and expected[key] != found[key]
    ]
    raise CheckpointError(
        f"The {name} in {path} does not fit the model: {'; '.join(faults[:5])}"
        + (f" and {len(faults) - 5} more" if len(faults) > 5 else "")
        + (f" ({'; '.join(hints)})" if hints else "")
        + ". Use the configuration that it was trained with (its config.yaml)."
    )
