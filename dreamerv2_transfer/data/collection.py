"""The episodes in a task's folder: what they are a function of, and how far they go.

What happens in one environment is a stream of episodes. An episode is a function of
the recipe, the task, its stream, its number there and the steps before it; a stream
ends with the episode that completes its share of the steps. So a collection that was
killed goes on, and ends with the episodes that it would have had without the kill.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from gymnasium import spaces
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import driver, envs
from dreamerv2_transfer.common.envs import atari
from dreamerv2_transfer.common.files.atomic import writing
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.packed_episodes import PackedEpisodes
from dreamerv2_transfer.common.replay.store import DatasetError, Episode
from dreamerv2_transfer.data import policies
from dreamerv2_transfer.data.policies import DQN, RANDOM, Policy

STEPS_A_TURN = 64  # Of each environment, between two looks at the clock.
MANIFEST_INTERVAL = 30.0  # Seconds.
PACKED_BYTES = 2**28  # Of new episodes; beyond, they are read again to be packed.
SCREEN_SIZE = 84  # Pixels; what the published Atari agents look at.
PACKAGES = ("dreamerv2_transfer", "gymnasium", "minatar", "ale-py", "numpy")

MakeVectorEnv = Callable[..., VectorEnv]
Report = Callable[[int, int], None]
Stopped = Callable[[], bool]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the episodes of a task are a function of.

    Attributes:
        seed: of everything.
        envs: streams of episodes, which are stepped together.
        settings: of the environments, such as `sticky`.
        policies: what acts.
        interval: steps of a stream from one draw of who acts to the next.
        epsilon: probability of a random action while an agent acts.
        checkpoints: the folder that the agents' files are in.
    """

    seed: int = 0
    envs: int = 8
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    policies: tuple[Policy, ...] = (RANDOM,)
    interval: int = 500
    epsilon: float = 0.0
    checkpoints: str = ""

    def identity(self) -> dict[str, Any]:
        """What a manifest tells of it, as JSON has it."""
        told = dataclasses.asdict(self)
        del told["checkpoints"]
        told["policies"] = [[x.name, x.share, x.digest] for x in self.policies]
        return json.loads(json.dumps(told))


def told_recipe(manifest: Mapping[str, Any]) -> Recipe:
    """The recipe that a manifest tells of."""
    told = dict(manifest["recipe"])
    entries = [
        Policy(name, share, name.removeprefix(DQN) if digest else "", digest)
        for name, share, digest in told["policies"]
    ]
    return Recipe(**{**told, "policies": tuple(entries)})


def refresh(folder: pathlib.Path, task: str) -> str:
    """Looks after the manifest of a folder that has its steps.

    Returns:
        How much there is, in words.
    """
    manifest = store.read_manifest(folder) or {}
    recipe = told_recipe(manifest) if "recipe" in manifest else Recipe()
    collection = Collection(folder, task, recipe)
    collection.refresh_manifest()
    return collection.summary()


@dataclasses.dataclass
class Stream:
    """What is on disk of an environment's episodes, from the first on without a gap."""

    episodes: int = 0
    steps: int = 0


