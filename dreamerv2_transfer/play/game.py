"""The real game beside a dream: it can be taken back to any step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.envs import minatar
from dreamerv2_transfer.common.errors import EnvError, describe
from dreamerv2_transfer.trained import games

MINATAR_NAMES = {
    "n": "NOOP",
    "l": "LEFT",
    "u": "UP",
    "r": "RIGHT",
    "d": "DOWN",
    "f": "FIRE",
}


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a game shows after a step.

    Attributes:
        obs: The observation.
        reward: The reward of the step; 0 at the start.
        ended: Whether the episode has ended, for whatever reason.
        is_terminal: Whether the game itself has ended it.
    """

    obs: dict[str, np.ndarray]
    reward: float = 0.0
    ended: bool = False
    is_terminal: bool = False


class Game:
    """A game that plays lists of actions, each from the start of the same episode.

    No game has to save its state for that: an episode depends only on the seed of its
    reset and on its actions, so it is repeated. Actions are numbered from 0, even if
    the environment's own numbers start elsewhere.

    Args:
        task: The game, see `envs.make_env`.
        config: The configuration of the model that dreams of it.
        seed: The seed of the episode.

    Raises:
        EnvError: The game cannot be made, or its actions are not numbered.
    """

    def __init__(self, task: str, config: Config, seed: int):
        self.task = task
        self.seed = seed
        self._env = envs.make_env(task, **games.options(config, task))
        if not isinstance(self._env.action_space, gymnasium.spaces.Discrete):
            self.close()
            raise EnvError(
                f"play needs a game whose actions are numbered, for keys. Received: "
                f"{task}, whose actions are vectors."
            )
        self._first = int(self._env.action_space.start)
        self._actions: list[int] = []
        self._seen: Seen | None = None

    @property
    def obs_space(self) -> dict[str, gymnasium.Space]:
        return envs.obs_space(self._env)

    @property
    def act_space(self) -> dict[str, gymnasium.Space]:
        return envs.act_space(self._env)

    @property
    def _minatar(self) -> Any:
        """MinAtar's own environment; None for other games."""
        inner = self._env.unwrapped
        return inner.game if isinstance(inner, minatar.MinAtar) else None

    @property
    def action_names(self) -> list[str]:
        """The names of the actions, such as UPFIRE; numbers if they have none."""
        if self._minatar:
            return [MINATAR_NAMES[x] for x in self._minatar.env.action_map]
        inner: Any = self._env.unwrapped
        if meanings := getattr(inner, "get_action_meanings", None):
            return list(meanings())
        numbers = [self._first + i for i in self.used_actions]
        names = getattr(inner, "action_names", None) or map(str, numbers)
        return [str(name).upper() for name in names]

    @property
    def used_actions(self) -> list[int]:
        """The actions that do something, as far as the game tells."""
        if self._minatar:
            return [*self._minatar.minimal_action_set()]
        return [*range(envs.act_size(self._env.action_space))]

    @property
    def objects(self) -> list[str]:
        """What the planes of MinAtar show, in their order; empty for other games."""
        planes = self._minatar.env.channels if self._minatar else {}
        names = sorted(planes, key=planes.__getitem__)
        return [name.replace("guage", "gauge") for name in names]

    def after(self, actions: Sequence[int]) -> Seen:
        """Returns what the game shows after these actions from its start.

        Actions that follow the last call's cost one step each, others a new start.

        Raises:
            EnvError: The game fails.
        """
        done = len(self._actions)
        try:
            if self._seen is None or self._actions != [*actions[:done]]:
                obs, _ = self._env.reset(seed=self.seed)
                self._actions, self._seen, done = [], Seen(obs), 0
            for action in actions[done:]:
                taken = self._first + int(action)
                obs, reward, terminated, truncated, _ = self._env.step(taken)
                ended = terminated or truncated
                self._seen = Seen(obs, float(reward), ended, terminated)
                self._actions.append(int(action))
        except Exception as error:
            self._seen = None
            place = f"{self.task} failed at step {len(self._actions) + 1}"
            raise EnvError(
                f"{place}: {describe(error)} Start a new game, or another one."
            ) from error
        return self._seen

    def close(self) -> None:
        """Frees what the game holds."""
        self._env.close()
