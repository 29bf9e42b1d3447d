"""The episodes in a task's folder, each a function of the recipe that collects them.

What happens in one environment is a stream of episodes. An episode is a function of the
recipe, the task, its stream, its number in the stream and the steps before it. A stream
ends with the episode that completes its share of the steps. Therefore a killed
collection that is resumed ends with the episodes that it would have had otherwise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs, progress
from dreamerv2_transfer.common.envs import atari
from dreamerv2_transfer.common.files import paths
from dreamerv2_transfer.common.files.atomic import writing
from dreamerv2_transfer.common.replay import layout, shards, store
from dreamerv2_transfer.common.replay.packed_episodes import PackedEpisodes
from dreamerv2_transfer.common.replay.store import DatasetError, Episode
from dreamerv2_transfer.data import blind, policies
from dreamerv2_transfer.data.policies import DQN, RANDOM, Policy
from dreamerv2_transfer.data.workers import Report, Stopped

STEPS_A_TURN = 64  # Steps of each environment between two looks at the clock,
BLIND_STEPS_A_TURN = 256  # and where they take turns on one console.
MANIFEST_INTERVAL = 30.0  # Seconds.
SHARD_STEPS = 512  # Steps of a stream from which on its episodes fill a file.
PATIENCE = 10.0  # Seconds until it is said that only the ends of episodes are missing.
PACKED_BYTES = 2**28  # New episodes that are kept in memory until they are packed.
SCREEN_SIZE = 84  # Pixels of the screens that the published Atari players see.
PACKAGES = ("dreamerv2_transfer", "gymnasium", "minatar", "ale-py", "numpy")

MakeVectorEnv = Callable[..., VectorEnv]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a task's episodes depend on.

    Attributes:
        seed: Seed of all draws.
        envs: Streams of episodes, which are stepped together.
        settings: Settings of the environments, such as `sticky`.
        policies: The policies that act.
        interval: Steps of a stream between two draws of the policy that acts.
        epsilon: Probability of a random action while a player acts.
        checkpoints: The folder of the players' files.
    """

    seed: int = 0
    envs: int = 8
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    policies: tuple[Policy, ...] = (RANDOM,)
    interval: int = 500
    epsilon: float = 0.0
    checkpoints: str = ""

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Recipe:
        """Returns the recipe in a manifest; the default one if it holds none."""
        identity = dict(manifest.get("recipe", {}))
        if "policies" in identity:
            identity["policies"] = tuple(
                Policy(name, share, name.removeprefix(DQN) if digest else "", digest)
                for name, share, digest in identity["policies"]
            )
        return cls(**identity)

    def identity(self) -> dict[str, Any]:
        """Returns what a manifest holds of the recipe, as read from JSON."""
        identity = dataclasses.asdict(self)
        del identity["checkpoints"]
        identity["policies"] = [[x.name, x.share, x.digest] for x in self.policies]
        return json.loads(json.dumps(identity))


def refresh(folder: pathlib.Path, task: str) -> str:
    """Corrects the manifest of a folder that has all its steps; returns its summary."""
    recipe = Recipe.from_manifest(store.read_manifest(folder) or {})
    collection = Collection(folder, task, recipe)
    collection.refresh_manifest()
    return collection.summary()


@dataclasses.dataclass
class Stream:
    """What is on disk of an environment's episodes, up to the first gap.

    Attributes:
        episodes: Their number.
        steps: Their steps.
        pending: Episodes after them that wait for others to share a file with.
        waiting: Their steps.
    """

    episodes: int = 0
    steps: int = 0
    pending: list[Episode] = dataclasses.field(default_factory=list)
    waiting: int = 0

    @property
    def played(self) -> tuple[int, int]:
        """Episodes and steps, those that wait included."""
        return self.episodes + len(self.pending), self.steps + self.waiting


