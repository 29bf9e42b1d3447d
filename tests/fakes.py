"""Small episodes for tests, made without an environment; and a scripted environment."""

import pathlib

import gymnasium
import numpy as np
from gymnasium import spaces

FLOATS = spaces.Box(-np.inf, np.inf, (2,), np.float32)
GOOD = np.ones(2, np.float32)


def episode(steps, number=0, image_shape=(10, 10, 10), dtype=bool, actions=6):
    """Returns an episode whose reward and image encode 1000 * number + time.

    With a boolean image, the first 16 pixels are the binary digits of that value.
    """
    time = np.arange(steps + 1)
    value = 1000 * number + time
    size = int(np.prod(image_shape))
    image = np.zeros((steps + 1, size), dtype)
    if dtype is bool:
        image[:, :16] = value[:, None] >> np.arange(16) & 1
    else:
        image[:] = value[:, None] % 256
    action = np.zeros((steps + 1, actions), np.float32)
    action[time[1:], value[1:] % actions] = 1
    return {
        "image": image.reshape(steps + 1, *image_shape),
        "action": action,
        "reward": value.astype(np.float32),
        "is_first": time == 0,
        "is_last": time == steps,
        "is_terminal": time == steps,
    }


class Scripted(gymnasium.Env):
    """Plays the observations it is given; raises those that are exceptions."""

    def __init__(
        self, steps=(), space=FLOATS, first=GOOD, actions=None, reward=1.0, done=False
    ):
        self.observation_space = space
        self.action_space = actions or spaces.Discrete(2)
        self._first, self._script = first, list(steps)
        self._reward, self._done = reward, done
        self.actions, self.closed = [], False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps = iter(self._script)
        return self._play(self._first), {}

    def step(self, action):
        self.actions.append(action)
        obs = self._play(next(self._steps, GOOD))
        return obs, self._reward, self._done, False, {"any": self}

    def close(self):
        self.closed = True

    @staticmethod
    def _play(item):
        if isinstance(item, BaseException):
            raise item
        return item


class Gate(gymnasium.Env):
    """Allows two of three actions, others at each step, and fails at the third."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._count = 0
        return self._told()

    def step(self, action):
        assert self._mask[action], "This action was not allowed."
        self._count += 1
        obs, info = self._told()
        return obs, 0.0, self._count == 6, False, info

    def _told(self):
        self._mask = np.roll(np.int8([0, 1, 1]), self._count)
        return self._count % 2, {"action_mask": self._mask}


class Locks(Gate):
    """A gate beside a second choice and a number, which are always allowed."""

    action_space = spaces.Tuple([spaces.MultiDiscrete([3, 2]), spaces.Box(0, 9, (1,))])

    def step(self, action):
        (chosen, _), number = action
        obs, _, *rest = super().step(chosen)
        return obs, float(number[0]), *rest

    def _told(self):
        obs, info = super()._told()
        return obs, {"action_mask": ((info["action_mask"], [1, 1]), None)}


class Touch:
    """An object whose pickle creates a file."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self._path,)
