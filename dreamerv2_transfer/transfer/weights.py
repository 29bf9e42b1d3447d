"""Weights that travel between runs, as named arrays in HDF5 files.

`world_model.weights.h5` holds every variable of the world model under its path, such as
`rssm/img_in/kernel`, whose first part is the component's name.
`actor_critic.weights.h5` holds the behaviors likewise. The attribute `step` of such a
file is that of the run whose weights it holds; files of 0.1.0 and ports have none. The
file of a world model also has the `version` of this package, and `spaces`, what it
observes, see `spaces.describe`; older files have neither.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import dreamerv2_transfer
from dreamerv2_transfer.common.errors import CheckpointError, listed
from dreamerv2_transfer.common.files import checkpoints, hdf5, tensors
from dreamerv2_transfer.transfer import adapt as adapt_lib
from dreamerv2_transfer.transfer import corrections, games, spaces
from dreamerv2_transfer.transfer.sources import WORLD_MODEL, find_weights

ACTOR_CRITIC = "actor_critic.weights.h5"
PORTED = "ported.weights.h5"  # An original agent that the run in this logdir continues.
PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
COMPONENTS = ("encoder", "rssm", "decoder", "reward", "discount", "actor", "critic")
# The most likely reason why these arrays differ along an axis.
HINTS = {
    ("encoder/conv0/kernel", -2): "its image has another number of channels, see "
    "--init.adapt image",
    ("rssm/img_in/kernel", 0): "the game has another number of actions (see "
    "--init.adapt actions, adapter.actions and, for Atari, atari_all_actions), or "
    "task_embed.size or the latents are of another size",
    ("reward/out/out/kernel", -1): "reward_head.dist was another",
    ("critic/out/out/kernel", -1): "critic.dist was another",
}


def save_weights(
    path: str | os.PathLike,
    components: Mapping[str, Any],
    state: Mapping[str, tf.Variable] | None = None,
    step: int | None = None,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Writes the variables of named components to an HDF5 file, atomically.

    The file has checksums, so that loading it notices damage.

    Args:
        path: `world_model.weights.h5`, for example.
        components: Keras layers by name, which is the first part of their paths.
        state: Other variables by name.
        step: The step of the run, by which readers know its newest weights.
        attributes: Texts that the file holds besides.

    Raises:
        OutputError: The file cannot be written.
    """
    arrays = {
        variable.path: np.asarray(variable.value)
        for layer in components.values()
        for variable in layer.variables
    }
    arrays |= {name: variable.numpy() for name, variable in (state or {}).items()}
    known = {} if step is None else {"step": step}
    hdf5.save(path, arrays, {**known, **(attributes or {})})


def save_world_model(
    logdir: pathlib.Path, world_model: Any, step: int | None = None
) -> None:
    """Writes a world model's weights, with what it observes and who wrote them.

    Args:
        logdir: The folder of the file.
        world_model: The world model.
        step: See `save_weights`.

    Raises:
        OutputError: The file cannot be written.
    """
    attributes = {
        "spaces": spaces.describe(world_model.obs_space, world_model.act_space),
        "version": dreamerv2_transfer.__version__,
    }
    components = world_model.components
    save_weights(logdir / WORLD_MODEL, components, step=step, attributes=attributes)


def save_agent(logdir: pathlib.Path, agent, step: int | None = None) -> None:
    """Writes the weights of an agent: its world model, and its behaviors and state.

    Args:
        logdir: The folder of the files.
        agent: The agent.
        step: See `save_weights`.

    Raises:
        OutputError: A file cannot be written.
    """
    save_world_model(logdir, agent.wm, step)
    behaviors = logdir / ACTOR_CRITIC
    save_weights(behaviors, agent.behavior_components, agent.state, step)


def has_agent(logdir: pathlib.Path, step: int) -> bool:
    """Returns whether a folder holds the files of `save_agent` of this step."""
    return all(step_of(logdir / name) == step for name in (WORLD_MODEL, ACTOR_CRITIC))


def step_of(path: str | os.PathLike) -> int | None:
    """Returns the step that weights are from, or None if no readable file tells it."""
    step = read_attributes(path).get("step")  # A text in safetensors.
    is_number = isinstance(step, np.integer) or str(step).isdecimal()
    return int(str(step)) if is_number else None


def warn_if_stale(path: str | os.PathLike) -> None:
    """Says so if weights are not those of the newest checkpoint beside them."""
    saved = checkpoints.steps(pathlib.Path(path).parent / "checkpoints")
    step = step_of(path)
    if saved and step is not None and step != saved[0]:
        print(
            f"Warning: {path} holds the weights of step {step}, but the newest "
            f"checkpoint of that run is of step {saved[0]}. If the run was killed, "
            "start its command again: it writes the weights of its checkpoint.",
            file=sys.stderr,
            flush=True,
        )


