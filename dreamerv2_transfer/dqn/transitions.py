"""A replay of n-step transitions.

For a state s_t it keeps what the update of Q(s_t, a_t) needs (Sutton 1988; Hessel et
al. 2018, "Rainbow"):

    R = r_{t+1} + y r_{t+2} + ... + y^{k-1} r_{t+k}   return
    d = y^k, or 0 where s_{t+k} is terminal           discount
    s_{t+k}                                           state that Q is bootstrapped from

with k = n, or less at an episode's end. A truncated episode is bootstrapped from its
last state; a terminated one is not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass
class _Open:
    """A transition that is still shorter than n steps."""

    planes: np.ndarray
    action: int
    returned: float = 0.0
    discount: float = 1.0
    steps: int = 0


class Transitions:
    """The latest transitions of all environments, with bit-packed planes.

    Args:
        capacity: Number of transitions; the oldest are overwritten.
        planes: Number of planes that the game has, the first of an image's.
        envs: Number of environments.
        steps: n, the most steps of a transition.
        discount: y, a factor per step.

    Attributes:
        arrays: The transitions, `[capacity, ...]` by key. A checkpoint holds these and
            `state`.
    """

    def __init__(
        self, capacity: int, planes: int, envs: int, steps: int, discount: float
    ):
        self._shape = (10, 10, planes)
        packed = -(-100 * planes // 8)
        self.arrays = {
            "planes": np.zeros((capacity, packed), np.uint8),
            "action": np.zeros(capacity, np.int32),
            "return": np.zeros(capacity, np.float32),
            "discount": np.zeros(capacity, np.float32),
            "next_planes": np.zeros((capacity, packed), np.uint8),
        }
        self._capacity = capacity
        self._steps = steps
        self._discount = discount
        self._added = 0
        self._open: list[list[_Open]] = [[] for _ in range(envs)]
        self._planes: list[np.ndarray | None] = [None] * envs

    def __len__(self) -> int:
        """Number of transitions that can be drawn."""
        return min(self._added, self._capacity)

    def add_step(self, transition: Mapping[str, np.ndarray], worker: int) -> None:
        """Adds the latest step of an environment, as `driver.Driver` passes it."""
        for opened in self._extend(transition, worker):
            row = self._added % self._capacity
            self.arrays["planes"][row] = opened.planes
            self.arrays["action"][row] = opened.action
            self.arrays["return"][row] = opened.returned
            self.arrays["discount"][row] = opened.discount
            self.arrays["next_planes"][row] = self._planes[worker]
            self._added += 1

    def restore_step(self, transition: Mapping[str, np.ndarray], worker: int) -> None:
        """Repeats a step of before a resume: restores open transitions, adds none."""
        self._extend(transition, worker)

    def sample(
        self, rng: np.random.Generator, updates: int, batch: int
    ) -> dict[str, np.ndarray]:
        """Draws transitions uniformly, with replacement.

        Returns:
            `planes` and `next_planes` uint8 `[updates, batch, 10, 10, planes]`, zeros
            and ones; `action` int32, `return` and `discount` float32
            `[updates, batch]`.
        """
        rows = rng.integers(len(self), size=updates * batch)
        drawn = {k: v[rows] for k, v in self.arrays.items()}
        for key in ("planes", "next_planes"):
            bits = np.unpackbits(drawn[key], axis=1, count=int(np.prod(self._shape)))
            drawn[key] = bits.reshape(-1, *self._shape)
        return {k: v.reshape(updates, batch, *v.shape[1:]) for k, v in drawn.items()}

    def state(self) -> dict:
        """Returns the state beside `arrays`, for JSON."""
        return {"added": self._added}

    def load_state(self, state: Mapping) -> None:
        """Restores a `state`; open transitions come back through `restore_step`."""
        self._added = state["added"]

    def _extend(self, transition: Mapping, worker: int) -> list[_Open]:
        """Extends an environment's open transitions; returns the complete ones."""
        planes = self._planes[worker]
        self._planes[worker] = np.packbits(transition["image"][..., : self._shape[-1]])
        if transition["is_first"]:
            self._open[worker] = []
            return []
        opened = self._open[worker]
        opened.append(_Open(planes, int(transition["action"].argmax())))
        for each in opened:
            each.returned += each.discount * float(transition["reward"])
            each.discount *= self._discount
            each.steps += 1
        if transition["is_terminal"]:
            for each in opened:
                each.discount = 0.0
        complete = len(opened) if transition["is_last"] else 0
        complete = complete or int(opened[0].steps == self._steps)
        self._open[worker] = opened[complete:]
        return opened[:complete]