class Collection:
    """The episodes in a task's folder, and those of a recipe among them.

    Attributes:
        streams: the recipe's own.
        others: steps of episodes that came from elsewhere.
        packed: the episodes that were written since, if asked for.
    """

    def __init__(
        self, folder: pathlib.Path, task: str, recipe: Recipe, packs: bool = False
    ):
        """Takes stock of what the folder, which exists, holds."""
        self.packed: list[PackedEpisodes] = []
        self._packed_bytes = 0
        with writing(folder):
            store.remove_leftovers(folder)
        self._folder, self._task, self._recipe = folder, task, recipe
        self._identity = recipe.identity()
        self._foreign = self._read_manifest()
        self._schedule = policies.Schedule(
            tuple(x.share for x in recipe.policies),
            recipe.interval,
            (recipe.seed, *task.encode()),
        )
        parsed = [store.parse_name(path) for path in folder.glob("*.npz")]
        self._written = dict(name for name in parsed if name)
        self._packs = packs and not self._written
        self._ours = _digest([self._identity, task])[:12]
        self.streams = [Stream() for _ in range(recipe.envs)]
        for number in range(recipe.envs):
            self._advance(number)
        self.others = sum(
            steps for x, steps in self._written.items() if not x.startswith(self._ours)
        )
        self._manifest_due = 0.0

    def _advance(self, number: int) -> Stream:
        """Counts what is on disk of a stream, up to its first gap."""
        stream = self.streams[number]
        while (name := self._identifier(number, stream.episodes)) in self._written:
            stream.episodes += 1
            stream.steps += self._written[name]
        return stream

    @property
    def steps(self) -> int:
        """Environment steps of all episodes in the folder."""
        return self.others + sum(x.steps for x in self.streams)

    def summary(self) -> str:
        """How much there is, in words."""
        return (
            f"Collected {self._task}: {len(self._written)} episodes, {self.steps} "
            f"steps in {self._folder}."
        )

    def fill(
        self,
        steps: int,
        make_vector_env: MakeVectorEnv,
        report: Report = lambda done, total: None,
        stopped: Stopped = lambda: False,
    ) -> None:
        """Plays until the folder has so many steps, or until `stopped`."""
        if self.steps >= steps:
            self.refresh_manifest()
            return
        # Of each stream, so that the result depends on no other.
        quota = math.ceil((steps - self.others) / len(self.streams))
        options = dict(self._recipe.settings)
        if self._has_agents and self._task.startswith("atari_"):
            options["screen"] = SCREEN_SIZE
        with contextlib.closing(
            make_vector_env(self._task, len(self.streams), **options)
        ) as env:
            self._play(env, quota, report, stopped)

    @property
    def _has_agents(self) -> bool:
        return any(x.file for x in self._recipe.policies)

    def _play(self, env: VectorEnv, quota: int, report, stopped) -> None:
        player = policies.Player(
            env,
            self._schedule,
            self._make_actors(env),
            [(x.episodes, x.steps) for x in self.streams],
            self._recipe.epsilon,
        )
        self._write_manifest(env)

        def on_episode(episode: Episode, worker: int) -> None:
            if self.streams[worker].steps < quota:
                acted = player.acted(worker)
                acted[1:] += len(self._foreign)  # Behind them in the manifest.
                self._save({**episode, "log_policy": acted}, worker)
                # Beyond what was there already behind a gap.
                player.seek(worker, *dataclasses.astuple(self._advance(worker)))

        drive = driver.Driver(env, player.start, unkept=(atari.SCREEN,))
        drive.on_episode(on_episode)
        total = self.others + quota * len(self.streams)
        report(self.steps, total)
        while any(x.steps < quota for x in self.streams) and not stopped():
            drive(player.policy, steps=STEPS_A_TURN * env.num_envs)
            # What is in the making counts too, for long episodes end together.
            played = sum(min(x, quota) for x in player.steps)
            report(self.others + played, total)
            if time.monotonic() > self._manifest_due:
                self._write_manifest(env)
        self._write_manifest(env)

    def _make_actors(self, env: VectorEnv) -> list[policies.Actor | None]:
        if not self._has_agents:
            return [None] * len(self._recipe.policies)
        from dreamerv2_transfer.dqn import actors

        actions = envs.act_size(env.single_action_space)
        folder = pathlib.Path(self._recipe.checkpoints).expanduser()
        return [
            actors.Player(folder / x.file, self._task, actions) if x.file else None
            for x in self._recipe.policies
        ]

    def _save(self, episode: Episode, number: int) -> None:
        identifier = self._identifier(number, self.streams[number].episodes)
        path = store.save_episode(self._folder, episode, identifier)
        self._written[identifier] = store.eplen(episode)
        if self._packs:
            self._pack(episode, str(path))

    def _pack(self, episode: Episode, source: str) -> None:
        """Keeps an episode in memory, as long as all of them take little there."""
        packed = PackedEpisodes.from_episode(store.as_loaded(episode), source)
        self._packed_bytes += packed.nbytes
        self.packed.append(packed)
        if self._packed_bytes > PACKED_BYTES:
            self._packs = False
            self.packed.clear()

    def _identifier(self, stream: int, number: int) -> str:
        return self._ours + _digest([self._ours, stream, number])[:20]

    def _read_manifest(self) -> list[dict[str, Any]]:
        """The policies of episodes that came from elsewhere.

        Raises:
            DatasetError: another recipe filled the folder.
        """
        manifest = store.read_manifest(self._folder) or {}
        told = store.listed_policies(manifest)
        if "recipe" not in manifest:
            return told
        for key, there in manifest["recipe"].items():
            received = self._identity.get(key)
            if there != received:
                there, received = _without_common(there, received)
                raise DatasetError(
                    f"{self._folder} holds episodes of {key}={there}. Received: "
                    f"{key}={received}. Name another folder, or use these."
                )
        return told[: len(told) - len(self._recipe.policies)]

    def _write_manifest(self, env: VectorEnv) -> None:
        manifest = {
            "task": self._task,
            "spaces": describe_spaces(_kept_spaces(env)),
            "settings": self._identity["settings"],
            "recipe": self._identity,
            **self._counts(),
            "versions": _versions(),
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
            "episodes": len(self._written),
            "steps": self.steps,
        }


def _without_common(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values without what lists of policies have in common."""
    if not isinstance(one, list) or not isinstance(other, list):
        return one, other
    return [x for x in one if x not in other], [x for x in other if x not in one]


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def _kept_spaces(env: VectorEnv) -> dict[str, spaces.Space]:
    keys = {**envs.obs_space(env), **envs.act_space(env)}
    return {key: space for key, space in keys.items() if key != atari.SCREEN}


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
