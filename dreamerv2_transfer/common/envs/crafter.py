"""Crafter (Hafner 2021), an open world to survive in, as the original records it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.errors import EnvError, describe

INSTALL = "pip install 'dreamerv2_transfer[crafter]'"
REWARDS = {"reward": True, "noreward": False}  # Whether there are any, by task.
MOST = 2**31 - 1  # Upper bound of Crafter's seeds and of a count.


class Crafter(gymnasium.Env):
    """Crafter's image; its 22 achievements and its reward are logged beside it.

    `log_achievement_NAME` counts how often an achievement was reached in the episode;
    `log_reward` is the reward, even in the task without rewards. Death terminates an
    episode, 10,000 steps truncate it. After `reset(seed=...)` an episode depends only
    on the seed and the actions.

    Args:
        reward: Whether there are rewards.
        size: Height and width of the image in pixels.

    Raises:
        EnvError: Crafter is not installed, or cannot be imported.
    """

    def __init__(self, reward: bool = True, size: tuple[int, int] = (64, 64)):
        try:
            import crafter
        except ModuleNotFoundError as error:
            raise EnvError(
                f"Crafter could not be imported: {describe(error)} Install it: "
                f"{INSTALL}"
            ) from error
        self._env = crafter.Env(size=size[::-1], reward=reward)
        foreign.keep_creatures_in_order(self._env)
        self._achievements = crafter.constants.achievements
        count = spaces.Box(0, MOST, (), np.int32)
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (*size, 3), np.uint8),
                "log_reward": spaces.Box(-np.inf, np.inf, (), np.float32),
                **{_logged(name): count for name in self._achievements},
            }
        )
        self.action_space = spaces.Discrete(len(crafter.constants.actions))

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        foreign.seed_crafter(self._env, int(self.np_random.integers(MOST)))
        none = dict.fromkeys(self._achievements, 0)
        return self._obs(self._env.reset(), 0.0, none), {}

    def step(self, action: int):
        """Takes an action; see `gymnasium.Env.step`."""
        image, reward, done, info = self._env.step(int(action))
        terminated = info["discount"] == 0
        obs = self._obs(image, info["reward"], info["achievements"])
        return obs, float(reward), terminated, bool(done) and not terminated, {}

    def _obs(
        self, image: np.ndarray, reward: float, achievements: dict[str, int]
    ) -> dict[str, np.ndarray]:
        counts = {
            _logged(name): np.asarray(achievements[name], np.int32)
            for name in self._achievements
        }
        return {"image": image, "log_reward": np.asarray(reward, np.float32), **counts}


def _logged(achievement: str) -> str:
    return f"log_achievement_{achievement}"


# The suite.


def tasks() -> tuple[str, ...]:
    """Returns the names of the tasks."""
    return tuple(REWARDS)


def make(name: str, **options: Any) -> gymnasium.Env:
    """Makes a task; for the options see `Crafter`."""
    return Crafter(REWARDS[name], **options)


def settings(config: Any) -> dict[str, Any]:
    """Returns the options of `Crafter` that a configuration sets."""
    return dict(size=tuple(config.render_size))
