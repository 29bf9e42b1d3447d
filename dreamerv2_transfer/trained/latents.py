"""The latent states of a model, as numpy arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Latents(Mapping[str, np.ndarray]):
    """Latent states by part: one, those of each step, or of each sequence of a batch.

    It is a mapping: `latents["deter"]` is the recurrent state `(..., deter)`,
    `latents["stoch"]` the stochastic one, `(..., stoch, discrete)` one-hot or
    `(..., stoch)` if it is Gaussian. The other parts are what `stoch` was drawn from,
    `logit`, or `mean` and `std`. The states of an agent also have the `action` that it
    took last, `(..., actions)`. The leading axes `...` are `(B, T)`, `(B,)`, `(T,)` or
    none.

    Attributes:
        parts: float32 arrays by name.
        is_batch: Whether the first axis counts the sequences of a batch.
        is_sequence: Whether the last leading axis counts steps.
    """

    parts: Mapping[str, np.ndarray]
    is_batch: bool = False
    is_sequence: bool = False

    @classmethod
    def of(cls, parts: Mapping[str, np.ndarray], is_batch: bool) -> Latents:
        """Returns states from a batch `(B, ...)`, or its only one."""
        return (
            cls(parts, True) if is_batch else cls({k: v[0] for k, v in parts.items()})
        )

    def __getitem__(self, name: str) -> np.ndarray:
        return self.parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in self.items())
        return f"Latents({shapes})"

    @property
    def features(self) -> np.ndarray:
        """What the heads and the actor read, `(..., features)`: `stoch` and `deter`."""
        deter = self["deter"]
        stoch = self["stoch"].reshape(*deter.shape[:-1], -1)
        return np.concatenate([stoch, deter], -1)

    @property
    def steps(self) -> int:
        """The number of steps, 1 for a single state."""
        return self["deter"].shape[-2] if self.is_sequence else 1

    def at(self, step: int) -> Latents:
        """Returns the state of a step (-1 for the last), from which a dream may branch.

        Raises:
            IndexError: There is no such step.
        """
        if not self.is_sequence:
            if step not in (0, -1):
                raise IndexError(f"a single state has no step {step}")
            return self
        axis = int(self.is_batch)
        parts = {name: value.take(step, axis) for name, value in self.items()}
        return Latents(parts, self.is_batch)

    def repeated(self, number: int) -> Latents:
        """Returns a batch with `number` copies of a single state."""
        parts = {k: np.repeat(v[None], number, 0) for k, v in self.items()}
        return Latents(parts, True, self.is_sequence)
