"""Collects episodes of random play and of DQN agents until each task has its steps."""

import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs, interrupt, progress
from dreamerv2_transfer.common.config import ConfigError, check_least
from dreamerv2_transfer.common.files import locks, remote
from dreamerv2_transfer.common.files.atomic import OutputError, writing
from dreamerv2_transfer.common.replay import offline, packed, store
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data import collection, policies, workers
from dreamerv2_transfer.data import disk as disk_lib
from dreamerv2_transfer.data.collection import Collection, MakeVectorEnv, Recipe
from dreamerv2_transfer.data.policies import Policy

PUSH_INTERVAL = 300.0  # Seconds, between two uploads of what was collected.
PARALLEL_FROM = 20_000  # Steps; below, starting processes takes longer than playing.


def make_recipe(config, task: str) -> Recipe:
    """The recipe that a configuration has for a task.

    Raises:
        DqnError: `dqn.checkpoints` holds no agent for the task, or a bad one.
        ConfigError: a number is out of range.
    """
    _check(config)
    envs.check_action_repeat(config, task)
    files = []
    agents_folder = config.dqn.checkpoints
    if agents_folder and config.policies.dqn:
        from dreamerv2_transfer.dqn import actors

        agents_folder = str(remote.fetched(agents_folder, *actors.FILES))
        files = actors.describe(agents_folder, task)
    shares = policies.shares(config.policies, files)
    agents = [
        Policy(f"{policies.DQN}{file}", share, file, digest)
        for (file, digest), share in zip(files, shares[1:], strict=True)
    ]
    return Recipe(
        seed=config.seed,
        envs=config.collect.envs,
        settings=envs.options(config, task),
        policies=(Policy("random", shares[0]), *agents),
        interval=config.dqn.interval,
        epsilon=config.dqn.epsilon,
        checkpoints=agents_folder,
    )


def _check(config) -> None:
    least = {"collect.envs": 1, "collect.steps": 1, "dqn.interval": 1, "seed": 0}
    least |= {"collect.processes": 0, "collect.disk": 0, "dqn.epsilon": 0}
    least |= {"policies.random": 0, "policies.dqn": 0}
    check_least(config, least)
    if config.dqn.epsilon > 1:
        raise ConfigError(
            f"dqn.epsilon must be at most 1. Received: {config.dqn.epsilon}"
        )
    if not config.policies.random and not config.dqn.checkpoints:
        raise ConfigError(
            "policies.random is 0, so agents have to play: name their folder by "
            "--dqn.checkpoints."
        )
    if config.policies.random + config.policies.dqn == 0:
        raise ConfigError("policies.random and policies.dqn are both 0: nobody plays.")


