"""Collects episodes of random play and of DQN players until each task has its steps."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs, interrupt, progress
from dreamerv2_transfer.common.config import ConfigError, check_ranges
from dreamerv2_transfer.common.files import locks, paths, remote
from dreamerv2_transfer.common.files.atomic import OutputError, writing
from dreamerv2_transfer.common.replay import offline, packed, store
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import collection, policies, workers
from dreamerv2_transfer.data import disk as disk_lib
from dreamerv2_transfer.data.collection import Collection, MakeVectorEnv, Recipe
from dreamerv2_transfer.data.policies import Policy

STOPPED = "Stopped; run the same command to resume."
COLLECT_PLANES = (
    "Collect with --minatar_view planes: training with categories makes them of the "
    "dataset's planes."
)
PUSH_INTERVAL = 300.0  # Seconds between two uploads while episodes are collected.
PARALLEL_FROM = 20_000  # Steps; fewer are played sooner than processes start.


def make_recipe(config, task: str) -> Recipe:
    """Returns a configuration's recipe for a task.

    Raises:
        DqnError: `dqn.checkpoints` holds no player for the task, or a damaged one.
        ConfigError: A number is out of range, or players would see no planes.
    """
    check_ranges(config)
    if config.policies.random + config.policies.dqn == 0:
        raise ConfigError(
            "policies.random and policies.dqn are both 0, so that no policy plays. "
            "Raise one of them."
        )
    if not config.policies.random and not config.dqn.checkpoints:
        raise ConfigError(
            "policies.random is 0, so players have to play: name their folder by "
            "--dqn.checkpoints."
        )
    envs.check_action_repeat(config, task)
    files = []
    folder = config.dqn.checkpoints
    if folder and config.policies.dqn:
        from dreamerv2_transfer.dqn import actors, agents

        agents.check_view(config, task, COLLECT_PLANES)
        folder = str(remote.fetched(folder, *actors.FILES))
        files = actors.describe(folder, task)
    shares = policies.shares(config.policies, files)
    settings = envs.options(config, task)
    if config.get("collect.backend", "python") == "native":
        _check_native(task, files)
        settings["backend"] = "native"
    dqn = [
        Policy(f"{policies.DQN}{file}", share, file, digest)
        for (file, digest), share in zip(files, shares[1:], strict=True)
    ]
    return Recipe(
        seed=config.seed,
        envs=config.collect.envs,
        settings=settings,
        policies=(Policy("random", shares[0]), *dqn),
        interval=config.dqn.interval,
        epsilon=config.dqn.epsilon,
        checkpoints=folder,
    )


def _check_native(task: str, players: Sequence[Any]) -> None:
    """Raises ConfigError if ALE's own vector environment cannot play a task."""
    if task.startswith("atari_") and not players:
        return
    reason = "players cannot see its screens" if players else "it plays Atari alone"
    raise ConfigError(
        f"collect.backend=native cannot collect {task}, as {reason}. Use "
        "collect.backend=python."
    )


def complete(
    config, directory: str | os.PathLike, push: Callable[[], None] = lambda: None
) -> bool:
    """Collects what a dataset lacks of a configuration's `tasks`; see `collect`.

    The players' files are not needed for tasks that have their steps.
    """
    directory, steps = paths.local(directory), int(config.collect.steps)
    missing = _missing(directory, config.tasks, steps)
    for task in [task for task, lack in missing.items() if not lack]:
        folder = directory / store.folder_name(task)
        with _collecting(folder):
            print(collection.refresh(folder, task), flush=True)
    return collect(
        directory,
        {task: make_recipe(config, task) for task, lack in missing.items() if lack},
        steps=steps,
        processes=config.collect.processes,
        disk=config.collect.disk,
        memory=offline.memory_cap(config),
        make_vector_env=functools.partial(envs.make_vector_env, fit=envs.fit(config)),
        push=push,
    )


