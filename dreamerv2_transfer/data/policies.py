"""Who plays while episodes are collected: random play and agents, taking turns."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.envs.atari import SCREEN

STACK = 4  # Screens that an agent looks at; those before an episode are black.
DQN = "dqn/"  # How the name of an agent begins.
NOBODY = -1  # Chose the action of an episode's first transition, which has none.


class Actor(Protocol):
    """An agent that acts in the environments of a task."""

    def __call__(self, images: np.ndarray, screens: np.ndarray | None) -> np.ndarray:
        """Chooses actions, int [B], given images [B, ...] and screens [B, 4, H, W]."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """What may act, and how often.

    Attributes:
        name: `random`, or `dqn/` and where the agent's file is in its folder.
        share: of the steps; those of all policies sum up to one.
        file: of the agent; empty for random play.
        digest: of that file's content.
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

    A stream is all that happens in one environment, over the ends of episodes. A draw
    depends on the key, the stream and the turn alone, so any step can be asked for.

    Attributes:
        shares: probability of each policy.
        interval: steps of a turn.
        key: of everything that is drawn.
    """

    shares: tuple[float, ...]
    interval: int
    key: tuple[int, ...]

    def at(self, stream: int, step: int) -> int:
        """The number of the policy that acts."""
        return self.turn(stream, step // self.interval)

    @functools.cache  # noqa: B019  A schedule lives as long as its process.
    def turn(self, stream: int, turn: int) -> int:
        """The number of the policy of a turn."""
        if len(self.shares) == 1:
            return 0
        rng = np.random.default_rng([turn, stream, *self.key, *b"turn"])
        return int(rng.choice(len(self.shares), p=self.shares))

    def counts(self, stream: int, steps: int) -> np.ndarray:
        """How many of a stream's first steps each policy makes, int [policies]."""
        counts = np.zeros(len(self.shares), np.int64)
        for start in range(0, steps, self.interval):
            policy = self.turn(stream, start // self.interval)
            counts[policy] += min(self.interval, steps - start)
        return counts


class Player:
    """Plays streams of numbered episodes, as a policy for `driver.Driver`.

    An episode depends on the key, its stream, its number there and the steps before
    it in the stream, as these decide whose turn it is.

    Attributes:
        steps: of each stream so far.
    """

    def __init__(
        self,
        env: VectorEnv,
        schedule: Schedule,
        actors: Sequence[Actor | None],
        positions: Sequence[tuple[int, int]],
        epsilon: float = 0.0,
    ):
        """Takes the environments and where their streams go on.

        Args:
            env: an environment a stream.
            schedule: who acts when.
            actors: those that the schedule tells of; None is random play.
            positions: for each stream, how many episodes and steps it already has.
            epsilon: probability that an actor's action is replaced by a random one.
        """
        self._space = env.single_action_space
        self._size = envs.act_size(self._space)
        self._low, self._high = _bounds(self._space)
        self._schedule = schedule
        self._actors = actors
        self._epsilon = epsilon
        self._episodes = [episodes for episodes, _ in positions]
        self.steps = [steps for _, steps in positions]
        self._rngs: list[Any] = [None] * len(positions)
        self._acted: list[list[int]] = [[] for _ in positions]
        self._screens: np.ndarray | None = None

    def start(self, worker: int) -> int:
        """Begins a stream's next episode; returns the seed of its reset."""
        key = [self._episodes[worker], worker, *self._schedule.key]
        sequence = np.random.SeedSequence(key)
        self._rngs[worker] = np.random.default_rng(sequence)
        self._acted[worker] = [NOBODY]
        self._episodes[worker] += 1
        return int(sequence.generate_state(1)[0])

    def seek(self, worker: int, episodes: int, steps: int) -> None:
        """Lets a stream go on after so many episodes and steps."""
        self._episodes[worker], self.steps[worker] = episodes, steps

    def acted(self, worker: int) -> np.ndarray:
        """Who chose the action of each transition of a stream's last episode."""
        return np.array(self._acted[worker], np.int32)

    def policy(self, obs: dict, state: Any) -> tuple[dict[str, np.ndarray], Any]:
        """Chooses an action for each environment, [envs, size]."""
        self._stack(obs)
        turns = [self._schedule.at(i, step) for i, step in enumerate(self.steps)]
        actions = np.array([self._draw(rng) for rng in self._rngs])
        for policy in {x for x in turns if self._actors[x]}:
            self._act(policy, np.flatnonzero(np.equal(turns, policy)), obs, actions)
        for worker, policy in enumerate(turns):
            self._acted[worker].append(policy)
            self.steps[worker] += 1
        return {"action": actions}, state

    def _act(
        self, policy: int, rows: np.ndarray, obs: dict, actions: np.ndarray
    ) -> None:
        """Replaces the random actions of the rows in which an actor has its turn."""
        onehot = np.eye(self._size, dtype=np.float32)
        for row in rows[[self._rngs[row].random() >= self._epsilon for row in rows]]:
            # One by one: the last digits of a product depend on the size of the batch,
            # and an episode may not depend on the other streams.
            one = slice(row, row + 1)
            screens = None if self._screens is None else self._screens[one]
            actions[one] = onehot[self._actors[policy](obs["image"][one], screens)]

    def _stack(self, obs: dict) -> None:
        if SCREEN not in obs:
            return
        screens = obs[SCREEN]
        if self._screens is None:
            shape = (len(screens), STACK, *screens.shape[1:])
            self._screens = np.zeros(shape, screens.dtype)
        self._screens[obs["is_first"]] = 0
        self._screens[:, :-1] = self._screens[:, 1:].copy()
        self._screens[:, -1] = screens

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        if not isinstance(self._space, spaces.Discrete):
            return rng.uniform(self._low, self._high).astype(np.float32)
        action = np.zeros(self._size, np.float32)
        action[rng.integers(self._size)] = 1
        return action


def _bounds(space: spaces.Space) -> tuple[Any, Any]:
    """Between what actions are drawn: -1 and 1, as the agent's, where no bounds are."""
    if isinstance(space, spaces.Discrete):
        return None, None
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    return np.where(bounded, space.low, -1), np.where(bounded, space.high, 1)


def shares(weights: dict[str, float], agents: Sequence[Any]) -> list[float]:
    """The share of random play, then of each agent.

    Args:
        weights: of `random` and of `dqn`, which all agents share; without agents
            random play has all.

    Raises:
        ValueError: a weight is negative, or all are zero.
    """
    random, dqn = float(weights["random"]), float(weights["dqn"])
    if min(random, dqn) < 0 or random + dqn <= 0:
        raise ValueError(f"Received: {weights}. Weights are positive, or zero.")
    if not agents:
        return [1.0]
    total = random + dqn
    return [random / total] + [dqn / total / len(agents)] * len(agents)
