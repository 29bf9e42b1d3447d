"""Crafter (Hafner 2021), an open world to survive in, as the original records it."""

import collections
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.errors import EnvError, describe

INSTALL = "pip install 'dreamerv2_transfer[crafter]'"
MOST = 2**31 - 1  # Of a seed of Crafter and of a count.


class Crafter(gymnasium.Env):
    """Crafter's image; its 22 achievements and its reward are logged beside it.

    `log_achievement_NAME` counts how often an achievement was reached in the episode;
    `log_reward` is the reward even where there is none to learn from. Death terminates
    an episode, 10,000 steps truncate it. After `reset(seed=...)` an episode depends on
    the seed and the actions alone.

    Raises:
        EnvError: Crafter is not installed, or cannot be imported.
    """

    def __init__(self, reward: bool = True, size: tuple[int, int] = (64, 64)):
        """Takes whether there are rewards, and the image's height and width."""
        crafter = _crafter()
        self._env = crafter.Env(size=size[::-1], reward=reward)
        _keep_order(self._env._world)
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
        # A world comes from the seed and the number of the episode.
        self._env._seed, self._env._episode = int(self.np_random.integers(MOST)), 0
        none = dict.fromkeys(self._achievements, 0)
        return self._obs(self._env.reset(), 0.0, none), {}

    def step(self, action: int):
        """Does an action; see `gymnasium.Env.step`."""
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


class _OrderedSet(dict):
    """A set that is gone through in the order in which things were added."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


def options(config: Any) -> dict[str, Any]:
    """The options of `Crafter` that a configuration holds."""
    return dict(size=tuple(config.render_size))


def _keep_order(world: Any) -> None:
    """Keeps a world's creatures in order, chunk by chunk.

    Crafter draws from sets of them, whose order is that of addresses in memory.
    """
    reset = world.reset

    def reset_in_order(seed: int | None = None) -> None:
        reset(seed)
        world._chunks = collections.defaultdict(_OrderedSet)

    world.reset = reset_in_order


def _logged(achievement: str) -> str:
    return f"log_achievement_{achievement}"


def _crafter() -> Any:
    try:
        import crafter
    except ModuleNotFoundError as error:
        raise EnvError(
            f"Crafter could not be imported: {describe(error)} Install it: {INSTALL}"
        ) from error
    return crafter
