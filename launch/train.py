"""Trains. `python launch/train.py --configs minatar small pretrain [--key value ...]`

Blocks of configs.yaml are merged in the order in which they are named; `--help` lists
all keys. The same command goes on with a run that was stopped.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dreamerv2_transfer.common import cli, config, envs, flags, logger
from dreamerv2_transfer.common.distributed import cluster
from dreamerv2_transfer.common.files import logdir, remote

TEMPLATES = pathlib.Path(__file__).resolve().parents[1] / "logdir_templates"


def main(argv: list[str]) -> int:
    stages = ", ".join(STAGES)
    hint = f"Name the stage to run in --configs: one of {stages}; or a --template."
    settings = cli.load_config(from_template(argv), __file__, STAGES, hint)
    logger.check(settings.outputs)
    check_strategy(settings)
    print(f"Logdir {settings.logdir}", flush=True)
    with logdir.opened(settings) as folder:
        return STAGES[settings.stage](settings, folder)


def from_template(argv: list[str]) -> list[str]:
    """A command line with the file of its `--template` as the first of its blocks.

    Raises:
        ConfigError: There is no such template.
    """
    given, rest = flags.Flags(template="").parse_known(argv)
    if not given.template:
        return argv
    names, rest = cli.split_configs(rest)
    file = TEMPLATES / given.template / "config.yaml"
    if not file.exists():
        known = ", ".join(
            sorted(x.parent.name for x in TEMPLATES.glob("*/config.yaml"))
        )
        raise config.ConfigError(
            f"--template is one of {known}. Received: {given.template}"
        )
    return ["--configs", str(file), *(x for x in names if x != "defaults"), *rest]


def check_strategy(settings: config.Config) -> None:
    """Of several processes, each must find what it reads."""
    if settings.strategy != "multiworker":
        return
    cluster.task()
    if settings.stage == "pretrain" and not settings.dataset.directory:
        raise config.ConfigError(
            "strategy multiworker reads a dataset that all processes see, and collects "
            "none. Name one by --dataset.directory. Received: dataset.directory=''"
        )


def pretrain(settings: config.Config, folder: remote.Folder) -> int:
    # TensorFlow takes seconds to import, so what can fail without it fails first.
    dataset = make_dataset(settings, folder) if settings.dataset.directory else None

    from dreamerv2_transfer import agent, pretrain
    from dreamerv2_transfer.common import machine

    pretrain.check(settings)
    print(machine.setup(settings), flush=True)
    if dataset is None:
        task = settings.tasks[0]
        with envs.make_env(task, **envs.options(settings, task)) as env:
            spaces = envs.obs_space(env), envs.act_space(env)
        pretrain.announce(settings, *spaces)
        dataset = make_dataset(settings, folder)
    else:
        spaces = dataset.obs_space, dataset.act_space
        pretrain.announce(settings, *spaces)
    # Of several processes one logs.
    outputs = settings.outputs if cluster.is_chief(settings) else ()
    done = pretrain.pretrain(
        settings,
        folder.path,
        make_dataset=lambda: dataset,
        make_world_model=functools.partial(agent.make_world_model, settings, *spaces),
        make_logger=functools.partial(logger.make_logger, folder.path, names=outputs),
        planes=envs.native_planes,
        saved=folder.push,
    )
    return 0 if done else cli.INTERRUPTED


def make_dataset(settings: config.Config, folder: remote.Folder):
    """Opens the dataset that is named, or one in the logdir that it completes first."""
    from dreamerv2_transfer import collect
    from dreamerv2_transfer.common.replay import offline

    directory = settings.dataset.directory
    if not directory:
        directory = folder.path / "dataset"
        if not collect.complete(settings, directory, folder.push):
            raise KeyboardInterrupt
    cache = folder.path / "packed" if cluster.is_chief(settings) else None
    return offline.open_dataset(settings, directory, settings.tasks, cache)


def online(settings: config.Config, folder: remote.Folder) -> int:
    check_init(settings)
    make_envs = functools.partial(
        envs.make_vector_env, settings.task, **envs.run_options(settings, settings.task)
    )
    with contextlib.closing(make_envs(1)) as env:  # Fails before TensorFlow is there.
        spaces = envs.obs_space(env), envs.act_space(env)

    from dreamerv2_transfer import api

    planes = envs.native_planes(settings.task)
    done = api.run_online(settings, folder, make_envs, spaces, planes=planes)
    return 0 if done else cli.INTERRUPTED


def check_init(settings: config.Config) -> None:
    """Where the world model comes from is a matter of the stage."""
    if settings.stage == "finetune" and not settings.init.path:
        raise config.ConfigError(
            "Fine-tuning starts from a world model: --init LOGDIR, the logdir of "
            "`python launch/train.py --configs minatar pretrain`, or its "
            "world_model.weights.h5. Without one, train by --configs minatar scratch."
        )
    if settings.stage == "scratch" and settings.init.path:
        raise config.ConfigError(
            "Training from scratch takes no world model. Received: "
            f"--init {settings.init.path}. Use the block finetune in place of scratch."
        )


STAGES = {"pretrain": pretrain, "finetune": online, "scratch": online}

if __name__ == "__main__":
    sys.exit(cli.run(main))
