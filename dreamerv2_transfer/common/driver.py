"""Steps environments with a policy and hands on transitions and whole episodes."""

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.replay.store import convert

Obs = dict[str, np.ndarray]
Policy = Callable[[Obs, Any], tuple[dict[str, Any], Any]]


def episode_seed(number: int, seed: int, use: str) -> int:
    """The seed of an environment's reset, from an episode's number in a run.

    Args:
        number: of the episode.
        seed: of the run.
        use: what the episodes are for, so that no two uses share them.
    """
    sequence = np.random.SeedSequence([number, seed, *use.encode()])
    return int(sequence.generate_state(1)[0])


class Driver:
    """Runs a policy in several environments at once.

    A transition holds the observation, `reward`, `is_first`, `is_last`, `is_terminal`
    and the `action` that led to it: the first of an episode has a zero action and
    reward. Discrete actions are one-hot vectors.

    An environment's state cannot be saved, but an episode is made again from the seed
    of its reset and its actions: `state` holds these, `load_state` repeats them.
    """

    def __init__(
        self,
        env: VectorEnv,
        seeds: Callable[[int], int | None] | None = None,
        unkept: Collection[str] = (),
    ):
        """Takes the environments.

        Args:
            env: environments that are not reset by themselves, as
                `envs.make_vector_env` makes them.
            seeds: returns the seed for the next episode of an environment, given its
                number; without it, episodes are not seeded and cannot be restored.
            unkept: keys that the policy sees, and that transitions do without.
        """
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
        self.reset()

    def on_step(self, callback: Callable) -> None:
        """Calls `callback(transition, worker=i)` after each step."""
        self._on_steps.append(callback)

    def on_reset(self, callback: Callable) -> None:
        """Calls `callback(transition, worker=i)` with the first of an episode."""
        self._on_resets.append(callback)

    def on_episode(self, callback: Callable) -> None:
        """Calls `callback(episode, worker=i)`, [time, ...] by key, at its end."""
        self._on_episodes.append(callback)

    def on_restore(self, callback: Callable) -> None:
        """Calls `callback(transition, worker=i)` for each one made again."""
        self._on_restores.append(callback)

    def on_drop(self, callback: Callable) -> None:
        """Calls `callback(worker=i)` where an episode could not be made again."""
        self._on_drops.append(callback)

    def reset(self) -> None:
        """Drops the episodes in progress; the next call starts new ones."""
        number = self._env.num_envs
        self._done = np.ones(number, bool)
        self._obs: Obs = {}
        self._policy_state: Any = None
        self._episodes = [_Episode() for _ in range(number)]

    @property
    def policy_state(self) -> Any:
        """What the policy returned last as its state; None makes it begin anew."""
        return self._policy_state

    @policy_state.setter
    def policy_state(self, state: Any) -> None:
        self._policy_state = state

    def __call__(self, policy: Policy, steps: int = 0, episodes: int = 0) -> None:
        """Goes on until so many steps and so many episodes were made in this call.

        Args:
            policy: called as `policy(obs, state)` with observations, rewards and flags
                [envs, ...] by key and the state that it returned last, at first None;
                returns `{"action": [envs, size]}` and its state.
            steps: of all environments together.
            episodes: of all environments together.
        """
        while steps > 0 or episodes > 0:
            if self._done.any():
                self._reset_finished()
            actions, state = policy(self._obs, self._policy_state)
            self._step(np.asarray(actions["action"], np.float32))
            self._policy_state = state  # Not before: the environments may fail.
            steps -= self._env.num_envs
            episodes -= int(self._done.sum())

    def state(self) -> dict[str, Any]:
        """What is needed to make the episodes in progress again; JSON-able.

        To be taken between two calls. The policy's state is not part of it.

        Returns:
            `episodes`: for each environment None if it waits for a reset, else `seed`,
            `actions` since the reset (indices if discrete) and `digest` of what the
            environment returned.
        """
        pairs = zip(self._episodes, self._done, strict=True)
        return {"episodes": [None if x else e.state(self._discrete) for e, x in pairs]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Brings the environments to where `state` was taken; calls `on_restore`.

        All environments are stepped together, so the oldest episode begins first. An
        episode without a seed, or that comes out differently, is dropped: this is
        printed, `on_drop` is called, and the next call starts a new one.

        Raises:
            UserError: it was taken with another number of environments.
        """
        episodes = state["episodes"]
        if len(episodes) != self._env.num_envs:
            raise UserError(
                f"The run was left with envs={len(episodes)}. Received: "
                f"envs={self._env.num_envs}. Go on with as many as it had."
            )
        self.reset()
        seeded = [saved and saved["seed"] is not None for saved in episodes]
        self._repeat([e if s else None for e, s in zip(episodes, seeded, strict=True)])
        self._done = np.ones(len(episodes), bool)
        for i, saved in enumerate(episodes):
            if saved and not seeded[i]:
                self._drop(i, "its reset had no seed")
            elif saved and self._episodes[i].digest() != saved["digest"]:
                self._drop(i, "the environment is not deterministic")
            elif saved:
                self._restored(i)

    def _repeat(self, episodes: list[Mapping[str, Any] | None]) -> None:
        """Plays the given episodes so that all of them get to their end together."""
        ages = np.array([len(x["actions"]) if x else -1 for x in episodes])
        for left in range(ages.max(), -1, -1):
            begin = ages == left
            seeds = [episodes[i]["seed"] if x else None for i, x in enumerate(begin)]
            # A free environment is reset too where it ended, as none may stay so.
            if (mask := begin | self._done).any():
                self._reset(mask, seeds)
            for i in np.flatnonzero(begin):
                self._episodes[i] = _Episode(seeds[i], [self._transition(i)])
            if left:
                actions = [self._action_to_repeat(x, left) for x in episodes]
                self._act(np.array(actions, np.float32))
                self._extend_repeated(ages >= left, actions)

    def _action_to_repeat(
        self, saved: Mapping[str, Any] | None, left: int
    ) -> np.ndarray:
        """The action of an episode with so many left, any valid one before it."""
        waits = saved is None or len(saved["actions"]) < left
        if not self._discrete:
            valid = np.clip(self._no_action, self._space.low, self._space.high)
            return valid if waits else np.array(saved["actions"][-left], np.float32)
        action = self._no_action.copy()
        action[0 if waits else saved["actions"][-left]] = 1
        return action

    def _extend_repeated(self, playing: np.ndarray, actions: list[np.ndarray]) -> None:
        for i in np.flatnonzero(playing):
            self._episodes[i].transitions.append(self._transition(i, actions[i]))

    def _drop(self, worker: int, reason: str) -> None:
        print(
            f"The episode in progress in environment {worker} cannot be gone on with, "
            f"as {reason}: it is dropped and a new one starts.",
            flush=True,
        )
        self._episodes[worker] = _Episode()
        for callback in self._on_drops:
            callback(worker=worker)

    def _restored(self, worker: int) -> None:
        self._done[worker] = False
        for transition in self._episodes[worker].transitions:
            for callback in self._on_restores:
                callback(transition, worker=worker)

    def _reset_finished(self) -> None:
        mask = self._done
        seeds = [self._seeds(i) if done else None for i, done in enumerate(mask)]
        self._reset(mask, seeds)
        for i in np.flatnonzero(mask).tolist():
            first = self._transition(i)
            self._episodes[i] = _Episode(seeds[i], [first])
            for callback in self._on_resets:
                callback(first, worker=i)

    def _step(self, action: np.ndarray) -> None:
        self._act(action)
        for i, done in enumerate(self._done.tolist()):
            transition = self._transition(i, action[i])
            self._episodes[i].transitions.append(transition)
            for callback in self._on_steps:
                callback(transition, worker=i)
            if done:
                self._finish(i)

    def _finish(self, worker: int) -> None:
        transitions = self._episodes[worker].transitions
        episode = {k: np.array([t[k] for t in transitions]) for k in transitions[0]}
        for callback in self._on_episodes:
            callback(episode, worker=worker)

    def _reset(self, mask: np.ndarray, seeds: list[int | None]) -> None:
        """Resets some environments; the others stay where they are."""
        obs, _ = self._env.reset(seed=seeds, options={"reset_mask": mask.copy()})
        never, zeros = np.zeros_like(mask), np.zeros(len(mask), np.float32)
        reward = np.where(mask, zeros, self._obs.get("reward", zeros))
        self._done = never
        self._obs = _observed(obs, reward, mask, never, never)

    def _act(self, action: np.ndarray) -> None:
        """Does an action [envs, size] in the environments."""
        obs, reward, terminated, truncated, _ = self._env.step(self._native(action))
        self._done = terminated | truncated
        never = np.zeros_like(self._done)
        self._obs = _observed(obs, reward, never, self._done, terminated)

    def _transition(self, worker: int, action: np.ndarray | None = None) -> Obs:
        """An environment's part of what was observed last, and what led to it."""
        transition = {
            k: v[worker] for k, v in self._obs.items() if k not in self._unkept
        }
        transition["action"] = self._no_action if action is None else action
        return transition

    def _native(self, action: np.ndarray) -> np.ndarray:
        """The actions as the environments take them."""
        if not self._discrete:
            return action
        # One entry a row that is not zero, and the largest of each row is a one.
        onehot = np.count_nonzero(action) == len(action) and (action.max(-1) == 1).all()
        if not onehot:
            raise ValueError(f"Received: action={action}. Each must be one-hot.")
        return action.argmax(-1) + self._space.start


def _observed(obs, reward, is_first, is_last, is_terminal) -> Obs:
    flags = dict(is_first=is_first, is_last=is_last, is_terminal=is_terminal)
    obs = {k: convert(v) for k, v in obs.items()}
    return {**obs, "reward": convert(reward), **flags}


def _new_hash() -> Any:
    return hashlib.blake2b(digest_size=16)


@dataclasses.dataclass
class _Episode:
    """An episode in progress, and the seed of its reset."""

    seed: int | None = None
    transitions: list[Obs] = dataclasses.field(default_factory=list)
    _hash: Any = dataclasses.field(default_factory=_new_hash, repr=False)
    _hashed: int = 0

    def state(self, discrete: bool) -> dict[str, Any]:
        """Its seed, actions and digest; without a seed only that there is none."""
        if self.seed is None:
            return {"seed": None}
        actions = np.array([t["action"] for t in self.transitions])[1:]
        actions = actions.argmax(-1) if discrete else actions
        seed = int(self.seed)
        return {"seed": seed, "actions": actions.tolist(), "digest": self.digest()}

    def digest(self) -> str:
        """Digest of all that the environment returned, in hexadecimal digits."""
        # What an earlier digest covered is not read again, for episodes may be long.
        for transition in self.transitions[self._hashed :]:
            for key, value in transition.items():
                self._hash.update(f"{key} {value.dtype.str} {value.shape};".encode())
                self._hash.update(np.ascontiguousarray(value))
        self._hashed = len(self.transitions)
        return self._hash.hexdigest()
