"""Games that write what is seen into arrays that are kept, and vectors of them.

Gymnasium's own vector environment copies each observation three times, into
dictionaries that it merges and copies as a whole. That takes longer than a step of a
small game.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

Rows = tuple[np.ndarray, ...]  # Where to write: an array per key, in the space's order.
WAITING = "waits_for_reset"  # Key of the metadata of environments that may be idle.


class Game(Protocol):
    """An environment that can write its observations into given arrays."""

    observation_space: spaces.Space
    action_space: spaces.Space
    metadata: dict[str, Any]

    def begin(self, seed: int | None, rows: Rows) -> None:
        """Starts an episode.

        Args:
            seed: What the episode depends on beside the actions.
            rows: Where to write; they hold zeros or what the same game wrote before.
        """

    def advance(self, action: int, rows: Rows) -> tuple[float, bool, bool]:
        """Takes an action, and writes as `begin`.

        Returns:
            The reward, and whether the episode was terminated and truncated.
        """

    def twin(self) -> Game:
        """Returns another copy of the game, cheap to make.

        Taking turns with it, step by step, may be slow.
        """

    def close(self) -> None:
        """Closes the game."""


def empty(space: spaces.Space, *leading: int) -> dict[str, np.ndarray]:
    """Returns zeros for each key of a dictionary's space, [*leading, ...]."""
    parts = cast(spaces.Dict, space).spaces.items()
    return {k: np.zeros((*leading, *cast(Any, x).shape), x.dtype) for k, x in parts}


class InPlaceVectorEnv(VectorEnv):
    """Steps several copies of a game, one after the other.

    An episode that ended waits for its reset: until then its copy is not stepped, keeps
    its observation, and returns rewards of 0.

    Args:
        make: Makes a copy.
        number: Number of copies.
        time_limit: Steps after which an episode is truncated; 0 for no limit.
    """

    def __init__(self, make: Callable[[], Any], number: int, time_limit: int = 0):
        self._make = make
        self._first: Game = make()
        self.num_envs = number
        self.time_limit = time_limit
        mode = {"autoreset_mode": AutoresetMode.DISABLED, WAITING: True}
        self.metadata = {**self._first.metadata, **mode}
        self.single_observation_space = self._first.observation_space
        self.single_action_space = self._first.action_space
        self.observation_space = batch_space(self.single_observation_space, number)
        self.action_space = batch_space(self.single_action_space, number)
        self._obs = empty(self.single_observation_space, number)
        self._rows = list(zip(*self._obs.values(), strict=True))
        self._steps = [0] * number
        self._waits = [True] * number

    @functools.cached_property
    def envs(self) -> list[Any]:
        """The copies; made when they are first needed, which may take long."""
        return [self._first, *(self._make() for _ in range(self.num_envs - 1))]

    def twins(self) -> list[Game]:
        """Returns other copies to take turns of many steps, see `Game.twin`."""
        return [self._first, *(self._first.twin() for _ in range(self.num_envs - 1))]

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ):
        """Resets the copies in `options["reset_mask"]`, or all of them."""
        seeds, mask = resets(self.num_envs, seed, options)
        for i in np.flatnonzero(mask).tolist():
            self.envs[i].begin(seeds[i], self._rows[i])
            self._steps[i], self._waits[i] = 0, False
        return self._seen(), {}

    def step(self, actions: np.ndarray):
        """Steps the copies that do not wait; see `gymnasium.vector.VectorEnv.step`."""
        rewards = np.zeros(self.num_envs)
        terminations = np.zeros(self.num_envs, bool)
        truncations = np.zeros(self.num_envs, bool)
        for i, action in enumerate(np.asarray(actions).tolist()):
            if self._waits[i]:
                continue
            reward, terminated, truncated = self.envs[i].advance(action, self._rows[i])
            self._steps[i] += 1
            truncated |= self._steps[i] == self.time_limit
            rewards[i] = reward
            if terminated or truncated:
                terminations[i], truncations[i] = terminated, truncated
                self._waits[i] = True
        return self._seen(), rewards, terminations, truncations, {}

    def _seen(self) -> dict[str, np.ndarray]:
        return {key: values.copy() for key, values in self._obs.items()}

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the copies."""
        for env in self.__dict__.get("envs", [self._first]):
            env.close()


def resets(
    number: int,
    seed: int | Sequence[int | None] | None,
    options: dict[str, Any] | None,
) -> tuple[Sequence[int | None], np.ndarray]:
    """Returns the seed of each copy, and which of them to reset.

    Args:
        number: Number of copies.
        seed: Of the first copy, the next ones count on from it; or of each.
        options: `reset_mask` says which copies; all by default.
    """
    if seed is None or isinstance(seed, int):
        seed = [None if seed is None else seed + i for i in range(number)]
    return seed, (options or {}).get("reset_mask", np.ones(number, bool))
