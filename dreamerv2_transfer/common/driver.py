"""Steps environments with a policy and hands on transitions and whole episodes."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.store import convert

Obs = dict[str, np.ndarray]
Policy = Callable[[Obs, Any], tuple[dict[str, Any], Any]]


class Driver:
    """Runs a policy in several environments at once.

    A transition holds the observation, `reward`, `is_first`, `is_last`, `is_terminal`
    and the `action` that led to it: the first of an episode has a zero action and
    reward. Discrete actions are one-hot vectors.
    """

    def __init__(
        self, env: VectorEnv, seeds: Callable[[int], int | None] | None = None
    ):
        """Takes the environments.

        Args:
            env: environments that are not reset by themselves, as
                `envs.make_vector_env` makes them.
            seeds: returns the seed for the next episode of an environment, given its
                number; without it, episodes are not seeded.
        """
        mode = env.metadata.get("autoreset_mode")
        if mode != gymnasium.vector.AutoresetMode.DISABLED:
            raise ValueError(f"Received: autoreset_mode={mode}. It must be DISABLED.")
        self._env = env
        self._seeds = seeds or (lambda worker: None)
        self._space = env.single_action_space
        self._no_action = np.zeros(envs.act_size(self._space), np.float32)
        self._on_steps: list[Callable] = []
        self._on_resets: list[Callable] = []
        self._on_episodes: list[Callable] = []
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

    def reset(self) -> None:
        """Drops the episodes in progress; the next call starts new ones."""
        number = self._env.num_envs
        self._done = np.ones(number, bool)
        self._obs: Obs = {}
        self._state: Any = None
        self._episodes: list[list[Obs]] = [[] for _ in range(number)]

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
            actions, self._state = policy(self._obs, self._state)
            self._step(np.asarray(actions["action"], np.float32))
            steps -= self._env.num_envs
            episodes -= int(self._done.sum())

    def _reset_finished(self) -> None:
        mask = self._done
        seeds = [self._seeds(i) if done else None for i, done in enumerate(mask)]
        obs, _ = self._env.reset(seed=seeds, options={"reset_mask": mask.copy()})
        never, zeros = np.zeros_like(mask), np.zeros(len(mask), np.float32)
        reward = np.where(mask, zeros, self._obs.get("reward", zeros))
        self._obs = self._transition(obs, reward, mask, never, never)
        for i in np.flatnonzero(mask):
            first = {k: v[i] for k, v in self._obs.items()}
            first["action"] = self._no_action
            self._episodes[i] = [first]
            for callback in self._on_resets:
                callback(first, worker=int(i))
        self._done = never

    def _step(self, action: np.ndarray) -> None:
        obs, reward, terminated, truncated, _ = self._env.step(self._native(action))
        self._done = terminated | truncated
        never = np.zeros_like(self._done)
        self._obs = self._transition(obs, reward, never, self._done, terminated)
        for i, episode in enumerate(self._episodes):
            transition = {k: v[i] for k, v in self._obs.items()}
            transition["action"] = action[i]
            episode.append(transition)
            for callback in self._on_steps:
                callback(transition, worker=i)
            if self._done[i]:
                self._finish(i)

    def _finish(self, worker: int) -> None:
        transitions = self._episodes[worker]
        episode = {k: np.array([t[k] for t in transitions]) for k in transitions[0]}
        for callback in self._on_episodes:
            callback(episode, worker=worker)

    def _native(self, action: np.ndarray) -> np.ndarray:
        """The actions as the environments take them."""
        if not isinstance(self._space, spaces.Discrete):
            return action
        index = action.argmax(-1)
        if not np.array_equal(action, np.eye(len(self._no_action))[index]):
            raise ValueError(f"Received: action={action}. Each must be one-hot.")
        return index + self._space.start

    @staticmethod
    def _transition(obs, reward, is_first, is_last, is_terminal) -> Obs:
        flags = dict(is_first=is_first, is_last=is_last, is_terminal=is_terminal)
        obs = {k: convert(v) for k, v in obs.items()}
        return {**obs, "reward": convert(reward), **flags}
