"""MinAtar's games (Young and Tian 2019), their planes padded to one shape."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.envs import in_place

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
MINATAR_CHANNELS = 10  # The most that a game has (Seaquest); one network for all.


class MinAtar(gymnasium.Env):
    """A MinAtar game: its own boolean planes, padded with zeros to 10 channels.

    It has all six actions, including those that the game ignores, as in
    `MinAtar/Breakout-v0`. After `reset(seed=...)` an episode depends only on the seed
    and the actions. It is also an `in_place.Game`.

    Args:
        game: MinAtar's name of the game.
        sticky: Probability that the last action is repeated.
        ramping: Whether the game becomes more difficult with time.

    Attributes:
        game: MinAtar's own environment, which knows where everything is.
    """

    def __init__(self, game: str, sticky: float = 0.1, ramping: bool = True):
        self.game = foreign.import_minatar().Environment(
            game, sticky_action_prob=sticky, difficulty_ramping=ramping
        )
        self._settings = game, sticky, ramping
        # One generator for the game and its sticky actions, as in MinAtar's own seed().
        # Seeding it in place takes a tenth of the time of making another.
        self.game.env.random = self.game.random
        self._planes = self.game.n_channels
        shape = (10, 10, MINATAR_CHANNELS)
        self.observation_space = spaces.Dict({"image": spaces.Box(0, 1, shape, bool)})
        self.action_space = spaces.Discrete(self.game.num_actions())

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        obs = in_place.empty(self.observation_space)
        self.begin(seed, (*obs.values(),))
        return obs, {}

    def step(self, action: int):
        """Takes an action; see `gymnasium.Env.step`."""
        obs = in_place.empty(self.observation_space)
        return obs, *self.advance(action, (*obs.values(),)), {}

    def begin(self, seed: int | None, rows: in_place.Rows) -> None:
        """See `in_place.Game.begin`."""
        if seed is not None:
            self.game.random.seed(seed)
        self.game.last_action = 0  # Else a sticky action could repeat an older one.
        self.game.reset()
        rows[0][..., : self._planes] = self.game.state()

    def advance(self, action: int, rows: in_place.Rows) -> tuple[float, bool, bool]:
        """See `in_place.Game.advance`."""
        reward, terminated = self.game.act(action)
        rows[0][..., : self._planes] = self.game.state()
        return float(reward), bool(terminated), False

    def twin(self) -> MinAtar:
        """See `in_place.Game.twin`."""
        return MinAtar(*self._settings)


def native_planes(task: str) -> int | None:
    """Returns how many planes a game has before padding; None for other suites."""
    suite, _, name = task.partition("_")
    if suite != "minatar":
        return None
    return foreign.import_minatar().Environment(name).n_channels


# The suite.


def tasks() -> tuple[str, ...]:
    """Returns the names of the games."""
    return MINATAR_GAMES


def make(name: str, **options: Any) -> gymnasium.Env:
    """Makes a game; for the options see `MinAtar`."""
    return MinAtar(name, **options)


def settings(config: Any) -> dict[str, Any]:
    """Returns the options of `MinAtar` that a configuration sets."""
    return dict(sticky=config.minatar_sticky, ramping=config.minatar_ramping)