class Collection:
    """The episodes in a task's folder, and those of a recipe among them.

    Args:
        folder: The folder; it must exist.
        task: What is played.
        recipe: How it is played.
        packs: Whether to keep new episodes in `packed`, if the folder has none yet.
        shard_steps: Steps from which on a stream's new episodes are written: short ones
            share a file, see `shards`. 0 writes each to a file of its own.

    Attributes:
        streams: The recipe's own episodes.
        others: Steps of episodes that came from elsewhere.
        packed: The new episodes, unless they take too much memory.

    Raises:
        DatasetError: The folder holds episodes of another recipe.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        task: str,
        recipe: Recipe,
        packs: bool = False,
        shard_steps: int = 0,
    ):
        self._shard_steps = shard_steps
        self.packed: list[PackedEpisodes] = []
        self._packed_bytes = 0
        with writing(folder):
            store.remove_leftovers(folder)
        self._folder, self._task, self._recipe = folder, task, recipe
        self._identity = recipe.identity()
        self._foreign = self._foreign_policies()
        self._schedule = policies.Schedule(
            tuple(x.share for x in recipe.policies),
            recipe.interval,
            (recipe.seed, *task.encode()),
        )
        self._written = store.written(folder)
        self._packs = packs and not self._written
        self._ours = _digest([self._identity, task])[:12]
        self.streams = [Stream() for _ in range(recipe.envs)]
        for number in range(recipe.envs):
            self._advance(number)
        self.others = sum(
            x.steps for x in self._written.values() if not self._is_ours(x.identifier)
        )
        self._manifest_due = 0.0

    def _foreign_policies(self) -> list[dict[str, Any]]:
        """Returns the manifest's policies of episodes that came from elsewhere.

        Raises:
            DatasetError: Another recipe filled the folder.
        """
        manifest = store.read_manifest(self._folder) or {}
        listed = store.listed_policies(manifest)
        if "recipe" not in manifest:
            return listed
        for key, there in manifest["recipe"].items():
            received = self._identity.get(key)
            if there != received:
                if isinstance(there, list) and isinstance(received, list):
                    # Of two lists of policies, only those that differ.
                    there, received = (
                        [x for x in one if x not in other]
                        for one, other in [(there, received), (received, there)]
                    )
                raise DatasetError(
                    f"{self._folder} holds episodes of {key}={there}. Received: "
                    f"{key}={received}. Name another folder, or use these."
                )
        return listed[: len(listed) - len(self._recipe.policies)]

    def _advance(self, number: int) -> Stream:
        """Counts what is on disk of a stream, up to its first gap."""
        stream = self.streams[number]
        while there := self._together(self._identifier(number, stream.episodes)):
            stream.episodes += len(there)
            stream.steps += sum(there)
        return stream

    def _together(self, identifier: str) -> list[int]:
        """Returns the steps of the episodes that were written together.

        They are in one file, or in a file each, if they were imported.
        """
        if there := self._written.get(identifier):
            return [there.steps, *[0] * (there.episodes - 1)]
        numbered = (self._written.get(f"{identifier}n{i}") for i in itertools.count())
        return [x.steps for x in itertools.takewhile(bool, numbered)]

    def _is_ours(self, identifier: str) -> bool:
        return identifier.startswith(self._ours)

    def _identifier(self, stream: int, number: int) -> str:
        return self._ours + _digest([self._ours, stream, number])[:20]

    @property
    def steps(self) -> int:
        """Environment steps of all episodes in the folder."""
        return self.others + sum(x.steps for x in self.streams)

    @property
    def _episodes(self) -> int:
        return sum(x.episodes for x in self._written.values())

    def summary(self) -> str:
        """Returns the number of episodes and steps in words."""
        return (
            f"Collected {self._task}: {self._episodes} episodes, {self.steps} "
            f"steps in {self._folder}."
        )

    def fill(
        self,
        steps: int,
        make_vector_env: MakeVectorEnv,
        report: Report = lambda done, total: None,
        stopped: Stopped = lambda: False,
    ) -> None:
        """Plays until the folder has a number of steps, or until `stopped`.

        Args:
            steps: Environment steps; the last episodes may exceed them.
            make_vector_env: Called as `make_vector_env(task, envs, **settings)`.
            report: Called as `report(done, total)` now and then, with steps.
            stopped: Tells whether to stop.
        """
        if self.steps >= steps:
            self.refresh_manifest()
            return
        # The same for each stream, so that the result does not depend on the others.
        quota = math.ceil((steps - self.others) / len(self.streams))
        settings = dict(self._recipe.settings)
        has_players = any(x.file for x in self._recipe.policies)
        if has_players and self._task.startswith("atari_"):
            settings["screen"] = SCREEN_SIZE
        with contextlib.ExitStack() as stack:
            env = make_vector_env(self._task, len(self.streams), **settings)
            stack.callback(env.close)
            if has_players:
                from threadpoolctl import threadpool_limits

                # Products of some rows take 30 times as long in two threads, if other
                # work has one of the cores.
                stack.enter_context(threadpool_limits(1, "blas"))
            self._play(env, quota, report, stopped)

    def _policy(self, env: VectorEnv) -> policies.MixedPolicy:
        """Returns the recipe's policies, which continue the streams."""
        files = [x.file for x in self._recipe.policies]
        players: list[policies.Player | None] = [None] * len(files)
        if any(files):
            from dreamerv2_transfer.dqn import actors

            actions = envs.act_size(env.single_action_space)
            folder = paths.local(self._recipe.checkpoints)
            for i, file in enumerate(files):
                if file:
                    players[i] = actors.Player(folder / file, self._task, actions)
        positions = [(x.episodes, x.steps) for x in self.streams]
        epsilon = self._recipe.epsilon
        return policies.MixedPolicy(env, self._schedule, players, positions, epsilon)

    def _play(self, env: VectorEnv, quota: int, report, stopped) -> None:
        policy = self._policy(env)
        self._write_manifest(env)

        def stop_if_done(worker: int) -> None:
            if self.streams[worker].steps >= quota:
                policy.stop(worker)
                drive.stop(worker)

        def on_episode(episode: Episode, worker: int) -> None:
            acted = policy.acted(worker)
            acted[1:] += len(self._foreign)  # Listed before ours in the manifest.
            self._add({**episode, "log_policy": acted}, worker, quota)
            policy.seek(worker, *self.streams[worker].played)
            stop_if_done(worker)

        drive = blind.make_driver(env, policy, unkept=(atari.SCREEN,))
        drive.on_episode(on_episode)
        for worker in range(len(self.streams)):
            stop_if_done(worker)
        total = self.others + quota * len(self.streams)
        remind = progress.Reminder(PATIENCE)
        report(self.steps, total)
        is_blind = isinstance(drive, blind.BlindDriver)
        turn = env.num_envs * (BLIND_STEPS_A_TURN if is_blind else STEPS_A_TURN)
        while any(x.steps < quota for x in self.streams) and not stopped():
            drive(policy, steps=turn)
            # Counts episodes in progress too, since long ones end at the same time.
            played = sum(min(x, quota) for x in policy.steps)
            report(self.others + played, total)
            if played == quota * len(self.streams):
                self._remind(remind, policy.steps, quota)
            if time.monotonic() > self._manifest_due:
                self._write_manifest(env)
        for stream in range(len(self.streams)):
            self._save(stream)
        self._write_manifest(env)

    def _remind(self, remind: progress.Reminder, played, quota: int) -> None:
        """Says now and then that only the ends of episodes are missing."""
        pairs = zip(played, self.streams, strict=True)
        lengths = [steps - x.played[1] for steps, x in pairs if x.steps < quota]
        if lengths:
            remind(
                f"{self._task}: all steps are played, but {len(lengths)} episodes have "
                f"not ended, the longest after {max(lengths)} steps. Only whole "
                "episodes count. If they never end, stop, and set --time_limit."
            )

    def _add(self, episode: Episode, number: int, quota: int) -> None:
        """Adds a stream's next episode, and saves those that wait if it is time to."""
        stream = self.streams[number]
        stream.pending.append(episode)
        stream.waiting += store.eplen(episode)
        episodes, steps = stream.played
        is_due = stream.waiting >= self._shard_steps or steps >= quota
        # What was there already behind a gap is not played again.
        if is_due or self._identifier(number, episodes) in self._written:
            self._save(number)

    def _save(self, number: int) -> None:
        """Writes the episodes of a stream that wait, and skips what is behind them."""
        stream = self.streams[number]
        episodes, steps = stream.pending, stream.waiting
        if not episodes:
            return
        identifier = self._identifier(number, stream.episodes)
        joined = shards.join(episodes)
        path = shards.save(self._folder, joined, identifier)
        stream.pending, stream.waiting = [], 0
        self._written[identifier] = store.Name(identifier, steps, len(episodes))
        self._advance(number)
        if not self._packs:
            return
        packed = shards.pack(joined, str(path))
        self._packed_bytes += packed.nbytes
        self.packed.append(packed)
        if self._packed_bytes > PACKED_BYTES:
            self._packs = False
            self.packed.clear()

    def _write_manifest(self, env: VectorEnv) -> None:
        keys = {**envs.obs_space(env), **envs.act_space(env)}
        versions = {}
        for package in PACKAGES:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[package] = importlib.metadata.version(package)
        manifest = {
            "task": self._task,
            "spaces": layout.of_spaces(
                {key: space for key, space in keys.items() if key != atari.SCREEN}
            ),
            "settings": self._identity["settings"],
            "recipe": self._identity,
            **self._counts(),
            "versions": versions,
        }
        store.write_manifest(self._folder, manifest)
        self._manifest_due = time.monotonic() + MANIFEST_INTERVAL

    def refresh_manifest(self) -> None:
        """Corrects the counts that a killed process left behind."""
        manifest = store.read_manifest(self._folder) or {}
        counts = self._counts()
        if "recipe" in manifest and any(manifest[k] != v for k, v in counts.items()):
            store.write_manifest(self._folder, {**manifest, **counts})

    def _counts(self) -> dict[str, Any]:
        """Returns the manifest's counts of policies, episodes and steps."""
        counts = [
            self._schedule.counts(i, stream.steps)
            for i, stream in enumerate(self.streams)
        ]
        ours = [
            {"name": x.name, "share": x.share, "steps": int(steps), "file": x.file}
            for x, steps in zip(self._recipe.policies, sum(counts), strict=True)
        ]
        return {
            "policies": [*self._foreign, *ours],
            "episodes": self._episodes,
            "steps": self.steps,
        }


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()
