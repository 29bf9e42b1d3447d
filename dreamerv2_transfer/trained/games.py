"""The games of a model: made by name, or only what of them it observes.

weights file   its attribute `spaces`, which older runs lack
dataset        the manifest of the episodes that the run was trained on
game           the environment that the configuration names
"""

from __future__ import annotations

import contextlib
import pathlib
from typing import Any

import gymnasium

from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.envs import old_gym
from dreamerv2_transfer.common.errors import EnvError, ModelError
from dreamerv2_transfer.common.files import documents
from dreamerv2_transfer.common.replay import layout, manifest, store
from dreamerv2_transfer.transfer import spaces, weights

Spaces = dict[str, gymnasium.Space]


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
    with contextlib.suppress(ValueError):
        return spaces.parse(weights.read_attributes(file).get("spaces", ""))
    with contextlib.suppress(ValueError, OSError):
        return _of_dataset(file.parent / "dataset", config)
    try:
        task = blocks.learned_games(config)[0]
        with contextlib.closing(make_game(task, config)) as made:
            return envs.obs_space(made), envs.act_space(made)
    except (ConfigError, EnvError) as error:
        raise ModelError(
            f"What {file.parent} observes is not known: its weights do not say it, and "
            f"its game cannot be made ({error}) Pass the environment, as in "
            "load(..., env=gymnasium.make(ID))."
        ) from error


def make_game(task: str, config: Config) -> gymnasium.Env:
    """Makes a game with the settings of the configuration that names it.

    Raises:
        ConfigError: It would import a Python module, as only the user may ask for.
        EnvError: It cannot be made.
    """
    blocks.check_task(task, "config.yaml")
    return envs.make_env(task, **options(config, task))


def _of_env(env: gymnasium.Env | str, config: Config) -> tuple[Spaces, Spaces]:
    if isinstance(env, str):
        with contextlib.closing(envs.make_env(env, **options(config, env))) as made:
            return envs.obs_space(made), envs.act_space(made)
    # It stays open, as it is the caller's.
    made = envs.make_env(lambda: old_gym.adapt(env), fit=envs.fit(config))
    return envs.obs_space(made), envs.act_space(made)


def options(config: Config, task: str) -> dict[str, Any]:
    """Returns the options of `envs.make_env` that a configuration holds."""
    found = envs.run_options(config, task)
    return {k: v for k, v in found.items() if k not in ("parallel", "restart")}


def _of_dataset(folder: pathlib.Path, config: Config) -> tuple[Spaces, Spaces]:
    task = blocks.learned_games(config)[0]
    file = folder / store.folder_name(task) / "manifest.json"
    text = documents.read(file, documents.JSON_BYTES)
    listed = layout.listed(manifest.SCHEMA.parse(text))
    if not listed:
        raise ValueError("The manifest does not list its spaces.")
    return spaces.of_layout(listed)