def moments(agent) -> dict[str, tf.Variable]:
    """Returns the state of the optimizers of an agent, all of them Adam, by name."""
    optimizers = {"model": agent.wm.model_opt, **agent.task_behavior.optimizers}
    return {
        f"{name}_opt/{key}": variable
        for name, optimizer in optimizers.items()
        for key, variable in optimizer.moments.items()
    }


def load_ported(path: str | os.PathLike, agent) -> None:
    """Loads an agent that was ported, with its optimizers if they came along.

    Raises:
        CheckpointError: As `load_weights` and `load_state`.
    """
    load_weights(path, agent.components)
    with _opened(path) as arrays:
        has_moments = any(name.startswith("model_opt/") for name in arrays)
    load_state(path, agent.state | (moments(agent) if has_moments else {}))


def read_attributes(path: str | os.PathLike) -> dict[str, Any]:
    """Returns what a file of weights says about them; {} if it cannot be read."""
    try:
        with _reader(path).opened(path) as content:
            return content.attributes
    except hdf5.ArraysError:
        return {}


def load_state(path: str | os.PathLike, state: Mapping[str, tf.Variable]) -> None:
    """Loads the variables that `save_weights` wrote beside the components.

    Raises:
        CheckpointError: The file cannot be read, or lacks a variable, or has another
            one in its place, or one that is not finite.
    """
    with _opened(path) as arrays:
        if missing := [name for name in state if name not in arrays]:
            raise CheckpointError(
                f"{path} has no {missing[0]}; it has no state of a run."
            )
        if faults := _differences({k: arrays[k] for k in state}, state):
            raise CheckpointError(f"The state in {path} does not fit: {faults[0]}.")
        values = _read(path, arrays, state)
    for name, variable in state.items():
        variable.assign(values[name])


def load_weights(
    path: str | os.PathLike,
    components: Mapping[str, Any],
    names: Sequence[str] | None = None,
    adapt: Collection[str] | None = None,
    shrink: float = 1.0,
) -> tuple[list[str], dict[str, int]]:
    """Loads the variables of named components, all of them or none.

    Ignores other components in the file, and names that neither the file nor the model
    has, such as `discount` if no discount is predicted.

    Args:
        path: `world_model.weights.h5`, for example.
        components: Keras layers by name.
        names: The components to load; all by default.
        adapt: How the new game differs from that of the file, see `adapt.rows_kept`;
            None if the model is that of the file.
        shrink: Share of the loaded value in each variable that learns, see
            `initialize`; vectors of other games, for example, never learn.

    Returns:
        The names of the loaded components, and how many leading rows of an array were
        loaded, if not all.

    Raises:
        CheckpointError: The file cannot be read, or the arrays of a component differ
            from its variables in number, shape or type, or are not finite.
    """
    with _opened(path) as arrays:
        in_file = {key.split("/")[0] for key in arrays}
        wanted = components if names is None else names
        found = [name for name in wanted if name in in_file or name in components]
        rows: dict[str, int] = {}
        if adapt is not None:
            other_actions = "actions" in adapt
            arrays = corrections.fitted(components.get("rssm"), arrays, other_actions)
            rows = adapt_lib.rows_kept(components, arrays, adapt)
        rows = {k: v for k, v in rows.items() if k.split("/")[0] in found}
        for name in found:
            _check_component(path, name, components.get(name), arrays, rows)
        variables = [x for name in found for x in components[name].variables]
        variables = [x for x in variables if rows.get(x.path) != 0]
        values = _read(path, arrays, [variable.path for variable in variables])
    for variable in variables:
        value, kept = values[variable.path], rows.get(variable.path)
        if kept is not None:
            value = np.concatenate([value[:kept], variable.numpy()[kept:]])
        if shrink != 1 and variable.trainable:
            value = shrink * value + (1 - shrink) * variable.numpy()
        variable.assign(value)
    return found, rows


class Loaded(NamedTuple):
    """What a fresh agent got from the weights of another run.

    Attributes:
        text: A sentence about what was loaded and what was left fresh.
        paths: The paths of the variables that were loaded, and not in part.
    """

    text: str
    paths: frozenset[str]


