"""Trains on any Gymnasium environment, and loads what is trained, from a script.

    import gymnasium
    from dreamerv2_transfer import api

    config = api.defaults.update(api.configs["dmc_proprio"]).update(
        {"logdir": "logdir/pendulum", "action_repeat": 1, "log_every": 100}
    )
    api.train(lambda: gymnasium.make("Pendulum-v1"), config)

`api.defaults` is the block `defaults` of configs.yaml, and `api.configs` holds the
other blocks by name. The file is read at the first use of either. A script of the
original runs with `import dreamerv2_transfer.api as dv2`.

    import dreamerv2_transfer as dt

    model = dt.load("logdir/pendulum")
    seen = model.observe(observations, actions)
    dream = model.imagine(seen, model.agent, steps=50)
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from ruamel.yaml import YAML

from dreamerv2_transfer import train as train_lib
from dreamerv2_transfer.common import blocks, envs, flags, loading
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.envs import actions, old_gym, wrappers
from dreamerv2_transfer.common.errors import EnvError, ModelError
from dreamerv2_transfer.common.files import logdir
from dreamerv2_transfer.common.logger import JSONLOutput as JSONLOutput
from dreamerv2_transfer.common.logger import TensorBoardOutput as TensorBoardOutput
from dreamerv2_transfer.common.logger import TerminalOutput as TerminalOutput
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.train import Output
from dreamerv2_transfer.transfer import cards

if TYPE_CHECKING:  # These import TensorFlow.
    from dreamerv2_transfer.trained.model import Model
    from dreamerv2_transfer.trained.player import Player

loading.prepare_tensorflow()

# What is handed on from modules that import TensorFlow.
MODULES = {
    "DreamEnv": "dreamerv2_transfer.trained.dream_env",
    "Latents": "dreamerv2_transfer.trained.latents",
    "Model": "dreamerv2_transfer.trained.model",
}
# What a single environment allows, as it cannot be copied.
SINGLE = {"envs": 1, "envs_parallel": "none", "envs_restart": False}


class Settings(Config):
    """A configuration that flags can change, as the original's scripts do."""

    def parse_flags(
        self, argv: Sequence[str] | None = None, known_only: bool = False
    ) -> Any:
        """Returns a copy with the values of the command line; `--help` prints the keys.

        Args:
            argv: The arguments, `sys.argv[1:]` by default.
            known_only: Whether to also return the arguments that name no key, instead
                of refusing them.

        Raises:
            ConfigError: A flag is unknown or its value is not allowed.
        """
        parser = flags.Flags(self)
        if not known_only:
            return type(self)(parser.parse(argv))
        config, remaining = parser.parse_known(argv)
        return type(self)(config), remaining


def train(
    env: Any,
    config: Config,
    outputs: Sequence[Output] | None = None,
) -> bool:
    """Trains an agent, as `launch/train.py` does; the same call resumes the run.

    Args:
        env: An environment of Gymnasium, or of the older gym, which is used as it is
            and stays open; or a function that creates one, which also allows
            evaluation and the keys `envs`, `envs_parallel` and `envs_restart`.
        config: For example `api.defaults.update({"logdir": ...})`. `steps`,
            `log_every`, `eval_every` and `checkpoint_every` count updates. With
            `init.path` the world model starts from there, else from scratch.
        outputs: Called with the metrics; by default the outputs that `config.outputs`
            names, such as the terminal, `metrics.jsonl` and TensorBoard. See
            `common/logger/logger.py`.

    Returns:
        Whether all updates are done; False if the process was asked to stop.

    Raises:
        ConfigError: A value is not possible with this environment.
        EnvError: The environment cannot be used, or failed.
        LogdirError: The logdir belongs to another run.
    """
    is_instance = old_gym.is_environment(env)
    if is_instance:
        make: wrappers.Make = functools.partial(KeptOpen, old_gym.adapt(env))
    elif callable(env):
        make = env
    else:
        raise EnvError(
            f"Received: env={env!r}. It must be a gymnasium.Env or a function that "
            "creates one, such as lambda: gymnasium.make('CartPole-v1')."
        )
    check(config, is_instance)
    with contextlib.closing(envs.make_env(make, fit=envs.fit(config))) as adapted:
        spaces = envs.obs_space(adapted), envs.act_space(adapted)
        stage = "finetune" if config.init.path else "scratch"
        config = config.update(task=wrappers.title(adapted), stage=stage)
    config = train_lib.checked(config, outputs)
    make_envs = functools.partial(
        envs.make_vector_env, make, **envs.run_options(config, make)
    )
    with logdir.opened(config) as folder:
        return train_lib.run_online(
            config, folder, make_envs, *spaces, outputs, evaluates=not is_instance
        )


