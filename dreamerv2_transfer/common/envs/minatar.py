"""MinAtar's games (Young and Tian 2019), their planes padded to one shape."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.envs import in_place

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
MINATAR_CHANNELS = 10  # The most that a game has (Seaquest); one network for all.
MINATAR_CATEGORIES = MINATAR_CHANNELS + 1  # The first one is of an empty cell.


class MinAtar(gymnasium.Env):
    """A MinAtar game: its own boolean planes, padded with zeros to 10 channels.

    It has all six actions, including those that the game ignores, as in
    `MinAtar/Breakout-v0`. After `reset(seed=...)` an episode depends only on the seed
    and the actions. It is also an `in_place.Game`.

    Args:
        game: MinAtar's name of the game.
        sticky: Probability that the last action is repeated.
        ramping: Whether the game becomes more difficult with time.
        view: `planes`, or `collapsed`: see `collapsed`.

    Attributes:
        game: MinAtar's own environment, which knows where everything is.
    """

    def __init__(
        self,
        game: str,
        sticky: float = 0.1,
        ramping: bool = True,
        view: str = "planes",
    ):
        self.game = foreign.import_minatar().Environment(
            game, sticky_action_prob=sticky, difficulty_ramping=ramping
        )
        self._settings = game, sticky, ramping, view
        # One generator for the game and its sticky actions, as in MinAtar's own seed().
        # Seeding it in place takes a tenth of the time of making another.
        self.game.env.random = self.game.random
        self._planes = self.game.n_channels
        self._collapsed = view == "collapsed"
        channels = MINATAR_CATEGORIES if self._collapsed else MINATAR_CHANNELS
        shape = (10, 10, channels)
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
        self._write(rows)

    def advance(self, action: int, rows: in_place.Rows) -> tuple[float, bool, bool]:
        """See `in_place.Game.advance`."""
        reward, terminated = self.game.act(action)
        self._write(rows)
        return float(reward), bool(terminated), False

    def twin(self) -> MinAtar:
        """See `in_place.Game.twin`."""
        return MinAtar(*self._settings)

    def _write(self, rows: in_place.Rows) -> None:
        planes = self.game.state()
        if self._collapsed:
            rows[0][:] = collapsed(planes)
        else:
            rows[0][..., : self._planes] = planes


def collapsed(planes: np.ndarray) -> np.ndarray:
    """Returns planes as one of 11 categories a cell, one-hot, `(..., 10, 10, 11)`.

    Category 0 is a cell where no plane is on, k the first plane that is on, k - 1. So
    the agents of the paper's authors see MinAtar (`CategoricalWrapper` in
    github.com/JonaSchulz/pydreamer, `envs/minatar_wrappers.py`).
    """
    planes = np.asarray(planes, bool)
    cells = np.zeros((*planes.shape[:-1], MINATAR_CATEGORIES), bool)
    seen = np.zeros(planes.shape[:-1], bool)
    # Plane by plane takes a quarter of the time of an argmax.
    for k in range(planes.shape[-1]):
        np.greater(planes[..., k], seen, out=cells[..., k + 1])
        seen |= planes[..., k]
    np.logical_not(seen, out=cells[..., 0])
    return cells


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
    """Returns the options of `MinAtar` that a configuration sets.

    The view is among them if it is not the default: older runs and manifests of
    datasets do not have it, and are of the same episodes.
    """
    settings = dict(sticky=config.minatar_sticky, ramping=config.minatar_ramping)
    view = config.get("minatar_view", "planes")
    return settings if view == "planes" else settings | {"view": view}
