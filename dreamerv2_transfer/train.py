"""Wires a run, from its configuration to the stage's training loop.

    check ─▶ run_pretraining ─▶ prepare ─▶ collect the dataset ─▶ pretrain.pretrain
      ├────▶ run_offline ─────▶ prepare ────────────────────────▶ offline.offline
      └────▶ run_online ──────▶ prepare ─▶ play at random ──────▶ finetune.finetune

`check` needs the configuration alone, and `prepare` everything else; a mistake shows
there, before anything is played or updated. TensorFlow takes seconds to import, so
`prepare` imports it, once all that does not need it has been checked.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs, logger, progress
from dreamerv2_transfer.common.blocks import check_task, learned_games, load_old
from dreamerv2_transfer.common.config import (
    Config,
    ConfigError,
    check_conflicts,
    check_ranges,
)
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.distributed import cluster
from dreamerv2_transfer.common.files import checkpoints, remote
from dreamerv2_transfer.common.replay import Replay, layout, offline, online, several
from dreamerv2_transfer.common.replay import folder as replay_folder
from dreamerv2_transfer.common.replay.store import DatasetError, folder_name
from dreamerv2_transfer.data import folders
from dreamerv2_transfer.transfer import adapt, known, meanings, sources
from dreamerv2_transfer.transfer import games as games_lib

STAGES = ("pretrain", "finetune", "scratch", "offline")
ALL = ("all",)  # `tasks` of a run offline on all games of its dataset.
Output = Callable[[list[logger.Summary]], None]
Spaces = dict[str, gymnasium.Space]


def with_games(config: Config) -> Config:
    """Returns the configuration with the games that a run of `offline` trains on.

    They are that of `task`, those of `tasks`, or all of the dataset; `task` becomes the
    first of them. The configuration of another stage stays as it is.

    Raises:
        ConfigError: `task` is another game than the first of `tasks`, or a folder of
            the dataset has the name of a task that imports a module.
        DatasetError: There is no dataset, or it has no games.
    """
    directory = config.dataset.directory
    if config.stage != "offline" or not directory:
        return config
    if config.tasks != ALL and config.task not in ("", *config.tasks[:1]):
        raise ConfigError(
            "Name one game by --task, or several by --tasks, not both. Received: "
            f"--task {config.task} --tasks {' '.join(config.tasks)}"
        )
    games = (config.task,) if config.task and config.tasks == ALL else config.tasks
    if games == ALL:
        games = tuple(folders.task_folders(directory))
        check_task(games, directory)
    return config.update(task=games[0], tasks=games)


def check(config: Config, outputs: Sequence[Output] | None = None) -> None:
    """Checks what the configuration alone tells, before the logdir is created.

    Args:
        config: The resolved configuration.
        outputs: See `run_online`.

    Raises:
        ConfigError: The configuration does not allow a run; the message names the key.
        DatasetError: The same, for keys of the dataset.
        LoggerError: `outputs` lacks `jsonl`.
        TrackerError: The package of an output is not installed.
    """
    if outputs is None:
        logger.check(config.outputs)
    if config.stage == "pretrain":
        offline.check(config, config.tasks)
    check_ranges(config)
    check_conflicts(config)
    if config.stage != "pretrain":
        offline.law_of(config)
    if config.stage == "offline":
        _check_offline(config)
    elif config.stage != "pretrain":
        _check_games(config)
    if config.stage == "finetune" and not config.init.path:
        raise ConfigError(
            "Fine-tuning starts from a world model: --init LOGDIR, the logdir of a run "
            "of --configs minatar pretrain, or its world_model.weights.h5. Without "
            "one, train by --configs minatar scratch."
        )
    if config.stage == "scratch" and config.init.path:
        raise ConfigError(
            "Training from scratch takes no world model. Received: "
            f"--init {config.init.path}. Use the block finetune in place of scratch."
        )
    if config.stage != "pretrain" and config.init.path:
        adapt.check(config)
    adapt.check_start(config)
    known.check(config)
    if config.strategy != "multiworker":
        return
    cluster.task()
    if config.stage == "pretrain" and not config.dataset.directory:
        raise ConfigError(
            "strategy multiworker reads a dataset that all processes see, and collects "
            "none. Name one by --dataset.directory. Received: dataset.directory=''"
        )


def checked(config: Config, outputs: Sequence[Output] | None = None) -> Config:
    """Returns a configuration that names the games of its model, once it is checked.

    Raises:
        CheckpointError: The model of `init` is missing; or another error as `check`.
    """
    config = games_lib.resolved(known.resolved(config))
    check(config, outputs)
    games_lib.check(config)
    return config


def _check_games(config: Config) -> None:
    """Checks what a run says about the games that it plays.

    Raises:
        ConfigError: One does not repeat actions as it is asked to.
        DatasetError: One of several would have no part of a batch.
    """
    for task in learned_games(config):
        envs.check_action_repeat(config, task)
    if config.multi_game:
        offline.check(config, config.tasks)
        weights = offline.weights_of(config, config.tasks)
        several.rows_of_games(config.dataset.batch, weights)


def _check_offline(config: Config) -> None:
    """Checks what only a run of `offline` needs.

    Raises:
        ConfigError: A key lacks a value, or has one that does not allow such a run.
        DatasetError: `dataset.memory` is no number of GiB.
    """
    offline.memory_cap(config)
    if not config.init.path:
        raise ConfigError(
            "Training offline takes place in the dreams of a world model: --init "
            "LOGDIR, the logdir of a run of --configs minatar pretrain, or its "
            "world_model.weights.h5."
        )
    if not config.dataset.directory:
        raise ConfigError(
            "Training offline reads recorded episodes, and plays none: name a dataset "
            "by --dataset.directory. Received: dataset.directory=''"
        )
    if config.expl_behavior != "greedy":
        raise ConfigError(
            "Nothing is explored offline, so expl_behavior must be greedy. Received: "
            f"{config.expl_behavior}"
        )


def run(config: Config, folder: remote.Folder) -> bool:
    """Runs the stage of a configuration on the tasks that it names.

    Args:
        config: The resolved configuration, which `check` accepts.
        folder: The run's open folder, see `common/files/logdir.py`.

    Returns:
        Whether all updates are done; False if the process was asked to stop.
    """
    if config.stage == "pretrain":
        return run_pretraining(config, folder)
    if config.stage == "offline":
        return run_offline(config, folder)
    games = learned_games(config)
    makers = envs.makers(config, games)
    make_envs = makers[games[0]]
    if len(games) > 1:
        make_envs = functools.partial(envs.make_several, makers)
    with contextlib.closing(make_envs(1)) as env:
        spaces = envs.obs_space(env), envs.act_space(env)
    return run_online(config, folder, make_envs, *spaces, games=makers)


def run_pretraining(config: Config, folder: remote.Folder) -> bool:
    """Pre-trains on the dataset that is named, or else collects one first.

    Args:
        config: The resolved configuration, which `check` accepts.
        folder: The run's open folder.

    Returns:
        Whether all updates are done; False if the process was asked to stop.
    """
    open_dataset = functools.partial(
        offline.open_dataset,
        config,
        tasks=config.tasks,
        cache=folder.path / "packed" if cluster.is_chief(config) else None,
    )
    if config.dataset.directory:
        dataset = open_dataset(config.dataset.directory)
        spaces = dataset.obs_space, dataset.act_space
    else:
        task = config.tasks[0]
        settings = envs.options(config, task)
        with envs.make_env(task, fit=envs.fit(config), **settings) as env:
            spaces = envs.obs_space(env), envs.act_space(env)
    world_model = prepare(config, folder.path, *spaces)

    from dreamerv2_transfer import pretrain

    pretrain.announce(config, *spaces)
    if not config.dataset.directory:
        from dreamerv2_transfer import collect

        directory = folder.path / "dataset"
        if not collect.complete(config, directory, folder.push):
            return False
        dataset = open_dataset(directory)
    log = make_logger(config, folder.path)
    return pretrain.pretrain(
        config, folder.path, dataset, world_model, log, folder.push
    )


def run_offline(config: Config, folder: remote.Folder) -> bool:
    """Trains an agent on a dataset, in the dreams of a world model.

    Args:
        config: The resolved configuration, which `check` accepts, see `with_games`.
        folder: The run's open folder.

    Returns:
        Whether all updates are done; False if the process was asked to stop.

    Raises:
        DatasetError: There is no such dataset or game in it; or it would teach the
            world model that there are no rewards.
    """
    logdir, is_chief = folder.path, cluster.is_chief(config)
    dataset = offline.open_dataset(
        config,
        config.dataset.directory,
        config.tasks,
        cache=logdir / "packed" if is_chief else None,
    )
    if is_chief:
        _check_rewards(config, dataset)
    agent = prepare(config, logdir, dataset.obs_space, dataset.act_space)

    from dreamerv2_transfer import learner
    from dreamerv2_transfer import offline as offline_stage

    if not is_chief:
        return learner.follow(config, logdir, agent)
    log = make_logger(config, logdir)
    return offline_stage.offline(config, logdir, dataset, agent, log, folder.push)


def _check_rewards(config: Config, dataset: offline.OfflineDataset) -> None:
    """Says which games' episodes hold no reward; refuses to learn from none at all.

    Raises:
        DatasetError: The reward head is to learn, and no episode holds a reward.
    """
    without = dataset.without_rewards()
    learns = config.wm_steps > 0 and not config.freeze.reward
    if learns and len(without) == len(dataset.tasks):
        raise DatasetError(
            f"No episode in {config.dataset.directory} of {', '.join(without)} holds a "
            "reward, so the world model would learn that there are none. Keep it as it "
            "is (--wm_steps 0, or --freeze.reward True), or name other episodes."
        )
    for task in without:
        print(
            f"{task}: no episode holds a reward, so the agent knows only the rewards "
            "that the world model learned before.",
            flush=True,
        )


def run_online(
    config: Config,
    folder: remote.Folder,
    make_envs: Callable[[int], VectorEnv],
    obs_space: Spaces,
    act_space: Spaces,
    outputs: Sequence[Output] | None = None,
    evaluates: bool = True,
    games: Mapping[str, Callable[[int], VectorEnv]] | None = None,
) -> bool:
    """Plays at random until the replay has `prefill` steps, then trains.

    Among several processes, only the chief plays; the others take part in its updates.

    Args:
        config: The resolved configuration, which `check` accepts.
        folder: The run's open folder.
        make_envs: Creates a vector environment with the given number of copies, of each
            game if they are several.
        obs_space: The spaces of the observations, see `envs.obs_space`.
        act_space: The space of the actions, see `envs.act_space`.
        outputs: Called with the metrics; by default those that `config.outputs` names.
        evaluates: Whether to play evaluation episodes, in separate environments.
        games: The same for each game alone, if they are several.

    Returns:
        Whether all updates are done; False if the process was asked to stop.
    """
    logdir, is_chief = folder.path, cluster.is_chief(config)
    datasets = open_datasets(config, logdir, obs_space, act_space)
    agent = prepare(config, logdir, obs_space, act_space)

    from dreamerv2_transfer import finetune, learner

    if not is_chief:
        return learner.follow(config, logdir, agent)
    games = games or {config.task: make_envs}
    replay = _filled_replay(
        config, logdir, games, layout.of_spaces({**obs_space, **act_space}), datasets[1]
    )
    if replay is None:
        return False
    return finetune.finetune(
        config,
        logdir,
        make_envs,
        replay,
        agent,
        make_logger(config, logdir, outputs),
        evaluates,
        *datasets,
        saved=folder.push,
        games=games,
    )


def _filled_replay(
    config: Config,
    logdir: pathlib.Path,
    games: Mapping[str, Callable[[int], VectorEnv]],
    expected: layout.Layout,
    known_games: offline.OfflineDataset | None,
) -> Replay | several.SeveralReplays | None:
    """Plays each game at random until its replay has `prefill` steps.

    Returns:
        The replay, for several games one that has a folder of each; None if the process
        was asked to stop.
    """
    from dreamerv2_transfer import collect

    episodes, replays = logdir / "train_episodes", {}
    for number, (task, make_envs) in enumerate(games.items()):
        place = episodes / folder_name(task) if len(games) > 1 else episodes
        replay_folder.check(place, expected)
        if not collect.prefill(
            place,
            task,
            steps=int(config.prefill),
            envs=config.envs,
            seed=config.seed,
            make_envs=make_envs,
            settings=envs.options(config, task),
        ):
            return None
        options = online.options(config, number)
        replays[task] = Replay(place, **options, known=known_games, expected=expected)
    if len(games) == 1:
        return replays[config.task]
    weights = offline.weights_of(config, config.tasks)
    return several.SeveralReplays(replays, config.envs, weights)


def prepare(
    config: Config, logdir: pathlib.Path, obs_space: Spaces, act_space: Spaces
) -> Any:
    """Builds what the stage trains, with the weights that a fresh run starts from.

    Args:
        config: The resolved configuration, which `check` accepts.
        logdir: The run's folder. An agent that was ported to it is loaded; if it has
            checkpoints, nothing is loaded here.
        obs_space: The spaces of the observations.
        act_space: The space of the actions.

    Returns:
        The `WorldModel` to pre-train, else the `Agent`.

    Raises:
        ConfigError: The networks cannot be built for these spaces, the replicas cannot
            share a batch, or weights to start from have another meaning.
        CheckpointError: The weights to start from are missing or do not fit.
    """
    # A run that resumes needs no others, which may be gone.
    resumes = bool(checkpoints.steps(logdir / "checkpoints"))
    needs_weights = cluster.is_chief(config) and not resumes
    if needs_weights and config.init.path and config.stage != "pretrain":
        sources.find_weights(config.init.path)
    with progress.explained("Loading TensorFlow"):
        from dreamerv2_transfer import agent as agent_lib
        from dreamerv2_transfer.common import machine
        from dreamerv2_transfer.common.distributed import replicas

    print(machine.setup(config), flush=True)
    replicas.check(config)
    if config.stage == "pretrain":
        return agent_lib.make_world_model(config, obs_space, act_space)
    agent = agent_lib.make_agent(config, obs_space, act_space)
    if needs_weights:
        load_initial_weights(config, logdir, agent)
    return agent


def load_initial_weights(config: Config, logdir: pathlib.Path, agent) -> None:
    """Loads what a fresh run starts from: a ported agent, and the weights of `init`.

    Raises:
        ConfigError: As `meanings.check`.
        CheckpointError: A file is missing, or a component does not fit.
    """
    from dreamerv2_transfer.transfer import weights

    ported, init = logdir / weights.PORTED, config.init
    if ported.exists():
        weights.load_ported(ported, agent)
        steps = int(agent.tfstep)
        print(f"Continues with the agent in {ported}, which made {steps} steps.")
    if not init.path:
        return
    file = sources.find_weights(init.path)
    source = file.parent / "config.yaml"
    if source.exists():
        meanings.check(config, load_old(source)[0], agent.wm.obs_space)
    loaded = weights.initialize(
        file, agent.components, init.components, init.adapt, init.shrink
    )
    agent.wm.model_opt.keep_start(loaded.paths)
    print(loaded.text)


def open_datasets(
    config: Config, logdir: pathlib.Path, obs_space: Spaces, act_space: Spaces
) -> tuple[offline.OfflineDataset | None, offline.OfflineDataset | None]:
    """Opens the datasets that an online run reads besides its own episodes.

    Returns:
        The one of `open_eval_dataset` and the one of the known games, each None if this
        process does not read it.

    Raises:
        DatasetError: One cannot be read, or is of another kind than the run's task.
    """
    if not cluster.is_chief(config):
        return None, None
    evaluated = open_eval_dataset(config, logdir) if config.eval_dataset else None
    return evaluated, known.open_dataset(config, logdir, obs_space, act_space)


def open_eval_dataset(config: Config, logdir: pathlib.Path) -> offline.OfflineDataset:
    """Opens `eval_dataset`, on whose held-out episodes a world model is evaluated.

    Raises:
        DatasetError: It cannot be read, or is of another kind than the run's task.
    """
    alone = config.update(task_weights=[1.0])
    games = learned_games(config) if config.multi_game else (config.task,)
    return offline.open_dataset(alone, config.eval_dataset, games, logdir / "packed")


def make_logger(
    config: Config, logdir: pathlib.Path, outputs: Sequence[Output] | None = None
) -> logger.Logger:
    """Creates the logger of a run; among several processes, only the chief logs.

    Args:
        config: The resolved configuration.
        logdir: The run's folder.
        outputs: See `run_online`.
    """
    if outputs is not None:
        return logger.Logger(Counter(), outputs)
    names = config.outputs if cluster.is_chief(config) else ()
    return logger.make_logger(logdir, Counter(), names=names)
