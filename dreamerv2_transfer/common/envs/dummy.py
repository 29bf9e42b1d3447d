"""An environment that counts its steps, for tests."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

ACTIONS = {
    "discrete": spaces.Discrete(6),
    "continuous": spaces.Box(-1, 1, (6,), np.float32),
}


class Dummy(gymnasium.Env):
    """Counts the steps of an episode and returns nothing else.

    `image` and `vector` are filled with the count, and the reward equals it.

    Args:
        actions: The space of valid actions.
        length: Steps of an episode.
    """

    def __init__(self, actions: spaces.Space, length: int = 10):
        self._length = length
        self._count = 0
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (64, 64, 3), np.uint8),
                "vector": spaces.Box(-np.inf, np.inf, (3,), np.float32),
            }
        )
        self.action_space = actions

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts to count from zero; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self._count = 0
        return self._obs(), {}

    def step(self, action: Any):
        """Counts one step; see `gymnasium.Env.step`."""
        if not self.action_space.contains(action):
            raise ValueError(
                f"Received: action={action!r}, not in {self.action_space}."
            )
        self._count += 1
        terminated = self._count >= self._length
        return self._obs(), float(self._count), terminated, False, {}

    def _obs(self) -> dict[str, np.ndarray]:
        return {
            "image": np.full((64, 64, 3), self._count % 256, np.uint8),
            "vector": np.full(3, self._count, np.float32),
        }


# The suite.


def tasks() -> tuple[str, ...]:
    """Returns the kinds of actions."""
    return tuple(ACTIONS)


def make(name: str) -> gymnasium.Env:
    """Makes an environment with actions of a kind."""
    return Dummy(ACTIONS[name])


def settings(config: Any) -> dict[str, Any]:
    """Returns no options, as there are none."""
    return {}
