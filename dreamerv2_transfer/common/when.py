"""Decides when something is due: at intervals, once, or until a step."""

from __future__ import annotations

from typing import SupportsInt


def reached(every: float, before: int, now: int) -> bool:
    """Returns whether a multiple of `every` lies in `before + 1` to `now`.

    Args:
        every: The interval in steps; 0 means never.
        before: The step at which this was last asked.
        now: The current step.
    """
    return bool(every) and int(now) // int(every) > int(before) // int(every)


class Every:
    """Returns True at the first call, then once for each `every` steps that passed.

    When several intervals have passed since the last call, the following calls return
    True until they have caught up, as in DreamerV2.

    Args:
        every: The interval in steps; 0 or None means never.
    """

    def __init__(self, every: int | None):
        self._every = every
        self._last: int | None = None

    def __call__(self, step: SupportsInt) -> bool:
        step = int(step)
        if not self._every:
            return False
        if self._last is None:
            self._last = step
            return True
        if step < self._last + self._every:
            return False
        self._last += self._every
        return True

    def state(self) -> dict:
        """Returns the state for a checkpoint, JSON-able."""
        return {"last": self._last}

    def load_state(self, state: dict) -> None:
        """Restores what `state` returned; the interval stays this object's."""
        self._last = state["last"]


class Once:
    """Returns True at the first call only."""

    def __init__(self):
        self._once = True

    def __call__(self) -> bool:
        due, self._once = self._once, False
        return due

    def state(self) -> dict:
        """Returns the state for a checkpoint, JSON-able."""
        return {"once": self._once}

    def load_state(self, state: dict) -> None:
        """Restores what `state` returned."""
        self._once = state["once"]


class Until:
    """Returns True while the step is below `until`.

    Args:
        until: It returns False from this step on, which need not be whole; 0 or None
            means always True.
    """

    def __init__(self, until: float | None):
        self._until = until

    def __call__(self, step: SupportsInt) -> bool:
        return not self._until or int(step) < self._until

    def state(self) -> dict:
        """Returns an empty state, as the answer depends on the step alone."""
        return {}

    def load_state(self, state: dict) -> None:
        """Does nothing; exists so that all three classes are used alike."""
