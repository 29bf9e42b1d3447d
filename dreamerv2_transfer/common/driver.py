"""Steps environments with a policy, and passes on transitions and whole episodes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.envs import in_place
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.replay.store import convert

Obs = dict[str, np.ndarray]
Policy = Callable[[Obs, Any], tuple[dict[str, Any], Any]]
BLOCK_ROWS = 64  # Steps of all environments that are kept in one array.


def episode_seed(number: int, seed: int, use: str) -> int:
    """Returns the seed of an environment's reset.

    Args:
        number: The number of the episode in a run.
        seed: The seed of the run.
        use: What the episodes are for, so that no two uses share seeds.
    """
    sequence = np.random.SeedSequence([number, seed, *use.encode()])
    return int(sequence.generate_state(1)[0])


class Driver:
    """Runs a policy in several environments at once.

    A transition holds the observation, `reward`, `is_first`, `is_last`, `is_terminal`
    and the `action` that led to it; the first of an episode has a zero action and
    reward. Discrete actions are one-hot vectors.

    The state of an environment cannot be saved, but an episode can be repeated from the
    seed of its reset and its actions: `state` returns them, `load_state` repeats them.

    Args:
        env: Environments that do not reset themselves, as from `envs.make_vector_env`.
        seeds: Returns the seed for the next episode of an environment, given the
            environment's number. Without it, episodes are not seeded and cannot be
            resumed.
        unkept: Keys that the policy sees but transitions do not hold.

    Attributes:
        policy_state: The state that the policy returned last; None makes it start anew.
    """

    def __init__(
        self,
        env: VectorEnv,
        seeds: Callable[[int], int | None] | None = None,
        unkept: Collection[str] = (),
    ):
        mode = env.metadata.get("autoreset_mode")
        if mode != gymnasium.vector.AutoresetMode.DISABLED:
            raise ValueError(f"Received: autoreset_mode={mode}. It must be DISABLED.")
        self._env = env
        self._seeds = seeds or (lambda worker: None)
        self._unkept = frozenset(unkept)
        self._space = env.single_action_space
        self._discrete = isinstance(self._space, spaces.Discrete)
        self._no_action = np.zeros(envs.act_size(self._space), np.float32)
        self._on_steps: list[Callable] = []
        self._on_resets: list[Callable] = []
        self._on_episodes: list[Callable] = []
        self._on_restores: list[Callable] = []
        self._on_drops: list[Callable] = []
        self._can_wait = env.metadata.get(in_place.WAITING, False)
        self._is_masked = env.metadata.get(envs.IS_MASKED, False)
        self._stopped = np.zeros(env.num_envs, bool)
        self.reset()

    def on_step(self, callback: Callable) -> None:
        """Calls `callback(transition, worker=i)` after each step."""
        self._on_steps.append(callback)

    def on_reset(self, callback: Callable) -> None:
        """Calls `callback(transition, worker=i)` with the first of an episode."""
        self._on_resets.append(callback)

    def on_episode(self, callback: Callable) -> None:
        """Calls `callback(episode, worker=i)`, `(time, ...)` by key, at its end."""
        self._on_episodes.append(callback)

    def on_restore(self, callback: Callable) -> None:
        """Calls `callback(transition, worker=i)` for each repeated transition."""
        self._on_restores.append(callback)

    def on_drop(self, callback: Callable) -> None:
        """Calls `callback(worker=i)` if an episode cannot be repeated."""
        self._on_drops.append(callback)

    def reset(self) -> None:
        """Drops the episodes in progress; the next call starts new ones."""
        number = self._env.num_envs
        self._done = np.ones(number, bool)
        self._obs: Obs = {}
        self.policy_state: Any = None
        self._block = _Block({})
        self._episodes: list[_Episode | None] = [None] * number  # None: waits.

    def stop(self, worker: int) -> None:
        """Starts no other episode in an environment whose episode has just ended."""
        self._stopped[worker] = True

    def __call__(self, policy: Policy, steps: int = 0, episodes: int = 0) -> None:
        """Plays at least the given numbers of steps and of episodes.

        Args:
            policy: Called as `policy(obs, state)` with observations, rewards and flags
                `(envs, ...)` by key, and the state that it returned last, at first
                None; returns `{"action": (envs, size)}` and its state.
            steps: Steps of all environments together.
            episodes: Finished episodes of all environments together.
        """
        while steps > 0 or episodes > 0:
            if self._done.any():
                self._begin_episodes()
            actions, state = policy(self._obs, self.policy_state)
            self._step(np.asarray(actions["action"], np.float32))
            self.policy_state = state  # Only now, as the environments may fail.
            steps -= self._env.num_envs
            episodes -= int(np.count_nonzero(self._done & ~self._stopped))

    def _begin_episodes(self) -> None:
        """Resets the environments whose episode has ended."""
        # Some environments cannot wait: what a stopped one does is not recorded.
        mask = self._done & ~(self._stopped & self._can_wait)
        if not mask.any():
            return
        begun = mask & ~self._stopped
        seeds = [self._seeds(i) if begins else None for i, begins in enumerate(begun)]
        self._reset(mask, seeds)
        for i in np.flatnonzero(begun).tolist():
            first = self._begin(i, seeds[i])
            for callback in self._on_resets:
                callback(first, worker=i)

    def _step(self, action: np.ndarray) -> None:
        """Steps all environments and passes on what happened."""
        self._act(action)
        row = self._record(action)
        for i in np.flatnonzero(~self._stopped).tolist():
            if self._on_steps:
                transition = self._block.transition(row, i)
                for callback in self._on_steps:
                    callback(transition, worker=i)
            if self._done[i]:
                episode = self._take(i).whole()
                self._episodes[i] = None
                for callback in self._on_episodes:
                    callback(episode, worker=i)

    def _begin(self, worker: int, seed: int | None) -> Obs:
        """Begins to record an episode; returns its first transition."""
        kept = self._kept()
        first = {key: values[worker] for key, values in kept.items()}
        first["action"] = self._no_action
        part = {key: np.array([value]) for key, value in first.items()}
        self._episodes[worker] = _Episode(seed, [part], self._block.rows)
        return first

    def _record(self, action: np.ndarray) -> int:
        """Keeps what the environments returned last; returns its row in the block."""
        values = self._kept() | {"action": action}
        if not self._block.takes(values):
            for i, episode in enumerate(self._episodes):
                if episode:
                    self._take(i).begun = 0
            self._block = _Block(values)
        return self._block.add(values)

    def _take(self, worker: int) -> _Episode:
        """Copies an environment's new transitions from the block to its episode."""
        episode = self._episodes[worker]
        assert episode
        episode.take(self._block, worker)
        return episode

    def _kept(self) -> Obs:
        """Returns what the environments returned last, without what is not kept."""
        return {k: v for k, v in self._obs.items() if k not in self._unkept}

    # Repeating the episodes in progress.

    def state(self) -> dict[str, Any]:
        """Returns what repeats the episodes in progress, JSON-able.

        Call it between two calls of the driver. The policy's state is not part of it.

        Returns:
            `episodes`: for each environment None if it waits for a reset, else `seed`,
            `actions` since the reset (indices if discrete) and `digest` of what the
            environment returned.
        """
        playing = [self._take(i) if x else None for i, x in enumerate(self._episodes)]
        return {"episodes": [x and x.state(self._discrete) for x in playing]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Brings the environments to where `state` was taken; calls `on_restore`.

        An episode that has no seed, or turns out differently, is dropped: this is
        printed, `on_drop` is called, and the next call starts a new one.

        Raises:
            UserError: The state is of another number of environments.
        """
        episodes = state["episodes"]
        if len(episodes) != self._env.num_envs:
            raise UserError(
                f"The run was stopped with envs={len(episodes)}. Received: "
                f"envs={self._env.num_envs}. Resume it with the same number."
            )
        self.reset()
        self._repeat([x if x and x["seed"] is not None else None for x in episodes])
        self._done = np.ones(len(episodes), bool)
        for i, saved in enumerate(episodes):
            if not saved:
                continue
            if saved["seed"] is None:
                self._drop(i, "its reset had no seed")
            elif self._take(i).digest() != saved["digest"]:
                self._drop(i, "the environment is not deterministic")
            else:
                self._done[i] = False
                for transition in self._take(i).transitions():
                    for callback in self._on_restores:
                        callback(transition, worker=i)

    def _repeat(self, episodes: Sequence[Mapping[str, Any] | None]) -> None:
        """Plays episodes again so that all of them reach their last step together.

        All environments are stepped together, so the longest episode begins first.
        """
        ages = np.array([len(x["actions"]) if x else -1 for x in episodes])
        for left in range(ages.max(), -1, -1):
            begin = ages == left
            seeds = [episodes[i]["seed"] if x else None for i, x in enumerate(begin)]
            # An idle environment is reset where it ends, as it cannot be stepped then.
            if (mask := begin | self._done).any():
                self._reset(mask, seeds)
            for i in np.flatnonzero(begin).tolist():
                self._begin(i, seeds[i])
            if left:
                playing = ages >= left
                pairs = zip(episodes, playing, strict=True)
                saved = [x["actions"][-left] if p else None for x, p in pairs]
                no_masks = [None] * len(saved)
                masks = self._obs[envs.MASK] if self._is_masked else no_masks
                both = zip(saved, masks, strict=True)
                actions = np.array([self._vector(*x) for x in both], np.float32)
                self._act(actions)
                self._record(actions)

    def _vector(self, saved: Any | None, mask: np.ndarray | None) -> np.ndarray:
        """Returns a saved action as a vector; any that a mask allows without it."""
        if saved is None and mask is not None:
            joined = envs.Joined(envs.act_parts(self._space))
            return joined.draw(np.random.default_rng(0), mask)
        if self._discrete:
            action = self._no_action.copy()
            action[saved or 0] = 1
            return action
        if saved is None:
            return np.clip(self._no_action, self._space.low, self._space.high)
        return np.array(saved, np.float32)

    def _drop(self, worker: int, reason: str) -> None:
        print(
            f"The episode in progress in environment {worker} cannot be resumed, as "
            f"{reason}: it is dropped and a new one starts.",
            flush=True,
        )
        self._episodes[worker] = None
        for callback in self._on_drops:
            callback(worker=worker)

    # The environments.

    def _reset(self, mask: np.ndarray, seeds: list[int | None]) -> None:
        """Resets the masked environments; the others stay where they are."""
        obs, _ = self._env.reset(seed=seeds, options={"reset_mask": mask.copy()})
        never, zeros = np.zeros_like(mask), np.zeros(len(mask), np.float32)
        reward = np.where(mask, zeros, self._obs.get("reward", zeros))
        self._done = never
        self._obs = _observed(obs, reward, mask, never, never)

    def _act(self, action: np.ndarray) -> None:
        """Applies actions `(envs, size)` to the environments."""
        if self._discrete:
            # Each row has one entry that is not zero, and its largest entry is one.
            entries = np.count_nonzero(action)
            if entries != len(action) or not (action.max(-1) == 1).all():
                raise ValueError(f"Received: action={action}. Each must be one-hot.")
            action = action.argmax(-1) + self._space.start
        obs, reward, terminated, truncated, _ = self._env.step(action)
        self._done = terminated | truncated
        never = np.zeros_like(self._done)
        self._obs = _observed(obs, reward, never, self._done, terminated)


def _observed(obs, reward, is_first, is_last, is_terminal) -> Obs:
    flags = dict(is_first=is_first, is_last=is_last, is_terminal=is_terminal)
    obs = {k: convert(v) for k, v in obs.items()}
    return {**obs, "reward": convert(reward), **flags}


class _Block:
    """The latest transitions of all environments, in arrays that are filled row by row.

    Args:
        like: Values [envs, ...] by key; those to be added have these shapes and types.

    Attributes:
        rows: How many rows are filled.
    """

    def __init__(self, like: Obs):
        self.rows = 0
        self._arrays = {
            key: np.empty((BLOCK_ROWS, *values.shape), values.dtype)
            for key, values in like.items()
        }

    def takes(self, values: Obs) -> bool:
        """Tells whether there is room for values, and they are of its types."""
        if self.rows == BLOCK_ROWS or not self._arrays:
            return False
        pairs = zip(self._arrays.values(), values.values(), strict=True)
        return all(array.dtype == value.dtype for array, value in pairs)

    def add(self, values: Obs) -> int:
        """Writes values into the next row; returns its number."""
        row = self.rows
        for key, value in values.items():
            self._arrays[key][row] = value
        self.rows += 1
        return row

    def transition(self, row: int, worker: int) -> Obs:
        """Returns an environment's transition, which nothing changes afterwards."""
        return {key: array[row, worker] for key, array in self._arrays.items()}

    def part(self, begin: int, worker: int) -> Obs:
        """Copies an environment's transitions from a row to the last filled one."""
        rows = slice(begin, self.rows)
        return {key: array[rows, worker].copy() for key, array in self._arrays.items()}


@dataclasses.dataclass
class _Episode:
    """An episode in progress.

    Attributes:
        seed: The seed of its reset.
        parts: Its transitions up to the row `begun` of the block.
        begun: The first row of the block that is not in the parts.
    """

    seed: int | None
    parts: list[Obs]
    begun: int
    _hash: Any = dataclasses.field(
        default_factory=functools.partial(hashlib.blake2b, digest_size=16), repr=False
    )
    _hashed: int = 0

    def take(self, block: _Block, worker: int) -> None:
        """Copies the transitions that were added to the block."""
        if self.begun < block.rows:
            self.parts.append(block.part(self.begun, worker))
        self.begun = block.rows

    def whole(self) -> Obs:
        """Joins the parts."""
        return {k: np.concatenate([x[k] for x in self.parts]) for k in self.parts[0]}

    def transitions(self, start: int = 0) -> Iterator[Obs]:
        """Yields the transitions of the parts from a number on."""
        for part in self.parts:
            length = len(part["action"])
            for row in range(min(start, length), length):
                yield {key: values[row] for key, values in part.items()}
            start = max(start - length, 0)

    def state(self, discrete: bool) -> dict[str, Any]:
        """Returns seed, actions and digest; without a seed only that there is none."""
        if self.seed is None:
            return {"seed": None}
        actions = np.concatenate([part["action"] for part in self.parts])[1:]
        actions = actions.argmax(-1) if discrete else actions
        seed = int(self.seed)
        return {"seed": seed, "actions": actions.tolist(), "digest": self.digest()}

    def digest(self) -> str:
        """Returns the digest of all that the environment returned, in hexadecimal."""
        # Skip what an earlier digest covered, since episodes may be long.
        for transition in self.transitions(self._hashed):
            for key, value in transition.items():
                self._hash.update(f"{key} {value.dtype.str} {value.shape};".encode())
                self._hash.update(np.ascontiguousarray(value))
            self._hashed += 1
        return self._hash.hexdigest()
