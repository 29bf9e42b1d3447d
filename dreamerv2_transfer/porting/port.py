"""Ports agents of the original DreamerV2 to ours, and back.

The original's checkpoint is a tuple of arrays without names and without any state of
the optimizers; `order` says which of them is which of our variables.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common import blocks, progress
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.porting import old as old_lib
from dreamerv2_transfer.porting import order, pickles
from dreamerv2_transfer.porting.old import Old
from dreamerv2_transfer.porting.pickles import PortError
from dreamerv2_transfer.transfer import weights as weights_lib

TABLE = "ported.json"  # Which array became which variable.


def variables(agent) -> dict[str, tf.Variable]:
    """Ours by name, in the order of the original's checkpoint."""
    weights = [v for layer in agent.components.values() for v in layer.variables]
    named = {v.path: v.value for v in weights} | agent.state
    return {name: named[name] for name in order.order(agent.config, named)}


def fill(agent, arrays: Sequence[np.ndarray], source: str | os.PathLike) -> None:
    """Fills an agent with the arrays of an old checkpoint, all of them or none.

    Args:
        agent: Of the same configuration.
        arrays: In the original's order.
        source: What an error calls them.

    Raises:
        PortError: If they do not fit or are not finite; names the first that are.
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
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise PortError(
            f"{source} does not fit the configuration: {'; '.join(faults[:5])}{more}. "
            "Name the configuration that it was trained with."
        )
    for i, ((name, variable), array) in enumerate(pairs):
        if variable.dtype.is_integer != (array.dtype.kind in "iu"):
            raise PortError(
                f"{source} does not fit: array {i}, {name}, is of type {array.dtype}. "
                "Counters are integers, and weights are not."
            )
        if not np.isfinite(array).all():
            raise PortError(
                f"{source} is damaged: array {i}, {name}, has values that are no "
                "finite numbers. Use an earlier copy of it."
            )
    for (_, variable), array in pairs:
        variable.assign(tf.cast(array, variable.dtype))


def write(agent, old: Old, logdir: str | os.PathLike) -> None:
    """Writes a ported agent as a run that has not begun, whole or not at all.

    The logdir is what `train.py`, `evaluate.py` and `--init` take. The old episodes are
    linked, not copied, where the file system can.

    Args:
        agent: Filled.
        old: Where it came from.
        logdir: A folder that is missing or empty.

    Raises:
        PortError: If there is something in the folder.
        OutputError: If it cannot be written.
    """
    logdir = old_lib.check_free(logdir)
    part = logdir.with_name(f".{logdir.name}.tmp")
    with atomic.writing(logdir):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            _write(agent, old, part, logdir)
            os.replace(part, logdir)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _write(agent, old: Old, part: pathlib.Path, logdir: pathlib.Path) -> None:
    """Writes all of a port into `part`, which is to become `logdir`."""
    old.config.update(logdir=str(logdir)).save(part / "config.yaml")
    weights_lib.save_agent(part, agent)
    weights_lib.save_weights(part / weights_lib.PORTED, agent.components, agent.state)
    (part / TABLE).write_text(json.dumps(_table(agent, old), indent=1) + "\n")
    if old.episodes:
        _link(old.episodes, part / old_lib.EPISODES)


def reverse(logdir: str | os.PathLike, to: str | os.PathLike) -> int:
    """Writes the agent of a run of ours as the original loads it.

    Args:
        logdir: Of a run of `scratch` or `finetune`, or of a port.
        to: The `variables.pkl` to write; the run's configuration goes beside it, as
            `variables.yaml`, for the original needs the same sizes.

    Returns:
        The number of arrays.

    Raises:
        PortError: If the original has no such agent.
        CheckpointError: If a file of the run is missing or cannot be read.
    """
    logdir = pathlib.Path(logdir).expanduser()
    to = old_lib.check_free(to)
    to = to / old_lib.VARIABLES if to.is_dir() else to
    config, _ = blocks.load_old(logdir / "config.yaml")
    _check_expressible(config)
    arrays = weights_lib.read_weights(weights_lib.find_weights(logdir))
    behavior = weights_lib.find_weights(logdir, weights_lib.ACTOR_CRITIC)
    arrays |= weights_lib.read_weights(behavior)
    if "tfstep" not in arrays:
        raise PortError(
            f"{behavior} is older than this command and has no step counter. Start the "
            "run again for an update: it writes the file anew."
        )
    names = order.order(config, arrays)
    if missing := _components(config) - {name.split("/")[0] for name in names}:
        raise PortError(
            f"{logdir} lacks {', '.join(sorted(missing))}, which an agent of its "
            "config.yaml has. Use the configuration that the run was made with."
        )
    if left := sorted(set(arrays) - set(names) - _unused(config)):
        raise PortError(
            f"{logdir} has {left[0]}, which an agent of its config.yaml does not have. "
            "Use the configuration that the run was made with."
        )
    pickles.save_variables(to, [_as_original(arrays[name]) for name in names])
    config.save(to.with_suffix(".yaml"))
    return len(names)


def _components(config) -> set[str]:
    """What every agent of a configuration has."""
    always = {"encoder", "rssm", "decoder", "reward", "actor", "critic"}
    discount = {"discount"} if config.pred_discount else set()
    return always | discount | ({"target_critic"} if config.slow_target else set())


def _unused(config) -> set[str]:
    """What we keep and the original does not, as nothing reads it."""
    unused = {"target_updates", "expl_target_updates"}
    return set() if config.slow_target else unused


def _as_original(array: np.ndarray) -> np.ndarray:
    """Counters of 32 bits; the magnitudes of rewards alone have 64."""
    return array.astype(np.int32) if array.dtype.kind == "i" else array


def _check_expressible(config) -> None:
    if config.decoder.cnn_dist != "mse":
        raise PortError(
            "The original's images have a squared error, so it would misread this "
            f"agent's. Received: decoder.cnn_dist={config.decoder.cnn_dist}"
        )
    for part in ("encoder", "decoder"):
        strides = config[f"{part}.cnn_strides"]
        if any(stride != 2 for stride in strides):
            raise PortError(
                "The original's convolutions have a stride of 2, so it cannot load "
                f"this agent. Received: {part}.cnn_strides={list(strides)}"
            )


def _table(agent, old: Old) -> dict:
    named = variables(agent).items()
    return {
        "source": str(old.path),
        "step": int(agent.tfstep),
        "arrays": {k: "x".join(map(str, v.shape)) for k, v in named},
    }


def _link(episodes: pathlib.Path, target: pathlib.Path) -> None:
    """Makes the files of a folder appear in another one."""
    target.mkdir()
    files = sorted(episodes.glob("*.npz"))
    with progress.Progress(len(files), 0, "Episodes", "file") as bar:
        for path in files:
            try:
                os.link(path, target / path.name)
            except OSError:  # Another file system.
                shutil.copy2(path, target / path.name)
            bar.update()
