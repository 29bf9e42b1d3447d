"""Ports agents of pydreamer to ours, and back."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from gymnasium import spaces
from ruamel.yaml import YAML

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import checkpoint, errors, machine, progress
from dreamerv2_transfer.common.config import difference
from dreamerv2_transfer.common.files import atomic, checkpoints, paths, torch_file
from dreamerv2_transfer.porting import observations, pydreamer, pydreamer_config
from dreamerv2_transfer.porting import old as old_lib
from dreamerv2_transfer.porting import port as port_lib
from dreamerv2_transfer.porting import pydreamer_layout as layout
from dreamerv2_transfer.porting.pickles import PortError
from dreamerv2_transfer.porting.pydreamer import Pydreamer
from dreamerv2_transfer.transfer import corrections
from dreamerv2_transfer.transfer import spaces as spaces_lib
from dreamerv2_transfer.transfer import weights as weights_lib

# By the name of our optimizer, where its variables are in the state dict.
PARTS = {"model": "wm.", "actor": "ac.actor.", "critic": "ac.critic."}
# Keys of our configuration that change what weights mean; pydreamer must have them all.
NETWORKS = (
    *("rssm", "encoder", "decoder", "reward_head", "discount_head", "actor", "critic"),
    *("behavior", "pred_terminal", "pred_discount", "clip_rewards", "kl", "discount"),
    "obs",
)
UNREAD = (
    *("bins", "bin_limit", "outscale", "unimix", "cnn_depth", "cnn_layers"),
    "exclude",
)


def port(theirs: Pydreamer, logdir: str | os.PathLike) -> bool:
    """Turns an agent of pydreamer into a run that has not begun.

    Args:
        theirs: The agent.
        logdir: A folder that is missing or empty.

    Returns:
        Whether the state of the optimizers came along.

    Raises:
        PortError: The arrays do not fit, or the folder is not empty.
        ConfigError: The networks cannot be built.
        OutputError: It cannot be written.
    """
    machine.setup(theirs.config)
    with progress.explained("Building the networks"):
        agent = agent_lib.make_agent(theirs.config, *theirs.spaces)
    fill(agent, theirs)
    has_moments = fill_optimizers(agent, theirs)
    table = {
        "pydreamer": theirs.conf,
        "updates": theirs.epoch,
        "arrays": {
            ours: " ".join(rule.theirs) for rule in rules(theirs) for ours in rule.ours
        },
    }
    state = weights_lib.moments(agent) if has_moments else {}
    with progress.explained(f"Writing {logdir}"):
        port_lib.write(agent, theirs, logdir, port_lib.Extra(table, state))
    return has_moments


def rules(theirs: Pydreamer) -> list[layout.Rule]:
    return layout.rules(theirs.config, theirs.obs, theirs.continuous)


def fill(agent, theirs: Pydreamer) -> None:
    """Fills an agent with the weights of a checkpoint, all of them or none.

    Raises:
        PortError: They do not fit; names the first faults.
    """
    variables = _variables(agent)
    table = rules(theirs)
    filled = {path for rule in table for path in rule.ours}
    if filled != {*variables}:  # The tests compare them for each kind of network.
        odd = sorted(filled ^ {*variables})[0]
        raise PortError(
            f"The configuration cannot be ported: {odd} has no counterpart. Leave out "
            "flags that change the networks."
        )
    _check_fit(theirs, table, variables)
    for rule in table:
        arrays = rule.to_ours([theirs.arrays[name] for name in rule.theirs])
        for path, array in zip(rule.ours, arrays, strict=True):
            variables[path].assign(np.ascontiguousarray(array))
    agent.tfstep.assign(theirs.steps or theirs.epoch)


def _variables(agent) -> dict[str, Any]:
    return {v.path: v for x in agent.components.values() for v in x.variables}


def _check_fit(
    theirs: Pydreamer, table: list[layout.Rule], variables: Mapping[str, Any]
) -> None:
    """Compares the shapes of arrays with those that the configuration makes."""
    expected = {}
    for rule in table:
        zeros = [np.zeros(variables[path].shape, np.float32) for path in rule.ours]
        arrays = rule.to_theirs(zeros)
        expected |= {k: x.shape for k, x in zip(rule.theirs, arrays, strict=True)}
    found = theirs.arrays
    faults = [f"it lacks {name}" for name in expected if name not in found]
    faults += [f"it has {name} besides" for name in found if name not in expected]
    faults += [
        f"{name} has shape {found[name].shape}, the configuration makes {shape}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    if faults:
        raise PortError(
            f"{theirs.path} does not fit the configuration: {errors.listed(faults)}. "
            "Name the configuration that it was trained with by --config."
        )


def fill_optimizers(agent, theirs: Pydreamer) -> bool:
    """Fills the state of an agent's optimizers, as far as a checkpoint has it.

    Returns:
        Whether it had all of it.
    """
    moments = weights_lib.moments(agent)
    stored = dict(zip(("critic", "actor"), reversed(theirs.optimizers), strict=False))
    if len(theirs.optimizers) > 2:  # Once only the behavior learns, there are two.
        stored["model"] = theirs.optimizers[0]
    values: dict[str, np.ndarray] = {}
    for name, part in PARTS.items():
        own = [x for x in rules(theirs) if x.theirs[0].startswith(part)]
        own = [x for x in own if x.ours]
        states = _by_name(stored.get(name), theirs, part)
        if not states:
            return False
        steps = max(int(np.max(x["step"])) for x in states.values())
        values[f"{name}_opt/iterations"] = np.asarray(steps)
        for rule in own:
            for ours, kind in (("m", "exp_avg"), ("v", "exp_avg_sq")):
                arrays = [
                    states[x][kind] if x in states else np.zeros_like(theirs.arrays[x])
                    for x in rule.theirs
                ]
                converted = zip(rule.ours, rule.to_ours(arrays), strict=True)
                for path, array in converted:
                    values[f"{name}_opt/{ours}/{path}"] = array
    for key, value in values.items():
        if not np.isfinite(value).all():
            raise PortError(
                f"{theirs.path} is damaged, or its training diverged: the optimizer's "
                f"{key} has values that are not finite. Use an earlier copy of it."
            )
    for key, variable in moments.items():
        variable.assign(tf.cast(values[key], variable.dtype))
    return True


def _by_name(
    stored: Mapping[str, Any] | None, theirs: Pydreamer, part: str
) -> dict[str, Any]:
    """Returns the state of each parameter of an optimizer by its name.

    Parameters are numbered in the order of the rules. Unknown ones come last: those of
    the auxiliary critic.
    """
    names = [x for rule in rules(theirs) for x in rule.theirs if x.startswith(part)]
    states = (stored or {}).get("state", {})
    return {name: states[i] for i, name in enumerate(names) if i in states}


def reverse(logdir: str | os.PathLike, to: str | os.PathLike) -> int:
    """Writes the agent of one of our runs so that pydreamer loads it.

    Args:
        logdir: A run of `scratch` or `finetune` with the networks of pydreamer, or a
            port.
        to: The checkpoint to write; the configuration goes beside it, as YAML.

    Returns:
        The number of arrays.

    Raises:
        PortError: pydreamer has no such agent.
        CheckpointError: A file of the run is missing or cannot be read.
    """
    logdir = paths.local(logdir)
    to = old_lib.check_free(to)
    to = to / pydreamer.CHECKPOINT if to.is_dir() else to
    config = _without_vectors(blocks_lib.load_old(logdir / "config.yaml")[0])
    model = weights_lib.find_weights(logdir)
    behavior = weights_lib.find_weights(logdir, weights_lib.ACTOR_CRITIC)
    ours = corrections.merged(weights_lib.read_weights(model))
    ours |= weights_lib.read_weights(behavior)
    obs, actions, continuous = _observed(model)
    origin = _ported(logdir)
    conf = origin.get("pydreamer") or pydreamer_config.revert(config, obs, actions)
    table = layout.rules(config, obs, continuous)
    if missing := [x for rule in table for x in rule.ours if x not in ours]:
        raise PortError(
            f"{logdir} has no {missing[0]}, which every agent of pydreamer has. Train "
            "it with a configuration that was ported from there."
        )
    arrays = {
        name: np.ascontiguousarray(array)
        for rule in table
        for name, array in zip(
            rule.theirs, rule.to_theirs([ours[x] for x in rule.ours]), strict=True
        )
    }
    _check_expressible(config, pydreamer_config.convert(conf, arrays))
    arrays[pydreamer.EMPTY] = np.zeros(1, np.float32)
    epoch = origin.get("updates", 0) + int(ours.get("target_updates", 0))
    states = _states(table, _moments_of_run(logdir, config, model))
    torch_file.write(to, _checkpoint(arrays, conf, epoch, states))
    text = io.StringIO()
    YAML(typ="safe").dump(conf, text)
    # pydreamer reads YAML 1.1, in which 1e-05 is a text.
    written = re.sub(r"\b(\d+)e([-+]\d+)", r"\1.0e\2", text.getvalue())
    with atomic.atomic_write(to.with_suffix(".yaml")) as file:
        file.write(written.encode())
    return len(arrays)


def _without_vectors(config):
    """Returns a configuration, unless it has vectors of games, as pydreamer has not."""
    if config.task_embed.size:
        raise PortError(
            "pydreamer has no vectors of games. Received: task_embed.size="
            f"{config.task_embed.size}. Port a run without them."
        )
    return config


def _ported(logdir: pathlib.Path) -> dict[str, Any]:
    """Returns what a port says about its origin; no updates for other runs."""
    table = logdir / port_lib.TABLE
    origin = json.loads(table.read_text()) if table.is_file() else {}
    # Ports of earlier versions called the updates steps.
    return {"updates": origin.get("step", 0), **origin}


def _moments_of_run(
    logdir: pathlib.Path, config, weights: pathlib.Path
) -> dict[str, np.ndarray]:
    """Returns the state of a run's optimizers by name; {} if there is none.

    It is that of the newest checkpoint, if the weights are, else that of the port.

    Args:
        logdir: The run's folder.
        config: Its configuration.
        weights: The file of its weights.
    """
    folder, ported = logdir / "checkpoints", logdir / weights_lib.PORTED
    if steps := checkpoints.steps(folder):
        if weights_lib.step_of(weights) != steps[0]:
            return {}
        spaces_of = spaces_lib.parse(weights_lib.read_attributes(weights)["spaces"])
        agent = agent_lib.Agent(config, *spaces_of, rng=None)
        optimizers = {"model": agent.wm.model_opt, **agent.task_behavior.optimizers}
        named: dict[str, tf.Variable] = {}
        for name, optimizer in optimizers.items():
            named |= checkpoint.named_variables(f"{name}_opt", optimizer.variables)
        content, file = tf.train.Checkpoint(variables=named), f"ckpt-{steps[0]}"
        try:
            with checkpoint.literal(folder) as place:
                status = content.read(str(place / file)).expect_partial()
            status.assert_existing_objects_matched()
        except (AssertionError, tf.errors.OpError) as error:
            raise PortError(
                f"{folder / file} has no optimizers of this agent, or is damaged. "
                "Resume the run for an update: it writes its state anew."
            ) from error
        return {k: v.numpy() for k, v in weights_lib.moments(agent).items()}
    arrays = weights_lib.read_weights(ported) if ported.is_file() else {}
    starts = tuple(f"{name}_opt/" for name in PARTS)
    return {k: v for k, v in arrays.items() if k.startswith(starts)}


def _states(
    table: list[layout.Rule], moments: Mapping[str, np.ndarray]
) -> dict[str, dict[int, dict[str, np.ndarray]]]:
    """Returns what PyTorch's optimizers keep of each parameter, by our optimizer."""
    if not moments:
        return dict.fromkeys(PARTS, {})
    states: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    for name, part in PARTS.items():
        steps = np.asarray(moments[f"{name}_opt/iterations"], np.float32)
        names = [x for rule in table for x in rule.theirs if x.startswith(part)]
        places = {x: i for i, x in enumerate(names)}
        states[name] = {}
        for rule in table:
            if not (rule.ours and rule.theirs[0] in places) or not int(steps):
                continue
            if f"{name}_opt/m/{rule.ours[0]}" not in moments:  # It keeps its weights.
                continue
            first, second = (
                rule.to_theirs([moments[f"{name}_opt/{x}/{y}"] for y in rule.ours])
                for x in "mv"
            )
            for key, mean, square in zip(rule.theirs, first, second, strict=True):
                states[name][places[key]] = {
                    "step": steps,
                    "exp_avg": np.ascontiguousarray(mean),
                    "exp_avg_sq": np.ascontiguousarray(square),
                }
    return states