def initialize(
    path: str | os.PathLike,
    components: Mapping[str, Any],
    names: Sequence[str],
    adapt: Collection[str] = (),
    shrink: float = 1.0,
) -> Loaded:
    """Loads named components of a fresh agent from the weights of another run.

    With a `shrink` below 1, weights start between those of the run and fresh ones (Ash
    & Adams 2020, "On Warm-Starting Neural Network Training", section 4):

        weight = shrink * loaded + (1 - shrink) * fresh

    Args:
        path: A logdir or its `world_model.weights.h5`. `actor` and `critic` are loaded
            from the `actor_critic.weights.h5` beside it.
        components: All components of the agent by name.
        names: The components to load; the target critic, where both have one, is loaded
            with the critic, and for `discount` the terminal head where there is one.
        adapt: How the new game differs, see `adapt.rows_kept`.
        shrink: See above.

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
    if "discount" in model and "terminal" in components:
        model[model.index("discount")] = "terminal"
    loaded, rows = load_weights(path, components, model, adapt, shrink)
    if behavior:
        file = find_weights(path.parent, ACTOR_CRITIC)
        # A target critic that is fresh becomes the critic in the first update.
        if "critic" in behavior and "target_critic" in components:
            with _opened(file) as x:
                behavior += ["target_critic"] * any("target_critic/" in y for y in x)
        more, rows_of_behavior = load_weights(file, components, behavior, adapt, shrink)
        loaded, rows = loaded + more, rows | rows_of_behavior
    paths = {v.path for name in loaded for v in components[name].variables}
    fresh = [name for name in components if name not in loaded]
    fresh += [adapt_lib.describe(rows)] if rows else []
    share = f" ({shrink:g} of each weight)" if shrink != 1 else ""
    text = (
        f"Loaded {', '.join(loaded) or 'nothing'} from {path}{share}; "
        f"left fresh: {', '.join(fresh) or 'nothing'}."
    )
    if "rssm" in loaded:
        text += games.start_new(components["rssm"], rows.keys())
    return Loaded(text, frozenset(paths - rows.keys()))


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a file of weights, by their paths.

    Raises:
        CheckpointError: The file cannot be read, or an array is not finite.
    """
    with _opened(path) as arrays:
        return _read(path, arrays, arrays)


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Mapping[str, Any]]:
    """Opens the arrays of a file, by their paths, without reading them.

    Raises:
        CheckpointError: The file cannot be read.
    """
    warn_if_stale(path)
    try:
        with _reader(path).opened(path) as content:
            yield content.arrays
    except hdf5.ArraysError as error:
        raise CheckpointError(f"Cannot read weights from {path}: {error}.") from error


def _reader(path: str | os.PathLike) -> Any:
    """Returns the module that reads a file of weights.

    Raises:
        CheckpointError: It is a pickle, which could run any code.
    """
    if pathlib.Path(path).suffix in PICKLES:
        raise CheckpointError(
            f"{path} is a pickle, which may run any code when it is read. Name "
            "weights in HDF5 (.weights.h5) or safetensors; the original's variables "
            "are ported by dreamerv2-transfer port."
        )
    return tensors if pathlib.Path(path).suffix == tensors.SUFFIX else hdf5


def _read(
    path: str | os.PathLike, arrays: Mapping[str, Any], names: Iterable[str]
) -> dict[str, np.ndarray]:
    """Reads arrays by name.

    Raises:
        CheckpointError: One holds NaN or infinity, as 0.1.0 might save.
    """
    values = {name: arrays[name][()] for name in names}
    for name, value in values.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise CheckpointError(
                f"{path} cannot be used: {name} is not a number, as the run had "
                "diverged or the file is damaged. Name the weights of another run."
            )
    return values


def _check_component(
    path: str | os.PathLike,
    name: str,
    layer,
    arrays: Mapping[str, Any],
    rows: Mapping[str, int],
) -> None:
    """Checks that arrays of a file are exactly the variables of a component.

    Args:
        path: The file, for the message.
        name: The component's name.
        layer: The component, or None if the model lacks it.
        arrays: All arrays of the file.
        rows: How many leading rows of an array count, if not all.

    Raises:
        CheckpointError: They are not; the message lists the differences.
    """
    expected = {v.path: v for v in layer.variables} if layer else {}
    found = {k: v for k, v in arrays.items() if k.split("/")[0] == name}
    compared = [
        {
            k: v[: rows[k]] if rows.get(k) else v
            for k, v in x.items()
            if rows.get(k) != 0
        }
        for x in (found, {k: v.value for k, v in expected.items()})
    ]
    faults = _differences(*compared)
    if not faults:
        return
    hints = [
        hint
        for (key, axis), hint in HINTS.items()
        if key in expected
        and key in found
        and _shape(expected, key)[axis] != found[key].shape[axis]
    ]
    raise CheckpointError(
        f"The {name} in {path} does not fit the model: {listed(faults)}"
        + (f" ({'; '.join(hints)})" if hints else "")
        + ". Use the configuration that it was trained with (its config.yaml)."
    )


def _differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Describes how arrays differ from variables in number, shape or kind of value."""
    faults = []
    for key in sorted(expected.keys() | found.keys()):
        shapes = _shape(found, key), _shape(expected, key)
        if shapes[0] != shapes[1]:
            faults.append(
                f"{key} has shape {shapes[0]} in the file and {shapes[1]} in the model"
            )
        elif found[key].dtype.kind != _dtype(expected[key]).kind:
            faults.append(
                f"{key} holds {found[key].dtype} in the file and "
                f"{_dtype(expected[key])} in the model"
            )
    return faults


def _shape(values: Mapping[str, Any], key: str) -> Any:
    return tuple(values[key].shape) if key in values else "none"


def _dtype(variable: Any) -> np.dtype:
    return np.dtype(tf.as_dtype(variable.dtype).as_numpy_dtype)
