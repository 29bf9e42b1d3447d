"""An environment that counts its steps, for tests."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Dummy(gymnasium.Env):
    """Counts its steps, to test what carries them: whatever it returns is the count.

    `image` is filled with the step count, `vector` too, and the reward equals it.
    """

    def __init__(self, actions: spaces.Space, length: int = 10):
        """Takes the space of valid actions and the steps of an episode."""
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


_DUMMY_ACTIONS = {
    "discrete": spaces.Discrete(6),
    "continuous": spaces.Box(-1, 1, (6,), np.float32),
}