def complete(
    config, directory: str | os.PathLike, push: Callable[[], None] = lambda: None
) -> bool:
    """Collects what a configuration's `tasks` lack in a dataset; see `collect`.

    Nothing is asked of the agents where no steps are missing.
    """
    directory, steps = pathlib.Path(directory).expanduser(), int(config.collect.steps)
    missing = _missing(directory, config.tasks, steps)
    for task in [task for task, lack in missing.items() if not lack]:
        with _naming(directory / task), _collecting(directory / task):
            print(collection.refresh(directory / task, task), flush=True)
    return collect(
        directory,
        {task: make_recipe(config, task) for task, lack in missing.items() if lack},
        steps=steps,
        processes=config.collect.processes,
        disk=config.collect.disk,
        memory=offline.memory_cap(config),
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
    """Collects episodes, a folder a task, and packs them.

    Args:
        directory: the dataset, a folder of task folders; made if it is missing.
        recipes: how to play each task.
        steps: environment steps of each task; the last episodes may exceed them.
        processes: tasks that are played at the same time, each in a process; 0 is one
            for each core of the machine.
        disk: GiB that the dataset may take on disk; 0 is what the disk has.
        memory: bytes that packing may take, see `packed.open_task`; 0 is no cap.
        make_vector_env: called as `make_vector_env(task, envs, **settings)`.
        push: called now and then, and once a task is done or all are stopped.

    Returns:
        Whether all steps are there; False if the process was asked to stop.

    Raises:
        DatasetError: the disk is full, too small or cannot be written to, or a folder
            holds episodes of another recipe, or another process collects into it.
    """
    directory = pathlib.Path(directory).expanduser()
    missing = _missing(directory, recipes, steps)
    settings = {task: recipe.settings for task, recipe in recipes.items()}
    disk_lib.check(directory, missing, settings, disk, make_vector_env)
    processes = min(processes or os.cpu_count() or 1, len(recipes))
    if sum(missing.values()) < PARALLEL_FROM:
        processes = 1
    jobs = {
        task: functools.partial(
            _collect_task,
            directory / task,
            task,
            recipe,
            steps,
            memory // max(processes, 1),
            make_vector_env,
        )
        for task, recipe in recipes.items()
    }
    with interrupt.caught() as stopped, _Bars(push) as bars:
        limit = disk_lib.Limit(directory, disk, stopped)
        workers.run(jobs, processes, bars.show, bars.say, limit)
    if any(_missing(directory, recipes, steps).values()):
        limit.check()
    if stopped():
        print("Stopped; the same command goes on.", flush=True)
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
) -> None:
    """Completes a replay's folder to so many steps by random play.

    Args:
        directory: the folder of one task; episodes of any origin there count.
        task: what to play.
        steps: of all episodes in the folder; the last ones may exceed them.
        envs: number of environments that are stepped together.
        seed: of everything.
        make_envs: makes so many environments that are stepped together.
        settings: of the environments; told in the manifest.
    """
    folder = pathlib.Path(directory).expanduser()
    if store.count_episodes(folder)[1] >= steps:
        return
    with _naming(folder), _collecting(folder):
        filled = Collection(folder, task, Recipe(seed, envs, settings))
        with progress.Progress(steps, filled.steps, task) as bar:
            filled.fill(
                steps,
                lambda task, number, **_: make_envs(number),
                lambda done, total: bar.update(done - bar.done),
            )
        print(filled.summary(), flush=True)


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
    """Completes the folder of a task; returns what to say about it."""
    with _naming(folder), _collecting(folder):
        filled = Collection(folder, task, recipe, packs=not memory)
        filled.fill(steps, make_vector_env, report, stopped)
        if not stopped():
            packed.write_index(folder, memory, filled.packed)
        return filled.summary()


@contextlib.contextmanager
def _naming(folder: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OutputError as error:
        written, _ = store.count_episodes(folder)
        raise DatasetError(
            f"Collecting into {folder} stopped: {error} The {written} episodes there "
            "are intact; the same command goes on from them."
        ) from error


@contextlib.contextmanager
def _collecting(folder: pathlib.Path) -> Iterator[None]:
    """Makes a folder, if it is missing, and keeps other collectors out of it."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    used = DatasetError(
        f"Another process is collecting into {folder}. Wait for it, or name another "
        "folder."
    )
    with locks.locked(folder, used):
        yield


def _missing(
    directory: pathlib.Path, tasks: Iterable[str], steps: int
) -> dict[str, int]:
    counted = {task: store.count_episodes(directory / task)[1] for task in tasks}
    return {task: max(0, steps - there) for task, there in counted.items()}


class _Bars:
    """A progress bar for each task that is being played, and a push now and then."""

    def __init__(self, push: Callable[[], None]):
        self._push = push
        self._pushed = time.monotonic()
        self._bars: dict[str, progress.Progress] = {}
        self._free = iter(range(10**6))

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *error) -> None:
        for bar in self._bars.values():
            bar.close()

    def show(self, task: str, done: int, total: int) -> None:
        """Shows how many of a task's steps there are."""
        if task not in self._bars:
            position = next(self._free)
            self._bars[task] = progress.Progress(total, done, task, position=position)
        bar = self._bars[task]
        bar.update(done - bar.done)
        if time.monotonic() - self._pushed > PUSH_INTERVAL:
            self._push()
            self._pushed = time.monotonic()

    def say(self, task: str, summary: str | None) -> None:
        """Prints what became of a task."""
        if task in self._bars:
            self._bars[task].close()
        if summary:
            progress.write(summary)
        self._push()
