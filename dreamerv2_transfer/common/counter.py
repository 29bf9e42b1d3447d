"""A number of steps that several parts of a program share."""

import functools


@functools.total_ordering
class Counter:
    """Counts steps, compares and adds like the integer that it holds.

    Args:
        initial: Steps counted so far.
    """

    # It changes, so it cannot be a dictionary key.
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
        """Counts `amount` further steps."""
        self.value += int(amount)

    def state(self) -> dict:
        """What a checkpoint keeps, as JSON."""
        return {"value": self.value}

    def load_state(self, state: dict) -> None:
        """Goes on from what `state` returned."""
        self.value = int(state["value"])
