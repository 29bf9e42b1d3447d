"""Ports agents of the original DreamerV2 to ours, and back.

The original's checkpoint is a tuple of arrays without names and without the state of
the optimizers; `order` tells which of them is which of our variables.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, errors, machine, progress
from dreamerv2_transfer.common.files import atomic, paths
from dreamerv2_transfer.porting import observations, order, pickles
from dreamerv2_transfer.porting import old as old_lib
from dreamerv2_transfer.porting.old import Old
from dreamerv2_transfer.porting.pickles import PortError
from dreamerv2_transfer.transfer import corrections
from dreamerv2_transfer.transfer import spaces as spaces_lib
from dreamerv2_transfer.transfer import weights as weights_lib

TABLE = "ported.json"  # Which array became which variable.
# By key, whether a value changes how an agent reads its weights.
BEYOND = {
    **dict.fromkeys(
        ("reward_head.dist", "critic.dist", "expl_head.dist"),
        lambda dist: dist.startswith("symlog"),
    ),
    "decoder.mlp_dist": lambda dist: dist != "mse",
    **dict.fromkeys(("encoder.symlog", "rssm.unimix", "actor.unimix"), bool),
    "return_norm.kind": lambda kind: kind != "none",
    **dict.fromkeys(("task_embed.size", "obs.action_mask"), bool),
}


@dataclasses.dataclass(frozen=True)
class Extra:
    """What a port writes besides weights.

    Attributes:
        table: Entries of `ported.json`.
        state: More variables by name, such as those of the optimizers.
    """

    table: Mapping[str, Any]
    state: Mapping[str, tf.Variable] = dataclasses.field(default_factory=dict)


def described(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Returns the shapes of arrays in words."""
    return {name: "x".join(map(str, x.shape)) for name, x in arrays.items()}


def port(old: Old, logdir: str | os.PathLike) -> int:
    """Turns an old agent into a run that has not begun.

    Args:
        old: The old agent.
        logdir: A folder that is missing or empty.

    Returns:
        The steps that the agent was trained for.

    Raises:
        PortError: The arrays do not fit or are not finite, or the folder is not empty.
        OutputError: It cannot be written.
    """
    machine.setup(old.config)
    with progress.explained("Building the networks"):
        agent = agent_lib.make_agent(old.config, *old.spaces)
    fill(agent, old.arrays, old.path)
    with progress.explained(f"Writing {logdir}"):
        write(agent, old, logdir)
    return int(agent.tfstep)


def variables(agent) -> dict[str, tf.Variable]:
    """Returns our variables by name, in the order of the original's checkpoint."""
    weights = [v for layer in agent.components.values() for v in layer.variables]
    named = {v.path: v.value for v in weights} | agent.state
    return {name: named[name] for name in order.order(agent.config, named)}


def fill(agent, arrays: Sequence[np.ndarray], source: str | os.PathLike) -> None:
    """Fills an agent with the arrays of an old checkpoint, all of them or none.

    Args:
        agent: An agent of the same configuration.
        arrays: The arrays in the original's order.
        source: Where they are from, for errors.

    Raises:
        PortError: The arrays do not fit or are not finite; names the first of them.
    """
    named = variables(agent)
    if len(arrays) != len(named):
        raise PortError(
            f"{source} holds {len(arrays)} arrays, but an agent of this configuration "
            f"has {len(named)}. Name the configuration that it was trained with."
        )
    pairs = list(zip(named.items(), arrays, strict=True))
    faults = [
        f"array {i} has shape {array.shape} and {name} {tuple(variable.shape)}"
        for i, ((name, variable), array) in enumerate(pairs)
        if tuple(variable.shape) != array.shape
    ]
    if faults:
        raise PortError(
            f"{source} does not fit the configuration: {errors.listed(faults)}. "
            "Name the configuration that it was trained with."
        )
    for i, ((name, variable), array) in enumerate(pairs):
        if variable.dtype.is_integer != (array.dtype.kind in "iu"):
            raise PortError(
                f"{source} does not fit: array {i}, {name}, is of type {array.dtype}. "
                "Counters must be integers, and weights must not."
            )
        if not np.isfinite(array).all():
            raise PortError(
                f"{source} is damaged: array {i}, {name}, has values that are not "
                "finite. Use an earlier copy of it."
            )
    for (_, variable), array in pairs:
        variable.assign(tf.cast(array, variable.dtype))


