"""MinAtar games, their planes padded to one shape."""

from __future__ import annotations

import importlib
import logging
import sys
import types

import gymnasium
import numpy as np
from gymnasium import spaces

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")


PLOTTING = "matplotlib.pyplot"  # The first of what MinAtar's display imports.


MINATAR_CHANNELS = 10  # The most that a game has (Seaquest); one network for all.


def native_planes(task: str) -> int | None:
    """How many planes a MinAtar game has before padding; None for other suites."""
    suite, _, name = task.partition("_")
    if suite != "minatar":
        return None
    return load_minatar().Environment(name).n_channels


def load_minatar() -> types.ModuleType:
    """Imports MinAtar without its display, which alone needs seaborn.

    That takes seconds in every process. MinAtar can do without it, and warns then.
    """
    if "minatar" not in sys.modules and PLOTTING not in sys.modules:
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        sys.modules[PLOTTING] = None  # As if it were not installed.
        try:
            importlib.import_module("minatar")
        finally:
            del sys.modules[PLOTTING]
            logging.disable(level)
    return importlib.import_module("minatar")


class MinAtar(gymnasium.Env):
    """A MinAtar game: its own boolean planes, padded with zeros to 10 channels.

    All six actions, whether the game knows them or not, as in `MinAtar/Breakout-v0`.
    After `reset(seed=...)` an episode depends on the seed and the actions alone.

    Attributes:
        game: MinAtar's own environment, for those who want to know what is where.
    """

    def __init__(self, game: str, sticky: float = 0.1, ramping: bool = True):
        """Takes MinAtar's name of the game and its two options."""
        self.game = load_minatar().Environment(
            game, sticky_action_prob=sticky, difficulty_ramping=ramping
        )
        # One generator for the game and its sticky actions, as MinAtar's own seed() has
        # it; to seed it in place takes a tenth of the time of making another.
        self.game.env.random = self.game.random
        shape = (10, 10, MINATAR_CHANNELS)
        self.observation_space = spaces.Dict({"image": spaces.Box(0, 1, shape, bool)})
        self.action_space = spaces.Discrete(self.game.num_actions())

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        if seed is not None:
            self.game.random.seed(seed)
        self.game.last_action = 0  # MinAtar keeps it; a sticky action would repeat it.
        self.game.reset()
        return self._obs(), {}

    def step(self, action: int):
        """Does an action; see `gymnasium.Env.step`."""
        reward, terminated = self.game.act(action)
        return self._obs(), float(reward), bool(terminated), False, {}

    def _obs(self) -> dict[str, np.ndarray]:
        planes = self.game.state()
        image = np.zeros((10, 10, MINATAR_CHANNELS), bool)
        image[..., : planes.shape[-1]] = planes
        return {"image": image}
