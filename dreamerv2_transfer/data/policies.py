"""The policies that collect episodes: random play and DQN players, taking turns."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.envs.atari import SCREEN
from dreamerv2_transfer.common.envs.masks import IS_MASKED, MASK

STACK = 4  # Screens that a player sees; those before an episode are black.
DQN = "dqn/"  # Prefix of the names of DQN players.
TOGETHER = 4  # Rows from which on a player acts in all by one call; else it is slower.
AT_ONCE = 64  # Random actions that are drawn at a time.
NO_POLICY = -1  # Instead of a policy's number in an episode's first transition.


class Player(Protocol):
    """Acts in the environments of a task; for example `dqn.actors.Player`."""

    def __call__(self, images: np.ndarray, screens: np.ndarray | None) -> np.ndarray:
        """Chooses actions, int [B]; those of a row do not depend on the other rows.

        Args:
            images: Observations, [B, ...].
            screens: The last four Atari screens, [B, 4, H, W]; None for other suites.
        """


@dataclasses.dataclass(frozen=True)
class Policy:
    """A policy in a recipe.

    Attributes:
        name: `random`, or `dqn/` and the path of the player's file within its folder.
        share: Share of the steps; those of all policies sum up to one.
        file: File of the player; empty for random play.
        digest: Digest of that file's content.
    """

    name: str
    share: float
    file: str = ""
    digest: str = ""


RANDOM = Policy("random", 1.0)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Which policy acts at which step of a stream of episodes.

        step      0 ... interval-1 | interval ... 2*interval-1 | ...
        policy    draw(stream, 0)  | draw(stream, 1)           | ...

    A stream is everything that happens in one environment, across episodes. A draw
    depends only on the key, the stream and the turn, so that any step can be looked up.

    Attributes:
        shares: Probability of each policy.
        interval: Steps of a turn.
        key: Seed of all draws.
    """

    shares: tuple[float, ...]
    interval: int
    key: tuple[int, ...]

    def at(self, stream: int, step: int) -> int:
        """Returns the number of the policy that acts at a step."""
        return self.turn(stream, step // self.interval)

    def left(self, step: int) -> int:
        """Returns how many steps of a turn are left at a step, which is one of them."""
        return self.interval - step % self.interval

    @functools.cache  # noqa: B019  A schedule lives as long as its process.
    def turn(self, stream: int, turn: int) -> int:
        """Returns the number of the policy that acts in a turn."""
        if len(self.shares) == 1:
            return 0
        rng = np.random.default_rng([turn, stream, *self.key, *b"turn"])
        return int(rng.choice(len(self.shares), p=self.shares))

    def counts(self, stream: int, steps: int) -> np.ndarray:
        """Counts each policy's part of a stream's first steps, int [policies]."""
        counts = np.zeros(len(self.shares), np.int64)
        for start in range(0, steps, self.interval):
            policy = self.turn(stream, start // self.interval)
            counts[policy] += min(self.interval, steps - start)
        return counts


class MixedPolicy:
    """Plays streams of numbered episodes; a policy for `driver.Driver`.

    An episode depends on the key, its stream, its number in the stream and the steps
    before it, which decide whose turn it is.

    Args:
        env: One environment per stream.
        schedule: Which policy acts when.
        players: The policies that the schedule numbers; None is random play.
        positions: Episodes and steps that each stream already has.
        epsilon: Probability of replacing a player's action by a random one.

    Attributes:
        steps: Steps of each stream so far.
    """

    def __init__(
        self,
        env: VectorEnv,
        schedule: Schedule,
        players: Sequence[Player | None],
        positions: Sequence[tuple[int, int]],
        epsilon: float = 0.0,
    ):
        self._space = env.single_action_space
        self._size = envs.act_size(self._space)
        self._is_masked = env.metadata.get(IS_MASKED, False)
        if not isinstance(self._space, spaces.Discrete):
            # Without bounds, actions are drawn from the same range as the agent's.
            low, high = self._space.low, self._space.high
            bounded = np.isfinite(low) & np.isfinite(high)
            self._low = np.where(bounded, low, -1)
            self._high = np.where(bounded, high, 1)
        self._schedule = schedule
        self._players = players
        self._epsilon = epsilon
        self._episodes = [episodes for episodes, _ in positions]
        self.steps = [steps for _, steps in positions]
        self._rngs: list[Any] = [None] * len(positions)
        self._drawn: list[list[int]] = [[] for _ in positions]
        self._stopped = [False] * len(positions)
        self._onehot = np.eye(self._size, dtype=np.float32)
        self._acted: list[list[int]] = [[] for _ in positions]
        self._screens: np.ndarray | None = None

    def start(self, worker: int) -> int:
        """Begins a stream's next episode; returns the seed of its reset."""
        key = [self._episodes[worker], worker, *self._schedule.key]
        sequence = np.random.SeedSequence(key)
        self._rngs[worker] = np.random.default_rng(sequence)
        self._drawn[worker] = []
        self._acted[worker] = [NO_POLICY]
        self._episodes[worker] += 1
        return int(sequence.generate_state(1)[0])

    def seek(self, worker: int, episodes: int, steps: int) -> None:
        """Sets how many episodes and steps a stream already has."""
        self._episodes[worker], self.steps[worker] = episodes, steps

    def stop(self, worker: int) -> None:
        """Chooses no more than any valid action for a stream."""
        self._stopped[worker] = True

    @property
    def is_blind(self) -> bool:
        """Whether it plays discrete actions at random alone."""
        discrete = isinstance(self._space, spaces.Discrete)
        return discrete and [*self._players] == [None]

    def draw(self, worker: int, number: int) -> list[int]:
        """Draws a stream's next random actions, if it plays at random alone."""
        return self._rngs[worker].integers(self._size, size=number).tolist()

    def add(self, worker: int, steps: int) -> None:
        """Counts steps that were played by actions that `draw` returned."""
        self._acted[worker] += [0] * steps
        self.steps[worker] += steps

    def acted(self, worker: int) -> np.ndarray:
        """Returns which policies chose the actions of a stream's last episode.

        Returns:
            Number of the policy for each transition, int32 [time]; `NO_POLICY` first.
        """
        return np.array(self._acted[worker], np.int32)

    def __call__(self, obs: dict, state: Any) -> tuple[dict[str, np.ndarray], Any]:
        """Chooses an action for each environment, [envs, size]."""
        if SCREEN in obs:
            self._stack(obs[SCREEN], obs["is_first"])
        turns = [self._schedule.at(i, step) for i, step in enumerate(self.steps)]
        players = [self._players[turn] for turn in turns]
        if self._is_masked:
            actions = self._masked(obs[MASK])
        elif isinstance(self._space, spaces.Discrete):
            drawn = [
                0 if self._stopped[i] else self._draw(i, player is None)
                for i, player in enumerate(players)
            ]
            actions = self._onehot[drawn]
        else:
            drawn = [
                self._low if stops else self._draw_vector(rng)
                for rng, stops in zip(self._rngs, self._stopped, strict=True)
            ]
            actions = np.array(drawn, np.float32)
        asked: dict[int, list[int]] = {}  # Streams by the player that acts in them.
        for worker, player in enumerate(players):
            if self._stopped[worker]:
                continue
            if player is not None and self._rngs[worker].random() >= self._epsilon:
                asked.setdefault(turns[worker], []).append(worker)
            self._acted[worker].append(turns[worker])
            self.steps[worker] += 1
        for turn, workers in asked.items():
            player = self._players[turn]
            assert player
            parts: list[Any] = [slice(worker, worker + 1) for worker in workers]
            for rows in parts if len(workers) < TOGETHER else [workers]:
                screens = None if self._screens is None else self._screens[rows]
                actions[rows] = self._onehot[player(obs["image"][rows], screens)]
        return {"action": actions}, state

    def _masked(self, masks: np.ndarray) -> np.ndarray:
        """Draws actions [envs, size] of the classes that masks allow."""
        joined = envs.Joined(envs.act_parts(self._space))
        idle = np.random.default_rng(0)
        rngs = [
            idle if stops else rng
            for rng, stops in zip(self._rngs, self._stopped, strict=True)
        ]
        return np.array([joined.draw(*x) for x in zip(rngs, masks, strict=True)])

    def _draw_vector(self, rng: np.random.Generator) -> np.ndarray:
        if isinstance(self._space, envs.Joined):
            return self._space.draw(rng)
        return rng.uniform(self._low, self._high)

    def _draw(self, worker: int, in_advance: bool) -> int:
        """Draws a random action of a stream.

        Args:
            worker: The stream.
            in_advance: Whether its generator draws nothing else in this turn. Then many
                actions are drawn at a time: the same ones, but much faster.
        """
        if not in_advance:
            return int(self._rngs[worker].integers(self._size))
        drawn = self._drawn[worker]
        if not drawn:
            left = self._schedule.left(self.steps[worker])
            number = min(left, AT_ONCE)
            drawn += self.draw(worker, number)[::-1]
        return drawn.pop()

    def _stack(self, screens: np.ndarray, is_first: np.ndarray) -> None:
        """Adds new screens [envs, H, W] to the last ones."""
        if self._screens is None:
            shape = (len(screens), STACK, *screens.shape[1:])
            self._screens = np.zeros(shape, screens.dtype)
        self._screens[is_first] = 0
        self._screens[:, :-1] = self._screens[:, 1:].copy()
        self._screens[:, -1] = screens


def shares(weights: Mapping[str, float], players: Sequence[Any]) -> list[float]:
    """Returns the share of random play, then that of each player.

    Args:
        weights: Weights of `random` and of `dqn`; the players divide the latter.
        players: The players; without any, random play has all steps.

    Raises:
        ValueError: A weight is negative, or all are zero.
    """
    random, dqn = float(weights["random"]), float(weights["dqn"])
    if min(random, dqn) < 0 or random + dqn <= 0:
        raise ValueError(f"Received: {weights}. Weights are positive, or zero.")
    if not players:
        return [1.0]
    total = random + dqn
    return [random / total] + [dqn / total / len(players)] * len(players)
