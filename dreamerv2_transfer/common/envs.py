"""Environments by task name, and what a transition of them looks like."""

import contextlib
import difflib
import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from dreamerv2_transfer.common.errors import UserError

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
MINATAR_CHANNELS = 10  # The most that a game has (Seaquest); one network for all.


class EnvError(UserError):
    """A task that does not exist."""


def make_env(
    task: str, *, time_limit: int = 0, sticky: float = 0.1, ramping: bool = True
) -> gymnasium.Env:
    """Makes an environment whose observations are a dictionary.

    Args:
        task: suite and name, such as `minatar_breakout`.
        time_limit: steps after which an episode is truncated; 0 for no limit.
        sticky: probability that MinAtar repeats the last action instead.
        ramping: whether MinAtar's games become harder with time.

    Raises:
        EnvError: there is no such suite or no such name in it; says which are near.
    """
    if task not in _TASKS:
        raise EnvError(_unknown(task))
    suite, name = task.split("_", 1)
    env = _SUITES[suite](name, sticky=sticky, ramping=ramping)
    return gymnasium.wrappers.TimeLimit(env, time_limit) if time_limit else env


def make_vector_env(task: str, num: int, **options: Any) -> SyncVectorEnv:
    """Makes several environments that are stepped together.

    They are not reset by themselves, lest episodes lose their last observation: pass
    `options={"reset_mask": mask}` to `reset` for those that ended.

    Args:
        task: as for `make_env`.
        num: number of environments.
        **options: as for `make_env`.
    """
    make = functools.partial(make_env, task, **options)
    return SyncVectorEnv([make] * num, autoreset_mode=AutoresetMode.DISABLED)


def obs_space(env: gymnasium.Env | VectorEnv) -> dict[str, spaces.Space]:
    """Spaces of a transition's keys other than the action, of one environment."""
    flag = spaces.Box(0, 1, (), bool)
    return {
        **_single(env, "observation_space").spaces,
        "reward": spaces.Box(-np.inf, np.inf, (), np.float32),
        "is_first": flag,
        "is_last": flag,
        "is_terminal": flag,
    }


def act_space(env: gymnasium.Env | VectorEnv) -> dict[str, spaces.Space]:
    """Space of the actions of one environment, as `{"action": space}`."""
    return {"action": _single(env, "action_space")}


def options(config) -> dict[str, Any]:
    """The options of `make_env` that a configuration holds."""
    return dict(
        time_limit=config.time_limit,
        sticky=config.minatar_sticky,
        ramping=config.minatar_ramping,
    )


def kinds(task: str) -> dict[str, tuple[tuple[int, ...], str]] | None:
    """Shape and dtype of a task's observations and actions; None if it is unknown."""
    if task not in _TASKS:
        return None
    with contextlib.closing(make_env(task)) as env:
        seen = env.observation_space.spaces.items()
        action = (act_size(env.action_space),), "float32"
        return {**{k: (v.shape, v.dtype.name) for k, v in seen}, "action": action}


def native_planes(task: str) -> int | None:
    """How many planes a MinAtar game has before padding; None for other suites."""
    suite, name = task.split("_", 1)
    if suite != "minatar":
        return None
    import minatar

    return minatar.Environment(name).n_channels


def act_size(space: spaces.Space) -> int:
    """Length of an action vector: that of the one-hot vector if it is discrete."""
    return int(space.n) if isinstance(space, spaces.Discrete) else space.shape[0]


def _single(env: gymnasium.Env | VectorEnv, name: str) -> spaces.Space:
    return getattr(env, f"single_{name}" if isinstance(env, VectorEnv) else name)


class MinAtar(gymnasium.Env):
    """A MinAtar game: its own boolean planes, padded with zeros to 10 channels.

    All six actions, whether the game knows them or not, as in `MinAtar/Breakout-v0`.
    After `reset(seed=...)` an episode depends on the seed and the actions alone.
    """

    def __init__(self, game: str, sticky: float = 0.1, ramping: bool = True):
        """Takes MinAtar's name of the game and its two options."""
        import minatar  # Here, as it imports seaborn, which takes seconds.

        self._game = minatar.Environment(
            game, sticky_action_prob=sticky, difficulty_ramping=ramping
        )
        # One generator for the game and its sticky actions, as MinAtar's own seed() has
        # it; to seed it in place takes a tenth of the time of making another.
        self._game.env.random = self._game.random
        shape = (10, 10, MINATAR_CHANNELS)
        self.observation_space = spaces.Dict({"image": spaces.Box(0, 1, shape, bool)})
        self.action_space = spaces.Discrete(self._game.num_actions())

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        if seed is not None:
            self._game.random.seed(seed)
        self._game.last_action = 0  # MinAtar keeps it; a sticky action would repeat it.
        self._game.reset()
        return self._obs(), {}

    def step(self, action: int):
        """Does an action; see `gymnasium.Env.step`."""
        reward, terminated = self._game.act(action)
        return self._obs(), float(reward), bool(terminated), False, {}

    def _obs(self) -> dict[str, np.ndarray]:
        planes = self._game.state()
        image = np.zeros((10, 10, MINATAR_CHANNELS), bool)
        image[..., : planes.shape[-1]] = planes
        return {"image": image}


class Dummy(gymnasium.Env):
    """Counts its steps, to test what carries them: whatever it returns is the count.

    `image` is filled with the step count, `vector` too, and the reward equals it.
    """

    def __init__(self, actions: spaces.Space, length: int = 10):
        """Takes the space of valid actions and the steps of an episode."""
        self._length = length
        self._count = 0
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (64, 64, 3), np.uint8),
                "vector": spaces.Box(-np.inf, np.inf, (3,), np.float32),
            }
        )
        self.action_space = actions

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts to count from zero; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self._count = 0
        return self._obs(), {}

    def step(self, action: Any):
        """Counts one step; see `gymnasium.Env.step`."""
        if not self.action_space.contains(action):
            raise ValueError(
                f"Received: action={action!r}, not in {self.action_space}."
            )
        self._count += 1
        terminated = self._count >= self._length
        return self._obs(), float(self._count), terminated, False, {}

    def _obs(self) -> dict[str, np.ndarray]:
        return {
            "image": np.full((64, 64, 3), self._count % 256, np.uint8),
            "vector": np.full(3, self._count, np.float32),
        }


def _make_minatar(name: str, *, sticky: float, ramping: bool) -> gymnasium.Env:
    return MinAtar(name, sticky, ramping)


def _make_dummy(name: str, **_: Any) -> gymnasium.Env:
    return Dummy(_DUMMY_ACTIONS[name])


_DUMMY_ACTIONS = {
    "discrete": spaces.Discrete(6),
    "continuous": spaces.Box(-1, 1, (6,), np.float32),
}
_SUITES: dict[str, Callable[..., gymnasium.Env]] = {
    "minatar": _make_minatar,
    "dummy": _make_dummy,
}
_TASKS = (
    *(f"minatar_{game}" for game in MINATAR_GAMES),
    *(f"dummy_{name}" for name in _DUMMY_ACTIONS),
)


def _unknown(task: str) -> str:
    near = difflib.get_close_matches(task, _TASKS, cutoff=0.5)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"Unknown task. Received: task={task}. {guess}Known: {', '.join(_TASKS)}."