def load(
    source: str | os.PathLike, env: gymnasium.Env | str | None = None, seed: int = 0
) -> Model | Player:
    """Loads a trained model, with its agent if it has one, or a DQN.

    Args:
        source: A run's logdir, or its file of weights with the `config.yaml` beside
            it; the URL of one, such as `s3://bucket/run`; the name of a published
            model, see `models`; or `hf://USER/NAME@REVISION` of the Hugging Face Hub.
            Weights are HDF5 or safetensors. Those of a published model must have the
            hashes of its card.
        env: An environment of the game, or the name of a task such as
            `gym_Pendulum-v1`; only needed where the run has not written what it
            observes and its configuration does not name a game that can be made, as
            for an older run of `api.train`.
        seed: The seed of the model's noise.

    Returns:
        A `Model`, whose `agent` acts if it has one, or the `Player` of a DQN.

    Raises:
        ModelError: There is no configuration beside the weights, its networks cannot be
            built, or it cannot be told what the model observes.
        CheckpointError: There are no weights, or they do not fit the configuration.
        ConfigError: The configuration cannot be read.
        RemoteError: The URL cannot be read.
        HubError: The model is not on the Hub.
    """
    from dreamerv2_transfer.trained import load as loading

    return loading.load(source, env, seed)


def models() -> dict[str, str]:
    """Returns what the models in `models/` of this repository are, by name.

    `load` takes a name, as do `--init` and the command `play`.
    """
    return {name: card.summary for name, card in cards.published().items()}


def native_action(space: gymnasium.Space, action: Any) -> Any:
    """Returns an agent's action as an environment takes it.

    Args:
        space: The environment's own `action_space`.
        action: What the agent returned: vectors in [-1, 1] are rescaled to the space's
            bounds, and joined ones divided into their parts.

    Raises:
        EnvError: No agent can have actions of this space.
    """
    return actions.native_actions(space)[1](action)


def save_gif(path: str | os.PathLike, images: Any, fps: float = 10) -> None:
    """Saves images of a game or of a dream as an animation.

    Args:
        path: The file.
        images: `(T, H, W, C)`: bytes, or planes as booleans or probabilities. Small
            ones are enlarged.
        fps: Frames per second.

    Raises:
        ModelError: The images have another shape.
        OutputError: The file cannot be written.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not images.size:
        raise ModelError(
            "An animation needs images (T, H, W, C). Received: the shape "
            f"{images.shape}. Of a batch, save one: dream['image'][0]."
        )
    video.save_gif(path, video.episode(images, video.PLANE_SCALE, None), fps)


def check(config: Config, is_instance: bool) -> None:
    """Checks values that mean something else here than for `launch/train.py`.

    Args:
        config: The configuration that `train` received.
        is_instance: Whether it received an environment, not a function.

    Raises:
        ConfigError: A value is not possible; the message names the key.
    """
    if config.logdir == blocks.UNSET_LOGDIR:
        raise ConfigError(
            f"Received: logdir={config.logdir}. Name the folder of the run, as by "
            'config.update({"logdir": "logdir/cartpole"}).'
        )
    if config.multi_game:
        raise ConfigError(
            "Received: multi_game=True. api.train trains on one environment; several "
            "games are for the command, train --tasks GAME GAME."
        )
    for key, only in SINGLE.items():
        if is_instance and config[key] != only:
            raise ConfigError(
                f"Received: an environment and {key}={config[key]}. A single "
                f"environment allows only {key}={only}; pass a function that creates "
                "environments."
            )
    stage = "finetune" if config.init.path else "scratch"
    if config.stage not in ("", stage):
        raise ConfigError(
            f"Received: stage={config.stage} and init.path={config.init.path!r}, which "
            f"make it {stage}. Leave stage empty, or change init.path."
        )


class KeptOpen(gymnasium.Wrapper):
    """Leaves closing the environment to the caller."""

    def close(self) -> None:
        pass


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(importlib.import_module(MODULES[name]), name)
    if name == "defaults":
        return Settings(_blocks()["defaults"])
    if name == "configs":
        return {k: v for k, v in _blocks().items() if k != "defaults"}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _blocks() -> dict[str, dict[str, Any]]:
    return YAML(typ="safe", pure=True).load(blocks.find_configs())
