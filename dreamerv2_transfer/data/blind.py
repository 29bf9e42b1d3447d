"""Random play without a look at the games: many steps of one game after another."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection

import numpy as np
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import driver
from dreamerv2_transfer.common.envs import in_place
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.data.policies import MixedPolicy

FIRST_ROWS = 1024  # Transitions for which there is room at first.


class BlindDriver:
    """Plays streams of episodes at random, as `driver.Driver` would, but faster.

    As the policy looks at nothing, the streams need not be stepped together: each plays
    its part of the steps at once, and may share the console with the others.

    Args:
        env: One copy per stream.
        policy: Plays at random; also its `start` is called.
        unkept: Keys that episodes do not hold.
    """

    def __init__(
        self,
        env: in_place.InPlaceVectorEnv,
        policy: MixedPolicy,
        unkept: Collection[str] = (),
    ):
        self._limit = env.time_limit
        self._unkept = frozenset(unkept)
        self._policy = policy
        self._size = int(env.single_action_space.n)
        space = env.single_observation_space
        self._streams: list[_Stream | None] = [
            _Stream(game, in_place.empty(space, FIRST_ROWS)) for game in env.twins()
        ]
        self._on_episodes: list[Callable] = []

    def on_episode(self, callback: Callable) -> None:
        """Calls `callback(episode, worker=i)`, `(time, ...)` by key, at its end."""
        self._on_episodes.append(callback)

    def stop(self, worker: int) -> None:
        """Starts no other episode in a stream whose episode has just ended."""
        self._streams[worker] = None

    def __call__(self, policy: MixedPolicy, steps: int = 0, episodes: int = 0) -> None:
        """Plays at least the given numbers of steps and of episodes; see `Driver`."""
        number = len(self._streams)
        while steps > 0 or episodes > 0:
            turn = -(-steps // number) if steps > 0 else FIRST_ROWS
            for i in range(number):
                episodes -= self._play(i, turn)
            steps -= turn * number
            if not any(self._streams):
                break

    def _play(self, worker: int, steps: int) -> int:
        """Plays some steps of a stream; returns how many episodes ended."""
        ended = 0
        while steps > 0 and (stream := self._streams[worker]):
            if not stream.rewards:
                stream.begin(self._policy.start(worker))
            actions = self._policy.draw(worker, min(steps, stream.room(self._limit)))
            played = stream.play(actions)
            steps -= played
            self._policy.add(worker, played)
            terminated, truncated = stream.ending
            if terminated or truncated or len(stream.actions) == self._limit:
                ended += 1
                episode = stream.episode(self._size, terminated, self._unkept)
                for callback in self._on_episodes:
                    callback(episode, worker=worker)
        return ended


@dataclasses.dataclass
class _Stream:
    """A game, and its episode in progress.

    Attributes:
        game: The game.
        seen: Observations by key, [time, ...]; the first rows are filled.
        rewards: Reward of each transition, one per filled row.
        actions: Actions, one per step.
        ending: Whether the episode was terminated and truncated by the last step.
    """

    game: in_place.Game
    seen: dict[str, np.ndarray]
    rewards: list[float] = dataclasses.field(default_factory=list)
    actions: list[int] = dataclasses.field(default_factory=list)
    ending: tuple[bool, bool] = (False, False)

    def begin(self, seed: int) -> None:
        """Begins an episode."""
        self.game.begin(seed, tuple(values[0] for values in self.seen.values()))
        self.rewards.append(0.0)

    def room(self, limit: int) -> int:
        """Makes room; returns how many steps may be played at once."""
        filled, rows = len(self.rewards), len(next(iter(self.seen.values())))
        if filled == rows:
            for key, values in self.seen.items():
                self.seen[key] = np.concatenate([values, np.zeros_like(values)])
            rows *= 2
        return min(rows - filled, limit + 1 - filled if limit else rows)

    def play(self, actions: list[int]) -> int:
        """Takes actions until the episode ends; returns how many were taken."""
        advance, keep = self.game.advance, self.rewards.append
        before = len(self.rewards)
        rows = zip(*(values[before:] for values in self.seen.values()), strict=True)
        terminated = truncated = False
        for action, row in zip(actions, rows, strict=False):
            reward, terminated, truncated = advance(action, row)
            keep(reward)
            if terminated or truncated:
                break
        played = len(self.rewards) - before
        self.actions += itertools.islice(actions, played)
        self.ending = terminated, truncated
        return played

    def episode(
        self, size: int, terminated: bool, unkept: Collection[str]
    ) -> store.Episode:
        """Returns the episode that has ended, and forgets it."""
        length = len(self.rewards)
        flags = np.zeros((3, length), bool)
        flags[0, 0], flags[1, -1], flags[2, -1] = True, True, terminated
        kept = {k: v[:length].copy() for k, v in self.seen.items() if k not in unkept}
        action = np.zeros((length, size), np.float32)
        action[np.arange(1, length), self.actions] = 1
        reward = np.array(self.rewards, np.float32)
        self.rewards, self.actions = [], []
        return {
            **kept,
            "reward": reward,
            **dict(zip(store.FLAGS, flags, strict=True)),
            "action": action,
        }


def make_driver(
    env: VectorEnv, policy: MixedPolicy, unkept: Collection[str] = ()
) -> BlindDriver | driver.Driver:
    """Returns the fastest driver for a policy; see `Driver` and `BlindDriver`."""
    if policy.is_blind and isinstance(env, in_place.InPlaceVectorEnv):
        return BlindDriver(env, policy, unkept)
    return driver.Driver(env, policy.start, unkept)
