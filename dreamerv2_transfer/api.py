"""Trains on any Gymnasium environment, from a script of one's own.

    import gymnasium
    from dreamerv2_transfer import api

    config = api.defaults.update(api.configs["dmc_proprio"]).update(
        {"logdir": "logdir/pendulum", "action_repeat": 1, "log_every": 100}
    )
    api.train(lambda: gymnasium.make("Pendulum-v1"), config)

`api.defaults` is the block `defaults` of configs.yaml, and `api.configs` holds the
other blocks by name. Both are read when they are asked for.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gymnasium
from gymnasium.vector import VectorEnv
from ruamel.yaml import YAML

from dreamerv2_transfer import agent, collect, finetune, learner, validation
from dreamerv2_transfer.common import blocks, envs, logger, machine, replay
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.distributed import cluster, replicas
from dreamerv2_transfer.common.envs import wrappers
from dreamerv2_transfer.common.errors import EnvError
from dreamerv2_transfer.common.files import logdir as logdir_lib
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.transfer import weights

Output = Callable[[list[logger.Summary]], None]


def train(
    env: gymnasium.Env | wrappers.Make,
    config: Config,
    outputs: Sequence[Output] | None = None,
) -> bool:
    """Trains an agent, as `launch/train.py` does; the same call goes on with a run.

    Args:
        env: An environment, which is used as it is and stays open; or a function that
            makes one, by which `envs`, `envs_parallel`, `envs_restart` and evaluation
            become possible.
        config: Such as `api.defaults.update({"logdir": ...})`. `steps`, `log_every`,
            `eval_every` and `checkpoint_every` count updates. With `init.path` the
            world model starts from there, else from scratch.
        outputs: What takes the metrics; by default what `config.outputs` names, as
            the terminal, `metrics.jsonl` and TensorBoard. See `common/logger.py`.

    Returns:
        Whether all updates are done; False if the process was asked to stop.

    Raises:
        ConfigError: A value is not possible with this environment.
        EnvError: The environment cannot be used, or failed.
        LogdirError: The logdir belongs to another run.
    """
    make, is_instance = _maker(env)
    _check(config, is_instance)
    if outputs is None:
        logger.check(config.outputs)
    with contextlib.closing(envs.make_env(make)) as adapted:
        spaces = envs.obs_space(adapted), envs.act_space(adapted)
        config = config.update(task=wrappers.title(adapted), stage=_stage(config))
    make_envs = functools.partial(
        envs.make_vector_env, make, **envs.run_options(config, make)
    )
    with logdir_lib.opened(config) as folder:
        return run_online(
            config, folder, make_envs, spaces, outputs, evaluates=not is_instance
        )


def run_online(
    config: Config,
    folder: remote.Folder,
    make_envs: Callable[[int], VectorEnv],
    spaces: tuple[dict[str, gymnasium.Space], dict[str, gymnasium.Space]],
    outputs: Sequence[Output] | None = None,
    planes: int | None = None,
    evaluates: bool = True,
) -> bool:
    """Plays at random until the replay has `prefill` steps, then trains.

    Of several processes the chief does; the others take part in its updates.

    Args:
        config: The resolved configuration; its `stage` is `finetune` or `scratch`.
        folder: The run's; it is open, see `common/logdir.py`.
        make_envs: Makes so many environments that are stepped together.
        spaces: Those of the observations and of the actions, see `envs`.
        outputs: As for `train`.
        planes: As for `finetune.finetune`, which this calls.
        evaluates: As for `finetune.finetune`.

    Returns:
        Whether all updates are done.
    """
    logdir = folder.path
    finetune.check(config)
    plays = cluster.is_chief(config)
    dataset = validation.open_dataset(config, logdir) if plays else None
    print(machine.setup(config), flush=True)
    replicas.check(config)
    # Before random play, for that may take long, and networks or weights may not fit.
    trained = agent.make_agent(config, *spaces)
    if not plays:
        return learner.follow(config, logdir, trained)
    if config.init.path and not (logdir / "checkpoints").exists():
        weights.initialize(config.init.path, trained.components, config.init.components)
    episodes = logdir / "train_episodes"
    collect.prefill(
        episodes,
        config.task,
        steps=int(config.prefill),
        envs=config.envs,
        seed=config.seed,
        make_envs=make_envs,
        settings=envs.options(config, config.task),
    )
    return finetune.finetune(
        config,
        logdir,
        make_envs=make_envs,
        make_replay=functools.partial(
            replay.Replay, episodes, **config.replay, seed=config.seed
        ),
        make_agent=lambda: trained,
        make_logger=functools.partial(_make_logger, config, logdir, outputs),
        planes=planes,
        evaluates=evaluates,
        make_dataset=lambda: dataset,
        saved=folder.push,
    )


def __getattr__(name: str) -> Any:
    if name == "defaults":
        return Config(_blocks()["defaults"])
    if name == "configs":
        return {k: v for k, v in _blocks().items() if k != "defaults"}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _blocks() -> dict[str, dict[str, Any]]:
    return YAML(typ="safe", pure=True).load(blocks.find_configs())


class _Open(gymnasium.Wrapper):
    """Leaves it to the caller to close the environment."""

    def close(self) -> None:
        pass


def _maker(env: gymnasium.Env | wrappers.Make) -> tuple[wrappers.Make, bool]:
    """A function that makes the environment, and whether it was an environment."""
    if isinstance(env, gymnasium.Env):
        return lambda: _Open(env), True
    if not callable(env):
        raise EnvError(
            f"Received: env={env!r}. It must be a gymnasium.Env or a function that "
            "makes one, such as lambda: gymnasium.make('CartPole-v1')."
        )
    return env, False


def _check(config: Config, is_instance: bool) -> None:
    if config.logdir == blocks.UNSET_LOGDIR:
        raise ConfigError(
            f"Received: logdir={config.logdir}. Name the folder of the run, as by "
            'config.update({"logdir": "logdir/cartpole"}).'
        )
    if not is_instance:
        return
    for key, only in {
        "envs": 1,
        "envs_parallel": "none",
        "envs_restart": False,
    }.items():
        if config[key] != only:
            raise ConfigError(
                f"Received: an environment and {key}={config[key]}. One environment "
                f"allows {key}={only} alone; pass a function that makes environments."
            )


def _stage(config: Config) -> str:
    """What the run is, by whether there are weights to start from."""
    stage = "finetune" if config.init.path else "scratch"
    if config.stage not in ("", stage):
        raise ConfigError(
            f"Received: stage={config.stage} and init.path={config.init.path!r}, which "
            f"make it {stage}. Leave stage empty, or change init.path."
        )
    return stage


def _make_logger(
    config: Config,
    logdir: pathlib.Path,
    outputs: Sequence[Output] | None,
    step: Counter,
) -> logger.Logger:
    if outputs is None:
        return logger.make_logger(logdir, step, names=config.outputs)
    return logger.Logger(step, outputs)
