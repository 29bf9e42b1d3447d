"""Environments as scripts for the package gym have them, which is not installed."""

import numpy as np


# Spaces by the names that gym gives them.
class Box:
    def __init__(self, low, high, shape, dtype):
        self.low, self.high = np.full(shape, low, dtype), np.full(shape, high, dtype)
        self.shape, self.dtype = shape, np.dtype(dtype)


class Discrete:
    def __init__(self, n):
        self.n = n


class Dict:
    def __init__(self, **parts):
        self.spaces = parts


class MissionSpace:
    def __repr__(self):
        return "MissionSpace(None)"


class Grid:
    """An environment for gym 0.21: its own seed(), four results of a step."""

    observation_space = Dict(image=Box(0, 255, (56, 56, 3), np.uint8))
    action_space = Discrete(7)
    infos = ({}, {}, {}, {}, {"TimeLimit.truncated": True})

    def __init__(self):
        self.seeds, self.closed = [], False

    def seed(self, seed):
        self.seeds.append(seed)

    def reset(self):
        self.count = 0
        return self.look()

    def step(self, action):
        self.count += 1
        done = self.count == len(self.infos)
        return self.look(), 0.5, done, dict(self.infos[self.count - 1])

    def look(self):
        image = np.full((56, 56, 3), self.count * 10, np.uint8)
        return {"image": image, "mission": "get the key"}

    def close(self):
        self.closed = True


class Newer(Grid):
    """An environment for gym 0.26, which has no seed()."""

    seed = property()

    def reset(self, *, seed=None, options=None):
        self.seeded = seed
        return super().reset(), {"info": 1}

    def step(self, action):
        obs, reward, done, info = super().step(action)
        return obs, reward, done, False, info
