"""The form of actions: a number, a vector, or parts of both kinds in one vector.

    Discrete, Box of one dimension     stay what they are
    MultiDiscrete([3, 3])              100 010
    Tuple(Discrete(3), Box(-1, 1))     001 0.5

In a `Joined` space, each choice is one-hot, and numbers lie in [-1, 1] if they have
bounds. `native_actions` returns the way back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.errors import EnvError

Native = Callable[[np.ndarray], Any]


class Part(NamedTuple):
    """Parts of a vector that are alike and follow each other.

    Attributes:
        number: How many choices or numbers.
        classes: What each choice is made of, one-hot; 0 for numbers.
    """

    number: int
    classes: int

    @property
    def size(self) -> int:
        return self.number * (self.classes or 1)


class Joined(spaces.Box):
    """Vectors that consist of one-hot choices and of numbers.

    Args:
        parts: What follows what. Neighbours of one kind become one part.
        low: Lower bounds of the whole vector; by default 0 of choices, -1 of numbers.
        high: Upper bounds, by default 1.

    Attributes:
        parts: The parts.
    """

    def __init__(self, parts: Sequence[Sequence[int]], low: Any = None, high: Any = 1):
        found = (Part(*map(int, x)) for x in parts)
        grouped = itertools.groupby(found, lambda x: x.classes)
        self.parts = tuple(Part(sum(x.number for x in g), k) for k, g in grouped)
        if low is None:
            lows = [np.full(x.size, 0 if x.classes else -1) for x in self.parts]
            low = np.concatenate(lows)
        size = sum(part.size for part in self.parts)
        low, high = (np.broadcast_to(x, size).astype(np.float32) for x in (low, high))
        super().__init__(low, high, dtype=np.float32)

    def draw(
        self, rng: np.random.Generator, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Draws a vector uniformly; numbers without bounds from [-1, 1].

        Args:
            rng: The generator.
            mask: Vector of the classes that may be chosen, see `masks.Masked`.
        """
        bounded = np.isfinite(self.low) & np.isfinite(self.high)
        low, high = np.where(bounded, self.low, -1), np.where(bounded, self.high, 1)
        vector = rng.uniform(low, high).astype(np.float32)
        for part, values in zip(self.parts, self.split(vector), strict=True):
            if part.classes:
                drawn = rng.integers(part.classes, size=part.number)
                values[:] = np.eye(part.classes, dtype=np.float32)[drawn]
        return vector if mask is None else self._allowed(vector, mask, rng)

    def _allowed(
        self, vector: np.ndarray, mask: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Draws the choices of a vector again, among the classes of a mask."""
        both = zip(self.parts, self.split(vector), self.split(mask), strict=True)
        for part, values, may in both:
            for row in range(part.number if part.classes else 0):
                among = np.flatnonzero(may[row] > 0)
                chosen = rng.choice(among if len(among) else part.classes)
                values[row] = np.arange(part.classes) == chosen
        return vector

    def sample(self, mask: None = None, probability: None = None) -> np.ndarray:
        """Draws a vector, see `draw`."""
        return self.draw(self.np_random)

    def contains(self, x: Any) -> bool:
        return super().contains(x) and bool(self.is_onehot(x))

    def split(self, vectors: np.ndarray) -> list[np.ndarray]:
        """Returns views of the parts: `(..., number, classes)` or `(..., number)`."""
        ends = np.cumsum([part.size for part in self.parts])[:-1]
        return [
            x.reshape(*x.shape[:-1], *(part if part.classes else part[:1]))
            for x, part in zip(np.split(vectors, ends, -1), self.parts, strict=True)
        ]

    def is_onehot(self, vectors: np.ndarray) -> np.ndarray:
        """Tells whether all choices of vectors `(..., size)` are one-hot, `(...)`."""
        valid = np.ones(vectors.shape[:-1], bool)
        for part, values in zip(self.parts, self.split(vectors), strict=True):
            if part.classes:
                ones, zeros = (values == 1).sum(-1), (values == 0).sum(-1)
                valid &= ((ones == 1) & (zeros == part.classes - 1)).all(-1)
        return valid

    def __repr__(self) -> str:
        texts = (f"{n} x {k} classes" if k else f"{n} numbers" for n, k in self.parts)
        return f"Joined({', '.join(texts)})"

    def __eq__(self, other: object) -> bool:
        alike = isinstance(other, Joined) and self.parts == other.parts
        return alike and super().__eq__(other)


def parts(space: spaces.Space) -> tuple[Part, ...]:
    """Returns what the vector of an action of our form consists of."""
    if isinstance(space, spaces.Discrete):
        return (Part(1, int(space.n)),)
    if isinstance(space, Joined):
        return space.parts
    return (Part(space.shape[0], 0),)  # type: ignore[index]


def native_actions(space: spaces.Space) -> tuple[spaces.Space, Native]:
    """Returns the space that an agent sees, and the function to native actions.

    Raises:
        EnvError: The actions, or some of their parts, are neither choices nor floats,
            or no number of [-1, 1] lies within their one bound.
    """
    if isinstance(space, spaces.Discrete | Joined):
        return space, lambda action: action
    if _is_floats(space) and len(space.shape or ()) == 1:
        return _rescaled(space)
    found = list(_leaves(space, space))
    joined = Joined(
        [part for leaf, _ in found for part in leaf.parts],
        np.concatenate([leaf.low for leaf, _ in found]),
        np.concatenate([leaf.high for leaf, _ in found]),
    )
    ends = np.cumsum([leaf.shape[0] for leaf, _ in found])[:-1]

    def native(action: np.ndarray) -> Any:
        values = zip(found, np.split(np.asarray(action), ends), strict=True)
        return _nested(space, (convert(value) for (_, convert), value in values))

    return joined, native


def _leaves(
    space: spaces.Space, whole: spaces.Space
) -> Iterator[tuple[Joined, Native]]:
    """Yields the vectors of an action's parts, and the functions to native parts."""
    for part in _inside(space) or ():
        yield from _leaves(part, whole)
    if isinstance(space, spaces.Discrete):
        yield (
            Joined([(1, space.n)]),
            lambda x: space.dtype.type(x.argmax() + space.start),
        )
    elif isinstance(space, spaces.MultiDiscrete):
        yield _choices(space.nvec, space.start, space)
    elif isinstance(space, spaces.MultiBinary):
        yield _choices(np.full(space.shape, 2), 0, space)
    elif _is_floats(space):
        box, native = _rescaled(space)
        low, high = box.low.reshape(-1), box.high.reshape(-1)
        yield (
            Joined([(len(low), 0)], low, high),
            lambda x: native(x.reshape(space.shape)),
        )
    elif _inside(space) is None:
        raise EnvError(
            f"Received: actions of {whole}. They must be Discrete, MultiDiscrete, "
            "MultiBinary, a Box of floats, or a Tuple or Dict of these, and not empty; "
            "wrap the environment, as by gymnasium.wrappers."
        )


def _inside(space: spaces.Space) -> list[spaces.Space] | None:
    """Returns the parts of a tuple or of a dictionary, if there are any."""
    if not isinstance(space, spaces.Tuple | spaces.Dict) or not len(space):
        return None
    inside = space.spaces
    return [*(inside.values() if isinstance(inside, dict) else inside)]


def _nested(space: spaces.Space, values: Iterator) -> Any:
    """Puts the values of the leaves where they are in a space."""
    if isinstance(space, spaces.Dict):
        return {key: _nested(part, values) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_nested(part, values) for part in space.spaces)
    return next(values)


def _choices(numbers: np.ndarray, start: Any, space: Any) -> tuple[Joined, Native]:
    """Returns one-hot vectors of choices among the given numbers of classes."""
    flat = numbers.reshape(-1)
    ends = np.cumsum(flat)[:-1]

    def native(action: np.ndarray) -> np.ndarray:
        chosen = [x.argmax() for x in np.split(action, ends)]
        return (np.reshape(chosen, space.shape) + start).astype(space.dtype)

    return Joined([(1, int(n)) for n in flat]), native


def _is_floats(space: spaces.Space) -> bool:
    if not isinstance(space, spaces.Box):
        return False
    return space.dtype.kind == "f" and bool(np.prod(space.shape))


def _rescaled(space: Any) -> tuple[spaces.Box, Native]:
    """Returns numbers in [-1, 1] where they have two bounds."""
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    if (~bounded & ((space.low >= 1) | (space.high <= -1))).any():
        raise EnvError(
            f"Received: actions of {space}. An agent's numbers lie in [-1, 1], and are "
            "rescaled only between two bounds. Give both, or shift the actions by "
            "gymnasium.wrappers.TransformAction."
        )
    low = np.where(bounded, space.low, -1).astype(float)
    high = np.where(bounded, space.high, 1).astype(float)
    scale, offset = high / 2 - low / 2, high / 2 + low / 2

    def native(action: np.ndarray) -> np.ndarray:
        action = np.asarray(np.asarray(action) * scale + offset)
        return action.clip(space.low, space.high, out=action).astype(space.dtype)

    limit = np.where(bounded, 1, np.inf).astype(np.float32)
    return spaces.Box(-limit, limit, space.shape, np.float32), native
