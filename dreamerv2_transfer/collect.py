"""Collects episodes of random play until each task has its steps.

Each episode is a function of the seed, the task and its number alone, and files are
written in the order of the numbers. So a collection that was killed goes on, and ends
with the episodes that it would have had without the kill.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import driver, envs, packed, progress, store
from dreamerv2_transfer.common.atomic import OutputError, writing
from dreamerv2_transfer.common.store import DatasetError, Episode

POLICY = "random"
STEPS_A_TURN = 64  # Of each environment, between two updates of the progress bar.
MANIFEST_INTERVAL = 30.0  # Seconds.
PACKAGES = ("dreamerv2_transfer", "gymnasium", "minatar", "numpy")


def is_complete(directory: str | os.PathLike, tasks: Sequence[str], steps: int) -> bool:
    """Whether each task's folder has files of so many steps, by their names."""
    folders = [pathlib.Path(directory).expanduser() / task for task in tasks]
    return all(store.count_episodes(folder)[1] >= steps for folder in folders)


def collect(
    directory: str | os.PathLike,
    tasks: Sequence[str],
    *,
    steps: int,
    envs: int = 8,
    seed: int = 0,
    make_vector_env: Callable[..., VectorEnv] = envs.make_vector_env,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Collects episodes of random play, a folder a task, and packs them.

    Args:
        directory: the dataset, a folder of task folders; made if it is missing.
        tasks: what to play.
        steps: environment steps of each task; the last episode may exceed them.
        envs: number of environments that are stepped together; it does not change
            which episodes there are in the end.
        seed: of everything.
        make_vector_env: called as `make_vector_env(task, envs, **settings)`.
        settings: of the environments, such as `sticky`; told in the manifest.

    Raises:
        DatasetError: the disk is full or cannot be written to, or the folder holds
            episodes of another seed or of other settings.
    """
    for task in tasks:
        folder = pathlib.Path(directory).expanduser() / task
        with _naming(folder):
            collection = Collection(folder, task, seed, dict(settings or {}))
            collection.fill(steps, envs, make_vector_env)
            packed.write_index(folder)


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
        steps: of all episodes in the folder; the last one may exceed them.
        envs: number of environments that are stepped together.
        seed: of everything.
        make_envs: makes so many environments that are stepped together.
        settings: of the environments; told in the manifest.

    Raises:
        DatasetError: as `collect`.
    """
    folder = pathlib.Path(directory).expanduser()
    if store.count_episodes(folder)[1] >= steps:
        return
    with _naming(folder):
        collection = Collection(folder, task, seed, dict(settings))
        others = store.count_episodes(folder)[1] - collection.steps
        collection.fill(
            steps - others, envs, lambda task, number, **_: make_envs(number)
        )


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


class Collection:
    """The episodes of one task, policy and seed in a folder.

    Attributes:
        episodes: how many are on disk, from number 0 on without a gap.
        steps: environment steps of these.
    """

    def __init__(
        self, folder: pathlib.Path, task: str, seed: int, settings: dict[str, Any]
    ):
        """Takes stock of what the folder holds; makes it if it is missing."""
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            store.remove_leftovers(folder)
        self.episodes = self.steps = 0
        self._folder, self._task = folder, task
        self._seed, self._settings = seed, settings
        self._check_manifest()
        parsed = [store.parse_name(path) for path in folder.glob("*.npz")]
        self._written = dict(name for name in parsed if name)
        self._waiting: dict[int, Episode] = {}
        self._manifest_due = 0.0
        self._write_waiting(steps=math.inf)

    def fill(
        self, steps: int, number: int, make_vector_env: Callable[..., VectorEnv]
    ) -> None:
        """Plays until the first episodes have so many steps."""
        if self.steps < steps:
            print(f"Collecting {self._task}: {self.steps} of {steps} steps are there.")
            with contextlib.closing(
                make_vector_env(self._task, number, **self._settings)
            ) as env:
                self._play(env, steps)
        print(
            f"Collected {self._task}: {self.episodes} episodes, {self.steps} steps "
            f"in {self._folder}.",
            flush=True,
        )

    def _play(self, env: VectorEnv, steps: int) -> None:
        play = RandomPlay(env, self._task, self._seed, self._is_written)
        self._write_manifest(env)

        def on_episode(episode: Episode, worker: int) -> None:
            self._waiting[play.numbers[worker]] = episode
            self._write_waiting(steps)

        drive = driver.Driver(env, seeds=play.start)
        drive.on_episode(on_episode)
        with progress.Progress(steps, self.steps, self._task) as bar:
            shown = self.steps
            while self.steps < steps:
                drive(play.policy, steps=STEPS_A_TURN * env.num_envs)
                # What is in the making counts too, for long episodes end together.
                turn = min(STEPS_A_TURN * env.num_envs, steps - shown)
                bar.update(turn)
                shown += turn
                if time.monotonic() > self._manifest_due:
                    self._write_manifest(env)
        self._write_manifest(env)

    def _is_written(self, number: int) -> bool:
        return number < self.episodes or self._identifier(number) in self._written

    def _write_waiting(self, steps: float) -> None:
        """Writes the episodes whose turn it is, and counts those that are there."""
        while self.steps < steps:
            identifier = self._identifier(self.episodes)
            if identifier not in self._written:
                if self.episodes not in self._waiting:
                    return
                episode = self._waiting.pop(self.episodes)
                store.save_episode(self._folder, episode, identifier)
                self._written[identifier] = store.eplen(episode)
            self.steps += self._written[identifier]
            self.episodes += 1

    def _identifier(self, number: int) -> str:
        text = json.dumps([self._seed, self._task, POLICY, number])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _check_manifest(self) -> None:
        """Raises DatasetError where another command filled the folder."""
        manifest = store.read_manifest(self._folder) or {}
        seed = manifest.get("policies", {}).get(POLICY, {}).get("seed", self._seed)
        settings = manifest.get("settings", self._settings)
        for name, there, received in (
            ("seed", seed, self._seed),
            ("settings", settings, self._settings),
        ):
            if there != received:
                raise DatasetError(
                    f"{self._folder} holds episodes of {name}={there}. Received: "
                    f"{name}={received}. Name another folder, or use these."
                )

    def _write_manifest(self, env: VectorEnv) -> None:
        counts = {"episodes": self.episodes, "steps": self.steps}
        manifest = {
            "task": self._task,
            "spaces": describe_spaces({**envs.obs_space(env), **envs.act_space(env)}),
            "settings": self._settings,
            "policies": {POLICY: {"seed": self._seed, **counts}},
            **counts,
            "versions": _versions(),
        }
        store.write_manifest(self._folder, manifest)
        self._manifest_due = time.monotonic() + MANIFEST_INTERVAL


class RandomPlay:
    """A random policy that plays numbered episodes, each with its own generator.

    Attributes:
        numbers: of the episode that each environment is in.
    """

    def __init__(
        self, env: VectorEnv, task: str, seed: int, skip: Callable[[int], bool]
    ):
        """Takes the environments, and which numbers need not be played."""
        self._space = env.single_action_space
        self._size = envs.act_size(self._space)
        self._low, self._high = _bounds(self._space)
        self._key = [seed, *task.encode()]
        self._skip = skip
        self._next = 0
        self.numbers = [0] * env.num_envs
        self._rngs: list[Any] = [None] * env.num_envs

    def start(self, worker: int) -> int:
        """Begins the next episode in an environment; returns the seed of its reset."""
        while self._skip(self._next):
            self._next += 1
        sequence = np.random.SeedSequence([self._next, *self._key])
        self.numbers[worker] = self._next
        self._rngs[worker] = np.random.default_rng(sequence)
        self._next += 1
        return int(sequence.generate_state(1)[0])

    def policy(self, obs: dict, state: Any) -> tuple[dict[str, np.ndarray], Any]:
        """Draws an action for each environment, [envs, size]."""
        return {"action": np.array([self._draw(rng) for rng in self._rngs])}, state

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        if not isinstance(self._space, spaces.Discrete):
            return rng.uniform(self._low, self._high)
        action = np.zeros(self._size, np.float32)
        action[rng.integers(self._size)] = 1
        return action


def _bounds(space: spaces.Space) -> tuple[Any, Any]:
    """Between what actions are drawn: -1 and 1, as the agent's, where no bounds are."""
    if isinstance(space, spaces.Discrete):
        return None, None
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    return np.where(bounded, space.low, -1), np.where(bounded, space.high, 1)


def describe_spaces(keys: Mapping[str, spaces.Space]) -> dict[str, dict[str, Any]]:
    """Says in JSON what each key holds: shape and dtype, and `n` where discrete."""
    return {key: _describe_space(space) for key, space in keys.items()}


def _describe_space(space: spaces.Space) -> dict[str, Any]:
    if isinstance(space, spaces.Discrete):
        return {"shape": [int(space.n)], "dtype": "float32", "n": int(space.n)}
    return {"shape": list(space.shape), "dtype": space.dtype.name}


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