def write(
    agent, old: Old, logdir: str | os.PathLike, extra: Extra | None = None
) -> None:
    """Writes a ported agent as a run that has not begun, completely or not at all.

    `train.py`, `evaluate.py` and `--init` take the logdir. The old episodes are linked,
    or copied where the file system has no links.

    Args:
        agent: The filled agent.
        old: The old agent.
        logdir: A folder that is missing or empty.
        extra: What an agent of another project brings along.

    Raises:
        PortError: The folder is not empty.
        OutputError: It cannot be written.
    """
    logdir = old_lib.check_free(logdir)
    extra = extra or Extra(table={"arrays": described(variables(agent))})
    table = {"source": str(old.path), "step": int(agent.tfstep), **extra.table}
    with atomic.new_folder(logdir) as part:
        old.config.update(logdir=str(logdir)).save(part / "config.yaml")
        weights_lib.save_agent(part, agent)
        weights_lib.save_weights(
            part / weights_lib.PORTED,
            agent.components,
            {**agent.state, **extra.state},
        )
        (part / TABLE).write_text(json.dumps(table, indent=1) + "\n")
        if old.episodes:
            _link(old.episodes, part / old_lib.EPISODES)


def reverse(logdir: str | os.PathLike, to: str | os.PathLike) -> int:
    """Writes the agent of one of our runs so that the original loads it.

    Args:
        logdir: A run of `scratch` or `finetune`, or a port.
        to: The `variables.pkl` to write; the run's configuration goes beside it, as
            `variables.yaml`, because the original needs the same sizes.

    Returns:
        The number of arrays.

    Raises:
        PortError: The original has no such agent.
        CheckpointError: A file of the run is missing or cannot be read.
    """
    logdir = paths.local(logdir)
    to = old_lib.check_free(to)
    to = to / old_lib.VARIABLES if to.is_dir() else to
    config, _ = blocks.load_old(logdir / "config.yaml")
    _check_expressible(config)
    file = weights_lib.find_weights(logdir)
    text = weights_lib.read_attributes(file).get("spaces")
    if text:  # Older files lack this attribute; their agents had no joined actions.
        observations.check_actions(spaces_lib.parse(text)[1]["action"], file)
    # The original has no corrections of kernels.
    arrays = corrections.merged(weights_lib.read_weights(file))
    behavior = weights_lib.find_weights(logdir, weights_lib.ACTOR_CRITIC)
    arrays |= weights_lib.read_weights(behavior)
    if "tfstep" not in arrays:
        raise PortError(
            f"{behavior} was written by a version before this command and has no step "
            "counter. Resume the run for an update: it writes the file anew."
        )
    names = order.order(config, arrays)
    _check_complete(config, names, arrays, logdir)
    # The original's counters have 32 bits.
    pickles.save_variables(
        to,
        [
            array.astype(np.int32) if array.dtype.kind == "i" else array
            for array in (arrays[name] for name in names)
        ],
    )
    config.update({"adapter.rank": 0, "adapter.actions": 0}).save(
        to.with_suffix(".yaml")
    )
    return len(names)


def _check_expressible(config) -> None:
    """Refuses configurations that the original has no keys for."""
    if config.decoder.cnn_dist != "mse":
        raise PortError(
            "The original's images have a squared error, so it would misread this "
            f"agent's. Received: decoder.cnn_dist={config.decoder.cnn_dist}"
        )
    for key, beyond in BEYOND.items():
        if beyond(config[key]):
            raise PortError(
                "The original lacks an option of this agent, so it would misread it. "
                f"Received: {key}={config[key]}"
            )
    for part in ("encoder", "decoder"):
        strides = config[f"{part}.cnn_strides"]
        if any(stride != 2 for stride in strides):
            raise PortError(
                "The original's convolutions have a stride of 2, so it cannot load "
                f"this agent. Received: {part}.cnn_strides={list(strides)}"
            )


def _check_complete(
    config, names: Sequence[str], arrays: Iterable[str], logdir: pathlib.Path
) -> None:
    """Refuses weights that are not those of the configuration.

    Args:
        config: The configuration.
        names: Names that the original has a place for.
        arrays: All names in the run's files.
        logdir: The run, for errors.
    """
    expected = {"encoder", "rssm", "decoder", "reward", "actor", "critic"}
    expected |= {"discount"} if config.pred_discount else set()
    expected |= {"target_critic"} if config.slow_target else set()
    if missing := expected - {name.split("/")[0] for name in names}:
        raise PortError(
            f"{logdir} lacks {', '.join(sorted(missing))}, which an agent of its "
            "config.yaml has. Use the configuration of the run."
        )
    # Without a slow target we keep counters that the original does not have.
    ours = set() if config.slow_target else {"target_updates", "expl_target_updates"}
    if surplus := sorted({*arrays} - {*names} - ours):
        raise PortError(
            f"{logdir} has {surplus[0]}, which an agent of its config.yaml does not "
            "have. Use the configuration of the run."
        )


def _link(episodes: pathlib.Path, target: pathlib.Path) -> None:
    """Creates a folder with the episodes of another one, as links where possible."""
    target.mkdir()
    files = sorted(x for x in episodes.glob("*.npz") if x.is_file())
    with progress.Progress(len(files), 0, "Episodes", "file") as bar:
        for path in files:
            try:
                os.link(path, target / path.name)
            except OSError:  # Another file system.
                shutil.copy2(path, target / path.name)
            bar.update()
