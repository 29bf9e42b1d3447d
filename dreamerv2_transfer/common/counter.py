"""A step counter that several parts of a program share."""

from __future__ import annotations

import functools


@functools.total_ordering
class Counter:
    """A step counter that compares and adds like the integer it holds.

    Args:
        initial: Steps counted so far.
    """

    # A counter changes, so it cannot be a dictionary key.
    __hash__ = None

    def __init__(self, initial: int = 0):
        self.value = int(initial)

    def __int__(self) -> int:
        return self.value

    def __index__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"Counter({self.value})"

    def __eq__(self, other) -> bool:
        return self.value == other

    def __lt__(self, other) -> bool:
        return self.value < other

    def __add__(self, other):
        return self.value + other

    def increment(self, amount: int = 1) -> None:
        """Counts `amount` more steps."""
        self.value += int(amount)

    def state(self) -> dict:
        """Returns the state for a checkpoint, JSON-able."""
        return {"value": self.value}

    def load_state(self, state: dict) -> None:
        """Restores what `state` returned."""
        self.value = int(state["value"])