def _observed(weights: pathlib.Path) -> tuple[dict[str, tuple], int, bool]:
    """Returns the shapes of observations, the length of actions and their kind."""
    text = weights_lib.read_attributes(weights).get("spaces")
    if not text:
        raise PortError(
            f"{weights} does not tell what its agent observes, as it was written by an "
            "older version. Resume the run for an update: it writes the file anew."
        )
    seen, acts = spaces_lib.parse(text)
    obs = {k: v.shape for k, v in seen.items() if k in ("image", "vecobs")}
    action = acts["action"]
    observations.check_actions(action, weights)
    if isinstance(action, spaces.Discrete):
        return obs, int(action.n), False
    return obs, action.shape[0], True


def _check_expressible(config, theirs) -> None:
    """Refuses agents that pydreamer would misread.

    Args:
        config: The agent's configuration.
        theirs: What a port of its checkpoint would have.
    """
    for key, (own, other) in difference(config, theirs).items():
        section, _, name = key.rpartition(".")
        if (section or name).split(".")[0] in NETWORKS and name not in UNREAD:
            raise PortError(
                "pydreamer lacks an option of this agent, so it would misread it. "
                f"Received: {key}={own}, where pydreamer has {other}"
            )


def _checkpoint(
    arrays: dict[str, np.ndarray],
    conf: Mapping[str, Any],
    epoch: int,
    states: Mapping[str, Mapping],
) -> dict[str, Any]:
    """Returns what pydreamer saves.

    Args:
        arrays: The weights.
        conf: Its configuration.
        epoch: Updates so far.
        states: See `_states`.
    """
    content: dict[str, Any] = {"epoch": epoch, "model_state_dict": arrays}
    parts = {"model": "wm.", "probe": "probe_model.", **PARTS}
    for i, (name, part) in enumerate(parts.items()):
        group = {
            "lr": float(conf.get(f"adam_lr_{name}") or conf["adam_lr"]),
            "betas": (0.9, 0.999),
            "eps": float(conf["adam_eps"]),
            "weight_decay": pydreamer_config.DECAY,
            "amsgrad": False,
            "params": [*range(sum(k.startswith(part) for k in arrays))],
        }
        state = {"state": states.get(name, {}), "param_groups": [group]}
        content[f"optimizer_{i}_state_dict"] = state
    return content
