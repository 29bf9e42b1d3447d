"""Copies of several games that are stepped together, as one vector environment."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from dreamerv2_transfer.common.envs import in_place, suites
from dreamerv2_transfer.common.errors import EnvError


class SeveralGames(VectorEnv):
    """Steps the vector environments of several games as one, game after game.

    Args:
        games: The environments of each game, which do not reset themselves.

    Raises:
        EnvError: The observations or the actions of two games differ.
    """

    def __init__(self, games: Mapping[str, VectorEnv]):
        first, *_ = games
        for name, env in games.items():
            kinds = [
                (x.single_observation_space, x.single_action_space)
                for x in (env, games[first])
            ]
            if kinds[0] != kinds[1]:
                raise EnvError(
                    "One agent for several games needs games with the same "
                    f"observations and actions. Received: {name}, with {kinds[0]}; "
                    f"{first} has {kinds[1]}. Train an agent of its own on {name}, or "
                    "for Atari set --atari_all_actions True."
                )
        self._parts = list(games.values())
        ends = np.cumsum([x.num_envs for x in self._parts]).tolist()
        self._slices = [*map(slice, [0, *ends], ends)]
        self.num_envs = ends[-1]
        waits = all(x.metadata.get(in_place.WAITING, False) for x in self._parts)
        mode = {"autoreset_mode": AutoresetMode.DISABLED, in_place.WAITING: waits}
        self.metadata = {**self._parts[0].metadata, **mode}
        self.single_observation_space = self._parts[0].single_observation_space
        self.single_action_space = self._parts[0].single_action_space
        self.observation_space = batch_space(
            self.single_observation_space, self.num_envs
        )
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seen: list[dict[str, np.ndarray]] = [{} for _ in self._parts]

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ):
        """Resets the copies in `options["reset_mask"]`, or all of them."""
        seeds, mask = in_place.resets(self.num_envs, seed, options)
        for number, (part, where) in enumerate(self._each):
            if mask[where].any():
                chosen = {"reset_mask": mask[where].copy()}
                own: Any = list(seeds[where])
                self._seen[number], _ = part.reset(seed=own, options=chosen)
        return _joined(self._seen), {}

    def step(self, actions: np.ndarray):
        """Steps all copies; see `gymnasium.vector.VectorEnv.step`."""
        found = [part.step(actions[where]) for part, where in self._each]
        self._seen = [obs for obs, *_ in found]
        rest = zip(*(x[1:4] for x in found), strict=True)
        return _joined(self._seen), *map(np.concatenate, rest), {}

    @property
    def _each(self) -> Iterator[tuple[VectorEnv, slice]]:
        return zip(self._parts, self._slices, strict=True)

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environments of all games."""
        for part in self._parts:
            part.close()


def _joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {k: np.concatenate([x[k] for x in parts]) for k in parts[0]}


def makers(config, tasks: Sequence[str]) -> dict[str, Callable[[int], VectorEnv]]:
    """Returns by game what creates a vector environment with a number of copies."""
    return {
        task: functools.partial(
            suites.make_vector_env, task, **suites.run_options(config, task)
        )
        for task in tasks
    }


def make(
    make_one_of: Mapping[str, Callable[[int], VectorEnv]], number: int
) -> SeveralGames:
    """Creates a vector environment with `number` copies of each game.

    Args:
        make_one_of: What `makers` returned.
        number: Copies of each.

    Raises:
        EnvError: One cannot be made, or differs from the others.
    """
    with contextlib.ExitStack() as stack:
        games = {}
        for task, make_one in make_one_of.items():
            games[task] = make_one(number)
            stack.callback(games[task].close)
        env = SeveralGames(games)
        stack.pop_all()  # It closes them.
        return env
