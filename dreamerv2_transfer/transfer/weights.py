"""Checkpoints of a run, and the world model's weights that travel between runs.

`Checkpoint` holds all of a run's state, so that a killed run goes on as if nothing had
happened. `world_model.weights.h5` holds named arrays and nothing else: every variable
under its path, `rssm/img_in/kernel`, whose first part is the component's name.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common.checkpoint import CheckpointError, _first_line
from dreamerv2_transfer.common.files import atomic, remote

WORLD_MODEL = "world_model.weights.h5"
ACTOR_CRITIC = "actor_critic.weights.h5"
PORTED = "ported.weights.h5"  # What a run starts from that goes on with an old agent.
COMPONENTS = ("encoder", "rssm", "decoder", "reward", "discount", "actor", "critic")
# What a difference in these shapes most likely means.
HINTS = {
    "encoder/conv0/kernel": "its image has another number of channels",
    "rssm/img_in/kernel": "the game has another number of actions (of Atari, see "
    "atari_all_actions), or the latents are of another size",
}


def save_weights(
    path: str | os.PathLike,
    components: Mapping[str, Any],
    state: Mapping[str, tf.Variable] | None = None,
) -> None:
    """Writes the variables of named components to an HDF5 file, atomically.

    Args:
        path: `world_model.weights.h5`.
        components: Keras layers by name; the name is the first part of their paths.
        state: Other variables by name, none of which is a component's.

    Raises:
        OutputError: If the file cannot be written.
    """
    with atomic.atomic_write(path) as file, h5py.File(file, "w") as weights:
        for layer in components.values():
            for variable in layer.variables:
                weights[variable.path] = np.asarray(variable.value)
        for name, variable in (state or {}).items():
            weights[name] = variable.numpy()


def save_agent(logdir: pathlib.Path, agent) -> None:
    """Writes what travels of an agent: its world model, and its behaviors and state.

    Raises:
        OutputError: If a file cannot be written.
    """
    save_weights(logdir / WORLD_MODEL, agent.wm.components)
    save_weights(logdir / ACTOR_CRITIC, agent.behavior_components, agent.state)


def load_state(path: str | os.PathLike, state: Mapping[str, tf.Variable]) -> None:
    """Fills the variables that `save_weights` wrote beside the components.

    Raises:
        CheckpointError: If the file cannot be read or lacks one.
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
    """Fills the variables of named components from a file of weights.

    Other components in the file are left alone. A name that neither the file nor the
    model knows is passed over, such as `discount` where no discount is predicted.

    Args:
        path: `world_model.weights.h5`, for example.
        components: Keras layers by name.
        names: Which of them to load; all by default.

    Returns:
        The names of what was loaded.

    Raises:
        CheckpointError: If the file cannot be read, or a component has arrays that are
            missing in the file, too many there, or of another shape.
    """
    arrays = read_weights(path)
    there = {key.split("/")[0] for key in arrays}
    names = components if names is None else names
    names = [name for name in names if name in there or name in components]
    for name in names:
        _check_component(path, name, components.get(name), arrays)
    for name in names:
        for variable in components[name].variables:
            variable.assign(arrays[variable.path])
    return names


def find_weights(path: str | os.PathLike, name: str = WORLD_MODEL) -> pathlib.Path:
    """The file of weights that `--init` means: the file itself, or one in a logdir.

    Of a URL, what may stand beside the file is fetched too.

    Raises:
        CheckpointError: If there is no such file.
        RemoteError: If it is a URL that cannot be read.
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
        raise CheckpointError(
            f"There are no weights to start from. Received: {path}. Name the logdir of "
            f"a run that has a {name}, or such a file."
        )
    return found


def initialize(
    path: str | os.PathLike, components: Mapping[str, Any], names: Sequence[str]
) -> str:
    """Fills the named components of a fresh agent from another run's weights.

    Args:
        path: A logdir or its `world_model.weights.h5`. `actor` and `critic` are taken
            from the `actor_critic.weights.h5` beside it.
        components: All components of the agent by name.
        names: What to load; the target critic goes with the critic.

    Returns:
        A sentence that says what was loaded and what was left fresh.

    Raises:
        CheckpointError: If a file is missing or a component does not fit.
    """
    known = {*components, *COMPONENTS}
    if unknown := [name for name in names if name not in known]:
        raise CheckpointError(
            f"init.components names what does not exist. Received: {unknown[0]!r}. "
            f"Known: {', '.join(sorted(known))}."
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
    """The arrays of a file of weights by their paths.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    try:
        with h5py.File(path, "r") as weights:
            weights.visititems(visit)
    except OSError as error:
        raise CheckpointError(
            f"Cannot read weights from {path}: {_first_line(error)}."
        ) from error
    return arrays


def _check_component(path, name: str, layer, arrays: Mapping[str, np.ndarray]) -> None:
    wanted = {v.path: tuple(v.shape) for v in layer.variables} if layer else {}
    found = {k: v.shape for k, v in arrays.items() if k.split("/")[0] == name}
    faults = [
        f"{key} has shape {found.get(key, 'none')} in the file and "
        f"{wanted.get(key, 'none')} in the model"
        for key in sorted(wanted.keys() | found.keys())
        if wanted.get(key) != found.get(key)
    ]
    if not faults:
        return
    hints = [
        hint
        for key, hint in HINTS.items()
        if key in wanted and key in found and wanted[key] != found[key]
    ]
    raise CheckpointError(
        f"The {name} in {path} does not fit the model: {'; '.join(faults[:5])}"
        + (f" and {len(faults) - 5} more" if len(faults) > 5 else "")
        + (f" ({'; '.join(hints)})" if hints else "")
        + ". Use the configuration that it was trained with (its config.yaml)."
    )
