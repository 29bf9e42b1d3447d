"""Finds the spaces that a run's networks were built for, without its environment.

weights file   its attribute `spaces`, which runs write since 0.3.0
dataset        the manifest of the episodes that the run was trained on
game           the environment that the configuration names
"""

from __future__ import annotations

import contextlib
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.envs import old_gym
from dreamerv2_transfer.common.errors import EnvError, ModelError
from dreamerv2_transfer.common.files import documents
from dreamerv2_transfer.common.replay import layout, manifest
from dreamerv2_transfer.transfer import weights

Spaces = dict[str, spaces.Space]


def find(
    config: Config, file: pathlib.Path, env: gymnasium.Env | str | None = None
) -> tuple[Spaces, Spaces]:
    """Returns the spaces of the observations and of the action.

    Args:
        config: The run's configuration.
        file: Its `world_model.weights.h5`.
        env: An environment, or the name of a task, whose spaces to take instead.

    Raises:
        ModelError: They are written nowhere, and the game cannot be made.
        EnvError: The environment that was passed cannot be used.
    """
    if env is not None:
        return _of_env(env, config)
    written = weights.spaces_of(file) or _of_dataset(file.parent / "dataset", config)
    if written:
        return from_layout(written)
    task = task_of(config)
    try:
        blocks.check_task(task, file.parent / "config.yaml")
        return _of_env(task, config)
    except (ConfigError, EnvError) as error:
        raise ModelError(
            f"What {file.parent} observes is not known: its weights do not say it, and "
            f"its game cannot be made ({error}) Pass the environment, as in "
            "load(..., env=gymnasium.make(ID))."
        ) from error


def task_of(config: Config) -> str:
    """Returns the name of the game, the first one of several."""
    return config.tasks[0] if config.stage == "pretrain" else config.task


def _of_env(env: Any, config: Config) -> tuple[Spaces, Spaces]:
    if isinstance(env, str):
        made = envs.make_env(env, **_options(config, env))
    else:
        made = envs.make_env(lambda: old_gym.adapt(env), fit=envs.fit(config))
        return envs.obs_space(made), envs.act_space(made)
    with contextlib.closing(made):
        return envs.obs_space(made), envs.act_space(made)


def _options(config: Config, task: str) -> dict[str, Any]:
    found = envs.run_options(config, task)
    return {k: v for k, v in found.items() if k not in ("parallel", "restart")}


def _of_dataset(folder: pathlib.Path, config: Config) -> layout.Layout:
    file = folder / task_of(config) / "manifest.json"
    try:
        text = documents.read(file, documents.JSON_BYTES)
        return layout.listed(manifest.SCHEMA.parse(text))
    except (OSError, ValueError):
        return {}


def from_layout(written: Mapping[str, Mapping[str, Any]]) -> tuple[Spaces, Spaces]:
    """Returns the spaces that a layout describes."""
    boxes: Spaces = {}
    for key, found in written.items():
        dtype = np.dtype(found["dtype"])
        low, high = {"b": (0, 1), "u": (0, 255)}.get(dtype.kind, (-math.inf, math.inf))
        boxes[key] = spaces.Box(low, high, tuple(found["shape"]), dtype)  # type: ignore
    action = written["action"]
    if "n" in action:
        act: spaces.Space = spaces.Discrete(action["n"])
    else:
        limits = [np.array(action.get(k, x), np.float32) for k, x in LIMITS]
        shape = tuple(action["shape"])
        act = spaces.Box(*(np.broadcast_to(x, shape) for x in limits))  # type: ignore
    del boxes["action"]
    flag = spaces.Box(0, 1, (), bool)  # type: ignore[arg-type]
    return {**boxes, "is_first": flag}, {"action": act}


LIMITS = (("low", -1.0), ("high", 1.0))