def collect(
    directory: str | os.PathLike,
    recipes: Mapping[str, Recipe],
    *,
    steps: int,
    processes: int = 1,
    disk: float = 0.0,
    memory: int = 0,
    make_vector_env: MakeVectorEnv = envs.make_vector_env,
    push: Callable[[], None] = lambda: None,
) -> bool:
    """Collects episodes into a folder per task, and packs them.

    Args:
        directory: The dataset, a folder of task folders; created if it is missing.
        recipes: How to play each task.
        steps: Environment steps of each task; the last episodes may exceed them.
        processes: Most tasks that are played at the same time, each in a process; 0 for
            one per core of the machine.
        disk: Most GiB of the dataset on disk; 0 for no limit but the free space.
        memory: Bytes that packing may take, see `packed.open_task`; 0 for no cap.
        make_vector_env: Called as `make_vector_env(task, envs, **settings)`.
        push: Called now and then, and when a task is done or all are stopped.

    Returns:
        Whether all steps are there; False if the process was asked to stop.

    Raises:
        DatasetError: The disk is full, too small or cannot be written to, a folder
            holds episodes of another recipe, or another process collects into it.
    """
    directory = paths.local(directory)
    missing = _missing(directory, recipes, steps)
    settings = {task: recipe.settings for task, recipe in recipes.items()}
    check = functools.partial(
        disk_lib.check, directory, missing, settings, disk, make_vector_env
    )
    processes = min(processes or os.cpu_count() or 1, len(recipes))
    if sum(missing.values()) < PARALLEL_FROM:
        processes = 1
    share = memory // max(processes, 1)
    jobs = {
        task: functools.partial(
            _collect_task,
            directory / store.folder_name(task),
            task,
            x,
            steps,
            share,
            make_vector_env,
        )
        for task, x in recipes.items()
    }
    with interrupt.caught() as stopped, _Bars(push) as bars:
        limit = disk_lib.Limit(directory, disk, stopped)
        workers.run(jobs, processes, bars.show, bars.say, limit, check)
    if any(_missing(directory, recipes, steps).values()):
        limit.check()
    if stopped():
        print(STOPPED, flush=True)
    return not stopped()


def prefill(
    directory: str | os.PathLike,
    task: str,
    *,
    steps: int,
    envs: int,
    seed: int,
    make_envs: Callable[[int], VectorEnv],
    settings: Mapping[str, Any],
) -> bool:
    """Fills a replay's folder up to a number of steps by random play.

    Args:
        directory: The folder of one task; episodes of any origin count.
        task: What to play.
        steps: Environment steps of all episodes in the folder; the last episodes may
            exceed them.
        envs: Number of environments that are stepped together.
        seed: Seed of the episodes.
        make_envs: Called with a number of environments; creates a vector environment.
        settings: Settings of the environments, for the manifest.

    Returns:
        Whether all steps are there; False if the process was asked to stop.
    """
    folder = paths.local(directory)
    if store.count_episodes(folder)[1] >= steps:
        return True
    with _collecting(folder), interrupt.caught() as stopped:
        filled = Collection(folder, task, Recipe(seed, envs, settings))
        with progress.Progress(steps, filled.steps, task) as bar:
            filled.fill(
                steps,
                lambda task, number, **_: make_envs(number),
                lambda done, total: bar.update(done - bar.done),
                stopped,
            )
        print(filled.summary(), flush=True)
    if stopped():
        print(STOPPED, flush=True)
    return not stopped()


def _collect_task(
    folder: pathlib.Path,
    task: str,
    recipe: Recipe,
    steps: int,
    memory: int,
    make_vector_env: MakeVectorEnv,
    report: workers.Report,
    stopped: workers.Stopped,
) -> str:
    """Fills the folder of a task; returns its summary."""
    with _collecting(folder):
        filled = Collection(folder, task, recipe, not memory, collection.SHARD_STEPS)
        filled.fill(steps, make_vector_env, report, stopped)
        if not stopped():
            packed.write_index(folder, memory, filled.packed)
        return filled.summary()


@contextlib.contextmanager
def _collecting(folder: pathlib.Path) -> Iterator[None]:
    """Creates a folder if it is missing, and keeps other collectors out of it.

    Raises:
        DatasetError: Another process collects into it, or it cannot be written to.
    """
    used = DatasetError(
        f"Another process is collecting into {folder}. Wait for it, or name another "
        "folder."
    )
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locks.locked(folder, used):
            yield
    except OutputError as error:
        written, _ = store.count_episodes(folder)
        raise DatasetError(
            f"Collecting into {folder} stopped: {error} The {written} episodes there "
            "are intact; run the same command to resume."
        ) from error


def _missing(
    directory: pathlib.Path, tasks: Iterable[str], steps: int
) -> dict[str, int]:
    """Returns the number of steps that each task lacks."""
    folders = {task: directory / store.folder_name(task) for task in tasks}
    counted = {task: store.count_episodes(x)[1] for task, x in folders.items()}
    return {task: max(0, steps - there) for task, there in counted.items()}


class _Bars:
    """A progress bar for each task that is played, and a push now and then.

    Args:
        push: Uploads what was collected.
    """

    def __init__(self, push: Callable[[], None]):
        self._push = push
        self._pushed = time.monotonic()
        self._bars: dict[str, progress.Progress] = {}

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *error) -> None:
        for bar in self._bars.values():
            bar.close()

    def show(self, task: str, done: int, total: int) -> None:
        """Shows how many of a task's steps are done."""
        if task not in self._bars:
            self._bars[task] = progress.Progress(total, done, task)
        bar = self._bars[task]
        bar.update(done - bar.done)
        if time.monotonic() - self._pushed > PUSH_INTERVAL:
            self._push()
            self._pushed = time.monotonic()

    def say(self, task: str, summary: str | None) -> None:
        """Prints a task's summary, if it was played, and pushes."""
        if task in self._bars:
            self._bars[task].close()
        if summary:
            progress.write(summary)
        self._push()
